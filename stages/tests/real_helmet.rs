//! HELMET's procedure against golden vectors: random generators, seeds, and the in-context prompts by hash.

mod support;

use retmask_stages::contract::StageResult;
use retmask_stages::helmet::dataset::{self, Example, Records, Request};
use retmask_stages::helmet::datasets::shots;
use retmask_stages::helmet::random::{PythonRandom, permutation, text_seed};
use retmask_stages::helmet::template::Templates;
use retmask_stages::helmet::tokens::Tokens;
use retmask_stages::helmet::{DataFolder, Room, render};
use retmask_stages::metrics::parse_output;
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::{lines, shared, text};

/// The values of `first20`, or of a plain list.
fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize).collect()
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("no number `{field}` in {value}"))
}

fn vectors() -> Value {
    let content = std::fs::read_to_string(shared("data/helmet/golden/rng_vectors.json")).unwrap();
    serde_json::from_str(&content).unwrap()
}

#[test]
#[ignore = "needs the shared HELMET vectors; scripts/test runs it"]
fn permutations_equal_numpys() {
    let vectors = vectors();
    let cases = vectors["numpy_default_rng_permutation"].as_array().unwrap();
    assert_eq!(cases.len(), 17);
    for case in cases {
        let order = permutation(number(case, "seed"), number(case, "n") as usize);
        let expected = numbers(&case["first20"]);
        assert_eq!(order[..expected.len()], expected, "{case}");
    }
}

#[test]
#[ignore = "needs the shared HELMET vectors; scripts/test runs it"]
fn draws_equal_pythons() {
    let vectors = vectors();
    let cases = vectors["python_random"].as_array().unwrap();
    assert_eq!(cases.len(), 52);
    for case in cases {
        let mut random = PythonRandom::new(number(case, "seed"));
        let count = number(case, "n") as usize;
        let drawn = match text(case, "op") {
            "Random(seed).sample(range(n),k)" => random.sample(count, number(case, "k") as usize),
            operation if operation.contains("shuffle") => {
                let mut order: Vec<usize> = (0..count).collect();
                random.shuffle(&mut order);
                order
            }
            other => panic!("the vectors hold an operation this test does not know: {other}"),
        };
        let expected = numbers(&case["first20"]);
        assert_eq!(drawn[..expected.len()], expected, "{case}");
        if let Some(next) = case["next_getrandbits32"].as_u64() {
            assert_eq!(u64::from(random.next_u32()), next, "{case}");
        }
    }
    let mut random = PythonRandom::new(42);
    for pair in vectors["alce_demo_index_pairs_seed42_first40_rows"].as_array().unwrap() {
        assert_eq!(random.sample(4, 2), numbers(pair));
    }
}

#[test]
#[ignore = "needs the shared HELMET vectors; scripts/test runs it"]
fn seeds_of_texts_equal_the_reference() {
    let vectors = vectors();
    let cases = vectors["sha256_mod_2pow31"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        assert_eq!(text_seed(text(case, "text"), 0), number(case, "seed"), "{case}");
    }
}

/// The in-context sets ask no tokenizer: their number of demonstrations is in a table.
struct NoTokens;

impl Tokens for NoTokens {
    fn encode(&self, _text: &str) -> StageResult<Vec<u32>> {
        panic!("no tokenizer was expected to be asked")
    }

    fn starts(&self, _text: &str) -> StageResult<Vec<usize>> {
        panic!("no tokenizer was expected to be asked")
    }

    fn ends(&self, _text: &str) -> StageResult<Vec<usize>> {
        panic!("no tokenizer was expected to be asked")
    }

    fn chat(&self, _user: &str, _thinking: Option<bool>) -> StageResult<Vec<u32>> {
        panic!("no tokenizer was expected to be asked")
    }
}

fn examples(name: &str, length: usize, templates: &Templates) -> Vec<Example> {
    let dataset = dataset::by_name(name).unwrap();
    let data = DataFolder::new(&shared("data/helmet"));
    data.require(&dataset.files(length, Records::Generated).unwrap(), dataset.hint()).unwrap();
    let request = Request {
        room: Room { length, new_tokens: dataset.max_new_tokens(), window: length },
        samples: dataset.samples(),
        seed: 42,
        shots: None,
        records: Records::Generated,
        template: &templates.of(name).unwrap(),
        tokens: &NoTokens,
        length_tokens: &NoTokens,
        data: Some(&data),
        check: &|| Ok(()),
    };
    dataset.examples(&request).unwrap()
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
#[ignore = "needs the shared HELMET data; scripts/test runs it"]
fn in_context_prompts_equal_the_benchmarks() {
    let place = shared("data/helmet/prompt_templates.json");
    let templates = Templates::from_json(&std::fs::read_to_string(place).unwrap(), "prompt_templates.json").unwrap();
    let vectors = lines(&shared("data/helmet/golden/icl_vectors.jsonl"));
    let mut prompts = 0;
    for name in ["icl_trec_coarse", "icl_trec_fine", "icl_banking77", "icl_clinic150"] {
        let template = templates.of(name).unwrap();
        let of_dataset: Vec<&Value> = vectors.iter().filter(|vector| vector["dataset"] == name).collect();
        let mut lengths: Vec<u64> = of_dataset.iter().filter_map(|vector| vector["length"].as_u64()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        assert_eq!((lengths.len(), lengths[0]), (2, 8_192));
        for length in lengths {
            let examples = examples(name, length as usize, &templates);
            let whole = of_dataset.iter().find(|vector| vector["length"].is_null()).unwrap();
            assert_eq!(examples.len() as u64, number(whole, "n_test_used"));
            let questions: Vec<&str> = examples.iter().map(|example| example.fields["question"].as_str()).collect();
            assert_eq!(sha256(&questions.join("\n")), text(whole, "sha256_all_questions_joined_by_newline"));
            let answers: Vec<&str> = examples.iter().map(|example| example.answers[0].as_str()).collect();
            assert_eq!(sha256(&answers.join("\n")), text(whole, "sha256_all_answers_joined_by_newline"));
            for vector in of_dataset.iter().filter(|vector| vector["length"] == length) {
                let example = &examples[number(vector, "index") as usize];
                assert_eq!(example.fields["question"], text(vector, "question"));
                assert_eq!(example.answers, [text(vector, "answer")]);
                assert_eq!(sha256(&example.fields["context"]), text(vector, "sha256_context"), "{vector}");
                let (prompt, prefix) = render(&template, &example.fields).unwrap();
                assert_eq!(sha256(&prompt), text(vector, "sha256_nonchat_prompt"), "{vector}");
                assert_eq!(prefix, "label:");
                prompts += 1;
            }
        }
    }
    assert_eq!(prompts, vectors.len() - 4);
}

#[test]
#[ignore = "needs the shared HELMET configurations; scripts/test runs it"]
fn demonstrations_and_answer_lengths_are_those_of_the_configurations() {
    let mut runs = 0;
    for run in lines(&shared("data/helmet/helmet_configs.jsonl")) {
        let name = text(&run, "dataset");
        let Some((set, shot)) = name.strip_suffix("shot_balance").and_then(|name| name.rsplit_once('_')) else {
            continue;
        };
        let table = match set {
            "icl_trec_coarse" => [400, 800, 1600, 3300, 6600],
            "icl_trec_fine" => [400, 800, 1600, 3200, 6400],
            "icl_banking77" => [360, 720, 1450, 2900, 5900],
            "icl_clinic150" => [440, 880, 1750, 3525, 7050],
            _ => continue,
        };
        let length = number(&run, "input_max_length") as usize;
        assert_eq!(shots(table, length).to_string(), shot, "{run}");
        assert_eq!(dataset::by_name(set).unwrap().max_new_tokens() as u64, number(&run, "generation_max_length"));
        runs += 1;
    }
    assert_eq!(runs, 20);
}

#[test]
#[ignore = "needs the shared HELMET configurations; scripts/test runs it"]
fn files_answers_and_forms_are_those_of_the_configurations() {
    let mut sets = std::collections::BTreeSet::new();
    for run in lines(&shared("data/helmet/helmet_configs.jsonl")) {
        let named = dataset::by_config_name(text(&run, "dataset")).unwrap_or_else(|| panic!("{run}"));
        if !named.in_category {
            continue;
        }
        let dataset = named.dataset;
        let length = number(&run, "input_max_length") as usize;
        assert_eq!(dataset.max_new_tokens() as u64, number(&run, "generation_max_length"), "{run}");
        assert_eq!(dataset.samples() as u64, number(&run, "max_test_samples"), "{run}");
        assert_eq!(Some(dataset.chat()), run["use_chat_template"].as_bool(), "{run}");
        let files = dataset.files(length, Records::Benchmark).unwrap();
        let named: Vec<&str> = ["test_file", "demo_file"]
            .map(|field| text(&run, field))
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect();
        for name in named {
            let ours = name.strip_prefix("data/").unwrap_or(name);
            assert!(files.iter().any(|file| file == ours), "{run}: {files:?}");
        }
        sets.insert((dataset.name(), length));
    }
    assert_eq!(sets.len(), 21 * 5);
}

#[test]
#[ignore = "needs the shared HELMET templates; scripts/test runs it"]
fn the_benchmarks_wording_is_known_as_such_and_ours_is_not() {
    let place = shared("data/helmet/prompt_templates.json");
    let benchmark = Templates::from_json(&std::fs::read_to_string(place).unwrap(), "prompt_templates.json").unwrap();
    let own = Templates::own().unwrap();
    for dataset in dataset::ALL {
        assert!(benchmark.of(dataset.name()).unwrap().is_benchmarks(), "{}", dataset.name());
        assert!(!own.of(dataset.name()).unwrap().is_benchmarks(), "{}", dataset.name());
    }
}

#[test]
#[ignore = "needs the shared HELMET vectors; scripts/test runs it"]
fn answers_are_found_in_real_predictions_as_in_the_reference() {
    let vectors = lines(&shared("data/helmet/golden/qa_metric_vectors.jsonl"));
    let folder = shared("data/helmet/infinitebench_preds");
    let mut parsed = 0;
    for vector in &vectors {
        let Some(expected) = vector["parsed_output"].as_str() else { continue };
        let rows = lines(&folder.join(text(vector, "file")));
        let id = number(vector, "id");
        let named = id.to_string();
        let row = rows.iter().find(|row| row["id"] == named.as_str() || row["id"] == id).unwrap();
        assert_eq!(parse_output(text(row, "prediction"), "Answer:"), expected, "{vector}");
        parsed += 1;
    }
    assert_eq!(parsed, 531);
}

//! `retmask model` on the real binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use retmask_model::heads::{Head, HeadMask};
use retmask_stages::artifact::mask;
use serde_json::Value;

/// A Llama model of a few kilobytes with a tensor of every element type.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("model/tests/fixtures/every-type.gguf")
}

fn retmask(arguments: &[&str]) -> Output {
    Command::cargo_bin("retmask").expect("the program is built").args(arguments).output().expect("the program runs")
}

/// Standard output of a run that succeeds and says nothing else.
fn said(arguments: &[&str]) -> String {
    let output = retmask(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{arguments:?}: {complaint}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The complaint of a run that refuses its input.
fn refused(arguments: &[&str]) -> String {
    let output = retmask(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
    assert!(output.stdout.is_empty(), "a refusal writes no data");
    assert!(complaint.starts_with("error: "), "{complaint}");
    complaint
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// A file in a folder of its own.
struct Made {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Made {
    fn new(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("written");
        Self { _folder: folder, path }
    }

    /// A copy of the fixture, changed.
    fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = fs::read(fixture()).expect("the fixture");
        change(&mut bytes);
        Self::new("model.gguf", bytes)
    }

    /// A copy of the fixture, the first occurrence of `from` replaced.
    fn replacing(from: &[u8], to: &[u8]) -> Self {
        Self::changed(|bytes| {
            let at = bytes.windows(from.len()).position(|window| window == from).expect("the fixture holds it");
            bytes[at..at + to.len()].copy_from_slice(to);
        })
    }
}

#[test]
fn info_is_a_table_for_people() {
    let table = said(&["model", "info", "--model", text(&fixture())]);
    insta::assert_snapshot!(table, @r"
    family             llama
    parameters         10,496
    layers             1
    attention heads    2 per layer, 2 in all
    key-value heads    1 per layer
    head dimension     4
    hidden size        256
    intermediate size  2
    vocabulary         8
    tied embeddings    yes
    context            64 tokens
    attention          full in every layer
    rotary             base 10000
    norms              before attention and MLP, epsilon 1e-5
    file               GGUF v3, 1 file, 18.3 KiB
    types in file      F32 (4 tensors, 5.0 KiB), F16 (1 tensor, 4.0 KiB), BF16 (1 tensor, 4.0 KiB), Q4_0 (1 tensor, 288 bytes), Q4_1 (1 tensor, 320 bytes), Q8_0 (1 tensor, 1.1 KiB), Q4_K (1 tensor, 1.1 KiB), Q6_K (1 tensor, 840 bytes)
    weights in memory  usually 185.1 KiB, at most 189.1 KiB (class f32)
    keys and values    32 bytes per token in f32, 16 bytes in bf16
    tokenizer          yes
    chat template      yes

    tokens  keys and values  with weights
        8K          1.1 MiB       1.3 MiB  beyond the model's context
       16K          2.2 MiB       2.4 MiB  beyond the model's context
       32K          4.5 MiB       4.7 MiB  beyond the model's context
       64K          9.0 MiB       9.2 MiB  beyond the model's context
      128K         18.0 MiB      18.2 MiB  beyond the model's context
    ");
}

#[test]
fn info_says_what_fits_into_memory() {
    let model = fixture();
    let ask = |more: &[&str]| said(&[more, &["model", "info", "--model", text(&model), "--memory", "4MiB"]].concat());
    let table = ask(&[]);
    // 4 MiB less 189 KiB of weights holds three times 1.125 MiB: a head of 4 values whose vectors are padded to 32.
    let expected = "tokens  keys and values  with weights  at once in 4.0 MiB\n    8K          1.1 MiB       1.3 MiB                   3";
    assert!(table.contains(expected), "{table}");
    let json: Value = serde_json::from_str(&ask(&["--json"])).expect("JSON");
    assert_eq!(json["memory_bytes"], 4 << 20);
    let sequences: Vec<Option<u64>> =
        json["fits"].as_array().expect("fits").iter().map(|fit| fit["sequences"].as_u64()).collect();
    assert_eq!(sequences, [Some(3), Some(1), Some(0), Some(0), Some(0)]);
    assert_eq!(json["fits"][0]["key_value_bytes"], 8192 * (4 + 32) * 4);
    let narrow = said(&["--json", "model", "info", "--model", text(&model), "--numerics", "bf16"]);
    let json: Value = serde_json::from_str(&narrow).expect("JSON");
    assert_eq!(json["fits"][0]["key_value_bytes"], 8192 * (4 + 32) * 2);
    let complaint =
        String::from_utf8_lossy(&retmask(&["model", "info", "--model", text(&model), "--memory", "lots"]).stderr)
            .into_owned();
    assert!(complaint.contains("expected a size"), "{complaint}");
}

#[test]
fn info_is_json_for_machines() {
    let json: Value =
        serde_json::from_str(&said(&["--json", "model", "info", "--model", text(&fixture())])).expect("JSON");
    assert_eq!(json["family"], "llama");
    assert_eq!(json["layers"], 1);
    assert_eq!(json["attention_heads"], 2);
    // Embedding 8 x 256, q and o 8 x 256 each, k and v 4 x 256 each, MLP 3 x 2 x 256, three norms of 256.
    assert_eq!(json["parameters"], 10_496);
    // Outputs are padded to 32. In four bytes a value q, k, v, gate and up of 256 inputs, o of 8, down of 2, and norms.
    let wide = 4 * (5 * 32 * 256 + 256 * 8 + 256 * 2 + 3 * 256);
    // The embedding is stored in bf16 and stays so, in 16 or 12 bits a value, with a list of 17 bytes for each 32 inputs and
    // where its panel starts and ends.
    let lists = 8 * 17 + 2 * 8;
    assert_eq!(json["weight_bytes_in_memory"], wide + 32 * 256 * 2 + lists);
    assert_eq!(json["usual_weight_bytes_in_memory"], wide + 32 * 256 * 3 / 2 + lists);
    let short = said(&["--json", "model", "info", "--model", text(&fixture()), "--numerics", "bf16"]);
    let short: Value = serde_json::from_str(&short).expect("JSON");
    // All but the norms; o and down have one list in each of 8 panels, and down's two inputs stay in 16 bits.
    let rest = 6 * lists + 2 * (8 * 17 + 9 * 8) + 256 * 2 * 2 + 3 * 256 * 4;
    let most = (6 * 32 * 256 + 256 * 8) * 2 + rest;
    assert_eq!(short["weight_bytes_in_memory"], most);
    assert_eq!(short["usual_weight_bytes_in_memory"], (6 * 32 * 256 + 256 * 8) * 3 / 2 + rest);
    // Keys and values of one head of 4, in f32.
    assert_eq!(json["key_value_bytes_per_token"], 2 * 4 * 4);
    assert_eq!(json["element_types"]["Q6_K"]["tensors"], 1);
    assert_eq!(json["tokenizer"], true);
}

#[test]
fn damaged_models_are_refused_with_exit_code_2() {
    let truncated = Made::changed(|bytes| bytes.truncate(3000));
    let complaint = refused(&["model", "info", "--model", text(&truncated.path)]);
    assert!(complaint.contains("the file is truncated or lies"), "{complaint}");

    // The tensor count follows magic and version.
    let lying = Made::changed(|bytes| bytes[8..16].fill(0xff));
    let complaint = refused(&["model", "info", "--model", text(&lying.path)]);
    assert!(complaint.contains("model.gguf: "), "{complaint}");

    let unknown = Made::replacing(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0bloom");
    let complaint = refused(&["model", "info", "--model", text(&unknown.path)]);
    assert!(complaint.contains("the architecture `bloom` is not supported; `llama`, `qwen2`"), "{complaint}");

    let key = b"llama.feed_forward_length\x04\0\0\0";
    let misshapen = Made::replacing(&[&key[..], &[2]].concat(), &[&key[..], &[3]].concat());
    let complaint = refused(&["model", "info", "--model", text(&misshapen.path)]);
    assert!(complaint.contains("has the shape [2, 256], but the configuration asks for [3, 256]"), "{complaint}");

    let complaint = refused(&["model", "info", "--model", "no-such-model.gguf"]);
    assert!(complaint.contains("no-such-model.gguf"), "{complaint}");
}

/// The log-probabilities of three token lists under the fixture.
fn logprobs(more: &[&str]) -> Vec<Vec<f64>> {
    let ids = Made::new("ids.json", "[[0, 1, 2, 3, 4], [7], [5, 6]]");
    let model = fixture();
    let arguments = [&["model", "logprobs", "--model", text(&model), "--ids", text(&ids.path)], more].concat();
    serde_json::from_str(&said(&arguments)).expect("a list of lists")
}

#[test]
fn logprobs_are_one_fewer_than_tokens_and_change_with_the_mask() {
    let plain = logprobs(&[]);
    assert_eq!(plain.iter().map(Vec::len).collect::<Vec<_>>(), [4, 0, 1]);
    assert!(plain.iter().flatten().all(|logprob| logprob.is_finite() && *logprob < 0.0), "{plain:?}");

    let json = Made::new("mask.json", "[[0, 1]]");
    let masked = logprobs(&["--mask", text(&json.path)]);
    assert_ne!(masked, plain);
    let artifact = Made::new("mask.parquet", "");
    let mask: HeadMask = [Head { layer: 0, head: 1 }].into_iter().collect();
    mask::write(&artifact.path, &mask).expect("a mask artifact");
    assert_eq!(logprobs(&["--mask", text(&artifact.path)]), masked, "both forms of a mask mean the same");
    let none = Made::new("mask.json", "[]");
    assert_eq!(logprobs(&["--mask", text(&none.path)]), plain);
}

#[test]
fn logprobs_need_no_tokenizer() {
    // The tokenizer's name is not one that is supported; only its ids matter here.
    let model = Made::replacing(b"\x04\0\0\0\0\0\0\0gpt2", b"\x04\0\0\0\0\0\0\0none");
    let ids = Made::new("ids.json", "[[1, 2]]");
    let answer = said(&["model", "logprobs", "--model", text(&model.path), "--ids", text(&ids.path)]);
    assert_eq!(serde_json::from_str::<Vec<Vec<f64>>>(&answer).expect("a list of lists")[0].len(), 1);
}

#[test]
fn wrong_ids_masks_and_weights_are_refused() {
    let model = fixture();
    let ask = |model: &Path, ids: &str, mask: &str| {
        let (ids, mask) = (Made::new("ids.json", ids), Made::new("mask.json", mask));
        let (ids, mask) = (text(&ids.path), text(&mask.path));
        refused(&["model", "logprobs", "--model", text(model), "--ids", ids, "--mask", mask])
    };
    for (ids, mask, expected) in [
        ("[[1, 2], [8]]", "[]", "ids.json: token 8 is outside the model's vocabulary (0 to 7)"),
        ("[[1, 2], []]", "[]", "ids.json: sequence 1 has no tokens"),
        ("[[1, -2]]", "[]", "ids.json: expected a JSON list of token-id lists"),
        ("[1, 2]", "[]", "ids.json: expected a JSON list of token-id lists"),
        ("[[1, 2]]", "[[0, 2]]", "mask.json: the mask names head 0-2, but the model has 1 layers of 2 heads"),
        ("[[1, 2]]", "[[0, 1], [0, 1]]", "mask.json: the mask names head 0-1 twice"),
        ("[[1, 2]]", "{}", "mask.json: a mask is a JSON list"),
        ("[[1, 2]]", "PAR1 but no more", "mask.json"),
    ] {
        let complaint = ask(&model, ids, mask);
        assert!(complaint.contains(expected), "{complaint}");
    }
    let long = format!("[[{}]]", vec!["1"; 65].join(","));
    assert!(ask(&model, &long, "[]").contains("sequence 0 has 65 tokens; the model's context is 64"));

    // The final norm is the last tensor of the file.
    let damaged = Made::changed(|bytes| {
        let place = bytes.len() - 4;
        bytes[place..].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let complaint = ask(&damaged.path, "[[1, 2]]", "[]");
    assert!(
        complaint.contains("`output_norm.weight` (model.norm.weight) holds a value that is not finite"),
        "{complaint}"
    );
}

#[test]
fn generation_depends_on_prompt_seed_and_mask_only() {
    let model = fixture();
    let generate = |more: &[&str]| {
        let fixed = ["model", "generate", "--model", text(&model), "--prompt", "ab ab12", "--max-new-tokens", "12"];
        said(&[&fixed, more].concat())
    };
    let greedy = generate(&[]);
    assert_eq!(generate(&["--threads", "1"]), greedy);
    let answer: Value = serde_json::from_str(&generate(&["--json"])).expect("JSON");
    assert_eq!(format!("{}\n", answer["text"].as_str().expect("text")), greedy);
    let tokens = answer["tokens"].as_array().expect("tokens").len();
    let ended = answer["tokens"][tokens - 1] == 0;
    assert_eq!(answer["stop"], if ended { "stop" } else { "length" });
    assert!(ended || tokens == 12, "{answer}");

    let sampled = |seed: &str| generate(&["--json", "--temperature", "5", "--top-p", "0.95", "--seed", seed]);
    assert_eq!(sampled("1"), sampled("1"));
    assert!((2..9).any(|seed| sampled(&seed.to_string()) != sampled("1")), "seeds change samples");

    // Several answers, each with draws of its own, whatever is drawn beside it.
    let several = |more: &[&str]| generate(&[&["--temperature", "5", "--seed", "1"], more].concat());
    let json =
        |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect() };
    let (three, one) = (json(&several(&["-n", "3", "--json"])), json(&several(&["--json"])));
    assert_eq!((three.len(), &three[0]), (3, &one[0]));
    assert!(three[1]["tokens"] != three[0]["tokens"] || three[2]["tokens"] != three[0]["tokens"], "{three:?}");
    let text = |sample: usize| three[sample]["text"].as_str().expect("text");
    let expected: String = (0..3).map(|sample| format!("--- {}\n{}\n", sample + 1, text(sample))).collect();
    assert_eq!(several(&["-n", "3"]), expected);
}

#[test]
fn sampling_rules_bind_the_draw() {
    let generate = |more: &[&str]| -> Value {
        let fixed =
            ["model", "generate", "--model", "embedded:tiny", "--prompt", "Repeat these words: ta ko", "--json"];
        serde_json::from_str(&said(&[&fixed, more].concat())).expect("JSON")
    };
    let greedy = generate(&["--max-new-tokens", "24"]);
    assert_eq!(greedy["truncated"], greedy["stop"] == "length");
    assert_eq!((&greedy["reasoning"], &greedy["answer"]), (&Value::Null, &greedy["text"]));
    // All but the best token is cut off by each rule.
    for rule in [["--top-k", "1"], ["--min-p", "1"], ["--top-p", "0.000001"]] {
        let drawn = generate(&[&["--max-new-tokens", "24", "--temperature", "3"], &rule[..]].concat());
        assert_eq!(drawn["tokens"], greedy["tokens"], "{rule:?}");
    }
    // What was said once is not said again.
    let tokens = |answer: &Value| -> Vec<u64> {
        answer["tokens"].as_array().expect("tokens").iter().map(|token| token.as_u64().expect("an id")).collect()
    };
    let once = tokens(&generate(&["--max-new-tokens", "24", "--frequency-penalty", "1000"]));
    assert_eq!(once.iter().collect::<std::collections::BTreeSet<_>>().len(), once.len(), "{once:?}");
    let penalised = generate(&["--max-new-tokens", "24", "--repetition-penalty", "50"]);
    assert_ne!(penalised["tokens"], greedy["tokens"]);
    // An answer ends before a stop text; with a piece of the answer itself there is less of it.
    let text = greedy["text"].as_str().expect("text");
    let word = text.split_whitespace().nth(1).expect("two words");
    let stopped = generate(&["--max-new-tokens", "24", "--stop", word, "--stop", "never there"]);
    assert_eq!(stopped["stop"], "stop-string");
    assert_eq!(stopped["text"].as_str().expect("text"), &text[..text.find(word).expect("there")]);
    // The most tokens were reached.
    let flagged = generate(&["--max-new-tokens", "1"]);
    assert_eq!((&flagged["truncated"], &flagged["stop"]), (&Value::Bool(true), &Value::from("length")));
}

#[test]
fn generation_requests_that_make_no_sense_are_refused() {
    let model = fixture();
    let ask = |more: &[&str]| {
        let output = retmask(&[&["model", "generate", "--model", text(&model), "--prompt", "ab"], more].concat());
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(ask(&["--temperature", "0"]).contains("expected a number above 0"));
    assert!(ask(&["--temperature", "1", "--top-p", "1.5"]).contains("expected a number above 0 and at most 1"));
    assert!(ask(&["--top-p", "0.5"]).contains("--temperature"));
    assert!(ask(&["-n", "2"]).contains("--temperature"), "without draws all answers are the same");
    assert!(ask(&["--temperature", "1", "-n", "0"]).contains("invalid value '0'"));
    assert!(ask(&["--temperature", "1", "--min-p", "2"]).contains("expected a number from 0 to 1"));
    assert!(ask(&["--repetition-penalty", "0"]).contains("expected a number above 0"));
    assert!(ask(&["--frequency-penalty", "inf"]).contains("expected a number"));
    assert!(ask(&["--stop", ""]).contains("a value is required"));
    assert!(ask(&["--max-new-tokens", "100"]).contains("exceeds the model's context of 64 tokens"));
    let without_template = Made::replacing(b"tokenizer.chat_template", b"tokenizer.chat_templatf");
    let complaint = refused(&["model", "generate", "--model", text(&without_template.path), "--prompt", "ab"]);
    assert!(complaint.contains("has no chat template") && complaint.contains("--raw"), "{complaint}");
}

#[test]
fn speed_measures_prompts_one_stream_and_many() {
    let model = fixture();
    let fixed = ["--json", "model", "speed", "--model", text(&model), "--rounds", "1", "--prompts", "7,30"];
    let counts = ["--streams", "1,3", "--prompt-tokens", "5", "--new-tokens", "4"];
    let json: Value = serde_json::from_str(&said(&[&fixed[..], &counts].concat())).expect("JSON");
    assert!(json["product_flops_per_second"].as_f64().expect("a rate") > 0.0, "{json}");
    let measured = json["measured"].as_array().expect("lines");
    let whats: Vec<&str> = measured.iter().map(|line| line["what"].as_str().expect("a name")).collect();
    assert_eq!(whats, ["prompt of 7", "prompt of 30", "one stream", "3 streams"]);
    // The first token of one stream is not counted, since its time is the prompt's.
    let tokens: Vec<u64> = measured.iter().map(|line| line["tokens"].as_u64().expect("tokens")).collect();
    assert_eq!(tokens, [7, 30, 3, 12]);
    assert!(measured.iter().all(|line| line["seconds"].as_f64().expect("seconds") > 0.0), "{json}");

    let sequences = ["--prompts", "--streams", "2", "--sequences", "6", "--paired"];
    let table = said(&[&["model", "speed", "--model", text(&model), "--new-tokens", "3"], &sequences[..]].concat());
    assert!(table.contains("6 sequences, 2 streams") && table.contains("medians of 3"), "{table}");
    let complaint = refused(&["model", "speed", "--model", text(&model), "--prompts", "65"]);
    assert!(complaint.contains("exceeds the model's context of 64 tokens"), "{complaint}");
    let complaint = refused(&["model", "speed", "--model", text(&model), "--streams", "0"]);
    assert!(complaint.contains("at least 1"), "{complaint}");
}

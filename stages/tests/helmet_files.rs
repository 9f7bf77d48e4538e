//! The datasets that are read from HELMET's files, on small made-up files in its layout.

#[path = "support/triples.rs"]
mod triples;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use retmask_stages::contract::StageResult;
use retmask_stages::helmet::dataset::{self, Answered, Example, Records, Request};
use retmask_stages::helmet::random::{PythonRandom, permutation};
use retmask_stages::helmet::template::Templates;
use retmask_stages::helmet::tokens::Tokens;
use retmask_stages::helmet::{DataFolder, Room};
use serde_json::{Value, json};
use triples::Triples;

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn jsonl(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn asked(folder: &Path, name: &str, length: usize, samples: usize) -> StageResult<Vec<Example>> {
    asked_of(&DataFolder::new(folder), name, length, samples)
}

fn asked_of(data: &DataFolder, name: &str, length: usize, samples: usize) -> StageResult<Vec<Example>> {
    let dataset = dataset::by_name(name).unwrap();
    let templates = Templates::own().unwrap();
    dataset.examples(&Request {
        room: Room { length, new_tokens: dataset.max_new_tokens(), window: length },
        samples,
        seed: 42,
        shots: None,
        records: Records::Benchmark,
        template: &templates.of(name)?,
        tokens: &Triples,
        length_tokens: &Triples,
        data: Some(data),
        check: &|| Ok(()),
    })
}

/// A row of a question whose gold passage stands at `depth` of `count`.
fn question(number: usize, depth: usize, count: usize) -> Value {
    let gold = json!({"title": format!("T{number}"), "text": format!("gold of {number}"), "psg_id": 1});
    let mut ctxs: Vec<Value> =
        (0..count - 1).map(|other| json!({"title": "O", "text": format!("other {other}")})).collect();
    ctxs.insert(depth, gold.clone());
    json!({
        "question": format!("q{number}?"), "answers": [format!("a{number}"), "alias"], "positive_ctxs": [gold],
        "ctxs": ctxs, "depth": depth
    })
}

#[test]
fn retrieved_passages_are_asked_at_every_depth_of_the_drawn_questions() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<Value> = (0..2).flat_map(|depth| (0..5).map(move |number| question(number, depth * 4, 5))).collect();
    write(folder.path(), "kilt/nq-dev-multikilt_1000_k50_dep6.jsonl", &jsonl(&rows));
    let demos: Vec<Value> = (10..14).flat_map(|number| [question(number, 0, 3), question(number, 1, 3)]).collect();
    write(folder.path(), "kilt/nq-train-multikilt_1000_k3_dep6.jsonl", &jsonl(&demos));
    let examples = asked(folder.path(), "kilt_nq", 8_192, 2).unwrap();
    let mut drawn: Vec<String> =
        PythonRandom::new(42).sample(5, 2).into_iter().map(|number| format!("q{number}?")).collect();
    drawn.sort();
    let questions: Vec<&str> = examples.iter().map(|example| example.fields["question"].as_str()).collect();
    assert_eq!(questions, [drawn[0].as_str(), &drawn[1], &drawn[0], &drawn[1]]);
    let (first, again) = (&examples[0], &examples[2]);
    assert_eq!(first.fields["demos"], again.fields["demos"]);
    assert_ne!(first.fields["demos"], examples[1].fields["demos"]);
    assert_eq!((&first.cluster, first.answers[1].as_str()), (&again.cluster, "alias"));
    assert_eq!(first.fields["demos"].matches("Question: ").count(), 2);
    assert!(first.fields["demos"].ends_with("\n\n"));
    assert!(first.fields["context"].starts_with("Document (Title: T"));
    assert!(again.fields["context"].starts_with("Document (Title: O): other 0\n\nDocument (Title: O): other 1"));
    // 50 passages at 8K are 3 at 512 tokens: the gold one stays, at the end where it stood.
    let short = asked(folder.path(), "kilt_nq", 512, 2).unwrap();
    assert_eq!(short[2].fields["context"].matches("Document").count(), 3);
    assert!(short[2].fields["context"].contains("\n\nDocument (Title: T"));
    assert_eq!(short[0].fields["demos"].matches("Question: ").count(), 1);
    let scored = dataset::by_name("kilt_nq").unwrap();
    let answered = Answered { output: "Answer: Alias!", answers: &first.answers, facts: &first.facts };
    assert!(scored.score(answered).unwrap().contains(&("substring_exact_match", 1.0)));
}

#[test]
fn rare_things_are_asked_by_id_and_never_shown_beside_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let row = |number: usize, views: f64| {
        let mut row = question(number, 0, 3);
        row["id"] = json!(format!("id{number}"));
        row["s_pop"] = json!(views);
        row
    };
    let rows = [row(1, 10.0), row(2, 999.0), row(3, 1000.0), row(4, 5.0)];
    write(folder.path(), "kilt/popqa_test_1000_k50_dep6.jsonl", &jsonl(&rows));
    write(folder.path(), "kilt/popqa_test_1000_k3_dep6.jsonl", &jsonl(&rows));
    let examples = asked(folder.path(), "kilt_popqa_3", 8_192, 100).unwrap();
    assert_eq!(examples.iter().map(|example| example.cluster.as_str()).collect::<Vec<_>>(), ["id1", "id2", "id4"]);
    for example in &examples {
        assert!(!example.fields["demos"].contains(&example.fields["question"]));
        assert!(!example.fields["demos"].contains("q3?"));
    }
    let mut lacking = rows[0].clone();
    lacking.as_object_mut().unwrap().remove("s_pop");
    write(folder.path(), "kilt/popqa_test_1000_k50_dep6.jsonl", &jsonl(&[lacking]));
    let error = asked(folder.path(), "kilt_popqa_3", 8_192, 100).unwrap_err();
    assert!(error.message.contains("row 0 has no `s_pop`"), "{}", error.message);
}

#[test]
fn candidates_come_with_their_judgments() {
    let folder = tempfile::tempdir().unwrap();
    let row = |query: usize, count: usize| {
        let ctxs: Vec<Value> = (0..count)
            .map(|place| json!({"id": format!("{query}{place}"), "text": format!("p{place}"), "label": place % 4}))
            .collect();
        json!({"qid": query.to_string(), "query": format!("query {query}"), "ctxs": ctxs})
    };
    write(folder.path(), "msmarco/test_reranking_data_k50_dep3.jsonl", &jsonl(&[row(1, 6), row(2, 6), row(3, 6)]));
    write(folder.path(), "msmarco/test_reranking_data_k10_dep3.jsonl", &jsonl(&[row(1, 4), row(2, 4), row(3, 4)]));
    let examples = asked(folder.path(), "msmarco_rerank_psg", 8_192, 100).unwrap();
    assert_eq!(examples.len(), 3);
    let first = &examples[0];
    // By relevance, file order among equals.
    assert_eq!(first.answers, ["13 > 12 > 11 > 15 > 10 > 14"]);
    assert_eq!(first.facts["qrel"][3], json!(["13", 3]));
    assert!(first.fields["context"].starts_with("[ID: 10] Document: p0\n\n[ID: 11]"));
    assert!(!first.fields["demos"].contains("query 1"));
    assert!(first.fields["demos"].contains("Query: query 2\nRanking: 23 > 22 > 21 > 20\n\n"));
    let dataset = dataset::by_name("msmarco_rerank_psg").unwrap();
    let score =
        |output: &str| dataset.score(Answered { output, answers: &first.answers, facts: &first.facts }).unwrap();
    assert_eq!(score("Ranking: 13 > 12 > 11 > 15"), [("NDCG@10", 1.0)]);
    assert_eq!(score("Ranking: none"), [("NDCG@10", 0.0)]);
    // At 512 tokens three candidates stay, the best among them.
    let short = asked(folder.path(), "msmarco_rerank_psg", 512, 100).unwrap();
    assert_eq!(short[0].facts["qrel"].as_array().unwrap().len(), 3);
    assert!(short[0].facts["qrel"].as_array().unwrap().contains(&json!(["13", 3])));
}

#[test]
fn cited_documents_are_numbered_and_demonstrations_belong_to_the_row() {
    let folder = tempfile::tempdir().unwrap();
    let docs: Vec<Value> =
        (0..40).map(|place| json!({"title": format!("T{place}"), "text": "words", "id": "x"})).collect();
    let rows: Vec<Value> = (0..6)
        .map(|number| {
            json!({"question": format!("q{number}?"), "answer": "long", "docs": docs,
                "qa_pairs": [{"short_answers": ["owl", "owls"]}, {"short_answers": ["bee"]}]})
        })
        .collect();
    write(folder.path(), "alce/asqa_eval_gtr_top2000.json", &Value::Array(rows).to_string());
    let demo = |number: usize| json!({"question": format!("demo {number}"), "answer": "a [1].", "docs": &docs[..2]});
    let prompts = json!({"instruction": "theirs", "demo_sep": "", "demo_prompt": "{question}", "doc_prompt": "{ID}",
        "demos": (0..4).map(demo).collect::<Vec<_>>()});
    write(folder.path(), "prompts/asqa_revised.json", &prompts.to_string());
    let examples = asked(folder.path(), "alce_asqa", 8_192, 4).unwrap();
    let order = permutation(42, 6);
    let mut random = PythonRandom::new(42);
    let drawn: Vec<Vec<usize>> = (0..6).map(|_| random.sample(4, 2)).collect();
    for (example, &row) in examples.iter().zip(&order) {
        assert_eq!(example.fields["question"], format!("q{row}?"));
        let places: Vec<usize> = drawn[row]
            .iter()
            .map(|demo| example.fields["demo_text"].find(&format!("Question: demo {demo}")).unwrap())
            .collect();
        assert!(places.is_sorted());
        assert!(example.fields["demo_text"].ends_with("Answer: a [1].\n\n\n"));
    }
    assert_eq!(examples.len(), 4);
    assert!(examples[0].fields["context"].starts_with("Document [1](Title: T0): words\n\nDocument [2]"));
    assert!(examples[0].fields["context"].ends_with("Document [30](Title: T29): words"));
    assert_eq!(examples[0].facts["docs"].as_array().unwrap().len(), 30);
    let dataset = dataset::by_name("alce_asqa").unwrap();
    let answered = Answered { output: "Owls [1].\nNo.", answers: &examples[0].answers, facts: &examples[0].facts };
    assert_eq!(dataset.score(answered).unwrap(), [("str_em", 0.5)]);
}

/// A text of so many tokens, the one in front included.
fn long_text(tokens: usize, letter: char) -> String {
    std::iter::repeat_n(letter, 3 * (tokens - 1)).collect()
}

#[test]
fn books_are_cut_first_to_the_length_and_short_ones_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let row = |id: usize, tokens: usize| {
        json!({"id": id, "context": long_text(tokens, 'x'), "input": format!("q{id}?"), "answer": ["two"],
            "options": ["one", "two", "three", "four"]})
    };
    let rows = [row(7, 65_536), row(8, 65_535), row(9, 70_000)];
    for set in ["qa", "choice", "sum"] {
        write(folder.path(), &format!("infinitebench/longbook_{set}_eng.jsonl"), &jsonl(&rows));
    }
    let points = [json!({"id": 7, "keypoints": ["k"]}), json!({"id": 9, "keypoints": ["l", "m"]})];
    write(folder.path(), "infbench/longbook_sum_eng_keypoints.jsonl", &jsonl(&points));
    let choice = asked(folder.path(), "infbench_choice_eng", 8_192, 100).unwrap();
    assert_eq!(choice.len(), 2);
    let of = |examples: &[Example], id: &str| examples.iter().find(|example| example.cluster == id).unwrap().clone();
    let seven = of(&choice, "7");
    assert_eq!(seven.answers, ["B", "B. two"]);
    assert_eq!(seven.fields["options"], "A. one\nB. two\nC. three\nD. four");
    // Both others are shown, in the order of the seed.
    let order: Vec<usize> = permutation(42, 2).into_iter().map(|place| [8, 9][place]).collect();
    let places: Vec<usize> = order
        .iter()
        .map(|id| seven.fields["demo"].find(&format!("Question: q{id}?\nOptions:\nA. one")).unwrap())
        .collect();
    assert!(places.is_sorted());
    assert!(seven.fields["demo"].contains("Answer: B\n\n"));
    let omitted = " ... [the rest is left out]";
    let postfix = Triples.count(omitted).unwrap();
    // 8192 less 200 for the instructions and 10 for the answer; the token with that place less the postfix is the
    // last one kept, the one in front counted.
    let kept = 8_192 - 200 - 10 - postfix;
    assert_eq!(seven.fields["context"], format!("{}{omitted}", long_text(kept + 1, 'x')));
    let sum = asked(folder.path(), "infbench_sum_eng", 16_384, 100).unwrap();
    assert_eq!(of(&sum, "9").facts["keypoints"], json!(["l", "m"]));
    assert_eq!(of(&sum, "9").facts["expert_summary"], json!("two"));
    write(
        folder.path(),
        "infinitebench/longbook_choice_eng.jsonl",
        &jsonl(&[json!({"id": 1, "context": "c",
        "input": "q", "answer": ["five"], "options": ["one", "two", "three", "four"]})]),
    );
    let error = asked(folder.path(), "infbench_choice_eng", 8_192, 100).unwrap_err();
    assert!(error.message.contains("row 0 needs four options with the answer among them"), "{}", error.message);
}

#[test]
fn cases_are_their_documents_joined() {
    let folder = tempfile::tempdir().unwrap();
    let case = |id: &str, tokens: usize| {
        json!({"id": id, "sources": [long_text(tokens, 'a'), "last"], "summary/short": format!("short {id}"),
            "summary/long": "long", "summary/short_keypoints": ["k"]})
    };
    let mut without = case("c", 70_000);
    without["summary/short"] = Value::Null;
    write(folder.path(), "multi_lexsum/multi_lexsum_val.jsonl", &jsonl(&[case("a", 66_000), case("b", 100), without]));
    let train: Vec<Value> =
        (0..5).map(|number| json!({"id": number.to_string(), "summary/short": format!("s{number}")})).collect();
    write(folder.path(), "multi_lexsum/releases/v20230518/train.json", &jsonl(&train));
    let examples = asked(folder.path(), "multi_lexsum", 131_072, 100).unwrap();
    assert_eq!(examples.len(), 1);
    assert!(examples[0].fields["context"].ends_with("a\n\nlast"));
    assert_eq!(examples[0].answers, ["short a"]);
    assert_eq!(examples[0].fields["demo"].matches("Summary: s").count(), 2);
}

/// A Parquet file in the form of deepmind/narrativeqa.
fn narrativeqa(path: &Path, rows: &[(&str, String, &str, [&str; 2])]) {
    let texts = |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let structure = |columns: Vec<(&str, ArrayRef)>| {
        StructArray::from(
            columns
                .into_iter()
                .map(|(name, column)| (Arc::new(Field::new(name, DataType::Utf8, true)), column))
                .collect::<Vec<_>>(),
        )
    };
    let document = structure(vec![
        ("id", texts(rows.iter().map(|row| row.0).collect())),
        ("text", texts(rows.iter().map(|row| row.1.as_str()).collect())),
    ]);
    let question = structure(vec![("text", texts(rows.iter().map(|row| row.2).collect()))]);
    let golds = structure(vec![("text", texts(rows.iter().flat_map(|row| row.3).collect()))]);
    let item = Arc::new(Field::new("item", arrow::array::Array::data_type(&golds).clone(), true));
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|_| 2));
    let answers = ListArray::new(item, offsets, Arc::new(golds), None);
    let columns: [(&str, ArrayRef); 3] =
        [("document", Arc::new(document)), ("question", Arc::new(question)), ("answers", Arc::new(answers))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn stories_come_from_the_data_sets_parquet_files() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join("narrativeqa/data").join(name);
    let story = |tokens| long_text(tokens, 's');
    narrativeqa(
        &place("test-00000-of-00002.parquet"),
        &[("d1", story(131_073), "first?", ["one", "1"]), ("d2", story(131_072), "too short?", ["x", "y"])],
    );
    narrativeqa(&place("test-00001-of-00002.parquet"), &[("d1", story(131_073), "second?", ["two", "2"])]);
    narrativeqa(
        &place("train-00000-of-00001.parquet"),
        &[("t1", String::new(), "t1?", ["ta", "tb"]), ("t2", String::new(), "t2?", ["tc", "td"])],
    );
    let examples = asked(folder.path(), "narrativeqa", 8_192, 100).unwrap();
    // The hub's data set in place of the folder, beside other files or alone.
    let elsewhere = tempfile::tempdir().unwrap();
    for root in [None, Some(elsewhere.path())] {
        let set = ("narrativeqa".to_owned(), folder.path().join("narrativeqa"));
        let data = DataFolder::with_sets(root, [set]);
        assert_eq!(asked_of(&data, "narrativeqa", 8_192, 100).unwrap(), examples);
        let error = asked_of(&data, "infbench_qa_eng", 8_192, 100).unwrap_err();
        assert!(error.message.contains("longbook_qa_eng.jsonl"), "{}", error.message);
    }
    let expected: Vec<&str> = permutation(42, 3)
        .into_iter()
        .map(|row| ["first?", "too short?", "second?"][row])
        .filter(|question| *question != "too short?")
        .collect();
    assert_eq!(examples.iter().map(|example| example.fields["question"].as_str()).collect::<Vec<_>>(), expected);
    assert_eq!(examples[0].answers.len(), 2);
    assert!(examples[0].fields["demo"].contains("Question: t1?\nAnswer: ta"));
    std::fs::remove_file(place("train-00000-of-00001.parquet")).unwrap();
    let error = asked(folder.path(), "narrativeqa", 8_192, 100).unwrap_err();
    assert!(error.message.ends_with("lacks narrativeqa/data/train-*.parquet"), "{}", error.message);
}

#[test]
fn a_tenth_of_the_home_assistant_rows_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut csv =
        "userid;answerid;scenario;intent;status;answer_annotation;notes;suggested_entities;answer_normalised;\
                   answer;question\n"
            .to_owned();
    for number in 0..20 {
        let intent = ["set", "query"][number % 2];
        csv += &format!("1;{number};\"alarm\";\"{intent}\";\"\";\"say [word : w{number}]\";;;;;\"a \"q\"?\"\n");
    }
    csv += "1;20;alarm;set;;null;;;;;\n";
    write(folder.path(), "nlu/NLU-Data-Home-Domain-Annotated-All.csv", &csv);
    write(folder.path(), "label_names/nlu.txt", "alarm_query\nalarm_set\n");
    let examples = asked(folder.path(), "icl_nlu", 64, 500).unwrap();
    let order = permutation(42, 20);
    let asked: Vec<&str> = examples.iter().map(|example| example.fields["question"].as_str()).collect();
    assert_eq!(asked, order[..2].iter().map(|row| format!("say w{row}")).collect::<Vec<_>>());
    // 510 demonstrations at 8K are 3 at 64 tokens, none of them a test row.
    assert_eq!(examples[0].fields["context"].matches("label: ").count(), 3);
    assert!(!examples[0].fields["context"].contains(&format!("{}\n", asked[0])));
}

#[test]
fn recall_sets_are_read_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let row = |number: usize| {
        json!({"context": format!("pairs {number}"), "demos": [["k1", "v1"], ["k2", "v2"], ["k3", "v3"]],
            "question": format!("k{number}"), "answer": "v", "depth": 0.0, "num_kvs": 105})
    };
    write(folder.path(), "json_kv/test_k105_dep6.jsonl", &jsonl(&(0..7).map(row).collect::<Vec<_>>()));
    let examples = asked(folder.path(), "json_kv", 8_192, 3).unwrap();
    let expected: Vec<String> = permutation(42, 7)[..3].iter().map(|row| format!("k{row}")).collect();
    assert_eq!(examples.iter().map(|example| example.fields["question"].clone()).collect::<Vec<_>>(), expected);
    assert_eq!(examples[0].fields["demos"], "Key: k1\nCorresponding value: v1\n\nKey: k2\nCorresponding value: v2\n\n");
    let row = json!({"index": 0, "context": "hay", "query": "owl", "type_needle_v": "numbers", "outputs": ["1", "2"]});
    write(folder.path(), "ruler/niah_multivalue/validation_16384.jsonl", &jsonl(&[row]));
    let examples = asked(folder.path(), "ruler_niah_mv", 16_384, 100).unwrap();
    assert_eq!((examples[0].answers.len(), examples[0].fields["type_needle_v"].as_str()), (2, "numbers"));
    let error = asked(folder.path(), "ruler_niah_mv", 4_096, 100).unwrap_err();
    assert!(error.message.contains("HELMET has no records of `length: 4096`"), "{}", error.message);
}

#[test]
fn malformed_rows_are_refused_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let name = "json_kv/test_k105_dep6.jsonl";
    write(folder.path(), name, "\n{\"context\": 1}\n");
    let error = asked(folder.path(), "json_kv", 8_192, 3).unwrap_err();
    let place = folder.path().join(name);
    assert!(error.message.starts_with(&format!("{}:2: invalid type", place.display())), "{}", error.message);
    let error = asked(folder.path(), "kilt_nq", 8_192, 3).unwrap_err();
    assert!(error.message.contains("nq-dev-multikilt_1000_k50_dep6.jsonl"), "{}", error.message);
}

//! `retmask helmet score` against the golden vectors of HELMET's own Python tools.

mod support;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use support::shared::shared;
use support::workspace::{Workspace, parse};

/// Both sides are a handful of double operations; this leaves room for their order only.
const TOLERANCE: f64 = 1e-9;

fn lines(path: &str) -> Vec<Value> {
    parse(&std::fs::read_to_string(shared(path)).unwrap())
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {value}"))
}

/// The lines with their metrics, as the program writes them.
fn scored(dataset: &str, rows: &[Value]) -> Vec<Value> {
    let workspace = Workspace::new("");
    workspace.write("in.jsonl", &rows.iter().map(|row| format!("{row}\n")).collect::<String>());
    workspace.succeeds(&["helmet", "score", "--dataset", dataset, "--predictions", "in.jsonl", "--out", "out.jsonl"]);
    let lines = parse(&workspace.read("out.jsonl"));
    assert_eq!(lines.len(), rows.len());
    lines
}

/// Compares the metrics of a line with those expected; gives how many there were.
fn compare(line: &Value, expected: &Map<String, Value>) -> usize {
    for (metric, value) in expected {
        let computed = line["metrics"][metric].as_f64().unwrap_or_else(|| panic!("no {metric} in {line}"));
        let expected = value.as_f64().unwrap();
        assert!((computed - expected).abs() < TOLERANCE, "{metric}: {computed} instead of {expected} in {line}");
    }
    expected.len()
}

fn say(file: &str, vectors: usize, values: usize) {
    println!("{file}: {vectors} vectors passed through the program, {values} values");
}

/// The golds of a prediction file: a list, or one as Python writes a list of one text.
fn golds(row: &Value) -> Vec<String> {
    match &row["ground_truth"] {
        Value::Array(golds) => golds.iter().map(|gold| gold.as_str().unwrap().into()).collect(),
        repr => vec![python_list_of_one(repr.as_str().unwrap())],
    }
}

fn python_list_of_one(repr: &str) -> String {
    let inner = repr.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap();
    let quote = inner.chars().next().unwrap();
    let mut characters = inner.strip_prefix(quote).unwrap().strip_suffix(quote).unwrap().chars();
    let mut item = String::new();
    while let Some(character) = characters.next() {
        assert_ne!(character, quote, "more than one item: {repr}");
        if character != '\\' {
            item.push(character);
            continue;
        }
        match characters.next().unwrap() {
            'n' => item.push('\n'),
            't' => item.push('\t'),
            'r' => item.push('\r'),
            'x' => {
                let digits: String = characters.by_ref().take(2).collect();
                item.push(char::from(u8::from_str_radix(&digits, 16).unwrap()));
            }
            same @ ('\\' | '\'' | '"') => item.push(same),
            other => panic!("escape \\{other} in {repr}"),
        }
    }
    item
}

#[test]
#[ignore = "needs the shared HELMET vectors; scripts/test runs it"]
fn answers_score_as_the_reference() {
    let vectors = lines("data/helmet/golden/qa_metric_vectors.jsonl");
    let mut files: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    // Lines of a dataset, each with what is expected of it.
    let mut sets: BTreeMap<&str, Vec<(Value, Map<String, Value>)>> = BTreeMap::new();
    for vector in &vectors {
        let file = text(vector, "file");
        let rows =
            files.entry(file.into()).or_insert_with(|| lines(&format!("data/helmet/infinitebench_preds/{file}")));
        let id = vector["id"].to_string();
        let row = rows.iter().find(|row| row["id"].to_string().trim_matches('"') == id).unwrap();
        let answer = if vector["answer"].is_null() { json!(golds(row)) } else { vector["answer"].clone() };
        let set = ["choice", "qa", "sum"].into_iter().find(|set| file.contains(&format!("_{set}_"))).unwrap();
        let mut line = vector.clone();
        line["output"] = row["prediction"].clone();
        line["answer"] = answer;
        sets.entry(set).or_default().push((line, vector["metrics"].as_object().unwrap().clone()));
    }
    let (mut count, mut values) = (0, 0);
    for (set, rows) in sets {
        let (rows, expected): (Vec<Value>, Vec<Map<String, Value>>) = rows.into_iter().unzip();
        for (line, expected) in scored(&format!("infbench_{set}_eng"), &rows).iter().zip(&expected) {
            values += compare(line, expected);
            count += 1;
        }
    }
    assert_eq!(count, 560);
    say("qa_metric_vectors.jsonl", count, values);
}

#[test]
#[ignore = "needs the shared HELMET vectors; scripts/test runs it"]
fn rankings_score_as_the_reference() {
    let vectors = lines("data/helmet/golden/rerank_vectors.jsonl");
    let computed = scored("msmarco_rerank_psg", &vectors);
    let expected = |vector: &Value| Map::from_iter([("NDCG@10".into(), vector["NDCG"]["NDCG@10"].clone())]);
    let values: usize = computed.iter().zip(&vectors).map(|(line, vector)| compare(line, &expected(vector))).sum();
    assert_eq!(values, 142);
    say("rerank_vectors.jsonl", vectors.len(), values);
}

#[test]
#[ignore = "needs the shared HELMET vectors; scripts/test runs it"]
fn lists_score_as_the_reference() {
    let vectors = lines("data/helmet/golden/qampari_vectors.jsonl");
    let computed = scored("alce_qampari", &vectors);
    let expected = |vector: &Value| Map::from_iter([("qampari_rec_top5".into(), vector["rec_top5"].clone())]);
    let values: usize = computed.iter().zip(&vectors).map(|(line, vector)| compare(line, &expected(vector))).sum();
    assert_eq!(values, 3);
    say("qampari_vectors.jsonl", vectors.len(), values);
}

/// Vectors of text processing pass where they decide a metric: what is expected is put in as the gold.
#[test]
#[ignore = "needs the shared HELMET vectors; scripts/test runs it"]
fn parsing_normalisation_and_citations_decide_metrics_as_in_the_reference() {
    let one = |metric: &str| Map::from_iter([(metric.to_owned(), json!(1.0))]);
    let all = |file: &str, dataset: &str, rows: Vec<Value>, metric: &str| {
        let values: usize = scored(dataset, &rows).iter().map(|line| compare(line, &one(metric))).sum();
        say(file, rows.len(), values);
        values
    };
    let parsing = lines("data/helmet/golden/parse_output_vectors.jsonl");
    let labels = parsing.iter().filter(|vector| text(vector, "prefix") == "label:");
    let rows = labels.map(|vector| json!({"output": vector["output"], "answer": vector["parsed"]})).collect();
    assert_eq!(all("parse_output_vectors.jsonl", "icl_nlu", rows, "exact_match"), 16);
    let normalised = lines("data/helmet/golden/normalize_vectors.jsonl");
    let rows = normalised.iter().map(|vector| json!({"output": vector["in"], "answer": vector["out"]})).collect();
    assert_eq!(all("normalize_vectors.jsonl", "kilt_nq", rows, "exact_match"), 12);
    let cited = lines("data/helmet/golden/remove_citations_vectors.jsonl");
    let rows = cited.iter().map(|vector| json!({"output": vector["in"], "qa_pairs": [[vector["out"]]]})).collect();
    assert_eq!(all("remove_citations_vectors.jsonl", "alce_asqa", rows, "str_em"), 10);
}

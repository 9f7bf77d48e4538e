//! `retmask helmet score`: predictions made elsewhere, good and bad.

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::workspace::{Workspace, parse};

fn workspace(predictions: &[Value]) -> Workspace {
    let workspace = Workspace::new("");
    write(&workspace, "predictions.jsonl", predictions);
    workspace
}

fn write(workspace: &Workspace, name: &str, rows: &[Value]) {
    workspace.write(name, &rows.iter().map(|row| format!("{row}\n")).collect::<String>());
}

const SCORE: &[&str] = &["helmet", "score", "--predictions", "predictions.jsonl", "--out", "scored.jsonl"];

/// The metrics of every line and the summary.
fn scored(dataset: &str, predictions: &[Value]) -> (Vec<Value>, Value) {
    let workspace = workspace(predictions);
    let summary = workspace.succeeds(&[SCORE, &["--dataset", dataset, "--json"][..]].concat()).out;
    let lines = parse(&workspace.read("scored.jsonl"));
    assert_eq!(lines.len(), predictions.len());
    for (line, prediction) in lines.iter().zip(predictions) {
        let mut repeated = line.clone();
        repeated.as_object_mut().unwrap().remove("metrics");
        assert_eq!(repeated, *prediction);
    }
    (lines.into_iter().map(|line| line["metrics"].clone()).collect(), serde_json::from_str(&summary).unwrap())
}

/// What is said of predictions that cannot be scored; nothing is written.
fn refused(dataset: &str, lines: &str, more: &[&str]) -> String {
    let workspace = Workspace::new("");
    workspace.write("predictions.jsonl", lines);
    refused_in(&workspace, dataset, more)
}

fn refused_in(workspace: &Workspace, dataset: &str, more: &[&str]) -> String {
    let run = workspace.run(&[SCORE, &["--dataset", dataset][..], more].concat());
    assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{}", run.err);
    assert!(!workspace.path("scored.jsonl").exists());
    run.err
}

#[test]
fn lines_keep_their_order_and_the_summary_is_their_mean() {
    let rows = [
        json!({"id": 7, "output": "Answer: the Owl\nQuestion: who else?", "answer": ["owl", "bee"], "more": {"x": [1.5, null]}}),
        json!({"id": 3, "output": "Answer: an ant", "answer": "bee"}),
        json!({"raw_output": "It is a bee.", "answers": [["bee", "wasp"], ["fly"]]}),
    ];
    let (lines, summary) = scored("kilt_nq", &rows);
    let values = |metric: &str| lines.iter().map(|line| line[metric].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(values("exact_match"), [1.0, 0.0, 0.0]);
    assert_eq!(values("substring_exact_match"), [1.0, 0.0, 1.0]);
    let mut names: Vec<&String> = lines[0].as_object().unwrap().keys().collect();
    names.sort();
    let expected = ["exact_match", "f1", "rougeL_f1", "rougeL_recall", "rougeLsum_f1", "rougeLsum_recall"];
    assert_eq!(names, [&expected[..], &["substring_exact_match"]].concat());
    assert_eq!(summary["dataset"], "kilt_nq");
    assert_eq!((&summary["category"], &summary["examples"]), (&json!("RAG"), &json!(3)));
    assert_eq!(summary["reported"], json!(["substring_exact_match"]));
    let mean = summary["metrics"]["substring_exact_match"].as_f64().unwrap();
    // A mean of three values times 100.
    assert!((mean - 200.0 / 3.0).abs() < 1e-9, "{mean}");
    let ends: Vec<f64> = serde_json::from_value(summary["intervals"]["substring_exact_match"].clone()).unwrap();
    assert!(ends[0] < mean && mean < ends[1], "{ends:?}");
}

#[test]
fn every_dataset_has_its_own_rule() {
    let one = |dataset: &str, row: Value| scored(dataset, &[row]).0.remove(0);
    let value = |dataset: &str, row: Value, metric: &str| one(dataset, row)[metric].as_f64().unwrap();
    // The better of the whole output and what follows the prefix, and the prefix is the dataset's.
    let row = json!({"output": "Corresponding value: abc\nMore", "answer": "abc"});
    assert_eq!(value("json_kv", row, "exact_match"), 1.0);
    let row = json!({"output": "Summary: abc\nMore", "answer": "abc"});
    assert_eq!(value("multi_lexsum_7492", row.clone(), "exact_match"), 1.0);
    assert_eq!(value("narrativeqa_7892", row, "exact_match"), 0.0);
    let row = json!({"output": "Summary: x", "summary/short": "x"});
    assert_eq!(value("multi_lexsum", row, "substring_exact_match"), 1.0);
    // Labels: only what follows the prefix.
    let row = json!({"output": "label: 3\nlabel: 4", "label": 4});
    assert_eq!(value("icl_trec_coarse_400shot_balance", row.clone(), "exact_match"), 0.0);
    assert_eq!(value("icl_banking77", row, "substring_exact_match"), 0.0);
    // RULER: the share of golds, case ignored, nothing else.
    let row = json!({"output": "a1b2 and 7 ", "outputs": ["A1B2", "8"]});
    assert_eq!(one("ruler_niah_mk_3", row), json!({"ruler_recall": 0.5}));
    // Multiple choice by letter, or by the option's text anywhere.
    let row = json!({"output": "Surely b. the owl", "answer": ["B", "B. the owl"]});
    assert_eq!(value("infbench_choice_eng_7982", row, "exact_match"), 1.0);
    let row = json!({"output": "B", "answer": ["owl"], "options": ["ant", "owl", "bee", "fly"]});
    assert_eq!(value("infbench_choice_eng", row, "exact_match"), 1.0);
    // Rankings: the passage nobody judged takes the first rank.
    let row = json!({"output": "Ranking: 9 > 1", "qrel": [["1", 3], ["2", 0]], "qid": "q"});
    // Gain 3 at rank 2 instead of 1: 1 / log2(3), to five places.
    assert_eq!(one("msmarco_rerank_psg", row), json!({"NDCG@10": 0.63093}));
    // Cite: without citations, by question or by gold.
    let row =
        json!({"output": "Owls [1] fly.\nBees hum [2].", "qa_pairs": [{"short_answers": ["owls fly", "x"]}, ["ants"]]});
    assert_eq!(one("alce_asqa_30", row), json!({"str_em": 0.5}));
    let row = json!({"raw_output": "An owl [1], bees [2].", "answers": [["owl", "owls"], ["bee"]]});
    assert_eq!(one("alce_qampari_700", row), json!({"qampari_rec_top5": 0.5}));
    assert_eq!(one("ruler_cwe", json!({"output": "x", "answer": ["x", "y"]})), json!({"ruler_recall": 0.5}));
}

#[test]
fn what_needs_another_model_is_not_scored_and_said() {
    let row = json!({"output": "x", "answer": "x", "qa_pairs": [["x"]]});
    let missing = |dataset: &str| scored(dataset, std::slice::from_ref(&row)).1["not_scored"].clone();
    assert_eq!(missing("narrativeqa"), json!({"gpt-4-score": "not scored: needs a judge"}));
    let needed = "not scored: needs an entailment model";
    assert_eq!(missing("alce_asqa"), json!({"citation_rec": needed, "citation_prec": needed}));
    assert_eq!(missing("kilt_nq"), json!({}));
    let run = workspace(&[row]).succeeds(&[
        "helmet",
        "score",
        "--predictions",
        "predictions.jsonl",
        "--dataset",
        "narrativeqa",
    ]);
    assert!(run.err.contains("gpt-4-score: not scored: needs a judge"), "{}", run.err);
    assert!(run.out.starts_with("narrativeqa (LongQA): 1 example\n"), "{}", run.out);
}

#[test]
fn rows_of_one_question_are_one_unit() {
    let rows: Vec<Value> = (0..6)
        .map(|row| json!({"id": row / 3, "depth": row % 3, "output": if row < 3 { "x" } else { "y" }, "answer": "x"}))
        .collect();
    let (_, summary) = scored("kilt_popqa_3", &rows);
    assert_eq!((&summary["examples"], &summary["clusters"]), (&json!(6), &json!(2)));
    // Two units, drawn twice: all right, half, all wrong.
    assert_eq!(summary["intervals"]["exact_match"], json!([0.0, 100.0]));
}

#[test]
fn bad_lines_are_all_named_by_line_and_field() {
    let lines = concat!(
        "{\"id\": 1, \"output\": \"x\", \"answer\": \"x\"}\n",
        "{\"id\": 2, \"answer\": \"x\"}\n",
        "\n",
        "{\"id\": 3, \"output\": 5, \"answer\": \"x\"}\n",
        "{\"id\": 4, \"output\": null, \"answer\": \"x\"}\n",
        "{\"id\": 5, \"output\": \"x\"}\n",
        "{\"id\": 6, \"output\": \"x\", \"answer\": {\"a\": 1}}\n",
        "{\"id\": 1, \"output\": \"x\", \"answer\": \"x\"}\n",
        "[1]\n",
        "{\"id\": 7, \"output\": \"x\"\n",
    );
    let said = refused("kilt_nq", lines, &[]);
    for expected in [
        "predictions.jsonl:2: field `output`: missing",
        "predictions.jsonl:4: field `output`: expected a text, not a number",
        "predictions.jsonl:5: field `output`: null is no answer",
        "predictions.jsonl:6: field `answer`: missing, nor is `answers`",
        "predictions.jsonl:7: field `answer`: expected a text or a list of texts, not an object",
        "predictions.jsonl:8: field `id`: 1 stands in line 1 already",
        "predictions.jsonl:9: expected a JSON object",
        "predictions.jsonl:10: not JSON at column",
        "nothing was scored",
    ] {
        assert!(said.contains(expected), "`{expected}` is not in:\n{said}");
    }
    assert!(!said.contains("jsonl:1:"), "{said}");
    let many = "{\"output\": \"x\"}\n".repeat(25);
    assert!(refused("kilt_nq", &many, &[]).contains("and 5 more"));
    assert!(refused("kilt_nq", "\n \n", &[]).contains("predictions.jsonl holds no prediction"));
    assert!(
        refused("msmarco_rerank_psg", "{\"output\": \"1\", \"qrel\": [[null, 1]]}\n", &[])
            .contains("predictions.jsonl:1: field `qrel[0]`: names no passage")
    );
    let run = Workspace::new("").run(&[SCORE, &["--dataset", "kilt_nq"][..]].concat());
    assert_eq!(run.code, Some(2));
    assert!(run.err.contains("cannot read predictions.jsonl"), "{}", run.err);
}

#[test]
fn unknown_datasets_are_refused_with_the_nearest() {
    let near = |name: &str| refused(name, "", &[]);
    assert!(near("kilt_nqq").contains("did you mean `kilt_nq`?"));
    assert!(near("alce_asqua_30").contains("did you mean `alce_asqa`?"));
    assert!(near("xyz").contains("there is no dataset `xyz`"));
    assert!(near("xyz").contains("`multi_lexsum`"));
}

#[test]
fn golds_may_come_from_a_file_of_as_many_lines() {
    let predictions = [json!({"id": "a", "output": "x"}), json!({"id": "b", "output": "y"})];
    let workspace = workspace(&predictions);
    write(&workspace, "gold.jsonl", &[json!({"id": "a", "answer": "x"}), json!({"id": "b", "answer": "x"})]);
    let arguments = [SCORE, &["--dataset", "kilt_nq", "--gold", "gold.jsonl", "--json"][..]].concat();
    let summary: Value = serde_json::from_str(&workspace.succeeds(&arguments).out).unwrap();
    assert_eq!(summary["metrics"]["exact_match"], 50.0);
    std::fs::remove_file(workspace.path("scored.jsonl")).unwrap();

    let gold = |rows: &[Value]| {
        write(&workspace, "gold.jsonl", rows);
        refused_in(&workspace, "kilt_nq", &["--gold", "gold.jsonl"])
    };
    let (a, b) = (json!({"id": "a", "answer": "x"}), json!({"id": "b", "answer": "x"}));
    let said = gold(std::slice::from_ref(&a));
    assert!(said.contains("predictions.jsonl has 2 lines and gold.jsonl has 1"), "{said}");
    let said = gold(&[a.clone(), b.clone(), a.clone(), a.clone()]);
    assert!(said.contains("predictions.jsonl has 2 lines and gold.jsonl has 4"), "{said}");
    let said = gold(&[b, a.clone()]);
    assert!(said.contains("predictions.jsonl:1: field `id`: \"a\" here, but \"b\" in gold.jsonl:1"), "{said}");
    let said = gold(&[a, json!({"id": "b"})]);
    assert!(said.contains("gold.jsonl:2: field `answer`: missing"), "{said}");
}

#[test]
fn what_is_read_is_never_written_over() {
    let workspace = workspace(&[json!({"output": "x", "answer": "x"})]);
    let before = workspace.read("predictions.jsonl");
    let arguments = ["helmet", "score", "--dataset", "kilt_nq", "--predictions", "predictions.jsonl", "--out"];
    let run = workspace.run(&[&arguments[..], &["./predictions.jsonl"]].concat());
    assert_eq!(run.code, Some(2));
    assert!(run.err.contains("is read from"), "{}", run.err);
    assert_eq!(workspace.read("predictions.jsonl"), before);
    let run = workspace.run(&[&arguments[..], &["nowhere/scored.jsonl"]].concat());
    assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{}", run.err);
}

#[test]
fn the_examples_of_the_documentation_score_as_it_says() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/helmet.md")).unwrap();
    let mut examples = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        if let ["", name, row, metrics, ""] = cells[..]
            && row.starts_with('{')
        {
            examples.insert(name.to_owned(), (row.to_owned(), metrics.to_owned()));
        }
    }
    for (name, (row, metrics)) in &examples {
        let (lines, _) = scored(name, &[serde_json::from_str(row).unwrap()]);
        for metric in metrics.split(", ") {
            let (metric, value) = metric.trim_matches('`').split_once(' ').unwrap();
            let computed = lines[0][metric].as_f64().unwrap_or_else(|| panic!("{name} has no {metric}"));
            // The page rounds to three places.
            assert!((computed - value.parse::<f64>().unwrap()).abs() <= 5e-4, "{name} {metric}: {computed}");
        }
    }
    assert_eq!(examples.len(), 21, "{:?}", examples.keys());
}

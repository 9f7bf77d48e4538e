//! `general-eval` on the real binary, with the built-in model.

mod support;

use serde_json::{Value, json};
use support::workspace::{Workspace, parse};

const PIPELINE: &str = "\
version: 1
name: general
params: {samples: 5, length: 64}
sources:
  tiny: {embedded: tiny}
  heads: {published-scores: heads.json}
  mmlu: {evaluation-set: mmlu}
  hub: {evaluation-set: hub.jsonl}
  hub-dev: {evaluation-set: hub-dev.jsonl}
  gsm8k: {evaluation-set: gsm8k.jsonl}
  gsm8k-train: {evaluation-set: gsm8k-train.jsonl}
  ifeval: {evaluation-set: input_data.jsonl}
  texts: {evaluation-set: texts.jsonl}
  humaneval: {evaluation-set: humaneval.jsonl}
stages:
  mask: {kind: build-mask, in: {scores: heads}, with: {tau: 0.2}}
  base:
    kind: general-eval
    in:
      model: tiny
      data: {mmlu: mmlu, hub: hub, gsm8k: gsm8k, ifeval: ifeval, text: texts, code: humaneval}
      demonstrations: {hub: hub-dev, gsm8k: gsm8k-train}
    with:
      tasks: &tasks
        mmlu: {type: multiple-choice, shots: 1, samples: '${params.samples}'}
        hub: {type: multiple-choice, shots: 2}
        gsm8k: {type: final-number, shots: 1, max-new-tokens: 12}
        ifeval: {type: instructions, max-new-tokens: 16}
        text: {type: perplexity, length: '${params.length}'}
        code: {type: code, max-new-tokens: 4}
  masked:
    kind: general-eval
    in:
      model: tiny
      mask: mask
      data: {mmlu: mmlu, hub: hub, gsm8k: gsm8k, ifeval: ifeval, text: texts, code: humaneval}
      demonstrations: {hub: hub-dev, gsm8k: gsm8k-train}
    with: {tasks: *tasks}
";

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn workspace() -> Workspace {
    let workspace = Workspace::new(PIPELINE);
    for split in ["test", "dev"] {
        std::fs::create_dir_all(workspace.path("mmlu").join(split)).unwrap();
        for subject in ["old_mills", "rivers"] {
            let row = |row: usize| {
                let answer = ["A", "B", "C", "D"][row % 4];
                format!("\"What is {subject}, no. {row}?\",bako,temi,fusa,\"no, ra\",{answer}\n")
            };
            let rows: String = (0..4).map(row).collect();
            workspace.write(&format!("mmlu/{split}/{subject}_{split}.csv"), &rows);
        }
    }
    let hub = |row: usize| json!({"question": format!("Which is {row}?"), "subject": "rivers", "choices": ["ka", "to", "mi"], "answer": row % 3});
    workspace.write("hub.jsonl", &lines(&(0..6).map(hub).collect::<Vec<_>>()));
    workspace.write("hub-dev.jsonl", &lines(&(6..9).map(hub).collect::<Vec<_>>()));
    let problem = |row: usize| json!({"question": format!("What is {row} and {row}?"), "answer": format!("It is.\n#### {}", 2 * row)});
    workspace.write("gsm8k.jsonl", &lines(&(0..4).map(problem).collect::<Vec<_>>()));
    workspace.write("gsm8k-train.jsonl", &lines(&[problem(11), problem(12)]));
    let prompts = [
        json!({"key": 1, "prompt": "Write bako.", "instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}]}),
        json!({"key": 2, "prompt": "Write temi.", "instruction_id_list": ["language:response_language"], "kwargs": [{"language": "sw"}]}),
        json!({"key": 3, "prompt": "Write ra.", "instruction_id_list": ["length_constraints:number_words"], "kwargs": [{"num_words": 1, "relation": "less than", "language": null}]}),
    ];
    workspace.write("input_data.jsonl", &lines(&prompts));
    workspace.write(
        "texts.jsonl",
        &lines(&[json!({"text": "bako temi fusa ".repeat(40)}), json!({"text": "ka to mi no ra"})]),
    );
    let code = json!({"task_id": "T/0", "prompt": "def one():\n    return 1  # ", "test": "def check(candidate):\n    assert candidate() == 1\n", "entry_point": "one"});
    workspace.write("humaneval.jsonl", &lines(&[code]));
    let heads =
        (0..3).flat_map(|layer| (0..8).map(move |head| format!("\"{layer}-{head}\": [{}]", u8::from(head > 0))));
    workspace.write("heads.json", &format!("{{{}}}", heads.collect::<Vec<_>>().join(", ")));
    workspace
}

fn rows(workspace: &Workspace, item: &str) -> Vec<Value> {
    parse(&workspace.succeeds(&["show", item, "--json"]).out)
}

/// The rows made and taken by the last run's stage `base`.
fn computed(events: &[Value]) -> (u64, u64) {
    let finished = |event: &&Value| event["event"] == "stage-finished" && event["stage"] == "base";
    let last = &events.iter().find(finished).unwrap_or_else(|| panic!("no end in {events:?}"))["rows"];
    (last["computed"].as_u64().unwrap(), last["total"].as_u64().unwrap())
}

#[test]
fn every_type_is_asked_and_scored_and_rows_are_kept() {
    let workspace = workspace();
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let summary = rows(&workspace, "base.summary");
    let of = |task: &str, metric: &str| {
        summary
            .iter()
            .find(|row| row["task"] == task && row["metric"] == metric)
            .unwrap_or_else(|| panic!("{task} {metric}"))
    };
    let shape: Vec<(&str, &str, u64)> = summary
        .iter()
        .map(|row| (row["task"].as_str().unwrap(), row["metric"].as_str().unwrap(), row["examples"].as_u64().unwrap()))
        .collect();
    let expected = [
        ("code", "pass@1", 0),
        ("gsm8k", "exact_match", 4),
        ("gsm8k", "exact_match_marked", 4),
        ("hub", "accuracy", 6),
        // The one in Swahili cannot be checked.
        ("ifeval", "prompt_strict", 2),
        ("ifeval", "prompt_loose", 2),
        ("ifeval", "instruction_strict", 3),
        ("ifeval", "instruction_loose", 3),
        ("mmlu", "accuracy", 5),
        ("text", "nll", 2),
        ("text", "nll_per_token", 2),
        ("text", "nll_per_byte", 2),
        ("text", "perplexity", 2),
    ];
    assert_eq!(shape, expected);
    assert_eq!(of("code", "pass@1")["value"], Value::Null);
    assert!(of("code", "pass@1")["note"].as_str().unwrap().starts_with("not scored: code runs only with `program`"));
    assert!(of("ifeval", "prompt_strict")["note"].as_str().unwrap().contains("language:response_language"));
    assert_eq!(of("mmlu", "accuracy")["note"], "own wording");

    // Choices, answers and likelihoods agree with what they are made of.
    let answers = rows(&workspace, "base.answers");
    let scores = rows(&workspace, "base.scores");
    let score = |task: &str, example: &Value, metric: &str| {
        let found =
            scores.iter().find(|row| row["task"] == task && row["example"] == *example && row["metric"] == metric);
        found.map(|row| row["value"].as_f64().unwrap())
    };
    for row in &answers {
        let facts: Value = serde_json::from_str(row["facts"].as_str().unwrap()).unwrap();
        let (task, example) = (row["task"].as_str().unwrap(), &row["example"]);
        match task {
            "mmlu" | "hub" => {
                let logprobs: Vec<f64> = serde_json::from_value(facts["logprobs"].clone()).unwrap();
                assert!(logprobs.iter().all(|logprob| *logprob < 0.0), "{row}");
                let best = logprobs.iter().enumerate().max_by(|left, right| left.1.total_cmp(right.1)).unwrap().0;
                assert_eq!(row["output"].as_str().unwrap(), ["A", "B", "C", "D"][best]);
                let right = f64::from(u8::from(row["output"] == row["expected"]));
                assert_eq!(score(task, example, "accuracy"), Some(right));
            }
            "text" => {
                let nll = score("text", example, "nll").unwrap();
                let per = |metric, count: &str| {
                    (score("text", example, metric).unwrap(), nll / facts[count].as_f64().unwrap())
                };
                assert_eq!(per("nll_per_token", "tokens").0, per("nll_per_token", "tokens").1);
                assert_eq!(per("nll_per_byte", "bytes").0, per("nll_per_byte", "bytes").1);
            }
            "gsm8k" => assert_eq!(row["expected"], (2 * example.as_u64().unwrap()).to_string()),
            _ => {}
        }
    }
    let texts: Vec<&Value> = answers.iter().filter(|row| row["task"] == "text").collect();
    let windows: Value = serde_json::from_str(texts[0]["facts"].as_str().unwrap()).unwrap();
    assert!(windows["windows"].as_u64().unwrap() > 1, "{windows}");
    let mean = |metric: &str| {
        let values: Vec<f64> = scores
            .iter()
            .filter(|row| row["task"] == "mmlu" && row["metric"] == metric)
            .map(|row| row["value"].as_f64().unwrap())
            .collect();
        100.0 * values.iter().sum::<f64>() / values.len() as f64
    };
    assert!((of("mmlu", "accuracy")["value"].as_f64().unwrap() - mean("accuracy")).abs() < 1e-9);

    // Side by side.
    let table = workspace.succeeds(&["helmet", "general", "base", "masked"]).out;
    let heads: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heads, ["task", "metric", "base", "masked", "-", "base"], "{table}");
    assert!(table.contains("not scored"), "{table}");
    assert!(table.contains("differences with 95 % intervals"), "{table}");
    let compared = parse(&workspace.succeeds(&["helmet", "general", "base", "masked", "--json"]).out);
    assert_eq!(compared.len(), expected.len());
    for row in compared.iter().filter(|row| row["metric"] != "perplexity" && row["task"] != "code") {
        let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{row}"));
        let [base, masked] = [0, 1].map(|system| &row["systems"][system]);
        // Two means of the same examples in unlike orders of the sums.
        let difference = number(&masked["value"]) - number(&base["value"]);
        assert!((number(&masked["difference"]) - difference).abs() < 1e-9, "{row}");
    }

    // More examples: only those are asked.
    let events = workspace.events(&["run", "pipeline.yaml", "--only", "base", "--set", "params.samples=8"]);
    let (made, total) = computed(&events);
    // Every example and window is a row; three questions are new.
    assert!((1..=3).contains(&made) && total > 20, "{made} of {total}");
}

#[test]
fn bad_input_is_refused_by_file_line_and_field() {
    let workspace = workspace();
    let refused = |expected: &str| {
        let run = workspace.run(&["run", "pipeline.yaml", "--only", "base"]);
        assert_eq!(run.code, Some(2), "{}", run.err);
        assert!(run.err.contains(expected), "`{expected}` is not in:\n{}", run.err);
    };
    let good = workspace.read("gsm8k.jsonl");
    workspace.write("gsm8k.jsonl", "{\"question\": \"How many?\", \"answer\": \"Some.\"}\n");
    refused("gsm8k.jsonl, line 1: field `answer`: has no number behind `####`");
    workspace.write("gsm8k.jsonl", "{\"question\": \"How many?\"\n");
    refused("gsm8k.jsonl, line 1: not JSON");
    workspace.write("gsm8k.jsonl", &good);
    let good = workspace.read("mmlu/test/rivers_test.csv");
    workspace.write("mmlu/test/rivers_test.csv", "Which?,a,b,c,d,E\n");
    refused("rivers_test.csv, line 1: field `answer`: expected a letter from A to D");
    workspace.write("mmlu/test/rivers_test.csv", "Which?,a,b,c,A\n");
    refused("rivers_test.csv, line 1: 5 fields; expected 6");
    workspace.write("mmlu/test/rivers_test.csv", &good);
    let good = workspace.read("input_data.jsonl");
    workspace.write("input_data.jsonl", &good.replace("startend:quotation", "startend:nothing"));
    refused("input_data.jsonl, line 1: field `kwargs`: startend:nothing: there is no such instruction");
    workspace.write("input_data.jsonl", &good);
    workspace.write("texts.jsonl", "{\"body\": \"x\"}\n");
    refused("texts.jsonl, line 1: field `text`: is missing; the record has body");
    let unknown = PIPELINE.replace("data: {mmlu: mmlu, hub: hub,", "data: {mmlu: mmlu,");
    workspace.write("pipeline.yaml", &unknown);
    refused("its examples are missing: `in` needs `data: {hub: SOURCE}`");
}

//! `helmet-judge` on the real binary, against a service that misbehaves.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::service::{Reply, Service};
use support::workspace::{Workspace, parse};

const PIPELINE: &str = "\
version: 1
name: judged
params: {seed: 1}
sources:
  tiny: {embedded: tiny}
  data: {helmet-data: data}
  prompts: {judge-prompts: prompts}
stages:
  answers: {kind: helmet, in: {model: tiny, data: data}, with: {datasets: [multi_lexsum], length: 1024}}
  judge:
    kind: helmet-judge
    in: {predictions: answers, prompts: prompts}
    with: {model: judge-1, seed: '${params.seed}'}
  scores: {kind: helmet-score, in: {predictions: answers, judged: judge.scores}}
  without: {kind: helmet-score, in: {predictions: answers}}
";
/// Sent to the service, and must be seen nowhere else.
const TOKEN: &str = "sk-5ecret-0f-the-test";

/// Two cases: the first has two key points, the second four.
fn workspace() -> Workspace {
    let workspace = Workspace::new(PIPELINE);
    let case = |id: &str, points: usize| {
        let points: Vec<String> = (0..points).map(|point| format!("point {point} of {id}")).collect();
        json!({
            "id": id, "sources": ["word ".repeat(70_000)], "summary/short": format!("short {id}"),
            "summary/long": format!("long {id}"), "summary/short_keypoints": points
        })
    };
    let lines = |rows: &[Value]| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    let folders = ["data/multi_lexsum/releases/v20230518", "prompts"];
    folders.iter().for_each(|folder| std::fs::create_dir_all(workspace.path(folder)).unwrap());
    workspace.write("data/multi_lexsum/multi_lexsum_val.jsonl", &lines(&[case("first", 2), case("second", 4)]));
    let train: Vec<Value> = (0..3).map(|row| json!({"summary/short": format!("s{row}")})).collect();
    workspace.write("data/multi_lexsum/releases/v20230518/train.json", &lines(&train));
    workspace.write("prompts/summ_fluency_prompt.txt", "FLUENCY {{as JSON}}\n{text}");
    workspace.write("prompts/summ_recall_prompt.txt", "RECALL\n{keypoints}\n{summary}");
    workspace.write("prompts/summ_precision_prompt.txt", "PRECISION\n{expert_summary}\n{summary}");
    workspace
}

fn chat(text: &str) -> Reply {
    Reply::Text(json!({"choices": [{"message": {"role": "assistant", "content": text}}]}).to_string())
}

/// A judge that finds one key point, and half of the sentences right.
fn verdict(body: &Value) -> Reply {
    let prompt = body["messages"][0]["content"].as_str().unwrap_or_default();
    chat(match prompt.split_whitespace().next() {
        Some("FLUENCY") => "Fine. {\"fluency\": 1}",
        Some("RECALL") => "One of them: {\"supported_key_points\": [1], \"recall\": 1}",
        Some("PRECISION") => "{\"precision\": 3, \"sentence_count\": 6}",
        _ => "What?",
    })
}

fn command(workspace: &Workspace, service: &Service, arguments: &[&str]) -> Command {
    let mut command = workspace.command(arguments);
    service.serve(&mut command, "JUDGE", TOKEN);
    command
}

/// Runs the pipeline; its exit code and what it said.
fn run(workspace: &Workspace, service: &Service, seed: &str) -> (Option<i32>, String) {
    let seed = format!("params.seed={seed}");
    let output = command(workspace, service, &["run", "pipeline.yaml", "--set", &seed]).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains(TOKEN), "{said}");
    (output.status.code(), said)
}

fn rows(workspace: &Workspace, item: &str) -> Vec<Value> {
    parse(&workspace.succeeds(&["show", item, "--json"]).out)
}

/// Whether any file below a folder holds the token.
fn holds_token(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds_token(&path);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes())
    })
}

#[test]
fn verdicts_become_scores_whatever_the_service_does_first() {
    let (workspace, service) = (workspace(), Service::start(verdict));
    service.fail([
        Reply::Status(500, "{}".into()),
        Reply::Cut,
        Reply::Stall(Duration::from_secs(3)),
        chat("I would rather talk about it."),
        Reply::Text("<html>busy</html>".into()),
        Reply::Status(429, json!({"error": {"message": TOKEN}}).to_string()),
        chat("{\"recall\": 99, \"fluency\": 7, \"precision\": 1, \"sentence_count\": 0}"),
    ]);
    let (code, said) = run(&workspace, &service, "1");
    assert_eq!(code, Some(0), "{said}");
    let asked = service.asked();
    // Every distinct question once, and once more for each fault.
    let prompts = asked.iter().map(|asked| asked.body["messages"][0]["content"].as_str().unwrap());
    assert_eq!(asked.len(), prompts.collect::<BTreeSet<_>>().len() + 7);
    assert!(asked.iter().all(|asked| asked.path == "/v1/chat/completions"));
    assert!(asked.iter().all(|asked| asked.authorization.as_deref() == Some(&format!("Bearer {TOKEN}"))));
    assert!(asked.iter().all(|asked| asked.body["model"] == "judge-1" && asked.body["temperature"] == 0.1));
    assert!(
        asked
            .iter()
            .any(|asked| asked.body["messages"][0]["content"].as_str().unwrap().starts_with("FLUENCY {as JSON}\n"))
    );
    assert!(!holds_token(&workspace.cache()));
    let scores = rows(&workspace, "judge.scores");
    let values: Vec<f64> = scores.iter().map(|row| row["value"].as_f64().unwrap()).collect();
    // Precision 1/2; recall 1/2 and 1/4: 2PR / (P + R).
    assert!((values[0] - 0.5).abs() < 1e-12 && (values[1] - 1.0 / 3.0).abs() < 1e-12, "{values:?}");
    let judged = |item: &str| {
        let rows = rows(&workspace, item);
        rows.into_iter().find(|row| row["metric"] == "gpt-4-f1").map(|row| row["value"].as_f64().unwrap())
    };
    // In points; the mean of two values.
    assert!((judged("scores.summary").unwrap() - 100.0 * (0.5 + 1.0 / 3.0) / 2.0).abs() < 1e-9);
    assert_eq!(judged("without.summary"), None);
    let says = |item: &str, note: &str| rows(&workspace, item).iter().any(|row| row["note"] == note);
    assert!(says("without.notes", "not scored: needs a judge"));
    assert!(
        !rows(&workspace, "scores.notes")
            .iter()
            .any(|row| row["dataset"] == "multi_lexsum" && row["metric"] == "gpt-4-f1")
    );

    // Nothing is asked twice.
    assert_eq!(run(&workspace, &service, "1").0, Some(0));
    assert_eq!(service.asked().len(), 0);
}

#[test]
fn without_files_the_judge_is_told_in_own_words_and_the_notes_say_so() {
    let (workspace, service) = (workspace(), Service::start(verdict));
    let own = PIPELINE
        .replace("  prompts: {judge-prompts: prompts}\n", "")
        .replace(", prompts: prompts}", "}")
        .replace("judged: judge.scores}", "judged: judge.scores, further-notes: {judge: judge.notes}}");
    workspace.write("pipeline.yaml", &own);
    service.answer(|body| match body["messages"][0]["content"].as_str() {
        Some(prompt) if prompt.contains("numbered key points of a lawsuit") && prompt.contains("\n2. point 1 of ") => {
            chat("{\"recall\": 1}")
        }
        Some(prompt) if prompt.contains("two summaries of the documents") && prompt.contains("\nlong ") => {
            chat("{\"precision\": 3, \"sentence_count\": 6}")
        }
        Some(prompt) if prompt.contains("Judge its language alone") => chat("{\"fluency\": 1}"),
        _ => chat("What?"),
    });
    let (code, said) = run(&workspace, &service, "1");
    assert_eq!(code, Some(0), "{said}");
    let values: Vec<f64> = rows(&workspace, "judge.scores").iter().map(|row| row["value"].as_f64().unwrap()).collect();
    assert!((values[0] - 0.5).abs() < 1e-12 && (values[1] - 1.0 / 3.0).abs() < 1e-12, "{values:?}");
    let said = |item: &str| {
        let notes = rows(&workspace, item);
        notes.iter().any(|row| row["note"] == "own wording of the judge's prompts" && row["metric"] == "gpt-4-f1")
    };
    assert!(said("judge.notes") && said("scores.notes") && !said("without.notes"));
}

#[test]
fn an_answer_without_a_verdict_has_no_score_and_the_rest_goes_on() {
    let (workspace, service) = (workspace(), Service::start(verdict));
    service.answer(|body| match body["messages"][0]["content"].as_str() {
        Some(prompt) if prompt.contains("point 3 of second") => chat("No idea, honestly."),
        _ => verdict(body),
    });
    let (code, said) = run(&workspace, &service, "1");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(rows(&workspace, "judge.scores").len(), 1);
    let notes = rows(&workspace, "judge.notes");
    assert_eq!(notes[0]["note"], "1 examples without a verdict: the reply holds no JSON verdict");
    let notes = rows(&workspace, "scores.notes");
    assert!(
        notes.iter().any(|row| row["note"] == "1 of 2 examples scored" && row["metric"] == "gpt-4-f1"),
        "{notes:?}"
    );
    let summary = rows(&workspace, "scores.summary");
    let judged = summary.iter().find(|row| row["metric"] == "gpt-4-f1").unwrap();
    assert_eq!((&judged["examples"], judged["value"].as_f64()), (&json!(1), Some(50.0)));
    // Its seeds differ, so that a judge may think again.
    let seeds: Vec<u64> = service
        .asked()
        .iter()
        .filter(|asked| asked.body["messages"][0]["content"].as_str().unwrap().contains("point 3 of second"))
        .map(|asked| asked.body["seed"].as_u64().unwrap())
        .collect();
    assert_eq!(seeds, [1, 2, 3, 4, 5]);
    // That there is none is not kept: when the result is made anew, this one question is asked and no other.
    service.answer(verdict);
    let asked = service.asked().len();
    std::fs::remove_dir_all(workspace.cache().join("ac")).expect("the records");
    let (code, said) = run(&workspace, &service, "1");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(rows(&workspace, "judge.scores").len(), 2);
    assert_eq!(service.asked().len() - asked, 1);
}

#[test]
fn a_service_that_goes_away_loses_no_verdict() {
    let (workspace, service) = (workspace(), Service::start(verdict));
    service.answer(|body| match body["messages"][0]["content"].as_str() {
        Some(prompt) if prompt.starts_with("PRECISION") => {
            Reply::Status(503, json!({"error": {"code": "overloaded", "message": TOKEN}}).to_string())
        }
        _ => verdict(body),
    });
    let (code, said) = run(&workspace, &service, "1");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("the judge does not answer: status 503 (overloaded)"), "{said}");
    assert!(said.contains("run again to go on from there"), "{said}");
    service.asked();
    service.answer(verdict);
    assert_eq!(run(&workspace, &service, "1").0, Some(0));
    // Only what was not answered is asked again.
    let prompts: Vec<String> =
        service.asked().iter().map(|asked| asked.body["messages"][0]["content"].as_str().unwrap().to_owned()).collect();
    assert_eq!(prompts.len(), 2, "{prompts:?}");
    assert!(prompts.iter().all(|prompt| prompt.starts_with("PRECISION")));
}

#[test]
fn a_service_that_cannot_be_used_is_said_at_once() {
    let (workspace, service) = (
        workspace(),
        Service::start(|_| {
            Reply::Status(401, json!({"error": {"message": TOKEN, "code": "invalid_api_key"}}).to_string())
        }),
    );
    let (code, said) = run(&workspace, &service, "1");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("the judge refuses: status 401 (invalid_api_key)"), "{said}");
    assert!(service.asked().len() <= 6);
    assert!(!holds_token(&workspace.cache()));
    let refused = |variable: &str, value: &str, expected: &str| {
        let mut command = command(&workspace, &service, &["run", "pipeline.yaml"]);
        command.env(variable, value);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(expected) && !said.contains("hunter2"), "{said}");
    };
    refused("RETMASK_JUDGE_URL", "", "RETMASK_JUDGE_URL is not set");
    refused("RETMASK_JUDGE_URL", "https://me:hunter2@host/v1", "RETMASK_JUDGE_URL holds more than an address");
    refused("RETMASK_JUDGE_URL", "http://judge.example/v1", "is not encrypted");
    refused("RETMASK_JUDGE_TOKEN", "hunter2\n", "RETMASK_JUDGE_TOKEN is no token");
    refused("RETMASK_JUDGE_TIMEOUT", "soon", "RETMASK_JUDGE_TIMEOUT is no number of seconds");
    assert_eq!(service.asked().len(), 0);
    std::fs::remove_file(workspace.path("prompts/summ_recall_prompt.txt")).unwrap();
    let (code, said) = run(&workspace, &service, "2");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("summ_recall_prompt.txt"), "{said}");
}

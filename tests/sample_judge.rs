//! The best and worst of several responses by a judge, on the real binary and against a judge that misbehaves.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use support::service::{Reply, Service};
use support::workspace::{Workspace, parse};

const PIPELINE: &str = "\
version: 1
name: win-lose
params: {prompt: 'Q {instruction} A {response}', seed: 1, samples: 1}
sources:
  tiny: {embedded: tiny}
  scores: {published-scores: scores.json}
  instructions: {instructions: instructions.jsonl}
stages:
  mask: {kind: build-mask, in: {scores: scores}, with: {select: top-k, count: 3}}
  masked:
    kind: sample-pairs
    in: {model: tiny, mask: mask, instructions: instructions}
    with: {max-new-tokens: 10, temperature: 1.0}
  win-lose:
    kind: sample-pairs
    in: {model: tiny, instructions: instructions}
    with:
      max-new-tokens: 10
      temperature: 1.0
      samples: '${params.samples}'
      judge: {model: judge-1, responses: 3, prompt: '${params.prompt}', seed: '${params.seed}'}
";
/// Sent to the service, and must be seen nowhere else.
const TOKEN: &str = "sk-5ecret-0f-the-judge";

fn workspace(instructions: usize) -> Workspace {
    let workspace = Workspace::new(PIPELINE);
    let heads: BTreeMap<String, [f64; 1]> =
        (0..24).map(|head| (format!("{}-{}", head / 8, head % 8), [f64::from(head * 5 % 24) / 24.0])).collect();
    workspace.write("scores.json", &serde_json::to_string(&heads).expect("JSON"));
    write(&workspace, instructions);
    workspace
}

fn write(workspace: &Workspace, instructions: usize) {
    let line = |number| format!("{}\n", json!({"prompt": format!("Say {number} words of number {number}.")}));
    workspace.write("instructions.jsonl", &(0..instructions).map(line).collect::<String>());
}

fn chat(text: &str) -> Reply {
    Reply::Text(json!({"choices": [{"message": {"role": "assistant", "content": text}}]}).to_string())
}

fn question(body: &Value) -> &str {
    body["messages"][0]["content"].as_str().expect("one message")
}

/// The score of a response: a number that its letters give.
fn score_of(response: &str) -> u64 {
    response.bytes().map(u64::from).sum::<u64>() % 10
}

fn verdict(body: &Value) -> Reply {
    let (_, response) = question(body).split_once(" A ").expect("a response");
    chat(&format!("It is what it is. {{\"score\": {}}}", score_of(response)))
}

/// Runs a stage and what it needs; the exit code, what it said, and its events.
fn run(workspace: &Workspace, service: &Service, stage: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut command = workspace.command(&[&["run", "pipeline.yaml", "--json", "--only", stage], more].concat());
    service.serve(&mut command, "JUDGE", TOKEN);
    let output = command.output().expect("the program starts");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains(TOKEN), "{said}");
    (output.status.code(), said)
}

fn rows(workspace: &Workspace, item: &str) -> Vec<Value> {
    parse(&workspace.succeeds(&["show", item, "--json"]).out)
}

fn counts(workspace: &Workspace) -> BTreeMap<String, u64> {
    let rows = rows(workspace, "win-lose.counts");
    let name = |row: &Value| format!("{}: {}", row["of"].as_str().unwrap(), row["what"].as_str().unwrap());
    rows.iter().map(|row| (name(row), row["count"].as_u64().unwrap())).collect()
}

/// How many rows of a stage were reused, of how many.
fn reused(said: &str, stage: &str) -> (u64, u64) {
    let mut events = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let found = events.rfind(|event| event["event"] == "stage-finished" && event["stage"] == stage);
    let rows = &found.expect("the stage ran")["rows"];
    (rows["reused"].as_u64().unwrap(), rows["total"].as_u64().unwrap())
}

#[test]
fn the_best_of_several_is_chosen_and_the_worst_rejected_whatever_the_judge_does_first() {
    let (workspace, service) = (workspace(8), Service::start(verdict));
    service.fail([
        Reply::Status(500, "{}".into()),
        Reply::CutStream,
        Reply::Stall(Duration::from_secs(3)),
        chat("I would rather not."),
        Reply::Text("<html>busy</html>".into()),
        chat("{\"score\": 11}"),
    ]);
    let (code, said) = run(&workspace, &service, "win-lose", &[]);
    assert_eq!(code, Some(0), "{said}");
    let asked = service.asked();
    let questions: BTreeSet<&str> = asked.iter().map(|asked| question(&asked.body)).collect();
    assert_eq!(asked.len(), questions.len() + 6, "every distinct question once, and once more for each fault");
    assert!(questions.iter().all(|question| question.starts_with("Q Say ")));
    assert!(asked.iter().all(|asked| asked.path == "/v1/chat/completions" && asked.body["model"] == "judge-1"));
    assert!(workspace.files_with(TOKEN).is_empty());
    assert!(workspace.files_with(&service.url()).is_empty());

    // Of every prompt's three responses the best and the worst became a pair, and ties none.
    let (pairs, responses) = (rows(&workspace, "win-lose"), rows(&workspace, "win-lose.responses"));
    assert_eq!(responses.len(), 24);
    let pairs: BTreeMap<&str, &Value> = pairs.iter().map(|pair| (pair["row_id"].as_str().unwrap(), pair)).collect();
    let mut ties = 0;
    for candidates in responses.chunks(3) {
        let id = candidates[0]["row_id"].as_str().unwrap();
        let scores: Vec<f64> = candidates.iter().filter_map(|row| row["score"].as_f64()).collect();
        let (best, worst) =
            (scores.iter().copied().fold(f64::MIN, f64::max), scores.iter().copied().fold(f64::MAX, f64::min));
        let Some(pair) = pairs.get(id) else {
            assert!(["tie", "empty"].contains(&candidates[0]["fate"].as_str().unwrap()), "{candidates:?}");
            ties += u64::from(candidates[0]["fate"] == "tie");
            assert!(scores.len() < 2 || best == worst);
            continue;
        };
        assert!(best > worst && candidates.iter().all(|row| row["fate"] == "kept"));
        for (side, expected) in [("chosen", best), ("rejected", worst)] {
            let text = pair[side][0]["content"].as_str().unwrap();
            assert_eq!(score_of(text) as f64, expected, "{side} {text}");
            let row = candidates.iter().find(|row| row["side"] == side).expect("the side");
            assert_eq!((row["score"].as_f64(), &row["text"]), (Some(expected), &Value::Null));
        }
    }
    let counts = counts(&workspace);
    assert_eq!((counts["pairs: kept"], counts["pairs: dropped: tie"]), (pairs.len() as u64, ties));
    assert_eq!(counts["records: taken"], 8);

    // The candidates are responses that other ablations choose: half of what the masked run needs is there.
    let (code, said) = run(&workspace, &service, "masked", &[]);
    assert_eq!((code, reused(&said, "masked")), (Some(0), (8, 16)), "{said}");
    // More instructions, and only they are asked about; with more pairs for each, only the new candidates.
    write(&workspace, 10);
    let (code, said) = run(&workspace, &service, "win-lose", &[]);
    assert_eq!(code, Some(0), "{said}");
    let new = service.asked();
    assert!(!new.is_empty() && new.len() <= 6, "{}", new.len());
    assert!(new.iter().all(|asked| !questions.contains(question(&asked.body))));
    // Another prompt is another question.
    let other = ["--set", "params.prompt='R {instruction} A {response}'"];
    let (code, said) = run(&workspace, &service, "win-lose", &other);
    assert_eq!(code, Some(0), "{said}");
    assert!(service.asked().iter().all(|asked| question(&asked.body).starts_with("R Say ")));
    let events = parse(said.lines().rfind(|line| line.contains("stage-finished")).expect("an event"));
    assert_eq!(events[0]["stage"], "win-lose");
}

#[test]
fn a_response_without_a_verdict_is_no_candidate_and_one_verdict_makes_no_pair() {
    let (workspace, service) = (workspace(6), Service::start(verdict));
    service.answer(|body| {
        let question = question(body);
        match question.contains("number 2") {
            true => chat("No idea, honestly."),
            false => verdict(body),
        }
    });
    let (code, said) = run(&workspace, &service, "win-lose", &[]);
    assert_eq!(code, Some(0), "{said}");
    let counts = counts(&workspace);
    assert_eq!(counts["pairs: dropped: unjudged"], 1);
    assert!(counts["responses: without a verdict"] >= 2);
    let unjudged: Vec<Value> =
        rows(&workspace, "win-lose.responses").into_iter().filter(|row| row["fate"] == "unjudged").collect();
    assert_eq!(unjudged.len(), 3);
    assert!(unjudged.iter().any(|row| row["problem"] == "the reply holds no JSON verdict"));
    assert!(unjudged.iter().all(|row| row["prompt"] == "Say 2 words of number 2."));

    // A judge that goes away loses no verdict.
    service.asked();
    write(&workspace, 9);
    service.answer(|body| match question(body).contains("number 8") {
        true => Reply::Status(503, "{}".into()),
        false => verdict(body),
    });
    let (code, said) = run(&workspace, &service, "win-lose", &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("the judge does not answer: status 503"), "{said}");
    service.asked();
    service.answer(verdict);
    let (code, said) = run(&workspace, &service, "win-lose", &[]);
    assert_eq!(code, Some(0), "{said}");
    let asked = service.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| question(&asked.body).contains("number 8")), "{asked:?}");
}

#[test]
fn where_the_judge_is_may_stand_in_the_pipeline_but_no_token_follows_it() {
    let (workspace, service) = (workspace(3), Service::start(verdict));
    let here = format!("stages.win-lose.with.judge.base-url={}", service.url());
    let arguments = ["run", "pipeline.yaml", "--only", "win-lose", "--set", &here];
    let mut command = workspace.command(&arguments);
    service.serve(&mut command, "JUDGE", TOKEN);
    command.env_remove("RETMASK_JUDGE_URL");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("RETMASK_JUDGE_TOKEN is set, and the address stands in the pipeline"), "{said}");
    assert!(service.asked().is_empty());
    let mut command = workspace.command(&arguments);
    service.serve(&mut command, "JUDGE", "");
    command.env_remove("RETMASK_JUDGE_URL");
    assert!(command.output().unwrap().status.success());
    assert!(!service.asked().is_empty());
    // It is no part of the key: by the environment's address nothing is asked again.
    let (code, _) = run(&workspace, &service, "win-lose", &[]);
    assert_eq!((code, service.asked().len()), (Some(0), 0));

    for (set, refusal) in [
        ("stages.win-lose.with.judge.responses=1", "have no best and worst"),
        ("stages.win-lose.with.judge.prompt=Rate {response}", "both {instruction} and {response}"),
        ("stages.win-lose.in.mask=mask", "rejected answers come from one source; here are `mask` and `judge`"),
        ("stages.win-lose.with.temperature=0", "at temperature 0 all samples of an instruction are the same"),
    ] {
        let checked = workspace.run(&["check", "pipeline.yaml", "--set", set]);
        assert_eq!(checked.code, Some(2), "{set}: {}", checked.err);
        assert!(checked.err.contains(refusal), "{set}: {}", checked.err);
    }
}

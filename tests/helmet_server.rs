//! `helmet` with `engine: openai`, on the real binary and against a server that misbehaves.

mod support;

use serde_json::{Value, json};
use support::service::{Reply, Service};
use support::workspace::{Workspace, parse};

const PIPELINE: &str = "\
version: 1
name: served
sources:
  tiny: {embedded: tiny}
stages:
  answers:
    kind: helmet
    in: {model: tiny}
    with:
      engine: openai
      server: {model: good, revision: 5f0b02c, concurrency: 4}
      datasets: [json_kv]
      length: 640
      samples: 4
  scores: {kind: helmet-score, in: {predictions: answers}}
";
/// Sent to the service, and must be seen nowhere else.
const TOKEN: &str = "sk-5ecret-0f-the-server";

fn prompt(body: &Value) -> &Vec<Value> {
    body["prompt"].as_array().expect("a prompt of tokens")
}

fn completion(text: &str, prompt_tokens: usize) -> Reply {
    Reply::Text(
        json!({
            "choices": [{"index": 0, "text": text, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 3, "total_tokens": prompt_tokens + 3}
        })
        .to_string(),
    )
}

/// Answers with what the prompt begins and ends with, so that every prompt has an answer of its own.
fn answer(body: &Value) -> Reply {
    completion(&format!(" sum {}", checksum(body)), prompt(body).len())
}

fn checksum(body: &Value) -> u64 {
    prompt(body).iter().enumerate().map(|(place, token)| (place as u64 + 1) * token.as_u64().expect("a token")).sum()
}

fn run(workspace: &Workspace, service: &Service, more: &[&str]) -> (Option<i32>, String) {
    let mut command = workspace.command(&[&["run", "pipeline.yaml", "--json"], more].concat());
    service.serve(&mut command, "SERVER", TOKEN);
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains(TOKEN), "{said}");
    (output.status.code(), said)
}

fn rows(workspace: &Workspace, item: &str) -> Vec<Value> {
    parse(&workspace.succeeds(&["show", item, "--json"]).out)
}

#[test]
fn prompts_go_to_the_server_as_the_tokens_that_the_model_here_would_read() {
    let (workspace, service) = (Workspace::new(PIPELINE), Service::start(answer));
    // Cut at the server, and so of no use; asked for again as other faults are.
    service.fail([Reply::Status(500, "{}".into()), Reply::Cut, completion(" no", 17), Reply::Text("<html>".into())]);
    let (code, said) = run(&workspace, &service, &[]);
    assert_eq!(code, Some(0), "{said}");
    let asked = service.asked();
    assert_eq!(asked.len(), 4 + 4, "every prompt once, and once more for each fault");
    assert!(asked.iter().all(|asked| asked.path == "/v1/completions"));
    let body = &asked[0].body;
    assert_eq!([&body["model"], &body["max_tokens"], &body["temperature"]], [&json!("good"), &json!(100), &json!(0)]);
    assert!(body["stop_token_ids"].as_array().is_some_and(|tokens| !tokens.is_empty()));
    assert!(workspace.files_with(TOKEN).is_empty() && workspace.files_with(&service.url()).is_empty());

    let served = rows(&workspace, "answers");
    assert_eq!(served.len(), 4);
    for row in &served {
        let sum: u64 = row["output"].as_str().unwrap().rsplit_once(' ').unwrap().1.parse().unwrap();
        let asked = asked.iter().find(|asked| checksum(&asked.body) == sum).expect("its prompt");
        assert_eq!(json!(prompt(&asked.body).len()), row["prompt_tokens"]);
        assert_eq!((&row["generated_tokens"], &row["stop"]), (&json!(3), &json!("stop")));
    }

    // The same examples in this program: equal in all but the answers.
    let here = ["--set", "stages.answers.with.engine=local", "--set", "stages.answers.with.server=null"];
    let (code, said) = run(&workspace, &service, &here);
    assert_eq!(code, Some(0), "{said}");
    assert!(service.asked().is_empty());
    let without_answers = |rows: &[Value]| -> Vec<Value> {
        let mut rows = rows.to_vec();
        for row in &mut rows {
            let row = row.as_object_mut().unwrap();
            for column in ["output", "generated_tokens", "stop"] {
                row.remove(column);
            }
        }
        rows
    };
    assert_eq!(without_answers(&rows(&workspace, "answers")), without_answers(&served));

    // More examples are asked for alone, wherever the server is; another revision is another model.
    let elsewhere = Service::start(answer);
    let more = ["--set", "stages.answers.with.samples=6"];
    assert_eq!((run(&workspace, &elsewhere, &more).0, elsewhere.asked().len()), (Some(0), 2));
    let other = ["--set", "stages.answers.with.server.revision=another"];
    assert_eq!((run(&workspace, &elsewhere, &other).0, elsewhere.asked().len()), (Some(0), 4));
}

#[test]
fn an_example_without_an_answer_is_no_wrong_answer_and_the_others_are_kept() {
    let (workspace, service) = (Workspace::new(PIPELINE), Service::start(answer));
    let first = std::sync::Mutex::new(None);
    service.answer(move |body| {
        let sum = checksum(body);
        if *first.lock().unwrap().get_or_insert(sum) == sum {
            let error = json!({"error": {"code": "context_length_exceeded", "message": TOKEN}});
            return Reply::Status(400, error.to_string());
        }
        answer(body)
    });
    let (code, said) = run(&workspace, &service, &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("good gives no answer to 1 of 4 prompts, the last json_kv/640/"), "{said}");
    assert!(said.contains("status 400 (context_length_exceeded)"), "{said}");
    service.asked();
    service.answer(answer);
    assert_eq!((run(&workspace, &service, &[]).0, service.asked().len()), (Some(0), 1));
    assert_eq!(rows(&workspace, "answers").len(), 4);
}

#[test]
fn results_of_a_model_without_a_revision_are_its_users_alone() {
    let undeclared = PIPELINE.replace(", revision: 5f0b02c", "");
    let (workspace, service) = (Workspace::new(&undeclared), Service::start(answer));
    assert_eq!(run(&workspace, &service, &[]).0, Some(0));
    let file = workspace.path("results").display().to_string();
    let exported = workspace.succeeds(&["cache", "export", "latest", "-o", &file]);
    assert!(exported.err.contains("1 results are left out"), "{}", exported.err);
}

#[test]
fn what_a_server_cannot_do_is_said_before_anything_runs() {
    let refused = |pipeline: &str, expected: &str| {
        let checked = Workspace::new(pipeline).run(&["check", "pipeline.yaml"]);
        assert_eq!(checked.code, Some(2), "{}", checked.err);
        assert!(checked.err.contains(expected), "{expected}: {}", checked.err);
    };
    let masked = PIPELINE.replace("{model: tiny}\n", "{model: tiny, mask: mask}\n").replace(
        "stages:\n",
        "  scores: {published-scores: scores.json}\nstages:\n  mask: {kind: build-mask, in: {scores: scores}}\n",
    );
    let masked = masked.replace("  scores: {kind", "  points: {kind");
    refused(&masked, "no mask can be applied on a server");
    refused(&PIPELINE.replace("engine: openai\n", "engine: local\n"), "is for `engine: openai`");
    refused(
        &PIPELINE.replace("      server: {model: good, revision: 5f0b02c, concurrency: 4}\n", ""),
        "needs `server`",
    );
    refused(&PIPELINE.replace("samples: 4", "stop-at-newline: true"), "not at the tokens that are newlines");
    refused(&PIPELINE.replace("concurrency: 4", "template: other"), "no template is applied there");
}

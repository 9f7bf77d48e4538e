//! `sample-pairs` with `engine: openai`, on the real binary and against a server that misbehaves.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::service::{Reply, Service};
use support::workspace::{Workspace, parse, stages_with, state_of};

/// Both sides come from servers; the good model answers in more words.
const PIPELINE: &str = "\
version: 1
name: served
params: {seed: 1}
sources:
  instructions: {instructions: instructions.jsonl}
stages:
  pairs:
    kind: sample-pairs
    in: {instructions: instructions}
    with:
      engine: openai
      server: {model: good, revision: 5f0b02c, concurrency: 4}
      rejected-server: {model: bad, revision: 77aa10e, concurrency: 4}
      max-new-tokens: 20
      top-p: 0.9
      stop: [END]
      seed: '${params.seed}'
";
/// Sent to the service, and must be seen nowhere else.
const TOKEN: &str = "sk-5ecret-0f-the-server";

fn workspace(pipeline: &str, instructions: usize) -> Workspace {
    let workspace = Workspace::new(pipeline);
    write(&workspace, instructions);
    workspace
}

fn write(workspace: &Workspace, instructions: usize) {
    let line = |number| format!("{}\n", json!({"prompt": format!("Say number {number}.")}));
    workspace.write("instructions.jsonl", &(0..instructions).map(line).collect::<String>());
}

fn question(body: &Value) -> &str {
    body["messages"][0]["content"].as_str().expect("one message")
}

fn completion(text: &str, finish: &str) -> Reply {
    Reply::Text(
        json!({
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
        })
        .to_string(),
    )
}

/// What the models say: each something of its own to every prompt.
fn answer(body: &Value) -> Reply {
    match body["model"].as_str() {
        Some("good") => completion(&format!("<think>Easy.</think> Gladly: {} END and more", question(body)), "stop"),
        Some("bad") => completion(&"what what ".repeat(20), "length"),
        _ => Reply::Status(404, json!({"error": {"code": "model_not_found"}}).to_string()),
    }
}

fn command(workspace: &Workspace, service: &Service, arguments: &[&str]) -> Command {
    let mut command = workspace.command(arguments);
    service.serve(&mut command, "SERVER", TOKEN);
    service.serve(&mut command, "REJECTED_SERVER", TOKEN);
    command
}

fn run(workspace: &Workspace, service: &Service, more: &[&str]) -> (Option<i32>, String) {
    let output = command(workspace, service, &[&["run", "pipeline.yaml", "--json"], more].concat()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains(TOKEN), "{said}");
    (output.status.code(), said)
}

fn rows(workspace: &Workspace, item: &str) -> Vec<Value> {
    parse(&workspace.succeeds(&["show", item, "--json"]).out)
}

fn counts(workspace: &Workspace) -> BTreeMap<String, u64> {
    let rows = rows(workspace, "pairs.counts");
    let name = |row: &Value| format!("{}: {}", row["of"].as_str().unwrap(), row["what"].as_str().unwrap());
    rows.iter().map(|row| (name(row), row["count"].as_u64().unwrap())).collect()
}

fn plan(workspace: &Workspace, more: &[&str]) -> Value {
    let out = workspace.succeeds(&[&["plan", "pipeline.yaml", "--json"], more].concat()).out;
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn responses_come_from_servers_whatever_these_do_first() {
    let (workspace, service) = (workspace(PIPELINE, 6), Service::start(answer));
    service.fail([
        Reply::Status(500, "{}".into()),
        Reply::Cut,
        Reply::CutStream,
        Reply::Stall(Duration::from_secs(3)),
        Reply::Drip(Duration::from_secs(60)),
        Reply::Text("{\"choices\": [{\"message\"".into()),
        Reply::Text("<html>busy</html>".into()),
        Reply::Text(json!({"choices": []}).to_string()),
        Reply::Status(429, json!({"error": {"message": TOKEN}}).to_string()),
    ]);
    let began = std::time::Instant::now();
    let (code, said) = run(&workspace, &service, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(began.elapsed() < Duration::from_secs(40), "nothing that drips is waited for");
    let asked = service.asked();
    assert_eq!(asked.len(), 12 + 9, "every response once, and once more for each fault");
    assert!(asked.iter().all(|asked| asked.path == "/v1/chat/completions"));
    assert!(asked.iter().all(|asked| asked.authorization.as_deref() == Some(&format!("Bearer {TOKEN}"))));
    let body = &asked[0].body;
    let said = ["max_tokens", "temperature", "top_p", "stop"].map(|name| &body[name]);
    assert_eq!(said, [&json!(20), &json!(0.6), &json!(0.9), &json!(["END"])]);
    let seeds: BTreeSet<u64> = asked.iter().map(|asked| asked.body["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds.len(), 12, "every response has its own random numbers, in every attempt the same");
    assert!(workspace.files_with(TOKEN).is_empty() && workspace.files_with(&service.url()).is_empty());

    let pairs = rows(&workspace, "pairs");
    assert_eq!(pairs.len(), 6);
    for (number, pair) in pairs.iter().enumerate() {
        let texts = ["prompt", "chosen", "rejected"].map(|side| pair[side][0]["content"].as_str().unwrap());
        let question = format!("Say number {number}.");
        assert_eq!(texts[..2], [question.as_str(), &format!("Gladly: {question}")]);
        assert!(texts[2].starts_with("what what"));
        let facts = ["chosen_stop", "rejected_stop", "prompt_tokens", "chosen_tokens"].map(|name| &pair[name]);
        assert_eq!(facts, [&json!("stop"), &json!("length"), &json!(7), &json!(5)]);
    }
    let responses = rows(&workspace, "pairs.responses");
    for (side, flags) in [("chosen", json!([false, false, "Easy."])), ("rejected", json!([true, true, null]))] {
        let of_side: Vec<&Value> = responses.iter().filter(|row| row["side"] == side).collect();
        assert_eq!(of_side.len(), 6);
        assert!(of_side.iter().all(|row| json!([row["truncated"], row["loop"], row["reasoning"]]) == flags));
    }
    let counts = counts(&workspace);
    assert_eq!((counts["pairs: kept"], counts["responses: rejected, cut off"]), (6, 6));
    assert_eq!((counts["responses: rejected, ending in a loop"], counts["responses: chosen, with thoughts"]), (6, 6));

    // Nothing is asked twice; two instructions more are four responses more, from wherever the server is now.
    assert_eq!((run(&workspace, &service, &[]).0, service.asked().len()), (Some(0), 0));
    let elsewhere = Service::start(answer);
    write(&workspace, 8);
    assert_eq!((run(&workspace, &elsewhere, &[]).0, elsewhere.asked().len()), (Some(0), 4));
    // Another revision is another model; the other side's responses are there.
    let other = ["--set", "stages.pairs.with.server.revision=another"];
    assert_eq!((run(&workspace, &elsewhere, &other).0, elsewhere.asked().len()), (Some(0), 8));
}

#[test]
fn what_a_server_refuses_or_garbles_is_recorded_and_the_rest_goes_on() {
    let (workspace, service) = (workspace(PIPELINE, 6), Service::start(answer));
    service.answer(|body| match (body["model"].as_str(), question(body)) {
        (Some("good"), "Say number 1.") => {
            let error = json!({"error": {"code": "context_length_exceeded", "message": TOKEN}});
            Reply::Status(400, error.to_string())
        }
        (Some("bad"), "Say number 4.") => Reply::Text(json!({"choices": [{"message": {}}]}).to_string()),
        _ => answer(body),
    });
    let (code, said) = run(&workspace, &service, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(rows(&workspace, "pairs").len(), 4);
    let failed: Vec<Value> =
        rows(&workspace, "pairs.responses").into_iter().filter(|row| row["fate"] == "failed").collect();
    let problems: Vec<(&str, &str, &Value)> = failed
        .iter()
        .map(|row| (row["prompt"].as_str().unwrap(), row["side"].as_str().unwrap(), &row["problem"]))
        .collect();
    let refused = json!("the server refuses the request: status 400 (context_length_exceeded)");
    let garbled = json!("the reply does not say that it ended by itself or at the limit");
    assert_eq!(
        problems,
        [
            ("Say number 1.", "chosen", &refused),
            ("Say number 1.", "rejected", &Value::Null),
            ("Say number 4.", "chosen", &Value::Null),
            ("Say number 4.", "rejected", &garbled),
        ]
    );
    let counts = counts(&workspace);
    assert_eq!((counts["pairs: dropped: failed"], counts["responses: chosen, failed"]), (2, 1));
    let log = workspace.succeeds(&["logs", "pairs"]).out;
    assert!(log.contains("\"Say number 1.\": the server refuses the request: status 400"), "{log}");
    // What failed is asked for again by the next run that needs it, and nothing else is.
    service.asked();
    service.answer(answer);
    write(&workspace, 7);
    assert_eq!(run(&workspace, &service, &[]).0, Some(0));
    let mut asked: Vec<String> = service
        .asked()
        .iter()
        .map(|asked| format!("{} {}", asked.body["model"].as_str().unwrap(), question(&asked.body)))
        .collect();
    asked.sort();
    assert_eq!(asked, ["bad Say number 4.", "bad Say number 6.", "good Say number 1.", "good Say number 6."]);
    assert_eq!(rows(&workspace, "pairs").len(), 7);
}

#[test]
fn a_server_that_goes_away_loses_no_response() {
    let (workspace, service) = (workspace(PIPELINE, 6), Service::start(answer));
    service.answer(|body| match question(body) {
        "Say number 3." => Reply::Status(503, json!({"error": {"code": "overloaded", "message": TOKEN}}).to_string()),
        _ => answer(body),
    });
    let (code, said) = run(&workspace, &service, &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("good left 1 of 6 requests unanswered, the last with: status 503 (overloaded)"), "{said}");
    assert!(said.contains("run again to go on from there"), "{said}");
    service.asked();
    service.answer(answer);
    assert_eq!(run(&workspace, &service, &[]).0, Some(0));
    // The other five of this side are kept; of the other side none was asked for yet.
    let asked = service.asked();
    let of_good: Vec<&str> =
        asked.iter().filter(|asked| asked.body["model"] == "good").map(|asked| question(&asked.body)).collect();
    assert_eq!((of_good, asked.len()), (vec!["Say number 3."], 7));

    // A server that answers nobody is left alone soon, and one that refuses everybody at once.
    write(&workspace, 60);
    service.answer(|_| Reply::Status(500, "{}".into()));
    let (code, said) = run(&workspace, &service, &["--set", "stages.pairs.with.server.concurrency=16"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("good left 16 of 54 requests unanswered"), "{said}");
    service.asked();
    service.answer(|_| Reply::Status(401, json!({"error": {"code": "invalid_api_key"}}).to_string()));
    let (code, said) = run(&workspace, &service, &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("the server of good refuses: status 401 (invalid_api_key)"), "{said}");
    assert!(service.asked().len() <= 8);
    assert!(workspace.files_with(TOKEN).is_empty());
}

#[test]
fn results_of_a_model_without_a_revision_are_never_shared() {
    let undeclared = PIPELINE.replace(", revision: 5f0b02c", "");
    let service = Service::start(answer);
    let remote = tempfile::tempdir().unwrap();
    let address = format!("file://{}", remote.path().join("remote").display());
    let with = ["--remote", address.as_str()];
    let (ana, ben) = (workspace(&undeclared, 3), workspace(&undeclared, 3));
    let (code, said) = run(&ana, &service, &with);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("remote-stored"), "{said}");
    // It is kept for who made it, and for nobody else; also when it is asked for.
    assert_eq!((service.asked().len(), run(&ana, &service, &with).0, service.asked().len()), (6, Some(0), 0));
    assert_eq!((run(&ben, &service, &with).0, service.asked().len()), (Some(0), 6));
    let pushed = ana.succeeds(&["cache", "push", "latest", "--remote", &address, "--json"]).out;
    assert_eq!(parse(&pushed)[0]["state"], "private", "{pushed}");
    for folder in ["cas", "ac", "rows"] {
        assert!(!remote.path().join("remote").join(folder).exists(), "{folder}");
    }
    let file = ana.path("results").display().to_string();
    let exported = ana.succeeds(&["cache", "export", "latest", "-o", &file]);
    assert!(exported.out.contains("0 results with 0 files"), "{}", exported.out);
    assert!(exported.err.contains("1 results are left out"), "{}", exported.err);
    // The key of a private result is its user's.
    let state = plan(&ana, &[]);
    assert_eq!(state_of(&state, "pairs")["state"], "hit");
    let explained = ana.succeeds(&["explain", "pipeline.yaml", "pairs", "--json"]).out;
    assert!(!explained.contains(&service.url()), "{explained}");

    // With a revision it is one for everybody.
    let (cid, dan) = (workspace(PIPELINE, 3), workspace(PIPELINE, 3));
    let (code, said) = run(&cid, &service, &with);
    assert_eq!((code, stages_with(&events(&said), "remote-stored")), (Some(0), vec!["pairs".to_owned()]), "{said}");
    service.asked();
    let (code, said) = run(&dan, &service, &with);
    assert_eq!((code, stages_with(&events(&said), "remote-fetched")), (Some(0), vec!["pairs".to_owned()]), "{said}");
    assert_eq!(service.asked().len(), 0);
}

#[test]
#[ignore = "needs root, to be two users; scripts/test runs it"]
fn users_of_one_store_share_declared_results_and_no_others() {
    /// A group and two of its users, none of whom needs an account here.
    const GROUP: u32 = 61_000;
    const USERS: [u32; 2] = [61_001, 61_002];
    let service = Service::start(answer);
    for (pipeline, of_the_other) in [(PIPELINE.replace(", revision: 5f0b02c", ""), 6), (PIPELINE.to_owned(), 0)] {
        let workspace = workspace(&pipeline, 3);
        std::fs::create_dir(workspace.cache()).unwrap();
        for path in [&workspace.path("."), &workspace.cache()] {
            std::os::unix::fs::chown(path, None, Some(GROUP)).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o2775)).unwrap();
        }
        let asked = |user: u32| {
            let mut command = command(&workspace, &service, &["run", "pipeline.yaml"]);
            let output = command.uid(user).gid(GROUP).env("HOME", "/nonexistent").output().unwrap();
            assert!(output.status.success(), "{user}: {}", String::from_utf8_lossy(&output.stderr));
            service.asked().len()
        };
        assert_eq!([asked(USERS[0]), asked(USERS[1])], [6, of_the_other], "neither the result nor its rows");
        assert_eq!(USERS.map(asked), [0, 0]);
    }
}

fn events(said: &str) -> Vec<Value> {
    said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn what_a_server_cannot_do_is_said_before_anything_runs() {
    let masked = "\
version: 1
name: masked
sources:
  tiny: {embedded: tiny}
  scores: {published-scores: scores.json}
  instructions: {instructions: instructions.jsonl}
stages:
  mask: {kind: build-mask, in: {scores: scores}, with: {select: top-k, count: 3}}
  pairs:
    kind: sample-pairs
    in: {mask: mask, instructions: instructions}
    with: {engine: openai, server: {model: good, revision: '1'}}
";
    let refused = |pipeline: &str, expected: &str| {
        let checked = workspace(pipeline, 1).run(&["check", "pipeline.yaml"]);
        assert_eq!(checked.code, Some(2), "{}", checked.err);
        assert!(checked.err.contains(expected), "{expected}: {}", checked.err);
    };
    refused(masked, "no mask can be applied on a server");
    refused(&masked.replace("mask: mask, ", "model: tiny, rejected-model: tiny, "), "leave the input `model` out");
    refused(&masked.replace("mask: mask, ", ""), "nothing tells the rejected answers from the chosen ones");
    refused(&masked.replace("engine: openai, ", ""), "is for `engine: openai`");
    refused(&masked.replace(", server: {model: good, revision: '1'}", ""), "`openai` needs `server`");
    refused(&masked.replace("model: good, ", ""), "name the model as the server does");
    refused(&masked.replace("model: good,", "model: good, concurrency: 0,"), "0 is not from 1 to 1024");
    // Rejected answers from a model here, beside those of a server.
    let (smaller, service) = (masked.replace("mask: mask, ", "rejected-model: tiny, "), Service::start(answer));
    let workspace = workspace(&smaller.replace("server: {", "max-new-tokens: 8, server: {"), 4);
    workspace.write("scores.json", "{\"0-0\": [1.0]}");
    let (code, said) = run(&workspace, &service, &["--only", "pairs"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((service.asked().len(), rows(&workspace, "pairs.responses").len()), (4, 8));
    let pairs = rows(&workspace, "pairs");
    assert!(
        !pairs.is_empty()
            && pairs.iter().all(|pair| pair["chosen"][0]["content"].as_str().unwrap().starts_with("Gladly"))
    );
}

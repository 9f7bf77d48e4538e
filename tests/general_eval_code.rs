//! Code that a model wrote, run in isolation.

mod support;

use serde_json::{Value, json};
use support::workspace::{Workspace, parse};

const PIPELINE: &str = "\
version: 1
name: code
sources:
  tiny: {embedded: tiny}
  humaneval: {evaluation-set: humaneval.jsonl}
stages:
  code:
    kind: general-eval
    in: {model: tiny, data: {code: humaneval}}
    with:
      tasks: {code: {type: code, max-new-tokens: 1}}
      program: /usr/bin/python3
      seconds: 2
      memory: 256
";

/// A problem that is solved but for a remark, so that its test decides.
fn problem(name: &str, test: &str) -> Value {
    let test: String = test.lines().map(|line| format!("    {line}\n")).collect();
    json!({
        "task_id": name, "prompt": "def one():\n    return 1  # ", "entry_point": "one",
        "test": format!("def check(candidate):\n{test}"),
    })
}

#[test]
#[ignore = "needs user namespaces and /usr/bin/python3; scripts/test runs it"]
fn programs_pass_fail_run_out_of_time_and_reach_nothing() {
    let workspace = Workspace::new(PIPELINE);
    let secret = workspace.path("secret.txt");
    workspace.write("secret.txt", "s");
    let secret = secret.to_str().unwrap();
    let problems = [
        (problem("right", "assert candidate() == 1"), "passed"),
        (problem("wrong", "assert candidate() == 2"), "failed"),
        (problem("ends before its test", "import sys\nsys.exit(0)"), "failed"),
        (problem("loops", "while True: pass"), "out of time"),
        (problem("sleeps", "import time\ntime.sleep(60)"), "out of time"),
        (problem("takes memory", "x = bytearray(1 << 30)"), "failed"),
        (
            problem(
                "has no network",
                "import socket\nlink = socket.socket()\nlink.settimeout(1)\ntry: link.connect(('192.0.2.1', 80))\nexcept OSError: return\nassert False",
            ),
            "passed",
        ),
        (
            problem(
                "sees and writes nothing",
                &format!(
                    "import os\nassert not os.path.exists({secret:?}) and not os.path.exists('/home') and not os.path.exists('/etc')\n\
                     assert os.listdir('/tmp') == ['program.py'] and not os.environ.get('RETMASK_CACHE')\n\
                     for place in ('/usr/x', '/usr/bin/x'):\n    try: open(place, 'w').write('x')\n    except OSError: continue\n    assert False, place\n\
                     assert os.listdir('/proc') == [] and os.listdir('/old') == []"
                ),
            ),
            "passed",
        ),
    ];
    let rows: String = problems.iter().map(|(problem, _)| format!("{problem}\n")).collect();
    workspace.write("humaneval.jsonl", &rows);
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let answers = parse(&workspace.succeeds(&["show", "code.answers", "--json"]).out);
    let outcomes: Vec<String> = answers
        .iter()
        .map(|row| {
            let facts: Value = serde_json::from_str(row["facts"].as_str().unwrap()).unwrap();
            facts["outcome"].as_str().unwrap().to_owned()
        })
        .collect();
    let named: Vec<(&str, &str)> = problems
        .iter()
        .zip(&outcomes)
        .map(|((problem, _), found)| (problem["task_id"].as_str().unwrap(), found.as_str()))
        .collect();
    let expected: Vec<(&str, &str)> =
        problems.iter().map(|(problem, outcome)| (problem["task_id"].as_str().unwrap(), *outcome)).collect();
    assert_eq!(named, expected);
    let summary = parse(&workspace.succeeds(&["show", "code.summary", "--json"]).out);
    assert_eq!(summary[0]["value"].as_f64(), Some(100.0 * 3.0 / 8.0));
    assert_eq!(workspace.read("secret.txt"), "s");
}

#[test]
fn where_no_isolation_is_to_be_had_nothing_runs() {
    let workspace = Workspace::new(PIPELINE);
    workspace.write("humaneval.jsonl", &format!("{}\n", problem("right", "assert candidate() == 1")));
    // A `unshare` that fails as on a system that forbids namespaces, and one that is missing.
    std::fs::create_dir(workspace.path("bin")).unwrap();
    let run = |path: &str| {
        let output = workspace.command(&["run", "pipeline.yaml"]).env("PATH", path).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let own = workspace.path("bin").to_str().unwrap().to_owned();
    if !std::path::Path::new("/usr/bin/python3").exists() {
        let (code, said) = run(&own);
        assert_eq!(code, Some(2), "{said}");
        return;
    }
    let (code, said) = run(&own);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("the program `unshare` is in no folder of PATH"), "{said}");
    workspace.write("bin/unshare", "#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(workspace.path("bin/unshare"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (code, said) = run(&own);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("code cannot be run in isolation on this system, so none is run: unshare: unshare failed"),
        "{said}"
    );
    assert!(said.contains("leave `program` out"), "{said}");
}

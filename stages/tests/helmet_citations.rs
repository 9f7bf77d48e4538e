//! `helmet-citations` against a service on this machine. The stage takes the service from the environment, so each test
//! runs it in a process of its own.

#[path = "../../tests/support/service.rs"]
#[allow(dead_code, reason = "each test file takes what it needs")]
mod service;
mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use retmask_stages::artifact::Media;
use retmask_stages::artifact::predictions::{self, Prediction};
use retmask_stages::contract::{Cancel, Context, Inputs, Kind, Outputs, SilentProgress};
use retmask_stages::helmet_citations::{HelmetCitations, Parameters};
use retmask_stages::helmet_score::{HelmetScore, Parameters as ScoreParameters};
use serde_json::{Value, json};
use service::{Reply, Service};

/// A premise entails a hypothesis that names one of its documents.
fn entails(body: &Value) -> Reply {
    let (premise, hypothesis) = (body["premise"].as_str().unwrap(), body["hypothesis"].as_str().unwrap());
    let named = premise.lines().filter_map(|line| line.strip_prefix("Title: ")).any(|title| hypothesis.contains(title));
    Reply::Text(json!({"entails": named}).to_string())
}

fn answers() -> Vec<Prediction> {
    let docs = json!([["Owl", "Owls."], ["Bee", "Bees."], ["Ant", "Ants."]]);
    let answer = |dataset: &str, example: u32, output: &str| Prediction {
        dataset: dataset.into(),
        length: 8_192,
        example,
        cluster: example.to_string(),
        output: output.into(),
        answers: vec!["a".into()],
        facts: json!({"docs": docs, "question": "Who?", "qa_pairs": [["a"]], "answers": [["Owl"]]}).to_string(),
        ..Prediction::default()
    };
    vec![
        // Entailed, the bee is too much; not cited; a document that was not shown.
        answer("alce_asqa", 0, "An Owl flies [1][2]. It is night. The Bee hums [7]. "),
        // Nothing that is a sentence.
        answer("alce_asqa", 1, "No"),
        answer("alce_qampari", 0, "Owl [1], Ant [2], Bee"),
    ]
}

/// What a child does: the stage, and then the scores with what it made.
#[test]
#[ignore = "run by the other tests in a process of its own"]
fn child() {
    let Some(folder) = std::env::var_os("CITATIONS_FOLDER") else { return };
    let folder = Path::new(&folder);
    let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder);
    let mut inputs = Inputs::default();
    inputs.insert("predictions", "", Media::Predictions, folder.join("answers"));
    if folder.join("punkt").is_dir() {
        inputs.insert("punkt", "", Media::PunktParameters, folder.join("punkt"));
    }
    let outputs = Outputs::new(folder);
    let run = HelmetCitations::run(&Parameters::default(), &inputs, &outputs, &context);
    let said = run.err().map(|error| format!("{:?}: {}", error.fault, error.message)).unwrap_or_default();
    std::fs::write(folder.join("said"), said).unwrap();
}

/// Runs the stage; what it said, and the values and notes it made.
fn checked(service: &Service, punkt: bool) -> (String, Vec<(String, u32, String, f64)>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    predictions::write(&folder.path().join("answers"), &answers()).unwrap();
    if punkt {
        std::fs::create_dir(folder.path().join("punkt")).unwrap();
        for file in retmask_stages::metrics::punkt::FILES {
            std::fs::write(folder.path().join("punkt").join(file), "").unwrap();
        }
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        child.env_remove(variable);
    }
    let status = child
        .args(["--exact", "child", "--ignored"])
        .env("CITATIONS_FOLDER", folder.path())
        .env("RETMASK_NLI_URL", service.url())
        .env("RETMASK_NLI_TIMEOUT", "1")
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
    let said = std::fs::read_to_string(folder.path().join("said")).unwrap();
    let mut values = Vec::new();
    if said.is_empty() {
        let batch = retmask_stages::artifact::table::read_any(&folder.path().join("scores")).unwrap();
        use arrow::array::AsArray;
        use arrow::datatypes::{Float64Type, UInt32Type};
        for row in 0..batch.num_rows() {
            let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().value(row).to_owned();
            let example = batch.column_by_name("example").unwrap().as_primitive::<UInt32Type>().value(row);
            let value = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>().value(row);
            values.push((text("dataset"), example, text("metric"), value));
        }
    }
    (said, values, folder)
}

#[test]
fn citations_are_checked_in_rounds_whatever_the_service_does_first() {
    let service = Service::start(entails);
    service.fail([
        Reply::Status(500, String::new()),
        Reply::Cut,
        Reply::Stall(std::time::Duration::from_secs(3)),
        Reply::Text("Yes, I think so.".into()),
        Reply::Text("{\"entails\": \"yes\"}".into()),
    ]);
    let (said, values, folder) = checked(&service, true);
    assert_eq!(said, "");
    let row = |dataset: &str, metric: &str, value: f64| (dataset.to_owned(), 0, metric.to_owned(), value);
    let expected = [
        // One of three statements; of two citations the owl.
        row("alce_asqa", "citation_rec", 1.0 / 3.0),
        row("alce_asqa", "citation_prec", 0.5),
        // The owl of three items; the ant is cited for a bee.
        row("alce_qampari", "citation_rec", 1.0 / 3.0),
        row("alce_qampari", "citation_prec", 0.5),
    ];
    assert_eq!(values, expected);
    // Three joint premises, two documents alone; all but the bee is the owl alone, which is known; and five faults.
    let mut pairs: Vec<Value> = service.asked().into_iter().map(|asked| asked.body).collect();
    assert_eq!(pairs.len(), 3 + 2 + 5);
    pairs.sort_by_key(Value::to_string);
    pairs.dedup();
    assert!(pairs.iter().all(|pair| pair["model"] == "google/t5_xxl_true_nli_mixture"));

    // Their scores make the category's numbers; the answer without a statement has none.
    let mut inputs = Inputs::default();
    inputs.insert("predictions", "", Media::Predictions, folder.path().join("answers"));
    inputs.insert("citations", "", Media::ExampleScores, folder.path().join("scores"));
    let scored = folder.path().join("scored");
    std::fs::create_dir(&scored).unwrap();
    let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder.path());
    HelmetScore::run(&ScoreParameters::default(), &inputs, &Outputs::new(&scored), &context).unwrap();
    let notes = retmask_stages::artifact::table::read_any(&scored.join("notes")).unwrap();
    let notes = format!("{notes:?}");
    assert!(notes.contains("1 of 2 examples scored") && !notes.contains("needs an entailment model"), "{notes}");
    // A score of an answer that is not there is refused by its row.
    let other: Vec<Prediction> = answers().into_iter().skip(1).collect();
    predictions::write(&folder.path().join("answers"), &other).unwrap();
    let error = HelmetScore::run(&ScoreParameters::default(), &inputs, &Outputs::new(&scored), &context).unwrap_err();
    assert!(error.message.starts_with("port `citations`: "), "{}", error.message);
    assert!(
        error.message.ends_with("row 0: there is no answer to example 0 of alce_asqa at length 8192"),
        "{}",
        error.message
    );
}

#[test]
fn an_endpoint_that_never_answers_well_gives_no_zero() {
    let service = Service::start(|body| match body["hypothesis"].as_str() {
        Some("Who? Owl") => Reply::Status(400, String::new()),
        _ => entails(body),
    });
    let (said, values, folder) = checked(&service, true);
    assert_eq!(said, "");
    assert!(values.iter().all(|(dataset, ..)| dataset == "alce_asqa"), "{values:?}");
    let notes = retmask_stages::artifact::table::read_any(&folder.path().join("notes")).unwrap();
    let notes = format!("{notes:?}");
    assert!(notes.contains("citations of 1 examples not checked: the service refuses the pair: status 400"), "{notes}");
    assert!(notes.contains("no statement, left out of the means as in HELMET"), "{notes}");

    let dead = Service::start(|_| Reply::Status(502, String::new()));
    let (said, ..) = checked(&dead, true);
    assert_eq!(said, "Environment: the entailment service does not answer: status 502");
    let (said, ..) = checked(&dead, false);
    assert!(
        said.starts_with("Input: ") && said.contains("alce_asqa needs Punkt's parameters at port `punkt`"),
        "{said}"
    );
}

/// Runs the stage with an entailment model of its own in this process: nothing is asked over HTTP.
fn with_model(name: &str, folder: &Path) -> retmask_stages::contract::StageResult<()> {
    predictions::write(&folder.join("answers"), &answers()).unwrap();
    std::fs::create_dir_all(folder.join("punkt")).unwrap();
    for file in retmask_stages::metrics::punkt::FILES {
        std::fs::write(folder.join("punkt").join(file), "").unwrap();
    }
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/entailment").join(name);
    let mut inputs = Inputs::default();
    inputs.insert("predictions", "", Media::Predictions, folder.join("answers"));
    inputs.insert("punkt", "", Media::PunktParameters, folder.join("punkt"));
    inputs.insert("entailment-model", "", Media::Model, model);
    let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder);
    HelmetCitations::run(&Parameters::default(), &inputs, &Outputs::new(folder), &context)
}

#[test]
fn a_model_that_is_run_here_gives_the_scores_of_its_own_verdicts() {
    use retmask_model::entailment::EntailmentModel;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/entailment");
    for name in ["deberta", "roberta", "t5"] {
        let folder = tempfile::tempdir().unwrap();
        with_model(name, folder.path()).unwrap();
        let batch = retmask_stages::artifact::table::read_any(&folder.path().join("scores")).unwrap();
        assert_eq!(batch.num_rows(), 4, "{name}");
        // The same verdicts through the service.
        let model = std::sync::Mutex::new(EntailmentModel::open(&fixtures.join(name), None).unwrap());
        let service = Service::start(move |body| {
            let text = |field: &str| body[field].as_str().unwrap();
            let verdict = model.lock().unwrap().entails(text("premise"), text("hypothesis")).unwrap().unwrap();
            Reply::Text(json!({"entails": verdict}).to_string())
        });
        let (said, _, served) = checked(&service, true);
        assert_eq!(said, "");
        for table in ["scores", "notes"] {
            let read = |folder: &Path| std::fs::read(folder.join(table)).unwrap();
            assert_eq!(read(folder.path()), read(served.path()), "{name}: {table}");
        }
    }
}

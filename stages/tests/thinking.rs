//! Models that reason before they answer, and windows stretched for it, in `helmet`.

#[path = "support/tiny_model.rs"]
mod tiny_model;

use std::path::Path;
use std::sync::Arc;

use retmask_model::spec::Yarn;
use retmask_stages::artifact::Media;
use retmask_stages::artifact::predictions::{self, Prediction};
use retmask_stages::contract::{Cancel, Context, Inputs, Kind, Outputs, SilentProgress, StageResult};
use retmask_stages::helmet::{ChatTemplate, Helmet, Parameters};

fn answers(root: &Path, parameters: &Parameters) -> StageResult<Vec<Prediction>> {
    Helmet::validate(parameters).expect("valid parameters");
    let mut inputs = Inputs::default();
    inputs.insert("model", "", Media::Model, root.join("model"));
    let folder = tempfile::tempdir().expect("a folder");
    let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder.path());
    Helmet::run(parameters, &inputs, &Outputs::new(folder.path()), &context)?;
    predictions::read(&Outputs::new(folder.path()).path("predictions"))
}

#[test]
fn a_model_that_thinks_gets_room_for_it_beyond_the_length() {
    let root = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(root.path().join("model")).expect("a folder");
    tiny_model::write(&root.path().join("model"));
    let plain = Parameters {
        datasets: vec!["json_kv".into()],
        length: 1_000,
        samples: Some(2),
        chat_template: ChatTemplate::Always,
        // The model's window is 512 tokens.
        yarn: Some(Yarn { factor: 4.0, original_context: 512 }),
        ..Parameters::default()
    };
    let thinking = Parameters { thinking: Some(true), thinking_tokens: 900, ..plain.clone() };
    let short = answers(root.path(), &plain).expect("answers");
    let long = answers(root.path(), &thinking).expect("answers");
    for (short, long) in short.iter().zip(&long) {
        assert_eq!(short.prompt_tokens, long.prompt_tokens, "thoughts take nothing from the prompt");
        assert_eq!((short.facts.contains("thoughts"), long.facts.contains(r#""thoughts":true"#)), (false, true));
        assert!(!short.output.starts_with("Corresponding value:"), "a chat has no prefix to put back");
        assert!(long.output.starts_with(&short.output), "the answer only goes on");
    }
    // json_kv's answers have at most 100 tokens.
    assert!(short.iter().all(|row| row.generated_tokens <= 100));
    assert!(long.iter().any(|row| (101..=1_000).contains(&row.generated_tokens)), "{long:?}");

    let error = answers(root.path(), &Parameters { yarn: None, ..plain }).expect_err("beyond the window");
    assert_eq!(error.message, "`length: 1000` exceeds the model's window of 512 tokens");
    let error =
        answers(root.path(), &Parameters { thinking_tokens: 1_500, ..thinking }).expect_err("beyond the window");
    assert!(error.message.starts_with("`length: 1000` and `thinking-tokens: 1500` together exceed"), "{error}");
    assert_eq!(error.hint.as_deref(), Some("lower `length` to at most 548, or stretch the window with `yarn`"));
}

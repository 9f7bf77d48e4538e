//! Entailment models against transformers, on tiny random ones (scripts/make-entailment-fixtures).

use std::path::{Path, PathBuf};

use retmask_model::entailment::{EntailmentModel, TooLong};
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/entailment")
}

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join("expected.json")).unwrap()).unwrap()
}

#[test]
fn logits_and_verdicts_are_those_of_transformers() {
    let expected = expected();
    assert_eq!(expected.as_object().unwrap().len(), 4);
    for (name, cases) in expected.as_object().unwrap() {
        let mut model = EntailmentModel::open(&fixtures().join(name), None).unwrap();
        for case in cases.as_array().unwrap() {
            let text = |field: &str| case[field].as_str().unwrap();
            let wanted: Vec<f64> = serde_json::from_value(case["logits"].clone()).unwrap();
            let found = model.logits(text("premise"), text("hypothesis")).unwrap().unwrap();
            assert_eq!(found.len(), wanted.len(), "{name}");
            let largest = wanted.iter().fold(1.0f64, |largest, logit| largest.max(logit.abs()));
            for (found, wanted) in found.iter().zip(&wanted) {
                // f32 through two layers of width 16 against f64: some hundred roundings of 6e-8, relative.
                assert!((f64::from(*found) - wanted).abs() < 2e-5 * largest, "{name}: {found} for {wanted}");
            }
            let entails = model.entails(text("premise"), text("hypothesis")).unwrap().unwrap();
            let wanted = match case.get("text") {
                Some(written) => written == "1",
                None => wanted[2] > wanted[0].max(wanted[1]),
            };
            assert_eq!(entails, wanted, "{name}: {}", text("hypothesis"));
        }
    }
}

/// A copy of a model with other settings.
fn changed(name: &str, change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(fixtures().join(name).join(file), folder.path().join(file)).unwrap();
    }
    let place = folder.path().join("config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&place).unwrap()).unwrap();
    change(config.as_object_mut().unwrap());
    std::fs::write(&place, config.to_string()).unwrap();
    folder
}

#[test]
fn a_pair_that_is_too_long_has_no_verdict() {
    let words = "mill ".repeat(120);
    let mut roberta = EntailmentModel::open(&fixtures().join("roberta"), None).unwrap();
    assert_eq!(roberta.entails(&words, "mill").unwrap(), Err(TooLong { tokens: 125, most: 94 }));
    // Where positions are relative nothing is too long.
    let mut deberta = EntailmentModel::open(&fixtures().join("deberta"), None).unwrap();
    assert!(deberta.entails(&words, "mill").unwrap().is_ok());
}

#[test]
fn what_is_no_entailment_model_is_refused_plainly() {
    let refused = |folder: &Path, label| EntailmentModel::open(folder, label).err().unwrap().message;
    let empty = tempfile::tempdir().unwrap();
    assert!(refused(empty.path(), None).ends_with("has no config.json"));
    let llama = changed("deberta", |config| drop(config.insert("model_type".into(), "llama".into())));
    assert!(refused(llama.path(), None).contains("`model_type` is `llama`; entailment models are of type deberta-v2"));
    let nameless =
        changed("deberta", |config| drop(config.insert("id2label".into(), json!({"0": "LABEL_0", "1": "LABEL_1"}))));
    assert!(
        refused(nameless.path(), None).contains("no class of config.json is called entailment: 0 LABEL_0, 1 LABEL_1")
    );
    assert!(refused(nameless.path(), Some(2)).contains("`entailment-label: 2`, but it has 2 classes"));
    // The weights have three classes.
    assert!(refused(nameless.path(), Some(1)).contains("the weights do not fit config.json"));
    let convolution = changed("deberta", |config| drop(config.insert("conv_kernel_size".into(), 3.into())));
    assert!(refused(convolution.path(), None).contains("with a convolution"));
    let small = changed("t5", |config| drop(config.insert("vocab_size".into(), 5.into())));
    assert!(refused(small.path(), None).contains("`vocab_size` is 5, but the tokenizer has a token with the id 25"));
    assert!(refused(&fixtures().join("t5"), Some(1)).contains("writes its verdict"));
    let without = changed("roberta", |_| {});
    std::fs::remove_file(without.path().join("model.safetensors")).unwrap();
    assert!(refused(without.path(), None).contains("has neither model.safetensors nor"));
    let broken = changed("roberta", |_| {});
    std::fs::write(broken.path().join("tokenizer.json"), "{").unwrap();
    assert!(refused(broken.path(), None).contains("no usable tokenizer"));
}

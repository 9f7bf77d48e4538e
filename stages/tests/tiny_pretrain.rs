//! Pre-training is deterministic, and its default parameters make the embedded model.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use retmask_model::embedded;
use retmask_stages::contract::{Cancel, Context, Inputs, Kind, Outputs, SilentProgress};
use retmask_stages::pretrain::{Parameters, Phase, Pretrain};

/// Trains and gives the model's files in order of their names.
fn pretrain(parameters: &Parameters) -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder.path());
    Pretrain::validate(parameters).unwrap();
    let outputs = Outputs::new(folder.path());
    Pretrain::run(parameters, &Inputs::default(), &outputs, &context).unwrap();
    assert!(outputs.path("metrics").is_file());
    files(&outputs.path("model"))
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

fn committed() -> Vec<(String, Vec<u8>)> {
    let files = embedded::find("tiny").expect("the model is built in");
    files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect()
}

/// Two steps of the default model.
fn short() -> Parameters {
    let phase = Phase { steps: 2, sequence_tokens: 200, batch_tokens: 600, ..Phase::default() };
    Parameters { phases: vec![phase], warmup_steps: 0, ..Parameters::default() }
}

#[test]
fn one_thread_and_three_train_the_same_model() {
    let with_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| pretrain(&short()))
    };
    let one = with_threads(1);
    assert!(one == with_threads(3), "the trained model depends on the number of threads");
    assert!(one != pretrain(&Parameters { seed: 2, ..short() }), "the seed changes nothing");
}

#[test]
fn the_committed_model_is_of_the_default_shape_with_its_tokenizer_and_template() {
    let trained = pretrain(&short());
    let committed = committed();
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&trained), names(&committed));
    for ((name, trained), (_, committed)) in trained.iter().zip(&committed) {
        if name == "model.safetensors" {
            assert_eq!(trained.len(), committed.len(), "{name}");
        } else {
            assert!(trained == committed, "{name} differs from the committed file");
        }
    }
    let bytes: usize = committed.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes <= 4 << 20, "the committed model takes {bytes} bytes");
}

#[test]
#[ignore = "trains for minutes; run with: cargo test --release --workspace --test tiny_pretrain -- --ignored"]
fn the_default_parameters_train_the_committed_model() {
    let trained = pretrain(&Parameters::default());
    assert!(trained == committed(), "training gives other files than those committed");
}

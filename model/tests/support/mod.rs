//! What several test files need: small models, and where the data of real-model tests lies.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::{Path, PathBuf};

use retmask_model::checkpoint::{self, Checkpoint, StoredType};
use retmask_model::random::Stream;
use retmask_model::spec::{
    AttentionBias, AttentionSpan, Family, LayerSpec, ModelSpec, NormPlacement, QueryKeyNorm, RotaryScaling, RotarySpec,
    TensorShape,
};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A committed file of `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The SmolLM2 file: `RETMASK_SMOLLM2`, or where `scripts/fetch-smollm2` puts it.
pub fn smollm2() -> PathBuf {
    let path = std::env::var_os("RETMASK_SMOLLM2")
        .map_or_else(|| repository().join("data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"), PathBuf::from);
    assert!(path.is_file(), "{} is missing; scripts/fetch-smollm2 brings it", path.display());
    path
}

/// The folder of reference values: `RETMASK_SHARED`, or `shared` beside the repository.
pub fn shared() -> PathBuf {
    let path = std::env::var_os("RETMASK_SHARED").map_or_else(|| repository().join("../shared"), PathBuf::from);
    assert!(path.is_dir(), "{} is missing; RETMASK_SHARED names the folder of reference values", path.display());
    path
}

/// A Llama of two layers and 1,296 weights.
pub fn tiny_spec() -> ModelSpec {
    ModelSpec {
        family: Family::Llama,
        vocabulary_size: 16,
        hidden_size: 8,
        intermediate_size: 12,
        query_heads: 2,
        key_value_heads: 1,
        head_dim: 4,
        context_length: 32,
        norm_epsilon: 1e-5,
        norm_placement: NormPlacement::Pre,
        query_key_norm: QueryKeyNorm::None,
        attention_bias: AttentionBias::None,
        mlp_bias: false,
        tied_embeddings: false,
        rotary: vec![RotarySpec { theta: 10_000.0, scaling: RotaryScaling::None }],
        layers: vec![LayerSpec { span: AttentionSpan::Full, rotary: 0 }; 2],
    }
}

/// Normal values that depend on the tensor's name only.
pub fn tiny_values(tensor: &TensorShape) -> Vec<f32> {
    let mut stream = Stream::derive(1, &[tensor.name.as_bytes()]);
    (0..tensor.values()).map(|_| stream.normal() as f32).collect()
}

/// Writes the model of [`tiny_spec`] and [`tiny_values`] into `folder`.
pub fn write_tiny(folder: &Path, stored_type: StoredType) {
    let mut values = |tensor: &TensorShape| Ok(tiny_values(tensor));
    checkpoint::write(folder, &tiny_spec(), stored_type, &mut values, None).expect("the model is written");
}

/// The message with which opening or reading a model fails.
pub fn refusal(path: &Path) -> String {
    let read = || {
        let checkpoint = Checkpoint::open(path)?;
        checkpoint
            .spec()
            .tensors()
            .iter()
            .try_for_each(|tensor| checkpoint.tensor(&tensor.name, &tensor.shape).map(drop))
    };
    let error = read().expect_err("the model is refused");
    assert_eq!(error.fault, retmask_model::Fault::Input, "{}", error.message);
    error.message
}

/// Changes a folder's config.json.
pub fn edit_config(folder: &Path, edit: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
    let path = folder.join("config.json");
    let text = fs::read_to_string(&path).expect("config.json");
    let mut config = serde_json::from_str(&text).expect("an object");
    edit(&mut config);
    fs::write(path, serde_json::to_string(&config).expect("JSON")).expect("config.json is written");
}

//! The models of every family that `scripts/make-family-fixtures` made, and what transformers computed with them.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use retmask_model::checkpoint::Checkpoint;
use retmask_model::decoder::{Decoder, Purpose};
use retmask_model::heads::{Head, HeadMask};
use retmask_model::spec::{Family, ModelSpec};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::Deserialize;

/// Largest difference of a log-probability from float64: f32 rounding through a few layers, with room for logits of
/// size 20.
pub const LOGPROB_TOLERANCE: f64 = 2e-4;

/// What all models are given.
#[derive(Deserialize)]
pub struct Inputs {
    /// 7 to 300 tokens each.
    pub sequences: Vec<Vec<u32>>,
    masked_heads: Vec<(u32, u32)>,
    pub pairs: Vec<Pair>,
    pub beta: f64,
}

#[derive(Deserialize)]
pub struct Pair {
    pub prompt: Vec<u32>,
    pub chosen: Vec<u32>,
    pub rejected: Vec<u32>,
}

impl Inputs {
    pub fn read() -> Self {
        let text = fs::read_to_string(folder().join("inputs.json")).expect("inputs.json");
        serde_json::from_str(&text).expect("inputs")
    }

    pub fn mask(&self) -> HeadMask {
        self.masked_heads.iter().map(|&(layer, head)| Head { layer, head }).collect()
    }

    pub fn sequences(&self) -> Vec<&[u32]> {
        self.sequences.iter().map(Vec::as_slice).collect()
    }
}

/// Where the models lie.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).ancestors().find_map(fixtures).expect("the fixtures of the model crate")
}

fn fixtures(above: &Path) -> Option<PathBuf> {
    ["tests/fixtures/families", "model/tests/fixtures/families"]
        .iter()
        .map(|place| above.join(place))
        .find(|place| place.is_dir())
}

/// A model and the reference values that belong to it.
pub struct Model {
    pub name: String,
    pub folder: PathBuf,
    pub checkpoint: Checkpoint,
    pub reference: BTreeMap<String, Vec<f64>>,
}

impl Model {
    pub fn named(name: &str) -> Self {
        let folder = folder().join(name);
        let checkpoint = Checkpoint::open(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
        let bytes = fs::read(folder.join("reference/values.safetensors")).expect("reference values");
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let reference = tensors
            .iter()
            .map(|(key, view)| {
                let values = match view.dtype() {
                    Dtype::F64 => {
                        view.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("8"))).collect()
                    }
                    Dtype::F32 => view
                        .data()
                        .chunks_exact(4)
                        .map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("4"))))
                        .collect(),
                    other => panic!("reference values of type {other:?}"),
                };
                (key.to_owned(), values)
            })
            .collect();
        Self { name: name.into(), folder, checkpoint, reference }
    }

    /// All models, by name.
    pub fn all() -> Vec<Self> {
        let mut names: Vec<String> = fs::read_dir(folder())
            .expect("the folder of models")
            .map(|entry| entry.expect("an entry"))
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        let models: Vec<Self> = names.iter().map(|name| Self::named(name)).collect();
        for family in Family::ALL {
            assert!(models.iter().any(|model| model.spec().family == family), "a model of `{family}` is there");
        }
        models
    }

    pub fn spec(&self) -> &ModelSpec {
        self.checkpoint.spec()
    }

    pub fn decoder(&self, purpose: Purpose) -> Decoder {
        self.decoder_with(self.spec().clone(), purpose)
    }

    /// The weights under other rules.
    pub fn decoder_with(&self, spec: ModelSpec, purpose: Purpose) -> Decoder {
        Decoder::build(spec, purpose, &mut |name, shape| self.checkpoint.tensor(name, shape))
            .expect("the decoder builds")
    }

    /// Reference log-probabilities of all sequences: `logprobs` or `masked`.
    pub fn expected(&self, kind: &str, sequences: usize) -> Vec<Vec<f64>> {
        (0..sequences).map(|number| self.reference[&format!("{kind}.{number}")].clone()).collect()
    }
}

/// Largest difference between two sets of log-probabilities of the same sequences.
pub fn largest_difference(found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let mut largest = 0.0f64;
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let difference = (found - expected).abs();
            assert!(difference.is_finite());
            largest = largest.max(difference);
        }
    }
    largest
}

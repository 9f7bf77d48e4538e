//! `build-mask` through its stage contract, on small score files.

use std::fs;
use std::sync::Arc;

use retmask_model::heads::{Head, HeadMask};
use retmask_stages::artifact::head_scores::HeadScores;
use retmask_stages::artifact::{Media, head_scores, mask};
use retmask_stages::build_mask::{BuildMask, Parameters, Select, Variant};
use retmask_stages::contract::{Cancel, Context, Fault, Inputs, Kind, Outputs, SilentProgress, StageResult};
use tempfile::TempDir;

/// 2 layers x 4 heads; means 0.1 (exactly), 0.5, 0, 0.5 / 0.0999, 0, 0, 0.25.
fn scores() -> HeadScores {
    let means = [0.1, 0.5, 0.0, 0.5, 0.0999, 0.0, 0.0, 0.25];
    let heads = (0..8).map(|index| Head { layer: index / 4, head: index % 4 });
    HeadScores::from_rows(heads.zip(means.map(|mean| vec![mean])).collect()).unwrap()
}

fn build(folder: &TempDir, parameters: &Parameters) -> StageResult<HeadMask> {
    let path = folder.path().join("scores");
    head_scores::write(&path, &scores())?;
    let mut inputs = Inputs::default();
    inputs.insert("scores", "", Media::HeadScores, path);
    let outputs = Outputs::new(folder.path());
    let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder.path());
    BuildMask::run(parameters, &inputs, &outputs, &context)?;
    mask::read(&outputs.path("mask"))
}

fn heads(pairs: &[(u32, u32)]) -> HeadMask {
    pairs.iter().map(|&(layer, head)| Head { layer, head }).collect()
}

#[test]
fn the_threshold_is_inclusive() {
    let folder = TempDir::new().unwrap();
    let mask = build(&folder, &Parameters::default()).unwrap();
    assert_eq!(mask, heads(&[(0, 0), (0, 1), (0, 3), (1, 3)]));
    let bytes = fs::read(folder.path().join("mask")).unwrap();
    build(&folder, &Parameters { tau: 0.0995, ..Parameters::default() }).map(|mask| assert_eq!(mask.len(), 5)).unwrap();
    // A threshold that chooses the same heads gives the same bytes: nothing of it is in the artifact.
    build(&folder, &Parameters { tau: 0.09995, ..Parameters::default() }).unwrap();
    assert_eq!(fs::read(folder.path().join("mask")).unwrap(), bytes);
}

#[test]
fn top_k_takes_the_best_and_breaks_ties_by_place() {
    let folder = TempDir::new().unwrap();
    let top = |count| Parameters { select: Select::TopK, count: Some(count), ..Parameters::default() };
    assert_eq!(build(&folder, &top(1)).unwrap(), heads(&[(0, 1)]));
    assert_eq!(build(&folder, &top(3)).unwrap(), heads(&[(0, 1), (0, 3), (1, 3)]));
    let error = build(&folder, &top(6)).unwrap_err();
    assert_eq!(error.fault, Fault::Input);
    assert!(error.message.contains("5 of 8 heads score above 0"), "{error}");
    assert!(error.hint.unwrap().contains("from 1 to 5"));
}

#[test]
fn the_variants_draw_as_many_heads_from_their_pools() {
    let folder = TempDir::new().unwrap();
    let retrieval = build(&folder, &Parameters::default()).unwrap();
    let mut draws = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let random = Parameters { variant: Variant::Random, seed, tau: 0.3, ..Parameters::default() };
        let mask = build(&folder, &random).unwrap();
        assert_eq!(mask.len(), 2);
        assert_eq!(mask, build(&folder, &random).unwrap());
        draws.insert(format!("{mask:?}"));
        let other = Parameters { variant: Variant::NonRetrieval, seed, ..Parameters::default() };
        let mask = build(&folder, &other).unwrap();
        assert_eq!(mask.len(), retrieval.len());
        assert!(mask.heads().all(|head| !retrieval.contains(head)));
    }
    // 28 pairs of 8 heads: 20 seeds that all gave one pair would mean that the seed is not used.
    assert!(draws.len() > 5, "{draws:?}");
}

#[test]
fn impossible_masks_are_refused_with_what_would_be_right() {
    let folder = TempDir::new().unwrap();
    let error = build(&folder, &Parameters { tau: 0.6, ..Parameters::default() }).unwrap_err();
    assert!(error.message.contains("would be empty") && error.message.contains("0.5000"), "{error}");
    let greedy = Parameters { tau: 0.05, variant: Variant::NonRetrieval, ..Parameters::default() };
    let error = build(&folder, &greedy).unwrap_err();
    assert!(error.message.contains("needs 5 heads") && error.message.contains("only 3 of 8"), "{error}");
    assert!(!folder.path().join("mask").exists());
}

#[test]
fn parameters_that_do_not_go_together_are_refused_by_name() {
    let field = |parameters: Parameters| BuildMask::validate(&parameters).unwrap_err().field;
    assert_eq!(field(Parameters { tau: f64::NAN, ..Parameters::default() }), "tau");
    assert_eq!(field(Parameters { tau: 0.0, ..Parameters::default() }), "tau");
    assert_eq!(field(Parameters { count: Some(3), ..Parameters::default() }), "count");
    assert_eq!(field(Parameters { select: Select::TopK, ..Parameters::default() }), "count");
    assert_eq!(field(Parameters { select: Select::TopK, count: Some(0), ..Parameters::default() }), "count");
    assert_eq!(field(Parameters { select: Select::TopK, count: Some(3), tau: 0.2, ..Parameters::default() }), "tau");
    BuildMask::validate(&Parameters::default()).unwrap();
}

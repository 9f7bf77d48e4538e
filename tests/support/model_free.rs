//! A pipeline whose stages need no model and take no time.

use super::workspace::Workspace;

/// Two masks of one score file, and generated data that depends on nothing.
const NO_MODEL: &str = "\
version: 1
name: model-free
params: {tau: 0.1, needles: 2, haystack: 64}
sources:
  scores: {published-scores: scores.json}
stages:
  data:
    kind: synthetic
    with: {needles: '${params.needles}', haystack-tokens: '${params.haystack}', instructions: 2}
    resources: {cpus: 1}
  mask:
    kind: build-mask
    in: {scores: scores}
    with: {tau: '${params.tau}'}
    resources: {cpus: 1}
  random:
    kind: build-mask
    in: {scores: scores}
    with: {variant: random, seed: 7}
    resources: {cpus: 1}
";

/// A folder with this pipeline and its scores.
pub fn workspace() -> Workspace {
    with_scores(NO_MODEL)
}

/// A folder with a pipeline that reads `scores.json`, and these scores: four layers of eight heads; head (l, h) scores
/// (8 l + h) / 100.
pub fn with_scores(pipeline: &str) -> Workspace {
    let workspace = Workspace::new(pipeline);
    let heads = (0..32).map(|head| format!("\"{}-{}\": [{}]", head / 8, head % 8, f64::from(head) / 100.0));
    workspace.write("scores.json", &format!("{{{}}}", heads.collect::<Vec<_>>().join(", ")));
    workspace
}

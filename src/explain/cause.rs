//! The fields that differ from the nearest result, and for inputs what made them differ, back to the first change.

use std::collections::VecDeque;

use retmask_cache::{Digest, Record};
use serde::Serialize;

use crate::error::Result;
use crate::pipeline::{Origin, StageIndex};
use crate::plan::{Comparison, Difference, NOT_KNOWN, Planner, Results};

/// A field that differs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    #[serde(flatten)]
    pub difference: Difference,
    /// Of an input: where it comes from now.
    #[serde(flatten)]
    pub from: Option<From>,
    /// Of an input: its content is known only when the stage has run, or the source is there. It may then be what it
    /// was.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub not_known: bool,
}

/// Where an input comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    Stage(String),
    Source(String),
}

/// A stage whose result differs from the one that the recorded result was made from, and why.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Upstream {
    pub stage: String,
    /// The fields in which its key differs from the recorded one's; none where the result is to be made again.
    pub causes: Vec<Cause>,
}

/// The causes behind what differs between a stage and a recorded result of its kind, and those behind the inputs that
/// differ, each stage once, the nearer ones first.
pub fn of(
    planner: &Planner<'_>,
    results: &Results,
    stage: StageIndex,
    record: &Record,
    comparison: &Comparison,
) -> Result<(Vec<Cause>, Vec<Upstream>)> {
    let mut open = VecDeque::new();
    let first = causes(planner, results, stage, record, comparison, &mut open)?;
    let (mut seen, mut upstream) = (Vec::new(), Vec::new());
    while let Some((stage, digest)) = open.pop_front() {
        let facts = planner.pipeline().stage(stage);
        let Some(old) = planner.recorded()?.maker(Some(facts.kind.name), &digest) else { continue };
        if seen.contains(&(stage, old.key)) {
            continue;
        }
        seen.push((stage, old.key));
        let comparison = planner.compared(stage, old, &planner.known_fields(stage, results)?);
        let causes = causes(planner, results, stage, old, &comparison, &mut open)?;
        upstream.push(Upstream { stage: facts.name.clone(), causes });
    }
    Ok((first, upstream))
}

/// What differs in a stage itself; its inputs that differ are put behind `open`, with the content they had.
fn causes(
    planner: &Planner<'_>,
    results: &Results,
    stage: StageIndex,
    record: &Record,
    comparison: &Comparison,
    open: &mut VecDeque<(StageIndex, Digest)>,
) -> Result<Vec<Cause>> {
    let pipeline = planner.pipeline();
    let mut list = Vec::with_capacity(comparison.differences.len());
    for difference in &comparison.differences {
        let mut cause = Cause { difference: difference.clone(), from: None, not_known: false };
        let input = difference.field.strip_prefix("in.");
        let binding =
            input.and_then(|input| pipeline.stage(stage).inputs.iter().find(|binding| binding.role() == input));
        if let (Some(input), Some(binding)) = (input, binding) {
            cause.not_known = planner.digest_of(binding, results)?.is_none();
            if cause.not_known {
                cause.difference.new = Some(NOT_KNOWN.to_owned());
            }
            cause.from = Some(match binding.origin {
                Origin::Source(source) => From::Source(pipeline.source(source).name.clone()),
                Origin::Stage { stage, .. } => {
                    open.extend(input_of(record, input).map(|digest| (stage, digest)));
                    From::Stage(pipeline.stage(stage).name.clone())
                }
            });
        }
        list.push(cause);
    }
    Ok(list)
}

/// The content of an input in a record's key.
fn input_of(record: &Record, role: &str) -> Option<Digest> {
    let inputs = record.provenance.fields["inputs"].as_array()?;
    inputs.iter().find(|input| input["role"] == role)?["digest"].as_str()?.parse().ok()
}

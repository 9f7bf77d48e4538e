//! A plan as JSON, for programs and for the record of a run.

use retmask_cache::{Digest, Key, Output};
use serde::Serialize;

use super::{HubFacts, Planner, Reason, SourceState, StagePlan, State};
use crate::pipeline::SourceIndex;

/// The plan: every source and every stage with its state and why.
pub fn plan_json<'p>(planner: &'p Planner<'_>, plan: &'p [StagePlan]) -> impl Serialize + 'p {
    let pipeline = planner.pipeline();
    let sources = pipeline.sources().iter().zip(&planner.sources).map(|(source, state)| Source {
        source: &source.name,
        media: source.media.name(),
        facts: SourceFacts::of(state),
    });
    let stages = plan.iter().map(|planned| {
        let stage = pipeline.stage(planned.stage);
        Stage {
            stage: &stage.name,
            kind: stage.kind.name,
            epoch: stage.kind.epoch,
            key: planned.resolved.as_ref().map(|resolved| resolved.key),
            facts: StageFacts::of(planner, &planned.state),
        }
    });
    Plan { pipeline: &pipeline.name, sources: sources.collect(), stages: stages.collect() }
}

#[derive(Serialize)]
struct Plan<'p> {
    pipeline: &'p str,
    sources: Vec<Source<'p>>,
    stages: Vec<Stage<'p>>,
}

#[derive(Serialize)]
struct Source<'p> {
    source: &'p str,
    media: &'static str,
    #[serde(flatten)]
    facts: SourceFacts<'p>,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum SourceFacts<'p> {
    Known {
        digest: Digest,
        #[serde(skip_serializing_if = "Option::is_none")]
        hub: Option<&'p HubFacts>,
    },
    ToFetch {
        message: &'p str,
        bytes: Option<u64>,
    },
    Missing {
        message: &'p str,
        hint: Option<&'p str>,
    },
    Unused,
}

impl<'p> SourceFacts<'p> {
    fn of(state: &'p SourceState) -> Self {
        match state {
            SourceState::Known(known) => Self::Known { digest: known.digest, hub: known.hub.as_ref() },
            SourceState::ToFetch { message, bytes } => Self::ToFetch { message, bytes: *bytes },
            SourceState::Missing { message, hint } => Self::Missing { message, hint: hint.as_deref() },
            SourceState::Unused => Self::Unused,
        }
    }
}

#[derive(Serialize)]
struct Stage<'p> {
    stage: &'p str,
    kind: &'static str,
    epoch: u32,
    key: Option<Key>,
    #[serde(flatten)]
    facts: StageFacts<'p>,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum StageFacts<'p> {
    Hit {
        outputs: &'p [Output],
    },
    Run {
        reason: &'p Reason,
        text: String,
    },
    Depends {
        on: Vec<&'p str>,
        #[serde(rename = "to-fetch", skip_serializing_if = "Option::is_none")]
        to_fetch: Option<Vec<&'p str>>,
    },
    Blocked {
        missing: Vec<&'p str>,
    },
}

impl<'p> StageFacts<'p> {
    fn of(planner: &'p Planner<'_>, state: &'p State) -> Self {
        let pipeline = planner.pipeline();
        let names = |sources: &[SourceIndex]| -> Vec<&'p str> {
            sources.iter().map(|&source| pipeline.source(source).name.as_str()).collect()
        };
        match state {
            State::Hit(record) => Self::Hit { outputs: &record.outputs },
            State::Run(reason) => Self::Run { reason, text: reason.to_string() },
            State::Depends(stages) => {
                let on = stages.iter().map(|&stage| pipeline.stage(stage).name.as_str()).collect();
                Self::Depends { on, to_fetch: None }
            }
            State::ToFetch(sources) => Self::Depends { on: Vec::new(), to_fetch: Some(names(sources)) },
            State::Blocked(sources) => Self::Blocked { missing: names(sources) },
        }
    }
}

//! A plan as JSON, for programs and for the record of a run.

use serde_json::{Value, json};

use super::{Planner, SourceState, StagePlan, State};

/// The plan: every source and every stage with its state and why.
pub fn plan_json(planner: &Planner<'_>, plan: &[StagePlan]) -> Value {
    let pipeline = planner.pipeline();
    let sources = pipeline.sources().iter().zip(&planner.sources).map(|(source, state)| {
        let mut object = json!({ "source": source.name, "media": source.media.name() });
        let facts = match state {
            SourceState::Known(known) => match &known.hub {
                None => json!({ "state": "known", "digest": known.digest }),
                Some(hub) => json!({ "state": "known", "digest": known.digest, "hub": hub }),
            },
            SourceState::ToFetch { message, bytes } => {
                json!({ "state": "to-fetch", "message": message, "bytes": bytes })
            }
            SourceState::Missing { message, hint } => json!({ "state": "missing", "message": message, "hint": hint }),
            SourceState::Unused => json!({ "state": "unused" }),
        };
        extend(&mut object, facts);
        object
    });
    let stages = plan.iter().map(|StagePlan { stage, resolved, state }| {
        let stage = pipeline.stage(*stage);
        let mut object = json!({
            "stage": stage.name,
            "kind": stage.kind.name,
            "epoch": stage.kind.epoch,
            "key": resolved.as_ref().map(|resolved| resolved.key),
        });
        extend(
            &mut object,
            match state {
                State::Hit(record) => json!({ "state": "hit", "outputs": record.outputs }),
                State::Run(reason) => json!({ "state": "run", "reason": reason, "text": reason.to_string() }),
                State::Depends(stages) => {
                    let names = stages.iter().map(|&stage| pipeline.stage(stage).name.clone());
                    json!({ "state": "depends", "on": names.collect::<Vec<_>>() })
                }
                State::ToFetch(sources) => {
                    let names = sources.iter().map(|&source| pipeline.source(source).name.clone());
                    json!({ "state": "depends", "on": [], "to-fetch": names.collect::<Vec<_>>() })
                }
                State::Blocked(sources) => {
                    let names = sources.iter().map(|&source| pipeline.source(source).name.clone());
                    json!({ "state": "blocked", "missing": names.collect::<Vec<_>>() })
                }
            },
        );
        object
    });
    json!({
        "pipeline": pipeline.name,
        "sources": sources.collect::<Vec<_>>(),
        "stages": stages.collect::<Vec<_>>(),
    })
}

fn extend(object: &mut Value, facts: Value) {
    if let (Value::Object(object), Value::Object(facts)) = (object, facts) {
        object.extend(facts);
    }
}

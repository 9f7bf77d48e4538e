//! Why a stage is a hit or will run, told before it runs: against the nearest result anywhere in the team's stores, down to
//! the fields that changed first, and with what it will cost by what earlier results cost.

mod cause;
mod forecast;

use jiff::Timestamp;
use retmask_cache::{Key, Output, Record};
use serde::Serialize;

pub use cause::{Cause, From, Upstream};
pub use forecast::Forecast;

use crate::error::Result;
use crate::pipeline::{SourceIndex, StageIndex};
use crate::plan::{Nearest, Planner, Reason, Results, StagePlan, State};
use crate::run::{self, MadeBy};

/// What will happen to a stage, and why.
#[derive(Debug, Serialize)]
pub struct Explanation {
    pub stage: String,
    pub kind: String,
    pub epoch: u32,
    /// Not known while it waits.
    pub key: Option<Key>,
    pub state: Verdict,
    /// The stages or sources it waits for.
    pub waits_for: Vec<String>,
    /// What happened to the result that was recorded under this very key.
    pub lost: Option<String>,
    /// Of a hit: the result.
    pub made: Option<Made>,
    /// Of a hit: its artifacts.
    pub outputs: Vec<Output>,
    /// Of a miss: the nearest result of this kind.
    pub nearest: Option<Near>,
    /// Of a miss: what making it costs.
    pub forecast: Option<Forecast>,
    /// What the stages cost that run before it, one after another; nothing when there are none.
    pub forecast_before: Option<Forecast>,
}

/// What will happen to a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Hit,
    Run,
    /// A run takes it from another store.
    Elsewhere,
    /// Its key is known only when other stages have run.
    Depends,
    /// Its key is known only when sources are downloaded.
    ToFetch,
    /// Sources are missing.
    Blocked,
}

/// When and by whom a result was made.
#[derive(Debug, Serialize)]
pub struct Made {
    pub key: Key,
    /// Not known where the record of the run is gone, or is another store's.
    #[serde(flatten)]
    pub by: Option<MadeBy>,
    /// The other store that has it, where this one has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    pub created: Timestamp,
    pub seconds: f64,
    pub bytes: u64,
}

/// The nearest result of a stage's kind.
#[derive(Debug, Serialize)]
pub struct Near {
    #[serde(flatten)]
    pub made: Made,
    /// Fields of the two keys together, and how many of them are equal.
    pub fields: usize,
    pub equal: usize,
    /// The others.
    pub causes: Vec<Cause>,
    /// The stages behind the inputs among them, back to what changed first.
    pub upstream: Vec<Upstream>,
}

impl Made {
    fn of(planner: &Planner<'_>, record: &Record) -> Result<Self> {
        Ok(Self {
            key: record.key,
            by: run::maker(planner.store(), &record.key)?,
            at: planner.elsewhere(record).map(str::to_owned),
            created: created(record),
            seconds: forecast::seconds(record),
            bytes: forecast::bytes(record),
        })
    }
}

/// When a record was made.
pub fn created(record: &Record) -> Timestamp {
    let milliseconds = i64::try_from(record.provenance.created_milliseconds).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
}

/// Explains these stages of a plan, in its order.
///
/// # Errors
/// `Environment` when the store cannot be read.
pub fn explain(planner: &Planner<'_>, plan: &[StagePlan], wanted: &[StageIndex]) -> Result<Vec<Explanation>> {
    let mut results: Results = vec![None; planner.pipeline().stages().len()];
    for stage in plan {
        results[stage.stage.0] = match (&stage.state, &stage.resolved) {
            (State::Hit(record), _) => Some(record.clone()),
            (State::Run(Reason::Elsewhere { .. }), Some(resolved)) => {
                planner.recorded_elsewhere(&resolved.key).cloned()
            }
            _ => None,
        };
    }
    let explained = plan.iter().enumerate().filter(|(_, stage)| wanted.contains(&stage.stage));
    explained.map(|(at, stage)| one(planner, &results, &plan[..at], stage)).collect()
}

fn one(planner: &Planner<'_>, results: &Results, before: &[StagePlan], plan: &StagePlan) -> Result<Explanation> {
    let pipeline = planner.pipeline();
    let stage = pipeline.stage(plan.stage);
    let mut explanation = Explanation {
        stage: stage.name.clone(),
        kind: stage.kind.name.to_owned(),
        epoch: stage.kind.epoch,
        key: plan.resolved.as_ref().map(|resolved| resolved.key),
        state: Verdict::Run,
        waits_for: Vec::new(),
        lost: None,
        made: None,
        outputs: Vec::new(),
        nearest: None,
        forecast: None,
        forecast_before: None,
    };
    let sources = |list: &[SourceIndex]| list.iter().map(|&source| pipeline.source(source).name.clone()).collect();
    match &plan.state {
        State::Hit(record) => {
            explanation.state = Verdict::Hit;
            explanation.made = Some(Made::of(planner, record)?);
            explanation.outputs.clone_from(&record.outputs);
            return Ok(explanation);
        }
        State::Run(Reason::Elsewhere { .. }) => {
            explanation.state = Verdict::Elsewhere;
            if let Some(record) = &results[plan.stage.0] {
                explanation.made = Some(Made::of(planner, record)?);
                explanation.outputs.clone_from(&record.outputs);
            }
            return Ok(explanation);
        }
        State::Run(Reason::Lost { what }) => explanation.lost = Some(what.clone()),
        State::Run(Reason::First | Reason::Changed { .. } | Reason::Forced) => {}
        State::Depends(stages) => {
            explanation.state = Verdict::Depends;
            explanation.waits_for = stages.iter().map(|&stage| pipeline.stage(stage).name.clone()).collect();
        }
        State::ToFetch(missing) => {
            explanation.state = Verdict::ToFetch;
            explanation.waits_for = sources(missing);
        }
        State::Blocked(missing) => {
            explanation.state = Verdict::Blocked;
            explanation.waits_for = sources(missing);
        }
    }
    let fields = planner.known_fields(plan.stage, results)?;
    if let Some(nearest) = planner.nearest(plan.stage, &fields)? {
        explanation.forecast = Some(Forecast::of(&nearest.equally));
        let Nearest { record, comparison, .. } = nearest;
        let (causes, upstream) = cause::of(planner, results, plan.stage, record, &comparison)?;
        explanation.nearest = Some(Near {
            made: Made::of(planner, record)?,
            fields: comparison.fields,
            equal: comparison.fields - comparison.differences.len(),
            causes,
            upstream,
        });
    }
    explanation.forecast_before = forecast_of(planner, results, plan.stage, before)?;
    Ok(explanation)
}

/// What those stages cost that a stage needs and that have no result.
fn forecast_of(
    planner: &Planner<'_>,
    results: &Results,
    stage: StageIndex,
    before: &[StagePlan],
) -> Result<Option<Forecast>> {
    let mut total: Option<Forecast> = None;
    let needed = planner.pipeline().needs(stage);
    for plan in before.iter().filter(|plan| results[plan.stage.0].is_none() && needed.contains(&plan.stage)) {
        let fields = planner.known_fields(plan.stage, results)?;
        let forecast = planner.nearest(plan.stage, &fields)?.map(|nearest| Forecast::of(&nearest.equally));
        total = Some(total.unwrap_or_default().and(forecast));
    }
    Ok(total)
}

//! What would happen to every stage of a pipeline.

use std::sync::Arc;

use retmask_cache::Record;

use super::{Found, Planner, Reason, Resolved, Results, SourceState};
use crate::error::Result;
use crate::pipeline::{Origin, SourceIndex, StageIndex};

/// What will happen to a stage.
#[derive(Debug)]
pub enum State {
    Hit(Arc<Record>),
    Run(Reason),
    /// Its key is known only when these stages have run.
    Depends(Vec<StageIndex>),
    /// Its key is known only when these sources are downloaded: its own or those of stages before it.
    ToFetch(Vec<SourceIndex>),
    /// These sources are missing: its own or those of stages before it.
    Blocked(Vec<SourceIndex>),
}

/// One stage of a plan.
#[derive(Debug)]
pub struct StagePlan {
    pub stage: StageIndex,
    /// `None` while it depends on others.
    pub resolved: Option<Arc<Resolved>>,
    pub state: State,
}

impl Planner<'_> {
    /// What would happen to every stage, in an order in which each comes after those it reads.
    pub fn plan(&self) -> Result<Vec<StagePlan>> {
        self.store.look_up_together(|| self.plan_all())?
    }

    fn plan_all(&self) -> Result<Vec<StagePlan>> {
        let mut results: Results = vec![None; self.pipeline.stages().len()];
        let mut absent: Vec<Vec<SourceIndex>> = vec![Vec::new(); results.len()];
        let mut plan = Vec::with_capacity(results.len());
        for &index in self.pipeline.order() {
            let resolved = self.resolve(index, &results)?;
            let state = match &resolved {
                Some(resolved) => match self.look_up(index, &resolved.key)? {
                    Found::Hit(record) => {
                        results[index.0] = Some(record.clone());
                        State::Hit(record)
                    }
                    Found::Miss(miss) => match self.elsewhere.records.get(&resolved.key) {
                        Some(record) => {
                            results[index.0] = Some(record.clone());
                            State::Run(Reason::Elsewhere { remote: self.elsewhere.address.clone() })
                        }
                        None => State::Run(self.explain(index, &resolved.fields(), &miss)?),
                    },
                    Found::Forced => State::Run(Reason::Forced),
                },
                None => self.unresolved(index, &results, &mut absent),
            };
            plan.push(StagePlan { stage: index, resolved: resolved.map(Arc::new), state });
        }
        Ok(plan)
    }

    /// `absent` are the sources that each stage seen before lacks, itself or through others.
    fn unresolved(&self, index: StageIndex, results: &Results, absent: &mut [Vec<SourceIndex>]) -> State {
        let (mut sources, mut stages) = (Vec::new(), Vec::new());
        for binding in &self.pipeline.stage(index).inputs {
            match binding.origin {
                Origin::Source(source) if !matches!(self.sources[source.0], SourceState::Known(_)) => {
                    sources.push(source);
                }
                Origin::Stage { stage, .. } if results[stage.0].is_none() => {
                    sources.extend(&absent[stage.0]);
                    stages.push(stage);
                }
                _ => {}
            }
        }
        sources.sort_unstable();
        sources.dedup();
        stages.sort_unstable();
        stages.dedup();
        if sources.is_empty() {
            return State::Depends(stages);
        }
        absent[index.0].clone_from(&sources);
        let (missing, to_fetch): (Vec<_>, Vec<_>) = sources
            .into_iter()
            .partition(|source: &SourceIndex| matches!(self.sources[source.0], SourceState::Missing { .. }));
        if missing.is_empty() { State::ToFetch(to_fetch) } else { State::Blocked(missing) }
    }
}

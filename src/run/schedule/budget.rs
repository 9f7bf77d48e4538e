//! CPUs and memory that running stages share.

use std::num::{NonZeroU64, NonZeroUsize};

use crate::pipeline::Resources;

/// What a run has at its disposal.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    pub cpus: NonZeroUsize,
    /// Bytes; not limited when not known.
    pub memory: Option<u64>,
}

/// What one stage takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    pub cpus: NonZeroUsize,
    /// Bytes.
    pub memory: u64,
}

/// What of the budget is not taken.
#[derive(Debug)]
pub struct Free {
    budget: Budget,
    cpus: usize,
    memory: Option<u64>,
}

impl Free {
    /// All of it.
    pub fn new(budget: Budget) -> Self {
        Self { budget, cpus: budget.cpus.get(), memory: budget.memory }
    }

    /// What a stage with these resources takes: all CPUs when it does not say. One that asks for more than there
    /// is runs alone with all there is.
    pub fn demand(&self, resources: Resources) -> Demand {
        let cpus = resources.cpus.and_then(|cpus| NonZeroUsize::try_from(cpus).ok()).unwrap_or(self.budget.cpus);
        let memory = resources.memory.map_or(0, NonZeroU64::get);
        Demand { cpus: cpus.min(self.budget.cpus), memory: self.budget.memory.map_or(0, |all| memory.min(all)) }
    }

    /// Whether it is free now.
    pub fn fits(&self, demand: Demand) -> bool {
        demand.cpus.get() <= self.cpus && self.memory.is_none_or(|free| demand.memory <= free)
    }

    /// Takes what fits.
    pub fn take(&mut self, demand: Demand) {
        self.cpus -= demand.cpus.get();
        self.memory = self.memory.map(|free| free - demand.memory);
    }

    /// Gives back what was taken.
    pub fn release(&mut self, demand: Demand) {
        self.cpus += demand.cpus.get();
        self.memory = self.memory.map(|free| free + demand.memory);
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};

    use super::{Budget, Free};
    use crate::pipeline::Resources;

    fn resources(cpus: u32, memory: u64) -> Resources {
        Resources { cpus: NonZeroU32::new(cpus), memory: NonZeroU64::new(memory) }
    }

    #[test]
    fn stages_share_what_there_is_and_give_it_back() {
        let mut free = Free::new(Budget { cpus: NonZeroUsize::new(4).unwrap(), memory: Some(100) });
        let small = free.demand(resources(1, 60));
        free.take(small);
        assert!(free.fits(free.demand(resources(3, 40))));
        assert!(!free.fits(free.demand(resources(1, 41))), "memory");
        assert!(!free.fits(free.demand(resources(0, 0))), "a stage that does not say takes every CPU");
        free.release(small);
        assert!(free.fits(free.demand(resources(0, 0))));
    }

    #[test]
    fn a_stage_that_wants_more_than_there_is_can_run_alone() {
        let free = Free::new(Budget { cpus: NonZeroUsize::new(2).unwrap(), memory: Some(100) });
        assert!(free.fits(free.demand(resources(64, 1_000))));
    }
}

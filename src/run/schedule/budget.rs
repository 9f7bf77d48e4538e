//! CPUs, memory and GPUs that running stages share.

use std::num::{NonZeroU64, NonZeroUsize};

use crate::pipeline::Resources;

/// What a run has at its disposal.
#[derive(Debug, Clone)]
pub struct Budget {
    pub cpus: NonZeroUsize,
    /// Bytes; not limited when not known.
    pub memory: Option<u64>,
    /// GPUs by their ids.
    pub gpus: Vec<String>,
}

/// What one stage takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    pub cpus: NonZeroUsize,
    /// Bytes.
    pub memory: u64,
    pub gpus: usize,
}

/// What of the budget is not taken.
#[derive(Debug)]
pub struct Free {
    budget: Budget,
    cpus: usize,
    memory: Option<u64>,
    gpus: Vec<String>,
}

impl Free {
    /// All of it.
    pub fn new(budget: Budget) -> Self {
        Self { cpus: budget.cpus.get(), memory: budget.memory, gpus: budget.gpus.clone(), budget }
    }

    /// What a stage with these resources takes: all CPUs when it does not say. One that asks for more CPUs or memory than
    /// there is runs alone with all there is; GPUs it has or has not.
    pub fn demand(&self, resources: Resources) -> Demand {
        let cpus = resources.cpus.and_then(|cpus| NonZeroUsize::try_from(cpus).ok()).unwrap_or(self.budget.cpus);
        let memory = resources.memory.map_or(0, NonZeroU64::get);
        let gpus = resources.gpus.map_or(0, |gpus| gpus.get() as usize);
        let memory = self.budget.memory.map_or(0, |all| memory.min(all));
        Demand { cpus: cpus.min(self.budget.cpus), memory, gpus }
    }

    /// How many GPUs there are, where a stage wants more of them than that.
    pub fn too_few_gpus(&self, demand: Demand) -> Option<usize> {
        (demand.gpus > self.budget.gpus.len()).then_some(self.budget.gpus.len())
    }

    /// Whether it is free now.
    pub fn fits(&self, demand: Demand) -> bool {
        let memory = self.memory.is_none_or(|free| demand.memory <= free);
        demand.cpus.get() <= self.cpus && memory && demand.gpus <= self.gpus.len()
    }

    /// Takes what fits; gives the GPUs.
    pub fn take(&mut self, demand: Demand) -> Vec<String> {
        self.cpus -= demand.cpus.get();
        self.memory = self.memory.map(|free| free - demand.memory);
        self.gpus.drain(..demand.gpus).collect()
    }

    /// Gives back what was taken.
    pub fn release(&mut self, demand: Demand, gpus: Vec<String>) {
        self.cpus += demand.cpus.get();
        self.memory = self.memory.map(|free| free + demand.memory);
        self.gpus.extend(gpus);
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};

    use super::{Budget, Free};
    use crate::pipeline::Resources;

    fn resources(cpus: u32, memory: u64) -> Resources {
        Resources { cpus: NonZeroU32::new(cpus), memory: NonZeroU64::new(memory), ..Resources::default() }
    }

    fn budget(cpus: usize, gpus: &[&str]) -> Budget {
        let gpus = gpus.iter().map(|gpu| (*gpu).to_owned()).collect();
        Budget { cpus: NonZeroUsize::new(cpus).unwrap(), memory: Some(100), gpus }
    }

    #[test]
    fn no_gpu_is_handed_out_twice() {
        let mut free = Free::new(budget(8, &["0", "2", "5"]));
        let two = free.demand(Resources { gpus: NonZeroU32::new(2), ..resources(1, 0) });
        assert_eq!((free.too_few_gpus(two), free.fits(two)), (None, true));
        let taken = free.take(two);
        assert_eq!(taken, ["0", "2"]);
        assert!(!free.fits(two), "one is left");
        free.release(two, taken);
        assert!(free.fits(two));
        let four = free.demand(Resources { gpus: NonZeroU32::new(4), ..resources(1, 0) });
        assert_eq!(free.too_few_gpus(four), Some(3));
    }

    #[test]
    fn stages_share_what_there_is_and_give_it_back() {
        let mut free = Free::new(budget(4, &[]));
        let small = free.demand(resources(1, 60));
        let gpus = free.take(small);
        assert!(free.fits(free.demand(resources(3, 40))));
        assert!(!free.fits(free.demand(resources(1, 41))), "memory");
        assert!(!free.fits(free.demand(resources(0, 0))), "a stage that does not say takes every CPU");
        free.release(small, gpus);
        assert!(free.fits(free.demand(resources(0, 0))));
    }

    #[test]
    fn a_stage_that_wants_more_than_there_is_can_run_alone() {
        let free = Free::new(budget(2, &[]));
        assert!(free.fits(free.demand(resources(64, 1_000))));
    }
}

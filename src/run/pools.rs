//! Threads that stages compute on, kept from one stage to the next: a pipeline of many small stages would start more
//! threads than it computes.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use rayon::ThreadPool;

use crate::error::{Error, Result};

/// Thread pools that no stage has at the moment.
#[derive(Debug, Default)]
pub struct Pools(Mutex<Vec<ThreadPool>>);

impl Pools {
    /// Does work on a pool of its own with this many threads.
    ///
    /// # Errors
    /// `Environment` when threads cannot be started.
    pub fn install<T: Send>(&self, threads: NonZeroUsize, work: impl FnOnce() -> T + Send) -> Result<T> {
        let free = {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = free.iter().position(|pool| pool.current_num_threads() == threads.get());
            fits.map(|index| free.swap_remove(index))
        };
        let pool = match free {
            Some(pool) => pool,
            None => rayon::ThreadPoolBuilder::new()
                .num_threads(threads.get())
                .thread_name(|index| format!("stage-{index}"))
                .build()
                .map_err(|error| Error::environment(format!("cannot start {threads} threads: {error}")))?,
        };
        // A panic ends this without giving the pool back; another one is then started.
        let result = pool.install(work);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(pool);
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::Pools;

    #[test]
    fn a_pool_is_used_again_for_as_many_threads() {
        let pools = Pools::default();
        let threads = |count| {
            let count = NonZeroUsize::new(count).unwrap();
            pools.install(count, rayon::current_num_threads).unwrap()
        };
        assert_eq!([threads(2), threads(1), threads(2)], [2, 1, 2]);
        assert_eq!(pools.0.lock().unwrap().len(), 2);
    }
}

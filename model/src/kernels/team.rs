//! Threads that wait for the next piece of work awake.
//!
//! A pass over a decoder is hundreds of short pieces of work, each shared out among the threads and over in some ten
//! microseconds, with less than that between them. rayon's threads fall asleep in between, and to wake one costs as much as
//! the piece does. The helpers of a team look for the next piece for a while before they sleep. Each thread that shares out
//! work at the moment has a team, with as many threads as its rayon pool; who computes what changes no bit.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

/// How often a helper looks for work before it sleeps: a tenth of a millisecond or two.
const LOOKS: u32 = 8_000;
/// How often the caller looks whether its helpers are done before it lets other threads have the processor.
const LOOKS_AT_END: u32 = 20_000;
/// Most helpers of all teams, as a multiple of those of one. Beyond, rayon shares out the work.
const TEAMS: usize = 4;

/// Does tasks 0 to `tasks`, each once, on as many threads as the current rayon pool has. What a task shares out in turn is
/// done where it stands.
///
/// # Panics
/// With what a task panics with, when all have ended.
pub fn for_each(tasks: usize, task: impl Fn(usize) + Sync + Send) {
    let threads = rayon::current_num_threads();
    if tasks < 2 || threads < 2 || IN_TASK.get() || tasks as u64 > LOWER {
        return (0..tasks).for_each(task);
    }
    let Some(team) = Team::free(threads - 1) else { return (0..tasks).into_par_iter().for_each(task) };
    let outcome = team.run(tasks, &task);
    team.give_back();
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// Gives each item, with its number, to a task of its own.
///
/// # Panics
/// As [`for_each`].
pub fn each<T: Send>(items: Vec<T>, task: impl Fn(usize, T) + Sync + Send) {
    let items: Vec<Mutex<Option<T>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    for_each(items.len(), |index| {
        let item = lock(&items[index]).take();
        if let Some(item) = item {
            task(index, item);
        }
    });
}

/// What `map` makes of each item, in their order.
///
/// # Panics
/// As [`for_each`].
pub fn map<T: Send, R: Send>(items: Vec<T>, map: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    each(items.into_iter().zip(&mut results).collect(), |_, (item, result)| *result = Some(map(item)));
    results.into_iter().flatten().collect()
}

/// Gives each chunk of `size` values, with its number, to a task of its own.
///
/// # Panics
/// As [`for_each`]; when `size` is 0.
pub fn chunks_mut<T: Send>(values: &mut [T], size: usize, task: impl Fn(usize, &mut [T]) + Sync + Send) {
    each(values.chunks_mut(size).collect(), task);
}

thread_local! {
    /// Whether this thread is doing a task.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// Teams that nobody works with at the moment.
static FREE: Mutex<Vec<Team>> = Mutex::new(Vec::new());
/// Helpers of all teams.
static HELPERS: AtomicUsize = AtomicUsize::new(0);

/// The helpers of one thread.
struct Team {
    helpers: usize,
    board: Arc<Board>,
}

impl Team {
    /// A team with this many helpers; `None` when there are too many helpers already or no thread can be started.
    fn free(helpers: usize) -> Option<Self> {
        let mut free = lock(&FREE);
        if let Some(place) = free.iter().position(|team| team.helpers == helpers) {
            return Some(free.swap_remove(place));
        }
        drop(free);
        if HELPERS.fetch_add(helpers, Ordering::Relaxed) >= TEAMS * helpers {
            HELPERS.fetch_sub(helpers, Ordering::Relaxed);
            return None;
        }
        let board = Arc::new(Board::of(helpers + 1));
        for number in 1..=helpers {
            let board = board.clone();
            let started =
                std::thread::Builder::new().name(format!("helper-{number}")).spawn(move || board.help(number));
            if started.is_err() {
                // Those that were started sleep.
                return None;
            }
        }
        Some(Self { helpers, board })
    }

    fn give_back(self) {
        lock(&FREE).push(self);
    }

    /// Does all tasks; with what one of them panicked with as the error.
    fn run<F: Fn(usize) + Sync>(&self, tasks: usize, task: &F) -> Result<(), Box<dyn Any + Send>> {
        /// # Safety
        /// `task` must point to an `F`.
        unsafe fn call<F: Fn(usize)>(task: *const (), index: usize) {
            // SAFETY: passed on to the caller.
            unsafe { (*task.cast::<F>())(index) }
        }
        let job = Job { task: std::ptr::from_ref(task).cast(), call: call::<F> };
        let board = &*self.board;
        let members = board.ranges.len();
        for (member, range) in board.ranges.iter().enumerate() {
            range.set(member * tasks / members..(member + 1) * tasks / members);
        }
        board.job.store(std::ptr::from_ref(&job).cast_mut(), Ordering::Relaxed);
        // SeqCst: either a helper that is about to sleep sees the work, or this thread sees that it sleeps.
        board.state.fetch_add(OPEN, Ordering::SeqCst);
        if board.sleeping.load(Ordering::SeqCst) > 0 {
            drop(lock(&board.bed));
            board.woken.notify_all();
        }
        // SAFETY: the job and what it points to live until this function returns.
        unsafe { board.work(&job, 0) };
        // No helper begins from here on; those that did are waited for.
        board.state.fetch_add(CLOSED, Ordering::Relaxed);
        let mut looks = 0;
        while board.state.load(Ordering::Acquire) & HELPING != 0 {
            looks += 1;
            if looks < LOOKS_AT_END { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        lock(&board.panic).take().map_or(Ok(()), Err)
    }
}

/// Tasks of one kind.
struct Job {
    task: *const (),
    call: unsafe fn(*const (), usize),
}

/// Tasks that nobody has begun, in a cache line of their own: the first in the lower half, the end in the upper.
#[derive(Default)]
#[repr(align(64))]
struct Range(AtomicU64);

impl Range {
    fn set(&self, tasks: std::ops::Range<usize>) {
        self.0.store(tasks.start as u64 | (tasks.end as u64) << 32, Ordering::Relaxed);
    }

    /// Takes a task: the first for whom the range is, the last for others, so that neighbours stay with one thread, which
    /// reads ahead.
    fn take(&self, first: bool) -> Option<usize> {
        let (start, end) = (|tasks: u64| tasks & LOWER, |tasks: u64| tasks >> 32);
        let without = |tasks: u64| {
            let left = if first { tasks + 1 } else { tasks.wrapping_sub(1 << 32) };
            (start(tasks) < end(tasks)).then_some(left)
        };
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, without).ok()?;
        Some(if first { start(before) } else { end(before) - 1 } as usize)
    }
}

/// Where a team's work is pinned up.
struct Board {
    /// How many helpers are at the job (the lower half), whether it is open (the bit above), and how many jobs there were.
    state: AtomicU64,
    job: AtomicPtr<Job>,
    /// Of each member, its caller first.
    ranges: Vec<Range>,
    /// What a task of this job panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleeping: AtomicU32,
    bed: Mutex<()>,
    woken: Condvar,
}

const LOWER: u64 = (1 << 32) - 1;
/// The helpers at the job.
const HELPING: u64 = LOWER;
/// Added when a job is opened, and again when it is closed, which carries into the number of jobs.
const OPEN: u64 = 1 << 32;
const CLOSED: u64 = OPEN;

/// The number of the job that is open.
fn number(state: u64) -> u64 {
    state >> 33
}

impl Board {
    fn of(members: usize) -> Self {
        Self {
            state: AtomicU64::new(0),
            job: AtomicPtr::default(),
            ranges: (0..members).map(|_| Range::default()).collect(),
            panic: Mutex::new(None),
            sleeping: AtomicU32::new(0),
            bed: Mutex::new(()),
            woken: Condvar::new(),
        }
    }

    /// The life of the helper that is this member.
    fn help(&self, member: usize) {
        // A job that was done stays open until its caller sees that too.
        let mut done = None;
        loop {
            self.wait_for_other_than(done);
            // Joins the job unless it was closed meanwhile.
            let join = |state: u64| (state & OPEN != 0).then_some(state + 1);
            let Ok(joined) = self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, join) else { continue };
            // SAFETY: the caller of `run` waits for who has joined, and the job lives as long.
            unsafe { self.work(&*self.job.load(Ordering::Relaxed), member) };
            self.state.fetch_sub(1, Ordering::Release);
            done = Some(number(joined));
        }
    }

    /// Returns when a job is open that is not the one of this number: awake for a while, then asleep.
    fn wait_for_other_than(&self, done: Option<u64>) {
        let is_there = |state: u64| state & OPEN != 0 && Some(number(state)) != done;
        for _ in 0..LOOKS {
            if is_there(self.state.load(Ordering::Relaxed)) {
                return;
            }
            std::hint::spin_loop();
        }
        let mut bed = lock(&self.bed);
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        while !is_there(self.state.load(Ordering::SeqCst)) {
            bed = self.woken.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleeping.fetch_sub(1, Ordering::Relaxed);
    }

    /// Does this member's tasks, then what is left of others'.
    ///
    /// # Safety
    /// What the job points to must be there.
    unsafe fn work(&self, job: &Job, member: usize) {
        IN_TASK.set(true);
        let (before, after) = self.ranges.split_at(member);
        for (place, range) in after.iter().chain(before).enumerate() {
            while let Some(index) = range.take(place == 0) {
                // SAFETY: passed on to the caller.
                let outcome = catch_unwind(AssertUnwindSafe(|| unsafe { (job.call)(job.task, index) }));
                if let Err(panic) = outcome {
                    // The others need not begin.
                    self.ranges.iter().for_each(|range| range.set(0..0));
                    lock(&self.panic).get_or_insert(panic);
                }
            }
        }
        IN_TASK.set(false);
    }
}

/// What a mutex holds; a panic elsewhere leaves nothing half done in those of this file.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Runs on a pool of its own, whatever the machine has.
    fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    }

    #[test]
    fn every_task_is_done_once_however_many_follow_each_other() {
        for threads in [1, 2, 5] {
            on_threads(threads, || {
                for round in 0..2_000 {
                    let tasks = round % 23;
                    let done: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                    for_each(tasks, |index| {
                        done[index].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{threads} {round}");
                }
            });
        }
    }

    #[test]
    fn helpers_that_sleep_are_woken_and_share_the_work() {
        on_threads(3, || {
            for _ in 0..3 {
                // Longer than they stay awake.
                std::thread::sleep(std::time::Duration::from_millis(20));
                let (there, all) = (AtomicUsize::new(0), 3);
                // Each waits for the others: three threads must come.
                for_each(all, |_| {
                    there.fetch_add(1, Ordering::SeqCst);
                    while there.load(Ordering::SeqCst) < all {
                        std::thread::yield_now();
                    }
                });
            }
        });
    }

    #[test]
    fn results_come_in_order_and_work_within_tasks_is_done_where_it_stands() {
        on_threads(4, || {
            let found = map((0..100).collect(), |value: usize| {
                let thread = std::thread::current().id();
                let sum = AtomicUsize::new(0);
                for_each(value, |index| {
                    assert_eq!(std::thread::current().id(), thread);
                    sum.fetch_add(index, Ordering::Relaxed);
                });
                (value, sum.into_inner())
            });
            for (index, (value, sum)) in found.into_iter().enumerate() {
                assert_eq!((value, sum), (index, (0..index).sum()));
            }
        });
        let mut values = [0; 10];
        chunks_mut(&mut values, 4, |number, chunk| chunk.fill(number));
        assert_eq!(values, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
    }

    #[test]
    fn threads_that_share_out_work_at_the_same_time_do_not_mix_it() {
        let sums: Vec<usize> = std::thread::scope(|scope| {
            let one = |seed: usize| {
                on_threads(2, || {
                    let sum = AtomicUsize::new(0);
                    for _ in 0..500 {
                        for_each(7, |index| {
                            sum.fetch_add(seed + index, Ordering::Relaxed);
                        });
                    }
                    sum.into_inner()
                })
            };
            let threads: Vec<_> = (0..12).map(|seed| scope.spawn(move || one(seed))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(sums, (0..12).map(|seed| 500 * (7 * seed + 21)).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        on_threads(2, || {
            for _ in 0..3 {
                let outcome = catch_unwind(|| for_each(50, |index| assert!(index != 30, "task thirty")));
                let message = *outcome.unwrap_err().downcast::<&str>().unwrap();
                assert_eq!(message, "task thirty");
                assert_eq!(map(vec![1, 2, 3], |value| value * value), [1, 4, 9]);
            }
        });
    }
}

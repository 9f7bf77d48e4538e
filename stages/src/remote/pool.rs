//! Several requests at a time: services answer many at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use crate::contract::StageResult;

/// Requests at a time, unless somebody says otherwise.
pub const WORKERS: usize = 8;

/// As [`ask_some`], [`WORKERS`] at a time.
///
/// # Errors
/// As [`ask_some`].
pub fn ask_all<T: Send>(
    count: usize,
    ask: impl Fn(usize) -> StageResult<T> + Sync,
    done: impl FnMut(usize, T) -> StageResult<()>,
) -> StageResult<()> {
    ask_some(WORKERS, count, ask, done)
}

/// Asks for each of `count` items, so many at a time, and hands every answer over as soon as it is there, on this thread.
/// After the first error no further item is asked for.
///
/// # Errors
/// The first of `ask` and `done`.
pub fn ask_some<T: Send>(
    workers: usize,
    count: usize,
    ask: impl Fn(usize) -> StageResult<T> + Sync,
    mut done: impl FnMut(usize, T) -> StageResult<()>,
) -> StageResult<()> {
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (sender, answers) = mpsc::channel();
        for _ in 0..workers.min(count) {
            let (sender, next, stopped, ask) = (sender.clone(), &next, &stopped, &ask);
            scope.spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let item = next.fetch_add(1, Ordering::Relaxed);
                    if item >= count || sender.send((item, ask(item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut outcome = Ok(());
        for (item, answer) in answers {
            let handed = answer.and_then(|answer| done(item, answer));
            if handed.is_err() && outcome.is_ok() {
                stopped.store(true, Ordering::Relaxed);
                outcome = handed;
            }
        }
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::StageError;

    #[test]
    fn every_item_is_asked_once_and_an_error_ends_it() {
        let mut answers = vec![0; 100];
        ask_all(
            100,
            |item| Ok(item * 2),
            |item, answer| {
                answers[item] += answer;
                Ok(())
            },
        )
        .unwrap();
        assert!(answers.iter().enumerate().all(|(item, answer)| *answer == item * 2));
        let kept = std::sync::Mutex::new(0);
        let ask = |item| if item == 3 { Err(StageError::input("three")) } else { Ok(()) };
        let error = ask_all(10_000, ask, |_, ()| {
            *kept.lock().unwrap() += 1;
            Ok(())
        });
        assert_eq!(error.unwrap_err().message, "three");
        assert!(*kept.lock().unwrap() < 10_000);
        ask_all(0, |_| Ok(()), |_, ()| Ok(())).unwrap();
    }
}

//! Failures on demand, for the tests: every file-system step of the store passes here.

/// Does nothing outside tests. In tests the n-th step of a thread can fail, or kill the process.
#[cfg(not(test))]
#[inline]
pub(crate) fn step() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use armed::{Action, arm, disarm, step};

#[cfg(test)]
mod armed {
    use std::cell::Cell;
    use std::io;

    use rustix::io::Errno;

    #[derive(Clone, Copy)]
    pub(crate) enum Action {
        Fail(Errno),
        Kill,
    }

    thread_local! {
        static ARMED: Cell<Option<(u32, Action)>> = const { Cell::new(None) };
        static FAILED: Cell<bool> = const { Cell::new(false) };
    }

    /// Lets `steps` steps of this thread pass and acts at each later one.
    pub(crate) fn arm(steps: u32, action: Action) {
        ARMED.set(Some((steps, action)));
        FAILED.set(false);
    }

    /// Ends it; says whether a step failed.
    pub(crate) fn disarm() -> bool {
        ARMED.set(None);
        FAILED.get()
    }

    pub(crate) fn step() -> io::Result<()> {
        match ARMED.get() {
            None => Ok(()),
            Some((0, Action::Fail(errno))) => {
                FAILED.set(true);
                Err(errno.into())
            }
            Some((0, Action::Kill)) => {
                let me = rustix::process::getpid();
                rustix::process::kill_process(me, rustix::process::Signal::KILL)?;
                unreachable!("SIGKILL cannot be survived")
            }
            Some((left, action)) => {
                ARMED.set(Some((left - 1, action)));
                Ok(())
            }
        }
    }
}

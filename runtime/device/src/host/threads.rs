//! A pool of named threads for work that splits into equal jobs. A call spawns no thread and
//! allocates nothing.
//!
//! The calling thread works too; a pool of one thread spawns none. The order in which threads take
//! jobs is not defined, so jobs must not depend on it.

#![expect(unsafe_code, reason = "lends a borrowed closure to threads that outlive it, and waits for them")]

use drivewam_core::{Error, ErrorKind, Result};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Called with the job and the number of the thread that runs it.
type Call<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// The pool. Dropping it joins the threads.
#[derive(Debug)]
pub(crate) struct Threads {
    shared: Arc<Shared>,
    others: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    begin: Condvar,
    end: Condvar,
    /// The first job that no thread has taken.
    next: AtomicUsize,
}

struct State {
    /// Number of calls of `run`.
    round: u64,
    /// The work of the present call.
    task: Option<(Call<'static>, usize)>,
    /// Threads that have not finished `task`; before the first call, those that have not started.
    busy: usize,
    panicked: bool,
    stop: bool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Threads {
    /// A pool of `count` threads, the caller among them, all started when this returns. Warm.
    ///
    /// # Errors
    /// `Usage` for zero threads; `Capacity` when the host cannot spawn a thread.
    pub(crate) fn new(count: usize) -> Result<Self> {
        if count == 0 {
            return Err(Error::new(ErrorKind::Usage, "a pool needs a thread").at("threads").got(0).wanted("at least 1"));
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(State { round: 0, task: None, busy: count - 1, panicked: false, stop: false }),
            begin: Condvar::new(),
            end: Condvar::new(),
            next: AtomicUsize::new(0),
        });
        let mut threads = Self { shared, others: Vec::with_capacity(count - 1) };
        for worker in 1..count {
            let shared = Arc::clone(&threads.shared);
            let thread = Builder::new().name(format!("drivewam-select-{worker}")).spawn(move || shared.serve(worker)).map_err(|e| {
                Error::new(ErrorKind::Capacity, "cannot spawn a thread").at("threads").got(worker).wanted(count).caused_by(e)
            })?;
            threads.others.push(thread);
        }
        // A thread allocates while it starts, so all must have started before Run.
        drop(threads.shared.idle());
        Ok(threads)
    }

    /// Number of threads, the caller among them.
    pub(crate) fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// Calls `call(job, thread)` once for every job below `jobs`, and returns when all are done.
    /// Does not allocate.
    ///
    /// # Errors
    /// `Device` when a job panicked; the other jobs ran all the same.
    pub(crate) fn run(&mut self, jobs: usize, call: Call<'_>) -> Result<()> {
        let shared = &*self.shared;
        shared.next.store(0, Ordering::Relaxed);
        if !self.others.is_empty() && jobs > 1 {
            // SAFETY: only the lifetime changes, and nothing relies on the longer one: before `run`
            // returns it waits for every thread and clears `task`, and nothing in between returns
            // or unwinds (`drain` catches panics of jobs).
            let task = unsafe { std::mem::transmute::<Call<'_>, Call<'static>>(call) };
            let mut state = shared.lock();
            state.round += 1;
            state.task = Some((task, jobs));
            state.busy = self.others.len();
            drop(state);
            shared.begin.notify_all();
        }
        let done = shared.drain(call, jobs, 0);
        let mut state = shared.idle();
        state.task = None;
        let panicked = std::mem::take(&mut state.panicked) || !done;
        drop(state);
        if panicked {
            return Err(Error::new(ErrorKind::Device, "a job panicked").at("threads"));
        }
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.begin.notify_all();
        for thread in self.others.drain(..) {
            // A thread catches panics of its jobs, so its result carries nothing.
            let _: std::result::Result<(), Box<dyn Any + Send>> = thread.join();
        }
    }
}

impl Shared {
    /// No code panics while it holds the lock, so a poisoned lock is as good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state once no other thread is busy.
    fn idle(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while state.busy > 0 {
            state = self.end.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Marks a thread as idle; `done` is false when one of its jobs panicked.
    fn set_idle(&self, done: bool) {
        let mut state = self.lock();
        state.panicked |= !done;
        state.busy -= 1;
        if state.busy == 0 {
            self.end.notify_one();
        }
    }

    /// The loop of a thread: runs the jobs of each call until the pool is dropped.
    fn serve(&self, worker: usize) {
        self.set_idle(true);
        let mut seen = 0;
        loop {
            let mut state = self.lock();
            while !state.stop && state.round == seen {
                state = self.begin.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stop {
                return;
            }
            seen = state.round;
            let task = state.task;
            drop(state);
            self.set_idle(task.is_none_or(|(call, jobs)| self.drain(call, jobs, worker)));
        }
    }

    /// Runs jobs until none is left; false when one panicked.
    fn drain(&self, call: Call<'_>, jobs: usize, worker: usize) -> bool {
        let mut done = true;
        loop {
            let job = self.next.fetch_add(1, Ordering::Relaxed);
            if job >= jobs {
                return done;
            }
            done &= catch_unwind(AssertUnwindSafe(|| call(job, worker))).is_ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_runs_once_whatever_the_number_of_threads_and_rounds() {
        for count in [1, 2, 5] {
            let mut threads = Threads::new(count).unwrap();
            for jobs in [0, 1, 2, 7, 100, 3] {
                let calls: Vec<AtomicUsize> = (0..jobs).map(|_| AtomicUsize::new(0)).collect();
                threads
                    .run(jobs, &|job, worker| {
                        assert!(worker < count);
                        calls[job].fetch_add(1, Ordering::Relaxed);
                    })
                    .unwrap();
                assert!(calls.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{count} threads, {jobs} jobs");
            }
        }
        assert_eq!(Threads::new(0).unwrap_err().kind(), ErrorKind::Usage);
    }

    #[test]
    fn no_two_threads_at_work_have_the_same_number() {
        let mut threads = Threads::new(4).unwrap();
        let held: Vec<Mutex<()>> = (0..4).map(|_| Mutex::new(())).collect();
        threads
            .run(64, &|_, worker| {
                let guard = held[worker].try_lock().unwrap();
                std::thread::yield_now();
                drop(guard);
            })
            .unwrap();
    }

    #[test]
    fn a_panic_in_a_job_is_an_error_and_the_threads_go_on() {
        for count in [1, 3] {
            let mut threads = Threads::new(count).unwrap();
            let done = AtomicUsize::new(0);
            let error = threads.run(20, &|job, _| {
                assert!(job != 11, "on purpose");
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(error.unwrap_err().kind(), ErrorKind::Device);
            assert_eq!(done.load(Ordering::Relaxed), 19);
            assert!(threads.run(20, &|_, _| {}).is_ok());
        }
    }
}

//! Several worlds in parallel: threads that each own the rides they use.

use anyhow::Result;
use indicatif::ProgressBar;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Number of threads, progress bar and stop flag of parallel work.
pub(super) struct Parallel<'a> {
    pub(super) threads: usize,
    pub(super) bar: &'a ProgressBar,
    pub(super) stop: &'a AtomicBool,
}

impl Parallel<'_> {
    /// Calls `work` for each of `0..count`. Each thread creates its own state with `make`, which
    /// need not be `Send`. Returns the results in order of index; fewer than `count` after `stop`,
    /// or when `work` returned `None`.
    ///
    /// # Errors
    /// The first error of `make` or `work`, by thread. The other threads stop at their next index.
    pub(super) fn map<S, R: Send>(
        &self,
        count: usize,
        make: impl Fn() -> Result<S> + Sync,
        work: impl Fn(&mut S, usize) -> Result<Option<R>> + Sync,
    ) -> Result<Vec<R>> {
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let run_thread = || -> Result<Vec<(usize, R)>> {
            let mut state = make()?;
            let mut results = Vec::new();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= count || failed.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed) {
                    return Ok(results);
                }
                let Some(result) = work(&mut state, i)? else { return Ok(results) };
                results.push((i, result));
                self.bar.inc(1);
            }
        };
        let mut results = Vec::with_capacity(count);
        std::thread::scope(|scope| -> Result<()> {
            let threads: Vec<_> = (0..self.threads.min(count).max(1))
                .map(|_| scope.spawn(|| run_thread().inspect_err(|_| failed.store(true, Ordering::Relaxed))))
                .collect();
            for thread in threads {
                results.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(())
        })?;
        results.sort_by_key(|(i, _)| *i);
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_and_the_first_error_ends_the_work() {
        let (bar, stop) = (ProgressBar::hidden(), AtomicBool::new(false));
        let parallel = Parallel { threads: 3, bar: &bar, stop: &stop };
        assert_eq!(parallel.map(20, || Ok(2), |times, i| Ok(Some(*times * i))).unwrap(), (0..20).map(|i| 2 * i).collect::<Vec<_>>());
        let error = parallel.map(20, || Ok(()), |(), i| if i == 7 { anyhow::bail!("seven") } else { Ok(Some(i)) }).unwrap_err();
        assert_eq!(error.to_string(), "seven");
        stop.store(true, Ordering::Relaxed);
        assert!(parallel.map(20, || Ok(()), |(), i| Ok(Some(i))).unwrap().is_empty());
    }
}

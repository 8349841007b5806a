//! Several worlds at once: threads that each own what they ride with.

use anyhow::Result;
use indicatif::ProgressBar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How the work is shared out, and who watches it.
pub(super) struct Crew<'a> {
    pub(super) threads: usize,
    pub(super) bar: &'a ProgressBar,
    pub(super) stop: &'a AtomicBool,
}

impl Crew<'_> {
    /// `work` for each of `0..count`, each thread with a state from `make`; the answers in order. Shorter when the work was stopped.
    ///
    /// # Errors
    /// The first of `make` or `work`.
    pub(super) fn each<S, R: Send>(
        &self,
        count: usize,
        make: impl Fn() -> Result<S> + Sync,
        work: impl Fn(&mut S, usize) -> Result<Option<R>> + Sync,
    ) -> Result<Vec<R>> {
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let answers: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(count));
        let member = || -> Result<()> {
            let mut state = make()?;
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= count || failed.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let Some(answer) = work(&mut state, i)? else { return Ok(()) };
                answers.lock().unwrap_or_else(PoisonError::into_inner).push((i, answer));
                self.bar.inc(1);
            }
        };
        std::thread::scope(|scope| {
            let members: Vec<_> = (0..self.threads.min(count).max(1))
                .map(|_| scope.spawn(|| member().inspect_err(|_| failed.store(true, Ordering::Relaxed))))
                .collect();
            members.into_iter().try_for_each(|m| m.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        let mut answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
        answers.sort_by_key(|(i, _)| *i);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_and_the_first_error_ends_the_work() {
        let (bar, stop) = (ProgressBar::hidden(), AtomicBool::new(false));
        let crew = Crew { threads: 3, bar: &bar, stop: &stop };
        assert_eq!(crew.each(20, || Ok(2), |times, i| Ok(Some(*times * i))).unwrap(), (0..20).map(|i| 2 * i).collect::<Vec<_>>());
        let error = crew.each(20, || Ok(()), |(), i| if i == 7 { anyhow::bail!("seven") } else { Ok(Some(i)) }).unwrap_err();
        assert_eq!(error.to_string(), "seven");
        stop.store(true, Ordering::Relaxed);
        assert!(crew.each(20, || Ok(()), |(), i| Ok(Some(i))).unwrap().is_empty());
    }
}

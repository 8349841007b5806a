//! Which CPUs the ride's threads and the language model's run on. A thread begins on the CPUs of the thread that made it, so whoever opens engines is moved before.

use drivewam_core::config::CoresConfig as Settings;
use drivewam_core::{Error, ErrorKind, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::marker::PhantomData;

/// The CPUs of the two sides.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    ride: Option<CpuSet>,
    guidance: Option<CpuSet>,
}

/// The calling thread, moved; it goes back when this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Moved {
    before: CpuSet,
    /// Of one thread.
    here: PhantomData<*const ()>,
}

impl Cores {
    /// Proves that the process may use the CPUs of `settings`. Where the ride has CPUs of its own and the guidance has none, the guidance may use all that the
    /// calling thread may.
    ///
    /// # Errors
    /// `Config` for a CPU that the machine does not have, or does not give to this process; `Device` when the system does not tell.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        if settings.ride.is_empty() && settings.guidance.is_empty() {
            return Ok(Self { ride: None, guidance: None });
        }
        let all = sched_getaffinity(None).map_err(|e| failed("the system does not tell a thread's CPUs", e))?;
        let set = |key: &str, cores: &[usize]| -> Result<Option<CpuSet>> {
            let mut set = CpuSet::new();
            for &core in cores {
                if core >= CpuSet::MAX_CPU || !all.is_set(core) {
                    let may: Vec<String> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).map(|core| core.to_string()).collect();
                    return Err(Error::new(ErrorKind::Config, "a CPU that this process may not use")
                        .at(format!("target.cores.{key}"))
                        .got(core)
                        .wanted(format!("of {}", may.join(", "))));
                }
                set.set(core);
            }
            Ok((!cores.is_empty()).then_some(set))
        };
        Ok(Self { ride: set("ride", &settings.ride)?, guidance: set("guidance", &settings.guidance)?.or(Some(all)) })
    }

    /// Moves the calling thread to the ride's CPUs.
    ///
    /// # Errors
    /// `Device` when the system refuses.
    pub(crate) fn ride(&self) -> Result<Option<Moved>> {
        self.ride.as_ref().map(Moved::to).transpose()
    }

    /// Moves the calling thread to the guidance's.
    ///
    /// # Errors
    /// `Device` when the system refuses.
    pub(crate) fn guidance(&self) -> Result<Option<Moved>> {
        self.guidance.as_ref().map(Moved::to).transpose()
    }
}

impl Moved {
    fn to(set: &CpuSet) -> Result<Self> {
        let before = sched_getaffinity(None).map_err(|e| failed("the system does not tell a thread's CPUs", e))?;
        sched_setaffinity(None, set).map_err(|e| failed("the system does not move a thread to other CPUs", e))?;
        Ok(Self { before, here: PhantomData })
    }

    /// Leaves the thread where it is.
    pub(crate) fn stay(self) {
        std::mem::forget(self);
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        // It was there before; where it may not go back it stays, which is slower at most.
        let _ = sched_setaffinity(None, &self.before);
    }
}

fn failed(what: &str, error: rustix::io::Errno) -> Error {
    Error::new(ErrorKind::Device, what).at("target.cores").caused_by(error)
}

//! CPU affinity of the ride's threads and of the language model's threads.
//!
//! A new thread inherits the CPUs of the thread that spawns it. So a thread moves before it opens
//! an engine, and the engine's own threads follow.

use drivewam_core::config::CoresConfig;
use drivewam_core::{Error, ErrorKind, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::marker::PhantomData;

/// The CPUs of each side; `None`: the thread stays where it is.
#[derive(Debug, Clone)]
pub struct Affinity {
    ride: Option<CpuSet>,
    guidance: Option<CpuSet>,
}

/// The calling thread runs on other CPUs; dropping the guard moves it back.
#[derive(Debug)]
#[must_use]
pub struct AffinityGuard {
    before: CpuSet,
    /// Affinity belongs to one thread, so the guard is not `Send`.
    here: PhantomData<*const ()>,
}

impl Affinity {
    /// Checks that this process may use the CPUs of `settings`. Where the settings name CPUs for
    /// one side alone, the guidance side defaults to every CPU of the calling thread.
    ///
    /// # Errors
    /// `Config` for a CPU that the machine lacks or that this process may not use; `Device` when
    /// the system call fails.
    pub fn new(settings: &CoresConfig) -> Result<Self> {
        if settings.ride.is_empty() && settings.guidance.is_empty() {
            return Ok(Self { ride: None, guidance: None });
        }
        let all = sched_getaffinity(None).map_err(|e| failed("cannot read the CPU affinity of a thread", e))?;
        let set = |key: &str, cores: &[usize]| -> Result<Option<CpuSet>> {
            let mut set = CpuSet::new();
            for &core in cores {
                if core >= CpuSet::MAX_CPU || !all.is_set(core) {
                    let may: Vec<String> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).map(|core| core.to_string()).collect();
                    return Err(Error::new(ErrorKind::Config, "this process may not use the CPU")
                        .at(format!("target.cores.{key}"))
                        .got(core)
                        .wanted(format!("one of {}", may.join(", "))));
                }
                set.set(core);
            }
            Ok((!cores.is_empty()).then_some(set))
        };
        Ok(Self { ride: set("ride", &settings.ride)?, guidance: set("guidance", &settings.guidance)?.or(Some(all)) })
    }

    /// Moves the calling thread to the ride's CPUs; `None` where the settings name none.
    ///
    /// # Errors
    /// `Device` when the system call fails.
    pub fn ride(&self) -> Result<Option<AffinityGuard>> {
        self.ride.as_ref().map(AffinityGuard::to).transpose()
    }

    /// Moves the calling thread to the guidance's CPUs; `None` where the settings name no CPUs.
    ///
    /// # Errors
    /// `Device` when the system call fails.
    pub fn guidance(&self) -> Result<Option<AffinityGuard>> {
        self.guidance.as_ref().map(AffinityGuard::to).transpose()
    }
}

impl AffinityGuard {
    fn to(set: &CpuSet) -> Result<Self> {
        let before = sched_getaffinity(None).map_err(|e| failed("cannot read the CPU affinity of a thread", e))?;
        sched_setaffinity(None, set).map_err(|e| failed("cannot set the CPU affinity of a thread", e))?;
        Ok(Self { before, here: PhantomData })
    }

    /// Keeps the thread on its present CPUs for good.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for AffinityGuard {
    fn drop(&mut self) {
        // The thread ran there before. If the system refuses, it stays where it is: slower at most.
        let _ = sched_setaffinity(None, &self.before);
    }
}

fn failed(what: &str, error: rustix::io::Errno) -> Error {
    Error::new(ErrorKind::Device, what).at("target.cores").caused_by(error)
}

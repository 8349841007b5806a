//! Times launches one by one, by the driver's events.

#![expect(unsafe_code, reason = "calls the vendor's driver through cudarc's thin layer")]

use super::{Nvidia, failed};
use crate::cuda::Kernel;
use cudarc::driver::{result, sys};
use drivewam_core::Result;

/// Told of a launch and its milliseconds.
type Watch = Box<dyn FnMut(Kernel, f32) + Send>;

/// Times launches one by one.
pub(super) struct Clock {
    pub(super) events: [sys::CUevent; 2],
    watch: Watch,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").field("events", &self.events).finish_non_exhaustive()
    }
}

impl Nvidia {
    /// Waits for every launch and tells `watch` how long it took on the device, by the driver's events. For benchmarks: nothing overlaps any more.
    ///
    /// # Errors
    /// `Device`.
    pub fn timed(mut self, watch: impl FnMut(Kernel, f32) + Send + 'static) -> Result<Self> {
        self.enter()?;
        let event = || result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(|e| failed("no event", e));
        self.clock = Some(Clock { events: [event()?, event()?], watch: Box::new(watch) });
        Ok(self)
    }

    pub(super) fn record(&mut self, which: usize) -> Result<()> {
        let Some(clock) = &self.clock else { return Ok(()) };
        // SAFETY: both are alive until `drop`.
        let recorded = unsafe { result::event::record(clock.events[which], self.stream) };
        self.told("an event failed", recorded)
    }

    /// Tells the clock of a launch between its two events.
    pub(super) fn note(&mut self, kernel: Kernel) -> Result<()> {
        if self.clock.is_none() || self.captures {
            return Ok(());
        }
        self.wait()?;
        let Some(clock) = &mut self.clock else { return Ok(()) };
        // SAFETY: both are alive, and were recorded on a stream that is at rest.
        let elapsed =
            unsafe { result::event::elapsed(clock.events[0], clock.events[1]) }.map_err(|e| failed("events do not tell the time", e))?;
        (clock.watch)(kernel, elapsed);
        Ok(())
    }
}

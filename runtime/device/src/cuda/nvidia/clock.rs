//! Times launches, by the driver's events.

#![expect(unsafe_code, reason = "calls the vendor's driver through cudarc's thin layer")]

use super::error::failed;
use crate::cuda::driver::Kernel;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use drivewam_core::Result;

/// Called with a kernel and its milliseconds.
type Watch = Box<dyn FnMut(Kernel, f32) + Send>;

/// Two events, around a launch, and the receiver of the time between them.
pub(super) struct Clock {
    pub(super) events: [sys::CUevent; 2],
    watch: Watch,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").field("events", &self.events).finish_non_exhaustive()
    }
}

/// One of the two events.
#[derive(Debug, Clone, Copy)]
pub(super) enum Edge {
    Begin,
    End,
}

impl Clock {
    /// Creates the events in the current context. Warm.
    pub(super) fn new(watch: impl FnMut(Kernel, f32) + Send + 'static) -> Result<Self> {
        let event = || result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(|e| failed("cannot create an event", e));
        Ok(Self { events: [event()?, event()?], watch: Box::new(watch) })
    }

    /// Records an event on `stream`.
    ///
    /// # Safety
    /// The stream and the context of the events are alive.
    pub(super) unsafe fn record(&self, edge: Edge, stream: sys::CUstream) -> std::result::Result<(), DriverError> {
        // SAFETY: alive by the caller's guarantee.
        unsafe { result::event::record(self.events[edge as usize], stream) }
    }

    /// Calls the receiver with the time between the two events.
    ///
    /// # Safety
    /// Both events were recorded, and their stream has drained.
    pub(super) unsafe fn report(&mut self, kernel: Kernel) -> Result<()> {
        // SAFETY: recorded and complete by the caller's guarantee.
        let elapsed =
            unsafe { result::event::elapsed(self.events[0], self.events[1]) }.map_err(|e| failed("cannot read the time of an event", e))?;
        (self.watch)(kernel, elapsed);
        Ok(())
    }
}

//! What every operation of the CUDA device works with: the driver, the arena and the fault state.

use super::driver::Driver;
use super::fault::FaultState;
use crate::gpu::Address;
use crate::kv::KvCounts;
use drivewam_core::arena::{ArenaPlan, Region};
use drivewam_core::dtype::DType;
use drivewam_core::{Error, ErrorKind, Result};

/// A capture that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capture {
    /// The memory's counts when it began.
    pub(super) counts: KvCounts,
    /// Whether it holds operations whose parameters carry the memory's counts.
    pub(super) uses_counts: bool,
}

/// The driver, the arena and the fault state of one device.
#[derive(Debug)]
pub(super) struct CudaContext {
    pub(super) driver: Box<dyn Driver>,
    pub(super) plan: ArenaPlan,
    /// Address of the arena.
    pub(super) base: Address,
    /// Address of the [`FaultState`].
    pub(super) state: Address,
    /// Staging for f16 and bf16 elements of an upload or a download.
    pub(super) halves: Vec<u16>,
    /// Set while operations are captured, not done.
    pub(super) capture: Option<Capture>,
}

impl CudaContext {
    /// Allocates the arena of `plan` and the fault state. Warm.
    pub(super) fn new(mut driver: Box<dyn Driver>, plan: ArenaPlan) -> Result<Self> {
        let base = driver.allocate_arena(&plan)?;
        let state = driver.allocate(size_of::<FaultState>())?;
        let is_half = |region: &Region| matches!(region.dtype(), DType::F16 | DType::Bf16);
        let longest = plan.rows().iter().map(|row| row.region).filter(is_half).map(|region| region.len()).max();
        // Not zeros: the host may back those pages only at their first use, which would be in Run.
        let halves = vec![u16::MAX; longest.unwrap_or(0)];
        Ok(Self { driver, plan, base, state, halves, capture: None })
    }

    /// The address of `region`.
    pub(super) fn at(&self, region: Region) -> Result<Address> {
        self.plan.holds(region)?;
        Ok(self.base + region.offset() as u64)
    }

    /// The address of `region`, which must be f32.
    pub(super) fn f32_at(&self, region: Region) -> Result<Address> {
        if region.dtype() != DType::F32 {
            return Err(Error::new(ErrorKind::Usage, "the region is not f32").at("arena").got(format!("{region:?}")).wanted(DType::F32));
        }
        self.at(region)
    }

    /// Records that a capture under way holds an operation with the memory's counts.
    pub(super) fn note_counts(&mut self) {
        if let Some(capture) = &mut self.capture {
            capture.uses_counts = true;
        }
    }

    /// The first fault since the last call. Waits for all earlier work.
    pub(super) fn take_fault(&mut self) -> Result<Option<FaultState>> {
        let mut state = FaultState::default();
        self.driver.read(self.state, bytemuck::bytes_of_mut(&mut state))?;
        if state.raised == 0 {
            return Ok(None);
        }
        self.driver.write(self.state, bytemuck::bytes_of(&FaultState::default()))?;
        Ok(Some(state))
    }
}

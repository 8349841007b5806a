//! The memory: the device scores, selects and overwrites tokens by the policy chosen here.

use crate::regions::Regions;
use drivewam_core::Result;
use drivewam_core::config::{Config, MemoryPolicy};
use drivewam_core::selection::Policy;
use drivewam_core::tensor::TensorRole;
use drivewam_device::{Commit, Device, KvLayout, KvRegions, PassKv, Pool};
use std::ops::Range;

/// The memory of one ride.
#[derive(Debug)]
pub(crate) struct Memory {
    policy: MemoryPolicy,
}

impl Memory {
    /// Gives the regions of each lane's memory to the device. Called in Warm.
    pub(crate) fn new(config: &Config, regions: &Regions, device: &mut dyn Device) -> Result<Self> {
        let model = &config.model;
        let lane = |lane: usize| -> Result<KvRegions> {
            let layers = |role: fn(usize) -> TensorRole| {
                (0..model.layers).map(|layer| regions.of_role(lane, role(layer))).collect::<Result<Vec<_>>>()
            };
            let bias = regions.of_role(lane, TensorRole::MemBias)?;
            Ok(KvRegions { k: layers(TensorRole::MemK)?, v: layers(TensorRole::MemV)?, bias })
        };
        let lanes = (0..config.lanes.count).map(lane).collect::<Result<Vec<_>>>()?;
        device.kv_open(&KvLayout::of(config), &lanes)?;
        Ok(Self { policy: config.memory.policy })
    }

    /// Commits rows of a pass to each pool as the observed tokens of `chunk`; both pools or none.
    pub(crate) fn commit(
        &mut self,
        device: &mut dyn Device,
        chunk: u32,
        video: (&PassKv, Range<usize>),
        action: (&PassKv, Range<usize>),
    ) -> Result<()> {
        let policy = match self.policy {
            MemoryPolicy::Full => Policy::Full,
            MemoryPolicy::Fifo => Policy::Fifo,
            MemoryPolicy::Selective => Policy::Selective,
        };
        let commits = [(Pool::Video, video), (Pool::Action, action)].map(|(pool, (pass, rows))| Commit { pool, policy, pass, rows });
        device.kv_commit_observed(chunk, &commits)
    }
}

//! Times KV selection on the host alone: scores, choice and overwrite of a full memory at the
//! configuration's shapes, without engines.

use anyhow::Result;
use drivewam_core::arena::{Planner, Region};
use drivewam_core::bindings::MASKED;
use drivewam_core::config::Config;
use drivewam_core::dtype::DType;
use drivewam_core::noise::{Stream, standard_normal};
use drivewam_core::selection::Policy;
use drivewam_device::{Commit, DeviceMemory, HostDevice, KvLayout, KvMemory, KvRegions, PassKv, Pool};
use std::time::Instant;

/// A full memory; each commit selects and overwrites slots.
pub(super) struct SelectionBench {
    device: HostDevice,
    pass: PassKv,
    video: usize,
    action: usize,
    chunk: u32,
}

impl SelectionBench {
    /// A memory with the configuration's shapes, filled with chunks of noise.
    ///
    /// # Errors
    /// The arena does not fit or cannot be allocated.
    pub(super) fn new(config: &Config) -> Result<Self> {
        let model = &config.model;
        let layout = KvLayout::of(config);
        let mut planner = Planner::new();
        let mut per_layer = |name: &str, rows: usize| -> Result<Vec<Region>> {
            let shape = [layout.heads, rows, layout.head_dim];
            (0..layout.layers).map(|l| Ok(planner.add("memory", format!("{name}.{l}"), DType::F32, &shape)?)).collect()
        };
        let (k, v) = (per_layer("mem_k", layout.slots())?, per_layer("mem_v", layout.slots())?);
        let tokens = layout.pass_tokens;
        let pass = PassKv { tokens, k: per_layer("k", tokens)?, v: per_layer("v", tokens)?, q: per_layer("q", tokens)? };
        let bias = planner.add("memory", "mem_bias", DType::F32, &[layout.slots()])?;
        let mut device = HostDevice::new(planner.finish(config.target.arena_bytes)?, config.target.threads)?;
        device.fill(bias, MASKED)?;
        device.kv_open(&layout, &[KvRegions { k, v, bias }])?;
        let mut bench = Self { device, pass, video: model.video_tokens(), action: model.action_tokens(), chunk: 0 };
        for _ in 0..=config.memory.video_slots.div_ceil(bench.video) {
            bench.fill_pass()?;
            bench.commit()?;
        }
        Ok(bench)
    }

    /// Writes new noise into the pass.
    fn fill_pass(&mut self) -> Result<()> {
        let regions: Vec<Region> = self.pass.k.iter().chain(&self.pass.v).chain(&self.pass.q).copied().collect();
        for (i, region) in regions.into_iter().enumerate() {
            let mut noise = vec![0.0; region.len()];
            standard_normal(i as u64, self.chunk.into(), Stream::Video, &mut noise);
            self.device.upload(region, &noise)?;
        }
        Ok(())
    }

    /// Commits one chunk to both pools of all layers and returns the milliseconds.
    ///
    /// # Errors
    /// The device fails.
    pub(super) fn commit(&mut self) -> Result<f64> {
        let start = Instant::now();
        let (video, all) = (self.video, self.video + self.action);
        let commits = [(Pool::Video, 0..video), (Pool::Action, video..all)];
        let commits = commits.map(|(pool, rows)| Commit { pool, policy: Policy::Selective, pass: &self.pass, rows });
        self.device.kv_commit_observed(self.chunk, &commits)?;
        self.chunk += 1;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

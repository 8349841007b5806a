//! The KV memory of the paper's model (specification, section 6) on a device: 24 heads of width
//! 128, pools of 448 video and 160 action slots, chunks of 112 and 40 tokens, bf16.

use crate::conformance::rig::model;
use drivewam_core::Result;
use drivewam_core::arena::{ArenaPlan, Planner, Region};
use drivewam_core::config::MemoryPolicy;
use drivewam_core::dtype::DType;
use drivewam_core::rope::RopeTable;
use drivewam_core::selection::{Policy, Scoring};
use drivewam_device::{Commit, Device, KvLayout, KvRegions, PassKv, Pool};

/// Number of layers.
pub const LAYERS: usize = 30;
/// Number of heads, H.
pub const HEADS: usize = 24;
/// Width of a head, D.
pub const WIDTH: usize = 128;
/// Slots of the video pool, and video tokens per chunk.
pub const VIDEO: [usize; 2] = [448, 112];
/// Slots of the action pool, and action tokens per chunk.
pub const ACTION: [usize; 2] = [160, 40];
/// Bytes of the key or of the value of a token in one layer.
pub const ROW_BYTES: usize = HEADS * WIDTH * 2;

/// A planned memory.
#[derive(Debug, Clone)]
pub struct Memory {
    /// The arena of all regions.
    pub plan: ArenaPlan,
    /// Layers, heads, slots and policy.
    pub layout: KvLayout,
    /// Regions of the memory.
    pub regions: KvRegions,
    /// Regions for the keys, values and queries of a pass.
    pub pass: PassKv,
}

impl Memory {
    /// Plans a memory of `layers` layers.
    ///
    /// # Errors
    /// `Capacity` if the arena would exceed 4 GiB.
    pub fn new(layers: usize, scoring: Scoring) -> Result<Self> {
        let mut rotations = model();
        rotations.rope.split = [44, 42, 42];
        let layout = KvLayout {
            layers,
            heads: HEADS,
            head_dim: WIDTH,
            video_slots: VIDEO[0],
            action_slots: ACTION[0],
            tail_slots: VIDEO[1],
            pass_tokens: VIDEO[1] + ACTION[1],
            policy: MemoryPolicy::Selective,
            scoring,
            rope: RopeTable::new(&rotations),
        };
        let mut planner = Planner::new();
        let mut layered = |name: &str, rows: usize| -> Result<Vec<Region>> {
            (0..layers).map(|l| planner.add("memory", format!("{name}.{l}"), DType::Bf16, &[HEADS, rows, WIDTH])).collect()
        };
        let (k, v) = (layered("mem_k", layout.slots())?, layered("mem_v", layout.slots())?);
        let pass_tokens = layout.pass_tokens;
        let pass =
            PassKv { tokens: pass_tokens, k: layered("k", pass_tokens)?, v: layered("v", pass_tokens)?, q: layered("q", pass_tokens)? };
        let bias = planner.add("memory", "mem_bias", DType::F32, &[layout.slots()])?;
        Ok(Self { plan: planner.finish(4 << 30)?, layout, regions: KvRegions { k, v, bias }, pass })
    }

    /// Opens the memory on `device`, uploads numbers for the pass, and commits chunks until
    /// both pools are full.
    ///
    /// # Errors
    /// Of the device.
    pub fn fill(&self, device: &mut dyn Device) -> Result<()> {
        device.kv_open(&self.layout, std::slice::from_ref(&self.regions))?;
        let row: Vec<f32> = (0u16..4099).map(|i| f32::from(i % 251) / 64.0 - 2.0).collect();
        let data: Vec<f32> = row.iter().copied().cycle().take(HEADS * self.layout.pass_tokens * WIDTH).collect();
        for region in self.pass.k.iter().chain(&self.pass.v).chain(&self.pass.q) {
            device.upload(*region, &data)?;
        }
        for chunk in 0..4 {
            self.commit(device, chunk)?;
        }
        device.synchronize()
    }

    /// Commits the video and action tokens of a chunk under the policy `selective`.
    ///
    /// # Errors
    /// Of the device.
    pub fn commit(&self, device: &mut dyn Device, chunk: u32) -> Result<()> {
        let commits = [(Pool::Video, 0..VIDEO[1]), (Pool::Action, VIDEO[1]..VIDEO[1] + ACTION[1])];
        let commits = commits.map(|(pool, rows)| Commit { pool, policy: Policy::Selective, pass: &self.pass, rows });
        device.kv_commit_observed(chunk, &commits)
    }
}

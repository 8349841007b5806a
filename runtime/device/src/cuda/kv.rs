//! The KV memory on a GPU: launches `kernels/scatter.cu`, `score.cu` and `choose.cu`.
//!
//! An observed commit is four launches: check (are the new rows finite, how long are the keys), score, choose, scatter. The first three change nothing of
//! the memory, and the last does nothing where one of them found a fault, so all layers have chosen before any is written. Which slots are valid
//! is known by arithmetic (the first ones of each pool); which tokens they hold is known to the device alone.

#![expect(unsafe_code, reason = "a launch is a promise about its parameters")]

mod limits;
mod params;

use super::driver::{Grid, Kernel};
use super::fault::State;
use super::{Address, Gpu};
use crate::device::{KvCounts, KvLayout, KvRegions, PassKv, Pool};
use crate::shape;
use bytemuck::Zeroable;
use drivewam_core::arena::Region;
use drivewam_core::dtype::DType;
use drivewam_core::selection::policy::{check_forced, makes_room};
use drivewam_core::selection::{Keys, Normalise, Policy, Provenance, Scored, Slot, SlotTable};
use drivewam_core::{Error, ErrorKind, Result};
use limits::{MOST_SCORED, QUERIES, THREADS, WARP_KEYS, check, fits, narrow, on_tensor_cores, score_shared_bytes};
use params::{FIFO, FORCED, PREDICTED, Params, RANDOM, Row, SELECTIVE, VALID};
use std::ops::Range;

/// The memory of one ride.
#[derive(Debug)]
pub(super) struct Kv {
    layout: KvLayout,
    regions: KvRegions,
    dtype: DType,
    /// Of a block of `score.cu`.
    queries: usize,
    /// What no commit changes.
    params: Params,
    counts: KvCounts,
    /// One layer's rows of the table, on their way to people.
    rows: Vec<Row>,
}

impl Kv {
    /// Checks the regions, empties every slot, makes all work space. Warm.
    pub(super) fn open(gpu: &mut Gpu, layout: KvLayout, regions: KvRegions) -> Result<Self> {
        let dtype = shape::memory(&gpu.plan, &layout, &regions)?;
        if !matches!(dtype, DType::F32 | DType::F16 | DType::Bf16) {
            return Err(Error::new(ErrorKind::Usage, "keys of a type without kernels").at("memory: mem_k").got(dtype));
        }
        check(&layout)?;
        let sets = layout.scoring.sets(layout.heads);
        let (jobs, slots, pass) = (layout.layers * sets, layout.slots(), layout.pass_tokens);
        let queries = QUERIES[usize::from(!on_tensor_cores(&layout, dtype))];
        let tiles = pass.div_ceil(queries).max(1);
        let scored = layout.video_slots.max(layout.action_slots).min(MOST_SCORED) + pass;
        let turns = layout.rope.turns();
        let [time_pairs, height_pairs, _] = layout.rope.pairs();
        let scoring = &layout.scoring;
        let mut params = Params {
            bias: gpu.f32_at(regions.bias)?,
            table: gpu.driver.allocate(jobs * slots * size_of::<Row>())?,
            inverse: gpu.driver.allocate(jobs * slots * 4)?,
            inverse_new: gpu.driver.allocate(jobs * pass * 4)?,
            partial: gpu.driver.allocate(jobs * tiles * 2 * scored * 4)?,
            destinations: gpu.driver.allocate(jobs * pass * 4)?,
            turns: gpu.driver.allocate(turns.len() * 8)?,
            stays: gpu.driver.allocate(layout.video_slots.max(layout.action_slots))?,
            state: gpu.state,
            chunk: gpu.driver.allocate(4)?,
            layers: narrow(layout.layers)?,
            heads: narrow(layout.heads)?,
            width: narrow(layout.head_dim)?,
            sets: narrow(sets)?,
            slots: narrow(slots)?,
            lambda: scoring.lambda,
            softmax: u32::from(scoring.normalise == Normalise::Softmax),
            reach: scoring.max_pool / 2,
            max_age_chunks: scoring.max_age_chunks,
            columns: narrow(layout.rope.columns())?,
            action_tokens: narrow(layout.rope.action_tokens())?,
            time_pairs: narrow(time_pairs)?,
            height_pairs: narrow(height_pairs)?,
            ..Params::zeroed()
        };
        gpu.driver.write(params.turns, bytemuck::cast_slice(&turns))?;
        for layer in 0..layout.layers {
            (params.mem_k[layer], params.mem_v[layer]) = (Self::aligned(gpu, regions.k[layer])?, Self::aligned(gpu, regions.v[layer])?);
        }
        let rows = vec![Row::default(); sets * slots];
        let mut kv = Self { layout, regions, dtype, queries, params, counts: KvCounts::default(), rows };
        kv.clear(gpu)?;
        Ok(kv)
    }

    /// Empties every slot.
    pub(super) fn clear(&mut self, gpu: &mut Gpu) -> Result<()> {
        // Tail and pools lie one after the other: three launches of `drop`.
        for range in [self.layout.pool(Pool::Video), self.layout.pool(Pool::Action), self.layout.tail()] {
            self.empty(gpu, range)?;
        }
        self.counts = KvCounts::default();
        Ok(())
    }

    /// Empties the tail.
    pub(super) fn drop_predicted(&mut self, gpu: &mut Gpu) -> Result<()> {
        self.empty(gpu, self.layout.tail())?;
        self.counts.tail = 0;
        Ok(())
    }

    /// Empties some slots, unless a fault waits.
    fn empty(&self, gpu: &mut Gpu, range: Range<usize>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let params = Params { base: narrow(range.start)?, size: narrow(range.len())?, ..self.params };
        let grid = Grid { blocks: [narrow(range.len())?.div_ceil(THREADS), self.jobs()], threads: THREADS, shared_bytes: 0 };
        // SAFETY: the parameters are those of `drop`, whose slots lie inside the table and the bias.
        unsafe { gpu.driver.launch(Kernel::Drop, grid, bytemuck::bytes_of(&params)) }
    }

    /// What was written down for a graph was not done.
    pub(super) fn set_counts(&mut self, counts: KvCounts) {
        self.counts = counts;
    }

    /// Slots that hold a token.
    pub(super) fn counts(&self) -> KvCounts {
        self.counts
    }

    /// The memory is as it was before the operation that found a fault. Returns the fault.
    pub(super) fn go_back(&mut self, state: &State) -> Error {
        let error = state.error();
        self.counts = state.counts();
        match state.job(self.params.sets as usize) {
            Some((layer, set)) => error.at(format!("memory: layer {layer}, set {set}")),
            None => error,
        }
    }

    /// A copy of the slot table of one layer.
    pub(super) fn table(&mut self, gpu: &mut Gpu, layer: usize) -> Result<SlotTable> {
        if layer >= self.layout.layers {
            return Err(Error::new(ErrorKind::Usage, "no such layer")
                .at("memory")
                .got(layer)
                .wanted(format!("below {}", self.layout.layers)));
        }
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.rows);
        gpu.driver.read(self.params.table + (layer * bytes.len()) as u64, bytes)?;
        let (sets, slots) = (self.params.sets as usize, self.layout.slots());
        let mut table = SlotTable::new(sets, slots);
        for (set, rows) in self.rows.chunks_exact(slots.max(1)).enumerate() {
            for (slot, row) in table.pool_mut(set, 0..slots)?.iter_mut().zip(rows) {
                let provenance = if row.flags & PREDICTED == 0 { Provenance::Observed } else { Provenance::Predicted };
                *slot = Slot { valid: row.flags & VALID != 0, chunk: row.chunk, token: row.token, provenance, score: row.score };
            }
        }
        Ok(table)
    }

    /// Writes rows of a pass into the tail, in place of what was there. Returns the bytes that it copies.
    pub(super) fn commit_predicted(&mut self, gpu: &mut Gpu, chunk: u32, pass: &PassKv, rows: Range<usize>) -> Result<u64> {
        let mut params = self.of_pass(gpu, chunk, pass, &rows)?;
        shape::tail(&self.layout, &rows)?;
        let tail = self.layout.tail();
        (params.base, params.size) = (narrow(tail.start)?, narrow(tail.len())?);
        (params.in_order, params.predicted) = (1, 1);
        if rows.is_empty() {
            self.drop_predicted(gpu)?;
            return Ok(0);
        }
        self.launch(gpu, self.typed([Kernel::CheckF32, Kernel::CheckF16, Kernel::CheckBf16]), &params)?;
        self.drop_predicted(gpu)?;
        self.launch(gpu, self.typed([Kernel::ScatterF32, Kernel::ScatterF16, Kernel::ScatterBf16]), &params)?;
        self.counts.tail = rows.len();
        Ok(self.bytes(rows.len()))
    }

    /// Commits rows of a pass as observed tokens. Returns the bytes that it copies. See [`crate::Device::kv_commit_observed`].
    pub(super) fn commit_observed(
        &mut self,
        gpu: &mut Gpu,
        pool: Pool,
        policy: Policy<'_>,
        chunk: u32,
        pass: &PassKv,
        rows: Range<usize>,
    ) -> Result<u64> {
        let mut params = self.of_pass(gpu, chunk, pass, &rows)?;
        let range = self.layout.pool(pool);
        let count = *self.counts.of_mut(pool);
        let forgets = makes_room(policy, range.len(), range.len() - count, rows.len())?;
        if rows.is_empty() {
            return Ok(0);
        }
        (params.base, params.size, params.count) = (narrow(range.start)?, narrow(range.len())?, narrow(count)?);
        params.is_action = u32::from(pool == Pool::Action);
        params.in_order = u32::from(!forgets);
        params.policy = match policy {
            Policy::Full | Policy::Fifo => FIFO,
            Policy::Selective(_) => {
                params.scored_new = u32::from(self.layout.scoring.scored == Scored::PoolAndNew);
                SELECTIVE
            }
            Policy::Random(seed) => {
                params.seed = seed;
                RANDOM
            }
            Policy::Forced(stays) => {
                if forgets {
                    check_forced(stays, range.len(), range.len() - rows.len(), |i| i < count)?;
                    gpu.driver.write(params.stays, bytemuck::cast_slice(stays))?;
                }
                FORCED
            }
        };
        if forgets {
            fits(&self.layout, count, params.policy == SELECTIVE, rows.len())?;
        }
        self.launch(gpu, self.typed([Kernel::CheckF32, Kernel::CheckF16, Kernel::CheckBf16]), &params)?;
        if forgets {
            if params.policy == SELECTIVE {
                let turned = self.layout.scoring.keys == Keys::PreRope;
                let kernels = if turned {
                    [Kernel::ScoreTurnedF32, Kernel::ScoreTurnedF16, Kernel::ScoreTurnedBf16]
                } else {
                    [Kernel::ScoreF32, Kernel::ScoreF16, Kernel::ScoreBf16]
                };
                self.launch(gpu, self.typed(kernels), &params)?;
            }
            self.launch(gpu, Kernel::Choose, &params)?;
        }
        self.launch(gpu, self.typed([Kernel::ScatterF32, Kernel::ScatterF16, Kernel::ScatterBf16]), &params)?;
        *self.counts.of_mut(pool) = (count + rows.len()).min(range.len());
        Ok(self.bytes(rows.len()))
    }

    /// Where a graph's commits take their chunk from.
    pub(super) fn set_chunk(&self, gpu: &mut Gpu, chunk: u32) -> Result<()> {
        gpu.driver.write(self.params.chunk, bytemuck::bytes_of(&chunk))
    }

    /// The parameters of any commit of `rows`, whose chunk is told unless a graph is being made of it.
    fn of_pass(&self, gpu: &mut Gpu, chunk: u32, pass: &PassKv, rows: &Range<usize>) -> Result<Params> {
        shape::pass(&gpu.plan, (&self.layout, &self.regions, self.dtype), pass, rows)?;
        let mut params = self.params;
        match gpu.captures {
            None => self.set_chunk(gpu, chunk)?,
            Some(base) => params.ahead = chunk.wrapping_sub(base),
        }
        for layer in 0..self.layout.layers {
            params.pass_k[layer] = Self::aligned(gpu, pass.k[layer])?;
            params.pass_v[layer] = Self::aligned(gpu, pass.v[layer])?;
            params.pass_q[layer] = Self::aligned(gpu, pass.q[layer])?;
        }
        (params.pass_tokens, params.first, params.fresh) = (narrow(pass.tokens)?, narrow(rows.start)?, narrow(rows.len())?);
        params.tiles = narrow(rows.len().div_ceil(self.queries))?;
        let KvCounts { video, action, tail } = self.counts;
        params.counts = [narrow(video)?, narrow(action)?, narrow(tail)?];
        Ok(params)
    }

    /// Where a region of keys, values or queries lies: kernels move 16 bytes at a time.
    fn aligned(gpu: &Gpu, region: Region) -> Result<Address> {
        let at = gpu.at(region)?;
        if at.is_multiple_of(16) {
            return Ok(at);
        }
        Err(Error::new(ErrorKind::Usage, "a region that begins between two pieces of 16 bytes").at("memory").got(format!("{region:?}")))
    }

    fn typed(&self, [f32, f16, bf16]: [Kernel; 3]) -> Kernel {
        match self.dtype {
            DType::F16 => f16,
            DType::Bf16 => bf16,
            _ => f32,
        }
    }

    fn jobs(&self) -> u32 {
        self.params.layers * self.params.sets
    }

    /// Bytes of keys and values of `tokens` tokens in all layers.
    fn bytes(&self, tokens: usize) -> u64 {
        (2 * self.layout.layers * self.layout.heads * self.layout.head_dim * self.dtype.bytes() * tokens) as u64
    }

    fn launch(&self, gpu: &mut Gpu, kernel: Kernel, params: &Params) -> Result<()> {
        let scored = params.count + if params.scored_new == 0 { 0 } else { params.fresh };
        let grid = match kernel {
            Kernel::Choose => {
                Grid { blocks: [self.jobs(), 1], threads: THREADS, shared_bytes: 16 * params.count + 12 * scored + 4 * params.size + 8 }
            }
            Kernel::CheckF32 | Kernel::CheckF16 | Kernel::CheckBf16 => {
                Grid { blocks: [params.fresh, self.jobs()], threads: THREADS, shared_bytes: THREADS / 32 * 8 }
            }
            Kernel::ScatterF32 | Kernel::ScatterF16 | Kernel::ScatterBf16 => {
                Grid { blocks: [params.fresh, self.jobs()], threads: THREADS, shared_bytes: 0 }
            }
            _ => {
                let element = if on_tensor_cores(&self.layout, self.dtype) { 2 } else { 4 };
                let warps = (scored as usize).div_ceil(WARP_KEYS).max(1);
                let shared_bytes = narrow(score_shared_bytes(self.queries, self.layout.head_dim, element, warps))?;
                Grid { blocks: [params.tiles, self.jobs()], threads: 32 * narrow(warps)?, shared_bytes }
            }
        };
        // SAFETY: the parameters are those of every kernel of the memory; regions were proved to be of the plan and of the layout's shape, work space was
        // made for the layout in `open`, and counts lie within it.
        unsafe { gpu.driver.launch(kernel, grid, bytemuck::bytes_of(params)) }
    }
}

//! The KV memory on a GPU: launches `kernels/scatter.cu`, `score.cu` and `choose.cu`.
//!
//! An observed commit is four launches: check (are the new rows finite, how long are the keys), score, choose, scatter. The first three change nothing of
//! the memory, and the last does nothing where one of them found a fault, so all layers have chosen before any is written. Which slots are valid
//! is known by arithmetic (the first ones of each pool); which tokens they hold is known to the device alone.

#![expect(unsafe_code, reason = "a launch is a promise about its parameters")]

use super::driver::{Grid, Kernel, SHARED_BYTES};
use super::fault::State;
use super::{Address, Gpu};
use crate::device::{KvCounts, KvLayout, KvRegions, PassKv, Pool};
use crate::shape;
use bytemuck::{Pod, Zeroable};
use drivewam_core::config::MemoryPolicy;
use drivewam_core::dtype::DType;
use drivewam_core::selection::policy::{check_forced, makes_room};
use drivewam_core::selection::{Keys, Normalise, Policy, Provenance, Scored, Slot, SlotTable};
use drivewam_core::{Error, ErrorKind, Result};
use std::ops::Range;

/// `MOST_LAYERS` of `kv.cuh`.
const MOST_LAYERS: usize = 64;
/// Tokens that `score.cu` takes: nine warps of four times 16 keys, so that a thread may have 224 registers.
const MOST_SCORED: usize = 576;
/// Queries of a block of `score.cu`.
const QUERIES: usize = 32;
/// Columns that a warp takes at once.
const COLUMNS: usize = 32;
/// Threads of `check`, `scatter` and `choose`.
const THREADS: u32 = 256;

/// `Kv` of `kv.cuh`, field by field.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    mem_k: [Address; MOST_LAYERS],
    mem_v: [Address; MOST_LAYERS],
    pass_k: [Address; MOST_LAYERS],
    pass_v: [Address; MOST_LAYERS],
    pass_q: [Address; MOST_LAYERS],
    bias: Address,
    table: Address,
    inverse: Address,
    inverse_new: Address,
    partial: Address,
    destinations: Address,
    turns: Address,
    stays: Address,
    state: Address,
    seed: u64,
    layers: u32,
    heads: u32,
    width: u32,
    sets: u32,
    slots: u32,
    pass_tokens: u32,
    first: u32,
    fresh: u32,
    base: u32,
    size: u32,
    count: u32,
    chunk: u32,
    policy: u32,
    in_order: u32,
    predicted: u32,
    counts: [u32; 3],
    lambda: f32,
    softmax: u32,
    reach: u32,
    scored_new: u32,
    max_age_chunks: u32,
    tiles: u32,
    is_action: u32,
    columns: u32,
    action_tokens: u32,
    time_pairs: u32,
    height_pairs: u32,
    reserved: u32,
}

/// `Slot` of `kv.cuh`, field by field.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct Row {
    chunk: u32,
    token: u32,
    flags: u32,
    score: f32,
}

const VALID: u32 = 1;
const PREDICTED: u32 = 2;

/// The memory of one ride.
#[derive(Debug)]
pub(super) struct Kv {
    layout: KvLayout,
    regions: KvRegions,
    dtype: DType,
    /// What no commit changes.
    params: Params,
    counts: KvCounts,
    /// One layer's rows of the table, on their way to people.
    rows: Vec<Row>,
}

fn narrow(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|e| Error::new(ErrorKind::Capacity, "a memory larger than its kernels count").at("memory").got(n).caused_by(e))
}

/// The largest pool that forgets under `policy`, for the layout's shape, and what bounds it.
fn most_slots(layout: &KvLayout) -> usize {
    match layout.policy {
        MemoryPolicy::Full => usize::MAX,
        MemoryPolicy::Fifo => (SHARED_BYTES - 16) / 32,
        MemoryPolicy::Selective if layout.scoring.scored == Scored::PoolAndNew => MOST_SCORED.saturating_sub(layout.pass_tokens),
        MemoryPolicy::Selective => MOST_SCORED,
    }
}

/// Proves that the kernels take the layout.
fn check(layout: &KvLayout) -> Result<()> {
    let refused = |key: &str, got: usize, wanted: String| {
        Err(Error::new(ErrorKind::Capacity, "more than the CUDA kernels take").at(key).got(got).wanted(wanted))
    };
    if layout.layers > MOST_LAYERS {
        return refused("model.layers", layout.layers, format!("at most {MOST_LAYERS}"));
    }
    // The sums of every warp and the queries lie in shared memory, in f32 at worst.
    let most = MOST_SCORED / 64;
    let shared = QUERIES * (layout.head_dim * 4 + 64) + (most + 1) * (layout.head_dim + QUERIES) * 4 + 4;
    if !layout.head_dim.is_multiple_of(COLUMNS) || shared > SHARED_BYTES {
        return refused(
            "model.head_dim",
            layout.head_dim,
            format!("a multiple of {COLUMNS}, with all that a block shares in {SHARED_BYTES} bytes"),
        );
    }
    for (key, slots) in [("memory.video_slots", layout.video_slots), ("memory.action_slots", layout.action_slots)] {
        if slots > most_slots(layout) {
            return refused(key, slots, format!("at most {} under policy {:?}", most_slots(layout), layout.policy));
        }
    }
    Ok(())
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
        let tiles = pass.div_ceil(QUERIES).max(1);
        let scored = layout.video_slots.max(layout.action_slots).min(MOST_SCORED) + pass;
        let turns: Vec<f64> = layout.rope.turns().collect();
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
            layers: narrow(layout.layers)?,
            heads: narrow(layout.heads)?,
            width: narrow(layout.head_dim)?,
            sets: narrow(sets)?,
            slots: narrow(slots)?,
            lambda: scoring.lambda,
            softmax: u32::from(scoring.normalise == Normalise::Softmax),
            reach: scoring.max_pool / 2,
            scored_new: u32::from(scoring.scored == Scored::PoolAndNew),
            max_age_chunks: scoring.max_age_chunks,
            columns: narrow(layout.rope.columns())?,
            action_tokens: narrow(layout.rope.action_tokens())?,
            time_pairs: narrow(time_pairs)?,
            height_pairs: narrow(height_pairs)?,
            ..Params::zeroed()
        };
        gpu.driver.write(params.turns, bytemuck::cast_slice(&turns))?;
        for layer in 0..layout.layers {
            (params.mem_k[layer], params.mem_v[layer]) = (gpu.at(regions.k[layer])?, gpu.at(regions.v[layer])?);
        }
        let rows = vec![Row::default(); sets * slots];
        let mut kv = Self { layout, regions, dtype, params, counts: KvCounts::default(), rows };
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

    /// Slots that hold a token.
    pub(super) fn counts(&self) -> KvCounts {
        self.counts
    }

    /// The memory is as it was before the operation that found a fault. Returns the fault.
    pub(super) fn go_back(&mut self, state: &State) -> Error {
        let error = state.error();
        let Some((layer, set)) = state.job(self.params.sets as usize) else { return error };
        self.counts = state.counts();
        error.at(format!("memory: layer {layer}, set {set}"))
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
        let mut params = self.of_pass(gpu, pass, &rows)?;
        shape::tail(&self.layout, &rows)?;
        let tail = self.layout.tail();
        (params.chunk, params.base, params.size) = (chunk, narrow(tail.start)?, narrow(tail.len())?);
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
        let mut params = self.of_pass(gpu, pass, &rows)?;
        let range = self.layout.pool(pool);
        let count = match pool {
            Pool::Video => self.counts.video,
            Pool::Action => self.counts.action,
        };
        let forgets = makes_room(policy, range.len(), range.len() - count, rows.len())?;
        if rows.is_empty() {
            return Ok(0);
        }
        (params.chunk, params.base, params.size, params.count) = (chunk, narrow(range.start)?, narrow(range.len())?, narrow(count)?);
        params.is_action = u32::from(pool == Pool::Action);
        params.in_order = u32::from(!forgets);
        params.policy = match policy {
            Policy::Full | Policy::Fifo => 0,
            Policy::Selective(_) => 1,
            Policy::Random(seed) => {
                params.seed = seed;
                2
            }
            Policy::Forced(stays) => {
                if forgets {
                    check_forced(stays, range.len(), range.len() - rows.len(), |i| i < count)?;
                    gpu.driver.write(params.stays, bytemuck::cast_slice(stays_as_bytes(stays)))?;
                }
                3
            }
        };
        self.launch(gpu, self.typed([Kernel::CheckF32, Kernel::CheckF16, Kernel::CheckBf16]), &params)?;
        if forgets {
            if params.policy == 1 {
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
        let counted = match pool {
            Pool::Video => &mut self.counts.video,
            Pool::Action => &mut self.counts.action,
        };
        *counted = (count + rows.len()).min(range.len());
        Ok(self.bytes(rows.len()))
    }

    /// The parameters of any commit of `rows`.
    fn of_pass(&self, gpu: &Gpu, pass: &PassKv, rows: &Range<usize>) -> Result<Params> {
        shape::pass(&gpu.plan, (&self.layout, &self.regions, self.dtype), pass, rows)?;
        let mut params = self.params;
        for layer in 0..self.layout.layers {
            params.pass_k[layer] = gpu.at(pass.k[layer])?;
            params.pass_v[layer] = gpu.at(pass.v[layer])?;
            params.pass_q[layer] = gpu.at(pass.q[layer])?;
        }
        (params.pass_tokens, params.first, params.fresh) = (narrow(pass.tokens)?, narrow(rows.start)?, narrow(rows.len())?);
        params.tiles = narrow(rows.len().div_ceil(QUERIES))?;
        let KvCounts { video, action, tail } = self.counts;
        params.counts = [narrow(video)?, narrow(action)?, narrow(tail)?];
        Ok(params)
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
        let (width, element) = (params.width, if matches!(kernel, Kernel::ScoreF16 | Kernel::ScoreBf16) { 2 } else { 4 });
        let queries = QUERIES as u32;
        let grid = match kernel {
            Kernel::Choose => {
                Grid { blocks: [self.jobs(), 1], threads: THREADS, shared_bytes: 16 * params.count + 12 * scored + 4 * params.size + 8 }
            }
            Kernel::CheckF32 | Kernel::CheckF16 | Kernel::CheckBf16 => {
                Grid { blocks: [params.fresh, self.jobs()], threads: THREADS, shared_bytes: THREADS / 32 * 4 }
            }
            Kernel::ScatterF32 | Kernel::ScatterF16 | Kernel::ScatterBf16 => {
                Grid { blocks: [params.fresh, self.jobs()], threads: THREADS, shared_bytes: 0 }
            }
            _ => {
                let warps = scored.div_ceil(64).max(1);
                let shared_bytes = queries * (width * element + 64) + (warps + 1) * (width + queries) * 4 + 4;
                Grid { blocks: [params.tiles, self.jobs()], threads: 32 * warps, shared_bytes }
            }
        };
        // SAFETY: the parameters are those of every kernel of the memory; regions were proved to be of the plan and of the layout's shape, work space was
        // made for the layout in `open`, and counts lie within it.
        unsafe { gpu.driver.launch(kernel, grid, bytemuck::bytes_of(params)) }
    }
}

/// A bool is one byte, 0 or 1.
fn stays_as_bytes(stays: &[bool]) -> &[u8] {
    bytemuck::cast_slice(stays)
}

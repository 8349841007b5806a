//! The KV memory on a GPU: launches `kernels/score.cu`, `decide.cu` and `scatter.cu`, each once for
//! both pools.
//!
//! An observed commit is three launches. `score` scores the pools. `decide` selects the slots to
//! overwrite, checks that the new rows are finite, and computes the norms of the new keys.
//! `scatter` writes. The first two change nothing in the memory, and `scatter` does nothing after a
//! fault of either, so all layers of both pools have selected before any is written. The host knows
//! which slots are valid (the first ones of each pool); only the device knows which tokens they
//! hold.

#![expect(unsafe_code, reason = "the caller of a launch guarantees its parameters")]

mod limits;
mod params;
mod work_space;

use super::context::CudaContext;
use super::driver::{Kernel, LaunchGrid};
use super::fault::FaultState;
use crate::checks;
use crate::kv::{Commit, KvCounts, KvLayout, KvRegions, PassKv, Pool};
use drivewam_core::arena::Region;
use drivewam_core::dtype::DType;
use drivewam_core::selection::policy::{check_forced, makes_room};
use drivewam_core::selection::{Keys, Normalise, Policy, Provenance, Scored, Slot, SlotTable};
use drivewam_core::{Error, ErrorKind, Result};
use limits::{THREADS, check, fits, narrow, score_shared_bytes, stages, uses_tensor_cores, warps};
use params::{FIFO, FORCED, KvParams, PREDICTED, PoolParams, RANDOM, SELECTIVE, SlotRow, VALID};
use std::ops::Range;
use work_space::{queries_of_block, work_space};

/// The memory of one lane.
#[derive(Debug)]
pub(super) struct CudaKv {
    layout: KvLayout,
    regions: KvRegions,
    dtype: DType,
    /// Queries of a block of `score.cu`.
    queries: usize,
    /// Parameters that no commit changes.
    params: KvParams,
    /// The chunk that the device's chunk word holds.
    chunk: u32,
    counts: KvCounts,
    /// Staging for one layer's rows of the table.
    rows: Vec<SlotRow>,
}

impl CudaKv {
    /// Checks the regions, empties every slot, allocates all work space. Warm.
    /// The lanes share what is only used within a commit.
    pub(super) fn open(context: &mut CudaContext, layout: &KvLayout, lanes: &[KvRegions]) -> Result<Vec<Self>> {
        let dtype = checks::memory(&context.plan, layout, lanes)?;
        if !matches!(dtype, DType::F32 | DType::F16 | DType::Bf16) {
            return Err(Error::new(ErrorKind::Usage, "no kernels for this type of keys").at("memory: mem_k").got(dtype));
        }
        check(layout, context.driver.shared_bytes())?;
        let space = work_space(context, layout, dtype)?;
        lanes.iter().map(|regions| Self::open_lane(context, layout, (regions, dtype), &space)).collect()
    }

    /// Opens the memory of one lane on the work space of all.
    fn open_lane(context: &mut CudaContext, layout: &KvLayout, (regions, dtype): (&KvRegions, DType), space: &KvParams) -> Result<Self> {
        let sets = layout.scoring.sets(layout.heads);
        let (jobs, slots) = (layout.layers * sets, layout.slots());
        let queries = queries_of_block(layout, dtype);
        let [time_pairs, height_pairs, _] = layout.rope.pairs();
        let scoring = &layout.scoring;
        let mut params = KvParams {
            arena: context.base,
            bias: context.f32_at(regions.bias)?,
            table: context.driver.allocate(jobs * slots * size_of::<SlotRow>())?,
            inv_norm: context.driver.allocate(jobs * slots * 4)?,
            state: context.state,
            chunk: context.driver.allocate(4)?,
            layers: narrow(layout.layers)?,
            heads: narrow(layout.heads)?,
            width: narrow(layout.head_dim)?,
            sets: narrow(sets)?,
            slots: narrow(slots)?,
            stages: 1,
            lambda: scoring.lambda,
            softmax: u32::from(scoring.normalise == Normalise::Softmax),
            pool_radius: scoring.max_pool / 2,
            scored_new: u32::from(scoring.scored == Scored::PoolAndNew),
            max_age_chunks: scoring.max_age_chunks,
            columns: narrow(layout.rope.columns())?,
            action_tokens: narrow(layout.rope.action_tokens())?,
            time_pairs: narrow(time_pairs)?,
            height_pairs: narrow(height_pairs)?,
            ..*space
        };
        for layer in 0..layout.layers {
            (params.mem_k[layer], params.mem_v[layer]) =
                (Self::offset(context, regions.k[layer])?, Self::offset(context, regions.v[layer])?);
        }
        let rows = vec![SlotRow::default(); sets * slots];
        let (layout, regions) = (layout.clone(), regions.clone());
        let mut kv = Self { layout, regions, dtype, queries, params, chunk: 0, counts: KvCounts::default(), rows };
        kv.clear(context)?;
        Ok(kv)
    }

    /// Empties every slot.
    pub(super) fn clear(&mut self, context: &mut CudaContext) -> Result<()> {
        // Three launches of `drop`, one per pool and one for the tail.
        for range in [self.layout.pool(Pool::Video), self.layout.pool(Pool::Action), self.layout.tail()] {
            self.empty(context, range)?;
        }
        self.counts = KvCounts::default();
        Ok(())
    }

    /// Empties the tail.
    pub(super) fn drop_predicted(&mut self, context: &mut CudaContext) -> Result<()> {
        self.empty(context, self.layout.tail())?;
        self.counts.tail = 0;
        Ok(())
    }

    /// Empties some slots; does nothing on the device after a fault that was not returned yet.
    fn empty(&self, context: &mut CudaContext, range: Range<usize>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let mut params = self.params;
        (params.pools[0].slot_begin, params.pools[0].slots) = (narrow(range.start)?, narrow(range.len())?);
        let grid = LaunchGrid { blocks: [narrow(range.len())?.div_ceil(THREADS), self.jobs()], threads: THREADS, shared_bytes: 0 };
        // SAFETY: the parameters are those of `drop`; the slots lie inside the table and the bias.
        unsafe { context.driver.launch(Kernel::Drop, grid, bytemuck::bytes_of(&params)) }
    }

    /// Restores the counts after a capture, whose operations were not done.
    pub(super) fn set_counts(&mut self, counts: KvCounts) {
        self.counts = counts;
    }

    /// Slots that hold a token.
    pub(super) fn counts(&self) -> KvCounts {
        self.counts
    }

    /// Restores the counts from before the operation that found a fault, which changed nothing.
    /// Returns the fault.
    pub(super) fn roll_back(&mut self, state: &FaultState) -> Error {
        let error = state.error();
        self.counts = state.counts();
        match state.job(self.params.sets as usize) {
            Some((pool, layer, set)) => error.at(format!("memory: {pool:?} pool, layer {layer}, set {set}")),
            None => error,
        }
    }

    /// A copy of the slot table of one layer.
    pub(super) fn table(&mut self, context: &mut CudaContext, layer: usize) -> Result<SlotTable> {
        if layer >= self.layout.layers {
            return Err(checks::no_layer(layer, self.layout.layers));
        }
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.rows);
        context.driver.read(self.params.table + (layer * bytes.len()) as u64, bytes)?;
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

    /// Replaces the tail by rows of a pass. Returns the bytes copied.
    pub(super) fn commit_predicted(&mut self, context: &mut CudaContext, chunk: u32, pass: &PassKv, rows: Range<usize>) -> Result<u64> {
        let tail = self.layout.tail();
        let mut params = self.with_counts()?;
        params.pools[0] = PoolParams { predicted: 1, in_order: 1, ..self.pool_params(context, 0, pass, &rows, &tail)? };
        checks::tail(&self.layout, &rows)?;
        if rows.is_empty() {
            self.drop_predicted(context)?;
            return Ok(0);
        }
        self.name_chunk(context, chunk, &mut params)?;
        self.decide(context, &params, true)?;
        self.drop_predicted(context)?;
        self.scatter(context, &params)?;
        self.counts.tail = rows.len();
        Ok(self.bytes(rows.len()))
    }

    /// Commits rows of passes as observed tokens. Returns the bytes copied. See
    /// [`crate::KvMemory::kv_commit_observed`].
    pub(super) fn commit_observed(&mut self, context: &mut CudaContext, chunk: u32, commits: &[Commit<'_>]) -> Result<u64> {
        checks::pools(commits)?;
        let (mut params, mut counts) = (self.with_counts()?, self.counts);
        for (at, commit) in commits.iter().enumerate() {
            let range = self.layout.pool(commit.pool);
            params.pools[at] = self.observed(context, at, commit, &range)?;
            let count = counts.of_mut(commit.pool);
            *count = (*count + commit.rows.len()).min(range.len());
        }
        let rows: usize = commits.iter().map(|commit| commit.rows.len()).sum();
        if rows == 0 {
            return Ok(0);
        }
        self.name_chunk(context, chunk, &mut params)?;
        for (commit, pool) in commits.iter().zip(&params.pools) {
            if let (Policy::Forced(keep_mask), 0) = (commit.policy, pool.in_order) {
                context.driver.write(params.keep_mask + u64::from(pool.slot_begin), bytemuck::cast_slice(keep_mask))?;
            }
        }
        let scores = params.pools.iter().any(|pool| pool.tiles > 0);
        if params.pools.iter().any(|pool| pool.new_tokens > 0 && pool.in_order == 0) {
            params.select_blocks = narrow(commits.len())? * self.jobs();
        }
        if scores && params.scored_new != 0 {
            // `score` scores the new keys too, so it needs their norms first.
            self.decide(context, &KvParams { select_blocks: 0, ..params }, true)?;
            self.score(context, &params)?;
            self.decide(context, &params, false)?;
        } else {
            if scores {
                self.score(context, &params)?;
            }
            self.decide(context, &params, true)?;
        }
        self.scatter(context, &params)?;
        self.counts = counts;
        Ok(self.bytes(rows))
    }

    /// The parameters of one pool's commit.
    fn observed(&self, context: &CudaContext, at: usize, commit: &Commit<'_>, range: &Range<usize>) -> Result<PoolParams> {
        let mut pool = self.pool_params(context, at, commit.pass, &commit.rows, range)?;
        let (mut counts, new_tokens) = (self.counts, commit.rows.len());
        let count = *counts.of_mut(commit.pool);
        let forgets = makes_room(commit.policy, range.len(), range.len() - count, new_tokens)? && new_tokens > 0;
        pool.count = narrow(count)?;
        pool.is_action = u32::from(commit.pool == Pool::Action);
        pool.in_order = u32::from(!forgets);
        pool.policy = match commit.policy {
            Policy::Full | Policy::Fifo => FIFO,
            Policy::Selective => SELECTIVE,
            Policy::Random(seed) => {
                pool.seed = seed;
                RANDOM
            }
            Policy::Forced(keep_mask) => {
                if forgets {
                    check_forced(keep_mask, range.len(), range.len() - new_tokens, |i| i < count)?;
                }
                FORCED
            }
        };
        if forgets {
            fits(&self.layout, count, pool.policy == SELECTIVE, new_tokens)?;
            if pool.policy == SELECTIVE {
                pool.tiles = narrow(new_tokens.div_ceil(self.queries))?;
            }
        }
        Ok(pool)
    }

    /// Writes the chunk word, which the commits of a graph count from.
    pub(super) fn set_chunk(&mut self, context: &mut CudaContext, chunk: u32) -> Result<()> {
        context.driver.write(self.params.chunk, bytemuck::bytes_of(&chunk))?;
        self.chunk = chunk;
        Ok(())
    }

    /// The parameters that all commits share, with the present counts.
    fn with_counts(&self) -> Result<KvParams> {
        let KvCounts { video, action, tail } = self.counts;
        Ok(KvParams { counts: [narrow(video)?, narrow(action)?, narrow(tail)?], ..self.params })
    }

    /// Names the chunk of a commit: by the chunk word, or in a capture by the difference to it.
    fn name_chunk(&mut self, context: &mut CudaContext, chunk: u32, params: &mut KvParams) -> Result<()> {
        if context.capture.is_none() {
            return self.set_chunk(context, chunk);
        }
        params.chunk_offset = chunk.wrapping_sub(self.chunk);
        Ok(())
    }

    /// The parameters of rows that a commit writes into the slots `range`.
    fn pool_params(
        &self,
        context: &CudaContext,
        at: usize,
        pass: &PassKv,
        rows: &Range<usize>,
        range: &Range<usize>,
    ) -> Result<PoolParams> {
        checks::pass(&context.plan, (&self.layout, &self.regions, self.dtype), pass, rows)?;
        let mut pool = self.params.pools[at];
        for layer in 0..self.layout.layers {
            pool.pass_k[layer] = Self::offset(context, pass.k[layer])?;
            pool.pass_v[layer] = Self::offset(context, pass.v[layer])?;
            pool.pass_q[layer] = Self::offset(context, pass.q[layer])?;
        }
        (pool.pass_tokens, pool.first, pool.new_tokens) = (narrow(pass.tokens)?, narrow(rows.start)?, narrow(rows.len())?);
        (pool.slot_begin, pool.slots) = (narrow(range.start)?, narrow(range.len())?);
        Ok(pool)
    }

    /// The offset of a region of keys, values or queries in the arena, in 16 bytes, which is what
    /// kernels move at a time.
    fn offset(context: &CudaContext, region: Region) -> Result<u32> {
        let bytes = context.at(region)? - context.base;
        if bytes.is_multiple_of(16) {
            return narrow((bytes / 16) as usize);
        }
        Err(Error::new(ErrorKind::Usage, "the region is not aligned to 16 bytes").at("memory").got(format!("{region:?}")))
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

    fn score(&self, context: &mut CudaContext, params: &KvParams) -> Result<()> {
        let scored = params.pools.iter().filter(|pool| pool.tiles > 0).map(|pool| pool.scored(params.scored_new)).max().unwrap_or(0);
        let (scored, width) = (scored as usize, self.layout.head_dim);
        let stages = stages(width, scored, context.driver.shared_bytes());
        let shared_bytes = narrow(score_shared_bytes(uses_tensor_cores(&self.layout, self.dtype), width, scored, stages))?;
        let kernels = if self.layout.scoring.keys == Keys::PreRope {
            [Kernel::ScoreTurnedF32, Kernel::ScoreTurnedF16, Kernel::ScoreTurnedBf16]
        } else {
            [Kernel::ScoreF32, Kernel::ScoreF16, Kernel::ScoreBf16]
        };
        let grid = LaunchGrid {
            blocks: [params.pools[0].tiles + params.pools[1].tiles, self.jobs()],
            threads: 32 * narrow(warps(scored))?,
            shared_bytes,
        };
        self.launch(context, kernels, grid, &KvParams { stages: narrow(stages)?, ..*params })
    }

    /// Selects slots where `select_blocks` is set, and checks the new rows where `checks_rows` is.
    fn decide(&self, context: &mut CudaContext, params: &KvParams, checks_rows: bool) -> Result<()> {
        let rows = if checks_rows { params.pools[0].new_tokens + params.pools[1].new_tokens } else { 0 };
        let select_bytes = |pool: &PoolParams| 8 * pool.count + 12 * pool.scored(params.scored_new);
        let selected = if params.select_blocks == 0 { 0 } else { params.pools.iter().map(select_bytes).max().unwrap_or(0) };
        let grid = LaunchGrid {
            blocks: [params.select_blocks + self.jobs() * rows, 1],
            threads: THREADS,
            shared_bytes: (selected + THREADS / 32 * 4 + 4).max(THREADS / 32 * 8),
        };
        self.launch(context, [Kernel::DecideF32, Kernel::DecideF16, Kernel::DecideBf16], grid, params)
    }

    fn scatter(&self, context: &mut CudaContext, params: &KvParams) -> Result<()> {
        let rows = params.pools[0].new_tokens + params.pools[1].new_tokens;
        let grid = LaunchGrid { blocks: [rows, self.jobs()], threads: THREADS, shared_bytes: 0 };
        self.launch(context, [Kernel::ScatterF32, Kernel::ScatterF16, Kernel::ScatterBf16], grid, params)
    }

    fn launch(&self, context: &mut CudaContext, kernels: [Kernel; 3], grid: LaunchGrid, params: &KvParams) -> Result<()> {
        // SAFETY: the parameters are those of every kernel of the memory. Regions were checked to
        // be of the plan and of the layout's shape, `open` allocated the work space for the layout,
        // and counts stay within it.
        unsafe { context.driver.launch(self.typed(kernels), grid, bytemuck::bytes_of(params)) }
    }
}

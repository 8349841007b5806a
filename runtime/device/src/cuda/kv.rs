//! The KV memory on a GPU: launches `kernels/score.cu`, `decide.cu` and `scatter.cu`, each once for both pools.
//!
//! An observed commit is three launches: score, decide (which slots are overwritten; are the new rows finite, how long are the keys), scatter. The first two
//! change nothing of the memory, and the last does nothing where one of them found a fault, so all layers of both pools have chosen before any is
//! written. Which slots are valid is known by arithmetic (the first ones of each pool); which tokens they hold is known to the device alone.

#![expect(unsafe_code, reason = "a launch is a promise about its parameters")]

mod limits;
mod params;

use super::Gpu;
use super::driver::{Grid, Kernel};
use super::fault::State;
use crate::device::{Commit, KvCounts, KvLayout, KvRegions, PassKv, Pool};
use crate::shape;
use bytemuck::Zeroable;
use drivewam_core::arena::Region;
use drivewam_core::dtype::DType;
use drivewam_core::selection::policy::{check_forced, makes_room};
use drivewam_core::selection::{Keys, Normalise, Policy, Provenance, Scored, Slot, SlotTable};
use drivewam_core::{Error, ErrorKind, Result};
use limits::{MOST_SCORED, QUERIES, THREADS, check, fits, narrow, on_tensor_cores, score_shared_bytes, stages, warps};
use params::{FIFO, FORCED, PREDICTED, Params, Part, RANDOM, Row, SELECTIVE, VALID};
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
        check(&layout, gpu.driver.shared_bytes())?;
        let sets = layout.scoring.sets(layout.heads);
        let (jobs, slots, pass) = (layout.layers * sets, layout.slots(), layout.pass_tokens);
        let queries = QUERIES[usize::from(!on_tensor_cores(&layout, dtype))];
        let tiles = pass.div_ceil(queries).max(1);
        let scored = layout.video_slots.max(layout.action_slots).min(MOST_SCORED) + pass;
        let turns = layout.rope.turns();
        let [time_pairs, height_pairs, _] = layout.rope.pairs();
        let scoring = &layout.scoring;
        let mut parts = [Part::zeroed(); 2];
        for part in &mut parts {
            part.inverse_new = gpu.driver.allocate(jobs * pass * 4)?;
            part.partial = gpu.driver.allocate(jobs * tiles * 2 * scored * 4)?;
            part.destinations = gpu.driver.allocate(jobs * pass * 4)?;
        }
        let mut params = Params {
            arena: gpu.base,
            parts,
            bias: gpu.f32_at(regions.bias)?,
            table: gpu.driver.allocate(jobs * slots * size_of::<Row>())?,
            inverse: gpu.driver.allocate(jobs * slots * 4)?,
            turns: gpu.driver.allocate(turns.len() * 8)?,
            stays: gpu.driver.allocate(slots)?,
            state: gpu.state,
            chunk: gpu.driver.allocate(4)?,
            layers: narrow(layout.layers)?,
            heads: narrow(layout.heads)?,
            width: narrow(layout.head_dim)?,
            sets: narrow(sets)?,
            slots: narrow(slots)?,
            stages: 1,
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
            (params.mem_k[layer], params.mem_v[layer]) = (Self::place(gpu, regions.k[layer])?, Self::place(gpu, regions.v[layer])?);
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
        let mut params = self.params;
        (params.parts[0].base, params.parts[0].size) = (narrow(range.start)?, narrow(range.len())?);
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
            Some((pool, layer, set)) => error.at(format!("memory: {pool:?} pool, layer {layer}, set {set}")),
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
        let tail = self.layout.tail();
        let mut params = self.of_chunk()?;
        params.parts[0] = Part { predicted: 1, in_order: 1, ..self.part(gpu, 0, pass, &rows, &tail)? };
        shape::tail(&self.layout, &rows)?;
        if rows.is_empty() {
            self.drop_predicted(gpu)?;
            return Ok(0);
        }
        self.tell_chunk(gpu, chunk, &mut params)?;
        self.decide(gpu, &params, true)?;
        self.drop_predicted(gpu)?;
        self.scatter(gpu, &params)?;
        self.counts.tail = rows.len();
        Ok(self.bytes(rows.len()))
    }

    /// Commits rows of passes as observed tokens. Returns the bytes that it copies. See [`crate::Device::kv_commit_observed`].
    pub(super) fn commit_observed(&mut self, gpu: &mut Gpu, chunk: u32, commits: &[Commit<'_>]) -> Result<u64> {
        shape::pools(commits)?;
        let (mut params, mut counts) = (self.of_chunk()?, self.counts);
        for (at, commit) in commits.iter().enumerate() {
            let range = self.layout.pool(commit.pool);
            params.parts[at] = self.observed(gpu, at, commit, &range)?;
            let count = counts.of_mut(commit.pool);
            *count = (*count + commit.rows.len()).min(range.len());
        }
        let rows: usize = commits.iter().map(|commit| commit.rows.len()).sum();
        if rows == 0 {
            return Ok(0);
        }
        self.tell_chunk(gpu, chunk, &mut params)?;
        for (commit, part) in commits.iter().zip(&params.parts) {
            if let (Policy::Forced(stays), 0) = (commit.policy, part.in_order) {
                gpu.driver.write(params.stays + u64::from(part.base), bytemuck::cast_slice(stays))?;
            }
        }
        let scores = params.parts.iter().any(|part| part.tiles > 0);
        if params.parts.iter().any(|part| part.fresh > 0 && part.in_order == 0) {
            params.choosers = narrow(commits.len())? * self.jobs();
        }
        if scores && params.scored_new != 0 {
            // The new keys are scored too: their lengths come first.
            self.decide(gpu, &Params { choosers: 0, ..params }, true)?;
            self.score(gpu, &params)?;
            self.decide(gpu, &params, false)?;
        } else {
            if scores {
                self.score(gpu, &params)?;
            }
            self.decide(gpu, &params, true)?;
        }
        self.scatter(gpu, &params)?;
        self.counts = counts;
        Ok(self.bytes(rows))
    }

    /// What the kernels are told of one pool's commit.
    fn observed(&self, gpu: &Gpu, at: usize, commit: &Commit<'_>, range: &Range<usize>) -> Result<Part> {
        let mut part = self.part(gpu, at, commit.pass, &commit.rows, range)?;
        let (mut counts, fresh) = (self.counts, commit.rows.len());
        let count = *counts.of_mut(commit.pool);
        let forgets = makes_room(commit.policy, range.len(), range.len() - count, fresh)? && fresh > 0;
        part.count = narrow(count)?;
        part.is_action = u32::from(commit.pool == Pool::Action);
        part.in_order = u32::from(!forgets);
        part.policy = match commit.policy {
            Policy::Full | Policy::Fifo => FIFO,
            Policy::Selective(_) => SELECTIVE,
            Policy::Random(seed) => {
                part.seed = seed;
                RANDOM
            }
            Policy::Forced(stays) => {
                if forgets {
                    check_forced(stays, range.len(), range.len() - fresh, |i| i < count)?;
                }
                FORCED
            }
        };
        if forgets {
            fits(&self.layout, count, part.policy == SELECTIVE, fresh)?;
            if part.policy == SELECTIVE {
                part.tiles = narrow(fresh.div_ceil(self.queries))?;
            }
        }
        Ok(part)
    }

    /// Where a graph's commits take their chunk from.
    pub(super) fn set_chunk(&self, gpu: &mut Gpu, chunk: u32) -> Result<()> {
        gpu.driver.write(self.params.chunk, bytemuck::bytes_of(&chunk))
    }

    /// The parameters of any commit.
    fn of_chunk(&self) -> Result<Params> {
        let KvCounts { video, action, tail } = self.counts;
        Ok(Params { counts: [narrow(video)?, narrow(action)?, narrow(tail)?], ..self.params })
    }

    /// Tells the chunk, unless a graph is being made.
    fn tell_chunk(&self, gpu: &mut Gpu, chunk: u32, params: &mut Params) -> Result<()> {
        match gpu.captures {
            None => self.set_chunk(gpu, chunk)?,
            Some(base) => params.ahead = chunk.wrapping_sub(base),
        }
        Ok(())
    }

    /// What the kernels are told of rows that go into the slots `range`.
    fn part(&self, gpu: &Gpu, at: usize, pass: &PassKv, rows: &Range<usize>, range: &Range<usize>) -> Result<Part> {
        shape::pass(&gpu.plan, (&self.layout, &self.regions, self.dtype), pass, rows)?;
        let mut part = self.params.parts[at];
        for layer in 0..self.layout.layers {
            part.pass_k[layer] = Self::place(gpu, pass.k[layer])?;
            part.pass_v[layer] = Self::place(gpu, pass.v[layer])?;
            part.pass_q[layer] = Self::place(gpu, pass.q[layer])?;
        }
        (part.pass_tokens, part.first, part.fresh) = (narrow(pass.tokens)?, narrow(rows.start)?, narrow(rows.len())?);
        (part.base, part.size) = (narrow(range.start)?, narrow(range.len())?);
        Ok(part)
    }

    /// Where a region of keys, values or queries lies in the arena: kernels move 16 bytes at a time, and count in them.
    fn place(gpu: &Gpu, region: Region) -> Result<u32> {
        let into = gpu.at(region)? - gpu.base;
        if into.is_multiple_of(16) {
            return narrow((into / 16) as usize);
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

    fn score(&self, gpu: &mut Gpu, params: &Params) -> Result<()> {
        let scored = params.parts.iter().filter(|part| part.tiles > 0).map(|part| part.scored(params.scored_new)).max().unwrap_or(0);
        let (scored, width) = (scored as usize, self.layout.head_dim);
        let stages = stages(width, scored, gpu.driver.shared_bytes());
        let shared_bytes = narrow(score_shared_bytes(on_tensor_cores(&self.layout, self.dtype), width, scored, stages))?;
        let kernels = if self.layout.scoring.keys == Keys::PreRope {
            [Kernel::ScoreTurnedF32, Kernel::ScoreTurnedF16, Kernel::ScoreTurnedBf16]
        } else {
            [Kernel::ScoreF32, Kernel::ScoreF16, Kernel::ScoreBf16]
        };
        let grid = Grid {
            blocks: [params.parts[0].tiles + params.parts[1].tiles, self.jobs()],
            threads: 32 * narrow(warps(scored))?,
            shared_bytes,
        };
        self.launch(gpu, kernels, grid, &Params { stages: narrow(stages)?, ..*params })
    }

    /// Chooses, where `choosers` are told, and `checks` the new rows.
    fn decide(&self, gpu: &mut Gpu, params: &Params, checks: bool) -> Result<()> {
        let rows = if checks { params.parts[0].fresh + params.parts[1].fresh } else { 0 };
        let choice = |part: &Part| 8 * part.count + 12 * part.scored(params.scored_new);
        let chosen = if params.choosers == 0 { 0 } else { params.parts.iter().map(choice).max().unwrap_or(0) };
        let grid = Grid {
            blocks: [params.choosers + self.jobs() * rows, 1],
            threads: THREADS,
            shared_bytes: (chosen + THREADS / 32 * 4 + 4).max(THREADS / 32 * 8),
        };
        self.launch(gpu, [Kernel::DecideF32, Kernel::DecideF16, Kernel::DecideBf16], grid, params)
    }

    fn scatter(&self, gpu: &mut Gpu, params: &Params) -> Result<()> {
        let rows = params.parts[0].fresh + params.parts[1].fresh;
        let grid = Grid { blocks: [rows, self.jobs()], threads: THREADS, shared_bytes: 0 };
        self.launch(gpu, [Kernel::ScatterF32, Kernel::ScatterF16, Kernel::ScatterBf16], grid, params)
    }

    fn launch(&self, gpu: &mut Gpu, kernels: [Kernel; 3], grid: Grid, params: &Params) -> Result<()> {
        // SAFETY: the parameters are those of every kernel of the memory; regions were proved to be of the plan and of the layout's shape, work space was
        // made for the layout in `open`, and counts lie within it.
        unsafe { gpu.driver.launch(self.typed(kernels), grid, bytemuck::bytes_of(params)) }
    }
}

//! The KV memory on the host: slot tables, the bias, and the commits that overwrite slots.
//!
//! An observed commit runs as jobs, one per pool, layer and head set. A job checks its new rows,
//! scores its pool where tokens must be forgotten, and selects its slots. Nothing is written until
//! all jobs have selected, so an error leaves the memory unchanged. Which slots hold a token is the
//! same in every layer and set, because all begin empty and fill in the same order; which token a
//! slot holds differs.

use super::score::{HeadRows, Inputs, Workspace};
use super::simd::Simd;
use super::threads::Threads;
use crate::arena::HostArena;
use crate::checks;
use crate::kv::{Commit, KvCounts, KvLayout, KvRegions, PassKv, Pool};
use drivewam_core::bindings::MASKED;
use drivewam_core::dtype::DType;
use drivewam_core::selection::policy::must_forget;
use drivewam_core::selection::slots::{commit, record};
use drivewam_core::selection::{Policy, Provenance, Slot, SlotTable, destinations};
use drivewam_core::{Error, ErrorKind, Result};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The parts of the device that a commit works with.
#[derive(Debug)]
pub(crate) struct HostContext<'a> {
    pub(crate) arena: &'a mut HostArena,
    pub(crate) threads: &'a mut Threads,
    pub(crate) simd: Simd,
}

/// The memory of one ride: one per lane, and the work space that they share.
#[derive(Debug)]
pub(crate) struct HostKv {
    lanes: Vec<Lane>,
    /// The lane that operations act on.
    lane: usize,
    /// One per job: commit by commit, layer by layer, set by set.
    selections: Vec<Mutex<Selection>>,
    /// One per thread.
    spaces: Vec<Mutex<Workspace>>,
    /// 0, 1, 2, ...: slots of predicted tokens, from the start of the tail.
    in_order: Vec<u32>,
}

/// The memory of one lane.
#[derive(Debug)]
struct Lane {
    store: Store,
    /// One per layer.
    tables: Vec<SlotTable>,
    counts: KvCounts,
}

/// The shape of the memory, and its regions.
#[derive(Debug)]
struct Store {
    layout: KvLayout,
    regions: KvRegions,
}

/// The result of one job.
#[derive(Debug)]
struct Selection {
    scores: Vec<f32>,
    scored: bool,
    destinations: Vec<u32>,
    failed: Option<Error>,
}

/// Rows of a pass that a commit writes.
#[derive(Debug, Clone, Copy)]
struct NewRows<'a> {
    pool: Pool,
    chunk: u32,
    pass: &'a PassKv,
    first: usize,
    len: usize,
}

impl<'a> NewRows<'a> {
    fn of(commit: &Commit<'a>, chunk: u32) -> Self {
        Self { pool: commit.pool, chunk, pass: commit.pass, first: commit.rows.start, len: commit.rows.len() }
    }
}

impl HostKv {
    /// Checks the regions, empties every slot, allocates all work space. Warm.
    pub(crate) fn open(layout: &KvLayout, lanes: &[KvRegions], arena: &mut HostArena, threads: usize) -> Result<Self> {
        if checks::memory(arena.plan(), layout, lanes)? != DType::F32 {
            return Err(Error::new(ErrorKind::Usage, "the host keeps keys and values in f32 alone").at("memory: mem_k"));
        }
        let sets = layout.scoring.sets(layout.heads);
        let max_slots = layout.video_slots.max(layout.action_slots);
        let selection = || {
            Mutex::new(Selection { scores: vec![0.0; max_slots], scored: false, destinations: vec![0; layout.pass_tokens], failed: None })
        };
        let lane = |regions: &KvRegions| Lane {
            tables: (0..layout.layers).map(|_| SlotTable::new(sets, layout.slots())).collect(),
            counts: KvCounts::default(),
            store: Store { layout: layout.clone(), regions: regions.clone() },
        };
        let mut kv = Self {
            lanes: lanes.iter().map(lane).collect(),
            lane: 0,
            // A commit names each of the two pools at most once.
            selections: (0..2 * layout.layers * sets).map(|_| selection()).collect(),
            spaces: (0..threads).map(|_| Mutex::new(Workspace::new(layout))).collect(),
            in_order: (0u32..).take(layout.tail_slots).collect(),
        };
        kv.lanes.iter_mut().try_for_each(|lane| lane.clear(arena))?;
        Ok(kv)
    }

    /// Lets operations act on lane `lane` from now on.
    pub(crate) fn use_lane(&mut self, lane: usize) -> Result<()> {
        checks::lane(lane, self.lanes.len())?;
        self.lane = lane;
        Ok(())
    }

    /// Empties every slot.
    pub(crate) fn clear(&mut self, arena: &mut HostArena) -> Result<()> {
        self.lanes[self.lane].clear(arena)
    }

    /// Empties the tail.
    pub(crate) fn drop_predicted(&mut self, arena: &mut HostArena) -> Result<()> {
        self.lanes[self.lane].drop_predicted(arena)
    }

    /// Slots that hold a token.
    pub(crate) fn counts(&self) -> KvCounts {
        self.lanes[self.lane].counts
    }

    /// A copy of the slot table of one layer.
    pub(crate) fn table(&self, layer: usize) -> Result<SlotTable> {
        let Lane { store, tables, .. } = &self.lanes[self.lane];
        tables.get(layer).cloned().ok_or_else(|| checks::no_layer(layer, store.layout.layers))
    }

    /// Replaces the tail by rows of a pass. Returns the bytes copied.
    pub(crate) fn commit_predicted(&mut self, mut context: HostContext<'_>, chunk: u32, pass: &PassKv, rows: Range<usize>) -> Result<u64> {
        let Self { lanes, lane, in_order, .. } = self;
        let lane = &mut lanes[*lane];
        lane.store.check(context.arena, pass, &rows)?;
        checks::tail(&lane.store.layout, &rows)?;
        let new = NewRows { pool: Pool::Video, chunk, pass, first: rows.start, len: rows.len() };
        for layer in 0..lane.store.layout.layers {
            lane.store
                .are_finite(context.simd, context.arena, &new, layer, 0..lane.store.layout.heads)
                .map_err(|e| e.at(format!("predicted video, layer {layer}")))?;
        }
        lane.drop_predicted(context.arena)?;
        let (tail, len) = (lane.store.layout.tail(), rows.len());
        let mut bytes = 0;
        for layer in 0..lane.store.layout.layers {
            bytes += lane.store.scatter(&mut context, &new, layer, 0..lane.store.layout.heads, tail.start, &in_order[..len])?;
        }
        for table in &mut lane.tables {
            for set in 0..table.sets() {
                commit(table.pool_mut(set, tail.clone())?, &in_order[..len], chunk, Provenance::Predicted)?;
            }
        }
        context.arena.f32_mut(lane.store.regions.bias)?[tail][..len].fill(0.0);
        lane.counts.tail = len;
        Ok(bytes)
    }

    /// Commits rows of passes as observed tokens, all or none. Returns the bytes copied. See
    /// [`crate::KvMemory::kv_commit_observed`].
    pub(crate) fn commit_observed(&mut self, mut context: HostContext<'_>, chunk: u32, commits: &[Commit<'_>]) -> Result<u64> {
        checks::pools(commits)?;
        for Commit { pass, rows, .. } in commits {
            self.lanes[self.lane].store.check(context.arena, pass, rows)?;
        }
        self.select(&mut context, chunk, commits)?;
        // Nothing from here on fails.
        let Self { lanes, lane, selections, .. } = self;
        let lane = &mut lanes[*lane];
        let mut bytes = 0;
        let sets = lane.store.layout.scoring.sets(lane.store.layout.heads);
        let jobs = lane.store.layout.layers * sets;
        for (job, selection) in selections.iter_mut().enumerate().take(commits.len() * jobs) {
            let new = NewRows::of(&commits[job / jobs], chunk);
            let (layer, set) = (job % jobs / sets, job % sets);
            let slots = lane.store.layout.pool(new.pool);
            let selection = selection.get_mut().unwrap_or_else(PoisonError::into_inner);
            let destinations = &selection.destinations[..new.len];
            let heads = lane.store.layout.scoring.heads_of(set, lane.store.layout.heads);
            bytes += lane.store.scatter(&mut context, &new, layer, heads, slots.start, destinations)?;
            let table = lane.tables[layer].pool_mut(set, slots.clone())?;
            if selection.scored {
                record(table, &selection.scores[..slots.len()])?;
            }
            commit(table, destinations, chunk, Provenance::Observed)?;
            let bias = &mut context.arena.f32_mut(lane.store.regions.bias)?[slots.clone()];
            for slot in destinations {
                bias[*slot as usize] = 0.0;
            }
        }
        for commit in commits {
            let count = lane.counts.of_mut(commit.pool);
            *count = (*count + commit.rows.len()).min(lane.store.layout.pool(commit.pool).len());
        }
        Ok(bytes)
    }

    /// Computes the selection of every job of every commit, and changes nothing else.
    fn select(&self, context: &mut HostContext<'_>, chunk: u32, commits: &[Commit<'_>]) -> Result<()> {
        let (arena, simd) = (&*context.arena, context.simd);
        let layout = &self.lanes[self.lane].store.layout;
        let sets = layout.scoring.sets(layout.heads);
        let jobs = layout.layers * sets;
        context.threads.run(commits.len() * jobs, &|job, thread| {
            let (commit, mut selection) = (&commits[job / jobs], lock(&self.selections[job]));
            let at = (job % jobs / sets, job % sets);
            selection.failed = self.select_one(arena, simd, commit, chunk, at, &mut selection, &mut lock(&self.spaces[thread])).err();
        })?;
        for (job, selection) in self.selections.iter().enumerate().take(commits.len() * jobs) {
            if let Some(error) = lock(selection).failed.take() {
                let pool = commits[job / jobs].pool;
                return Err(error.at(format!("memory: {pool:?} pool, layer {}, set {}", job % jobs / sets, job % sets)));
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the commit, the job and its work space")]
    fn select_one(
        &self,
        arena: &HostArena,
        simd: Simd,
        commit: &Commit<'_>,
        chunk: u32,
        (layer, set): (usize, usize),
        selection: &mut Selection,
        space: &mut Workspace,
    ) -> Result<()> {
        let Lane { store, tables, .. } = &self.lanes[self.lane];
        let (layout, policy, new) = (&store.layout, commit.policy, NewRows::of(commit, chunk));
        let (range, heads) = (layout.pool(new.pool), layout.scoring.heads_of(set, layout.heads));
        store.are_finite(simd, arena, &new, layer, heads.clone())?;
        let slots = tables[layer].pool(set, range.clone())?;
        let Selection { scores, scored, destinations: out, .. } = selection;
        let scores = &mut scores[..slots.len()];
        *scored = matches!(policy, Policy::Selective) && must_forget(slots, new.len) && new.len <= slots.len();
        if *scored {
            let new_rows = |region| Ok::<_, Error>(store.rows(arena.f32(region)?, heads.start, &new));
            let inputs = Inputs {
                keys: HeadRows::new(arena.f32(store.regions.k[layer])?, heads.start, layout.slots(), layout.head_dim, range),
                queries: new_rows(new.pass.q[layer])?,
                new: new_rows(new.pass.k[layer])?,
                slots,
                chunk: new.chunk,
                pool: new.pool,
            };
            space.score(simd, layout, &inputs, scores)?;
        }
        destinations(policy.of_set(layer, set), scores, slots, space.order(), &mut out[..new.len])
    }
}

impl Lane {
    /// Empties every slot.
    fn clear(&mut self, arena: &mut HostArena) -> Result<()> {
        arena.f32_mut(self.store.regions.bias)?.fill(MASKED);
        let all = 0..self.store.layout.slots();
        self.each_set(all, |slots| {
            slots.fill(Slot::FREE);
            Ok(())
        })?;
        self.counts = KvCounts::default();
        Ok(())
    }

    /// Empties the tail.
    fn drop_predicted(&mut self, arena: &mut HostArena) -> Result<()> {
        let tail = self.store.layout.tail();
        arena.f32_mut(self.store.regions.bias)?[tail.clone()].fill(MASKED);
        self.each_set(tail, |slots| {
            slots.fill(Slot::FREE);
            Ok(())
        })?;
        self.counts.tail = 0;
        Ok(())
    }

    fn each_set(&mut self, range: Range<usize>, mut with: impl FnMut(&mut [Slot]) -> Result<()>) -> Result<()> {
        for table in &mut self.tables {
            for set in 0..table.sets() {
                with(table.pool_mut(set, range.clone())?)?;
            }
        }
        Ok(())
    }
}

/// From so many bytes on, a copy takes longer than another thread takes to wake.
const PARALLEL_COPY_BYTES: usize = 256 * 1024;

/// After a job that panicked, nothing reads its selection, so a poisoned lock is as good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    fn check(&self, arena: &HostArena, pass: &PassKv, rows: &Range<usize>) -> Result<()> {
        checks::pass(arena.plan(), (&self.layout, &self.regions, DType::F32), pass, rows)
    }

    /// Refuses new keys and values of `heads` that are not finite: they would spoil every later
    /// pass.
    fn are_finite(&self, simd: Simd, arena: &HostArena, new: &NewRows<'_>, layer: usize, heads: Range<usize>) -> Result<()> {
        for (name, region) in [("key", new.pass.k[layer]), ("value", new.pass.v[layer])] {
            let data = arena.f32(region)?;
            for head in heads.clone() {
                if !simd.are_finite(self.rows(data, head, new).head(0)) {
                    return Err(Error::new(ErrorKind::Output, format!("a new {name} is not finite")).at(format!("head {head}")));
                }
            }
        }
        Ok(())
    }

    /// Copies the new rows of `heads` to the slots `slot_begin + destinations`, keys and values on
    /// two threads where they are many. Returns the bytes copied.
    fn scatter(
        &self,
        context: &mut HostContext<'_>,
        new: &NewRows<'_>,
        layer: usize,
        heads: Range<usize>,
        slot_begin: usize,
        destinations: &[u32],
    ) -> Result<u64> {
        let width = self.layout.head_dim;
        let (from, to) = context.arena.disjoint([new.pass.k[layer], new.pass.v[layer]], [self.regions.k[layer], self.regions.v[layer]])?;
        let ([k, v], [to_k, to_v]) = (from, to);
        let pairs = [Mutex::new((k, to_k)), Mutex::new((v, to_v))];
        let copy = |job: usize, _: usize| {
            let (from, to) = &mut *lock(&pairs[job]);
            for head in heads.clone() {
                let rows = self.rows(from, head, new).head(0);
                for (row, slot) in rows.chunks_exact(width).zip(destinations) {
                    let start = (head * self.layout.slots() + slot_begin + *slot as usize) * width;
                    to[start..start + width].copy_from_slice(row);
                }
            }
        };
        let each = heads.len() * destinations.len() * width * size_of::<f32>();
        if each >= PARALLEL_COPY_BYTES {
            context.threads.run(pairs.len(), &copy)?;
        } else {
            (0..pairs.len()).for_each(|job| copy(job, 0));
        }
        Ok((pairs.len() * each) as u64)
    }

    /// The new rows of a tensor of the pass, from head `head` on.
    fn rows<'a>(&self, data: &'a [f32], head: usize, new: &NewRows<'_>) -> HeadRows<'a> {
        HeadRows::new(data, head, new.pass.tokens, self.layout.head_dim, new.first..new.first + new.len)
    }
}

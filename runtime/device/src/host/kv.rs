//! The KV memory on the host: slot tables, the bias, and who is written over.
//!
//! An observed commit falls apart into jobs, one per pool, layer and head set: each looks at its new rows, scores its pool where something must be
//! forgotten, and chooses its slots. Only when all have chosen is anything written, so an error leaves the memory as it was. Which slots hold a token is
//! the same in every layer and set, because all begin empty and fill in the same order; what they hold differs.

use super::arena::HostArena;
use super::score::{Inputs, Rows, Workspace};
use super::simd::Simd;
use super::threads::Threads;
use crate::device::{Commit, KvCounts, KvLayout, KvRegions, PassKv, Pool};
use crate::shape;
use drivewam_core::bindings::MASKED;
use drivewam_core::dtype::DType;
use drivewam_core::selection::policy::must_forget;
use drivewam_core::selection::slots::{commit, record};
use drivewam_core::selection::{Policy, Provenance, Slot, SlotTable, destinations};
use drivewam_core::{Error, ErrorKind, Result};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What of the device a commit is done with.
#[derive(Debug)]
pub(crate) struct Host<'a> {
    pub(crate) arena: &'a mut HostArena,
    pub(crate) threads: &'a mut Threads,
    pub(crate) simd: Simd,
}

/// The memory of one ride.
#[derive(Debug)]
pub(crate) struct Kv {
    place: Place,
    /// One per layer.
    tables: Vec<SlotTable>,
    counts: KvCounts,
    /// One per job: commit by commit, layer by layer, set by set.
    choices: Vec<Mutex<Choice>>,
    /// One per thread.
    spaces: Vec<Mutex<Workspace>>,
    /// 0, 1, 2, ...: where predicted tokens go within the tail.
    in_order: Vec<u32>,
}

/// Where the memory lies, and its shape.
#[derive(Debug)]
struct Place {
    layout: KvLayout,
    regions: KvRegions,
}

/// What one job found.
#[derive(Debug)]
struct Choice {
    scores: Vec<f32>,
    scored: bool,
    destinations: Vec<u32>,
    failed: Option<Error>,
}

/// Rows of a pass on their way into the memory.
#[derive(Debug, Clone, Copy)]
struct New<'a> {
    pool: Pool,
    chunk: u32,
    pass: &'a PassKv,
    first: usize,
    len: usize,
}

impl<'a> New<'a> {
    fn of(commit: &Commit<'a>, chunk: u32) -> Self {
        Self { pool: commit.pool, chunk, pass: commit.pass, first: commit.rows.start, len: commit.rows.len() }
    }
}

impl Kv {
    /// Checks the regions, empties every slot, makes all work space. Warm.
    pub(crate) fn open(layout: KvLayout, regions: KvRegions, arena: &mut HostArena, threads: usize) -> Result<Self> {
        if shape::memory(arena.plan(), &layout, &regions)? != DType::F32 {
            return Err(Error::new(ErrorKind::Usage, "the host keeps its memory in f32").at("memory: mem_k"));
        }
        let sets = layout.scoring.sets(layout.heads);
        let most = layout.video_slots.max(layout.action_slots);
        let choice =
            || Mutex::new(Choice { scores: vec![0.0; most], scored: false, destinations: vec![0; layout.pass_tokens], failed: None });
        let mut kv = Self {
            tables: (0..layout.layers).map(|_| SlotTable::new(sets, layout.slots())).collect(),
            counts: KvCounts::default(),
            // A commit names each of the two pools at most once.
            choices: (0..2 * layout.layers * sets).map(|_| choice()).collect(),
            spaces: (0..threads).map(|_| Mutex::new(Workspace::new(&layout))).collect(),
            in_order: (0u32..).take(layout.tail_slots).collect(),
            place: Place { layout, regions },
        };
        kv.clear(arena)?;
        Ok(kv)
    }

    /// Empties every slot.
    pub(crate) fn clear(&mut self, arena: &mut HostArena) -> Result<()> {
        arena.f32_mut(self.place.regions.bias)?.fill(MASKED);
        let all = 0..self.place.layout.slots();
        self.each_set(all, |slots| {
            slots.fill(Slot::FREE);
            Ok(())
        })?;
        self.counts = KvCounts::default();
        Ok(())
    }

    /// Empties the tail.
    pub(crate) fn drop_predicted(&mut self, arena: &mut HostArena) -> Result<()> {
        let tail = self.place.layout.tail();
        arena.f32_mut(self.place.regions.bias)?[tail.clone()].fill(MASKED);
        self.each_set(tail, |slots| {
            slots.fill(Slot::FREE);
            Ok(())
        })?;
        self.counts.tail = 0;
        Ok(())
    }

    /// Slots that hold a token.
    pub(crate) fn counts(&self) -> KvCounts {
        self.counts
    }

    /// A copy of the slot table of one layer.
    pub(crate) fn table(&self, layer: usize) -> Result<SlotTable> {
        let wrong =
            || Error::new(ErrorKind::Usage, "no such layer").at("memory").got(layer).wanted(format!("below {}", self.place.layout.layers));
        self.tables.get(layer).cloned().ok_or_else(wrong)
    }

    /// Writes rows of a pass into the tail, in place of what was there.
    pub(crate) fn commit_predicted(&mut self, mut host: Host<'_>, chunk: u32, pass: &PassKv, rows: Range<usize>) -> Result<u64> {
        self.place.check(host.arena, pass, &rows)?;
        shape::tail(&self.place.layout, &rows)?;
        let new = New { pool: Pool::Video, chunk, pass, first: rows.start, len: rows.len() };
        for layer in 0..self.place.layout.layers {
            self.place
                .are_finite(host.simd, host.arena, &new, layer, 0..self.place.layout.heads)
                .map_err(|e| e.at(format!("predicted video, layer {layer}")))?;
        }
        self.drop_predicted(host.arena)?;
        let (tail, len) = (self.place.layout.tail(), rows.len());
        let mut moved = 0;
        for layer in 0..self.place.layout.layers {
            moved += self.place.scatter(&mut host, &new, layer, 0..self.place.layout.heads, tail.start, &self.in_order[..len])?;
        }
        for table in &mut self.tables {
            for set in 0..table.sets() {
                commit(table.pool_mut(set, tail.clone())?, &self.in_order[..len], chunk, Provenance::Predicted)?;
            }
        }
        host.arena.f32_mut(self.place.regions.bias)?[tail][..len].fill(0.0);
        self.counts.tail = len;
        Ok(moved)
    }

    /// Commits rows of passes as observed tokens, all or none. Returns the bytes that it copied. See [`crate::Device::kv_commit_observed`].
    pub(crate) fn commit_observed(&mut self, mut host: Host<'_>, chunk: u32, commits: &[Commit<'_>]) -> Result<u64> {
        shape::pools(commits)?;
        for Commit { pass, rows, .. } in commits {
            self.place.check(host.arena, pass, rows)?;
        }
        self.choose(&mut host, chunk, commits)?;
        // Nothing from here on fails.
        let mut moved = 0;
        let sets = self.place.layout.scoring.sets(self.place.layout.heads);
        let jobs = self.place.layout.layers * sets;
        for (job, choice) in self.choices.iter_mut().enumerate().take(commits.len() * jobs) {
            let new = New::of(&commits[job / jobs], chunk);
            let (layer, set) = (job % jobs / sets, job % sets);
            let slots = self.place.layout.pool(new.pool);
            let choice = choice.get_mut().unwrap_or_else(PoisonError::into_inner);
            let destinations = &choice.destinations[..new.len];
            let heads = self.place.layout.scoring.heads_of(set, self.place.layout.heads);
            moved += self.place.scatter(&mut host, &new, layer, heads, slots.start, destinations)?;
            let table = self.tables[layer].pool_mut(set, slots.clone())?;
            if choice.scored {
                record(table, &choice.scores[..slots.len()])?;
            }
            commit(table, destinations, chunk, Provenance::Observed)?;
            let bias = &mut host.arena.f32_mut(self.place.regions.bias)?[slots.clone()];
            for slot in destinations {
                bias[*slot as usize] = 0.0;
            }
        }
        for commit in commits {
            let count = self.counts.of_mut(commit.pool);
            *count = (*count + commit.rows.len()).min(self.place.layout.pool(commit.pool).len());
        }
        Ok(moved)
    }

    /// Fills the choice of every job of every commit, and changes nothing else.
    fn choose(&self, host: &mut Host<'_>, chunk: u32, commits: &[Commit<'_>]) -> Result<()> {
        let (arena, simd) = (&*host.arena, host.simd);
        let sets = self.place.layout.scoring.sets(self.place.layout.heads);
        let jobs = self.place.layout.layers * sets;
        host.threads.run(commits.len() * jobs, &|job, thread| {
            let (commit, mut choice) = (&commits[job / jobs], lock(&self.choices[job]));
            let at = (job % jobs / sets, job % sets);
            choice.failed = self.choose_one(arena, simd, commit, chunk, at, &mut choice, &mut lock(&self.spaces[thread])).err();
        })?;
        for (job, choice) in self.choices.iter().enumerate().take(commits.len() * jobs) {
            if let Some(error) = lock(choice).failed.take() {
                let pool = commits[job / jobs].pool;
                return Err(error.at(format!("memory: {pool:?} pool, layer {}, set {}", job % jobs / sets, job % sets)));
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the commit, the job and its work space")]
    fn choose_one(
        &self,
        arena: &HostArena,
        simd: Simd,
        commit: &Commit<'_>,
        chunk: u32,
        (layer, set): (usize, usize),
        choice: &mut Choice,
        space: &mut Workspace,
    ) -> Result<()> {
        let (layout, policy, new) = (&self.place.layout, commit.policy, New::of(commit, chunk));
        let (range, heads) = (layout.pool(new.pool), layout.scoring.heads_of(set, layout.heads));
        self.place.are_finite(simd, arena, &new, layer, heads.clone())?;
        let slots = self.tables[layer].pool(set, range.clone())?;
        let Choice { scores, scored, destinations: out, .. } = choice;
        let scores = &mut scores[..slots.len()];
        *scored = matches!(policy, Policy::Selective(_)) && must_forget(slots, new.len) && new.len <= slots.len();
        let policy = if *scored {
            let fresh = |region| Ok::<_, Error>(self.place.rows(arena.f32(region)?, heads.start, &new));
            let inputs = Inputs {
                keys: Rows::new(arena.f32(self.place.regions.k[layer])?, heads.start, layout.slots(), layout.head_dim, range),
                queries: fresh(new.pass.q[layer])?,
                new: fresh(new.pass.k[layer])?,
                slots,
                chunk: new.chunk,
                pool: new.pool,
            };
            space.score(simd, layout, &inputs, scores)?;
            Policy::Selective(scores)
        } else {
            policy.of_set(layer, set)
        };
        destinations(policy, slots, space.order(), &mut out[..new.len])
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

/// Bytes that take longer to copy than another thread takes to wake.
const WORTH_A_THREAD: usize = 256 * 1024;

/// A job that panicked left no choice behind that is read.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    fn check(&self, arena: &HostArena, pass: &PassKv, rows: &Range<usize>) -> Result<()> {
        shape::pass(arena.plan(), (&self.layout, &self.regions, DType::F32), pass, rows)
    }

    /// Refuses new keys and values of `heads` that would poison every later pass.
    fn are_finite(&self, simd: Simd, arena: &HostArena, new: &New<'_>, layer: usize, heads: Range<usize>) -> Result<()> {
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

    /// Copies the new rows of `heads` over the slots `base + destinations`, keys and values on two threads where they are many. Returns the bytes that
    /// it copied.
    fn scatter(
        &self,
        host: &mut Host<'_>,
        new: &New<'_>,
        layer: usize,
        heads: Range<usize>,
        base: usize,
        destinations: &[u32],
    ) -> Result<u64> {
        let width = self.layout.head_dim;
        let (from, to) = host.arena.disjoint([new.pass.k[layer], new.pass.v[layer]], [self.regions.k[layer], self.regions.v[layer]])?;
        let ([k, v], [to_k, to_v]) = (from, to);
        let pairs = [Mutex::new((k, to_k)), Mutex::new((v, to_v))];
        let copy = |job: usize, _: usize| {
            let (from, to) = &mut *lock(&pairs[job]);
            for head in heads.clone() {
                let rows = self.rows(from, head, new).head(0);
                for (row, slot) in rows.chunks_exact(width).zip(destinations) {
                    let place = (head * self.layout.slots() + base + *slot as usize) * width;
                    to[place..place + width].copy_from_slice(row);
                }
            }
        };
        let each = heads.len() * destinations.len() * width * size_of::<f32>();
        if each >= WORTH_A_THREAD {
            host.threads.run(pairs.len(), &copy)?;
        } else {
            (0..pairs.len()).for_each(|job| copy(job, 0));
        }
        Ok((pairs.len() * each) as u64)
    }

    /// The new rows, from head `head` on, of a tensor of the pass.
    fn rows<'a>(&self, data: &'a [f32], head: usize, new: &New<'_>) -> Rows<'a> {
        Rows::new(data, head, new.pass.tokens, self.layout.head_dim, new.first..new.first + new.len)
    }
}

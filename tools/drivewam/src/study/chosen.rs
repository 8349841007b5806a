//! A host device on which somebody else decides what the memory forgets: the controls of the memory study.

use drivewam_core::Result;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::selection::{Policy, Slot, SlotTable};
use drivewam_device::{Commit, Device, DeviceWrapper, HostDevice, KvCounts, KvLayout, KvMemory, KvRegions, PassKv, Pool};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a course knows of its world and of the limit sign seen last, shared with who decides.
#[derive(Debug, Clone, Default)]
pub(super) struct Signs(Arc<Mutex<Sign>>);

/// A sign and the tokens that show it, as (chunk, token).
#[derive(Debug, Default)]
struct Sign {
    world: u64,
    id: Option<u64>,
    tokens: Vec<(u32, u32)>,
}

impl Signs {
    fn sign(&self) -> MutexGuard<'_, Sign> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing was seen yet in the world of `seed`.
    pub(super) fn begin(&self, seed: u64) {
        *self.sign() = Sign { world: seed, ..Sign::default() };
    }

    fn world(&self) -> u64 {
        self.sign().world
    }

    /// `token` of `chunk` shows the sign `id`; another sign takes the place of the one before.
    pub(super) fn add(&self, id: u64, chunk: u32, token: u32) {
        let mut sign = self.sign();
        if sign.id != Some(id) {
            *sign = Sign { id: Some(id), tokens: Vec::new(), ..*sign };
        }
        if !sign.tokens.contains(&(chunk, token)) {
            sign.tokens.push((chunk, token));
        }
    }

    /// The tokens of the sign seen last.
    pub(super) fn tokens(&self) -> Vec<(u32, u32)> {
        self.sign().tokens.clone()
    }
}

/// Who decides.
#[derive(Debug, Clone)]
pub(super) enum Choice {
    /// Chance, anew for every world, chunk, layer and head set.
    Random(Signs),
    /// One who knows which video tokens show the sign: they stay, and of the others the newest.
    Oracle(Signs),
}

/// See the module's doc.
#[derive(Debug)]
pub(super) struct ChosenDevice {
    host: HostDevice,
    choice: Choice,
    pools: [Range<usize>; 2],
}

impl ChosenDevice {
    /// A host device for `arena`.
    ///
    /// # Errors
    /// As [`HostDevice::new`].
    pub(super) fn new(arena: ArenaPlan, threads: usize, choice: Choice) -> Result<Self> {
        Ok(Self { host: HostDevice::new(arena, threads)?, choice, pools: [0..0, 0..0] })
    }
}

/// Marks the `kept` slots that an oracle keeps: tokens of the sign first, then the newest chunk, its last token first.
fn oracle(slots: &[Slot], signs: &[(u32, u32)], kept: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..slots.len()).filter(|i| slots[*i].valid).collect();
    order.sort_by_key(|i| {
        let slot = &slots[*i];
        std::cmp::Reverse((signs.contains(&(slot.chunk, slot.token)), slot.chunk, slot.token))
    });
    let mut stays = vec![false; slots.len()];
    order.iter().take(kept).for_each(|i| stays[*i] = true);
    stays
}

impl DeviceWrapper for ChosenDevice {
    fn inner(&self) -> &dyn Device {
        &self.host
    }

    fn inner_mut(&mut self) -> &mut dyn Device {
        &mut self.host
    }
}

impl KvMemory for ChosenDevice {
    fn kv_open(&mut self, layout: KvLayout, regions: KvRegions) -> Result<()> {
        self.pools = [layout.pool(Pool::Video), layout.pool(Pool::Action)];
        self.host.kv_open(layout, regions)
    }

    fn kv_commit_observed(&mut self, chunk: u32, commits: &[Commit<'_>]) -> Result<()> {
        match &self.choice {
            Choice::Random(signs) => {
                let seed = (signs.world() << 32).wrapping_add(u64::from(chunk).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let drawn: Vec<_> = commits.iter().map(|commit| Commit { policy: Policy::Random(seed), ..commit.clone() }).collect();
                self.host.kv_commit_observed(chunk, &drawn)
            }
            Choice::Oracle(signs) => {
                let table = self.host.kv_table(0)?;
                // `None` while free slots suffice.
                let mut stays = Vec::with_capacity(commits.len());
                for Commit { pool, rows, .. } in commits {
                    let slots = table.pool(0, self.pools[usize::from(*pool == Pool::Action)].clone())?;
                    let forgets = slots.iter().filter(|s| !s.valid).count() < rows.len();
                    let signs = if *pool == Pool::Video { signs.tokens() } else { Vec::new() };
                    stays.push(forgets.then(|| oracle(slots, &signs, slots.len() - rows.len())));
                }
                let forced: Vec<_> = commits
                    .iter()
                    .zip(&stays)
                    .map(|(commit, stays)| Commit { policy: stays.as_deref().map_or(commit.policy, Policy::Forced), ..commit.clone() })
                    .collect();
                self.host.kv_commit_observed(chunk, &forced)
            }
        }
    }

    fn kv_clear(&mut self) -> Result<()> {
        self.host.kv_clear()
    }

    fn kv_commit_predicted(&mut self, chunk: u32, pass: &PassKv, rows: Range<usize>) -> Result<()> {
        self.host.kv_commit_predicted(chunk, pass, rows)
    }

    fn kv_drop_predicted(&mut self) -> Result<()> {
        self.host.kv_drop_predicted()
    }

    fn kv_counts(&self) -> KvCounts {
        self.host.kv_counts()
    }

    fn kv_table(&mut self, layer: usize) -> Result<SlotTable> {
        self.host.kv_table(layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when the oracle prefers anything to the sign, or an older token to a newer one.
    #[test]
    fn the_oracle_keeps_the_sign_and_then_the_newest() {
        let slot = |chunk, token| Slot { valid: true, chunk, token, ..Slot::FREE };
        let slots = [slot(5, 0), slot(1, 3), slot(4, 1), slot(1, 2), Slot::FREE];
        assert_eq!(oracle(&slots, &[(1, 3), (0, 9)], 2), [true, true, false, false, false]);
        assert_eq!(oracle(&slots, &[], 2), [true, false, true, false, false]);
    }

    #[test]
    fn a_new_sign_takes_the_place_of_the_old_one() {
        let signs = Signs::default();
        signs.add(3, 1, 7);
        signs.add(3, 1, 7);
        signs.add(3, 2, 8);
        assert_eq!(signs.tokens(), [(1, 7), (2, 8)]);
        signs.add(4, 9, 1);
        assert_eq!(signs.tokens(), [(9, 1)]);
    }
}

//! A host device on which a [`Choice`] decides which tokens are overwritten, in place of the
//! configured memory policy: the controls of the memory study.

use drivewam_core::Result;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::selection::{Policy, Slot, SlotTable};
use drivewam_device::{Commit, Device, DeviceWrapper, HostDevice, KvCounts, KvLayout, KvMemory, KvRegions, PassKv, Pool};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The speed limit sign seen last and the world it is in; shared between an episode and its device.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedSign(Arc<Mutex<Sign>>);

/// A sign and the tokens that show it, as (chunk, token).
#[derive(Debug, Default)]
struct Sign {
    world: u64,
    id: Option<u64>,
    tokens: Vec<(u32, u32)>,
}

impl SharedSign {
    fn lock(&self) -> MutexGuard<'_, Sign> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts in the world of `seed`, without a sign.
    pub(super) fn reset(&self, seed: u64) {
        *self.lock() = Sign { world: seed, ..Sign::default() };
    }

    fn world(&self) -> u64 {
        self.lock().world
    }

    /// Records that `token` of `chunk` shows the sign `id`. A new sign replaces the previous one.
    pub(super) fn add(&self, id: u64, chunk: u32, token: u32) {
        let mut sign = self.lock();
        if sign.id != Some(id) {
            *sign = Sign { id: Some(id), tokens: Vec::new(), ..*sign };
        }
        if !sign.tokens.contains(&(chunk, token)) {
            sign.tokens.push((chunk, token));
        }
    }

    /// The tokens of the sign seen last.
    pub(super) fn tokens(&self) -> Vec<(u32, u32)> {
        self.lock().tokens.clone()
    }
}

/// Which tokens are overwritten.
#[derive(Debug, Clone)]
pub(super) enum Choice {
    /// Random ones, drawn for each world, chunk, layer and head set.
    Random(SharedSign),
    /// None that show the sign. Of the other video tokens, and in the action pool, the oldest.
    Oracle(SharedSign),
}

/// A host device with a [`Choice`].
#[derive(Debug)]
pub(super) struct SteeredDevice {
    host: HostDevice,
    choice: Choice,
    pools: [Range<usize>; 2],
}

impl SteeredDevice {
    /// A host device for `arena`.
    ///
    /// # Errors
    /// As [`HostDevice::new`].
    pub(super) fn new(arena: ArenaPlan, threads: usize, choice: Choice) -> Result<Self> {
        Ok(Self { host: HostDevice::new(arena, threads)?, choice, pools: [0..0, 0..0] })
    }
}

/// Marks the `count` slots that the oracle keeps: tokens of the sign first, then the newest chunk,
/// its last token first.
fn oracle(slots: &[Slot], sign_tokens: &[(u32, u32)], count: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..slots.len()).filter(|i| slots[*i].valid).collect();
    order.sort_by_key(|i| {
        let slot = &slots[*i];
        std::cmp::Reverse((sign_tokens.contains(&(slot.chunk, slot.token)), slot.chunk, slot.token))
    });
    let mut keep = vec![false; slots.len()];
    order.iter().take(count).for_each(|i| keep[*i] = true);
    keep
}

impl DeviceWrapper for SteeredDevice {
    fn inner(&self) -> &dyn Device {
        &self.host
    }

    fn inner_mut(&mut self) -> &mut dyn Device {
        &mut self.host
    }
}

impl KvMemory for SteeredDevice {
    fn kv_open(&mut self, layout: &KvLayout, lanes: &[KvRegions]) -> Result<()> {
        self.pools = [layout.pool(Pool::Video), layout.pool(Pool::Action)];
        self.host.kv_open(layout, lanes)
    }

    fn kv_use_lane(&mut self, lane: usize) -> Result<()> {
        self.host.kv_use_lane(lane)
    }

    fn kv_commit_observed(&mut self, chunk: u32, commits: &[Commit<'_>]) -> Result<()> {
        match &self.choice {
            Choice::Random(sign) => {
                let seed = (sign.world() << 32).wrapping_add(u64::from(chunk).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let drawn: Vec<_> = commits.iter().map(|commit| Commit { policy: Policy::Random(seed), ..commit.clone() }).collect();
                self.host.kv_commit_observed(chunk, &drawn)
            }
            Choice::Oracle(sign) => {
                let table = self.host.kv_table(0)?;
                // `None` for a pool whose free slots suffice.
                let mut keep = Vec::with_capacity(commits.len());
                for Commit { pool, rows, .. } in commits {
                    let slots = table.pool(0, self.pools[usize::from(*pool == Pool::Action)].clone())?;
                    let overwrites = slots.iter().filter(|s| !s.valid).count() < rows.len();
                    let tokens = if *pool == Pool::Video { sign.tokens() } else { Vec::new() };
                    keep.push(overwrites.then(|| oracle(slots, &tokens, slots.len() - rows.len())));
                }
                let forced: Vec<_> = commits
                    .iter()
                    .zip(&keep)
                    .map(|(commit, keep)| Commit { policy: keep.as_deref().map_or(commit.policy, Policy::Forced), ..commit.clone() })
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
        let sign = SharedSign::default();
        sign.add(3, 1, 7);
        sign.add(3, 1, 7);
        sign.add(3, 2, 8);
        assert_eq!(sign.tokens(), [(1, 7), (2, 8)]);
        sign.add(4, 9, 1);
        assert_eq!(sign.tokens(), [(9, 1)]);
    }
}

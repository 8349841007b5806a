//! Eviction policies, and the slots that new tokens are written to.

use super::slots::{Slot, free};
use crate::error::{Error, ErrorKind, Result};
use std::cmp::Ordering;

/// Which tokens are evicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Policy<'a> {
    /// None: having no free slot is an error.
    Full,
    /// The oldest chunk first; within a chunk, the lowest token index first.
    Fifo,
    /// The lowest score of [`super::score`] first; one score per slot.
    Selective(&'a [f32]),
    /// Random, from the seed, the chunk and the token index, so that slot order does not matter.
    /// Devices derive the seed with [`Policy::of_set`].
    Random(u64),
    /// The caller decides: true marks each slot whose token stays. For goldens and studies.
    Forced(&'a [bool]),
}

impl Policy<'_> {
    /// The policy for one layer and set: `Random` gets another seed for each, the others are the
    /// same for all.
    #[must_use]
    pub fn of_set(self, layer: usize, set: usize) -> Self {
        match self {
            Self::Random(seed) => Self::Random(mix(seed ^ mix((layer as u64) << 32 | set as u64))),
            same => same,
        }
    }
}

/// Whether [`destinations`] will evict tokens. If not, scores are not needed.
pub fn must_forget(slots: &[Slot], new: usize) -> bool {
    free(slots) < new
}

/// Whether a pool of `slots` slots, `free` of them free, must evict tokens to fit `new` ones.
///
/// # Errors
/// `Capacity` when the new tokens outnumber the pool, or tokens must be evicted under
/// [`Policy::Full`].
pub fn makes_room(policy: Policy<'_>, slots: usize, free: usize, new: usize) -> Result<bool> {
    if new > slots {
        return Err(Error::new(ErrorKind::Capacity, "the new chunk is larger than its pool")
            .at("memory.video_slots or memory.action_slots")
            .got(slots)
            .wanted(format!("at least {new}")));
    }
    if free < new && matches!(policy, Policy::Full) {
        return Err(Error::new(ErrorKind::Capacity, "no free slot is left and policy full forgets nothing: raise this key")
            .at("memory.max_chunks")
            .got(format!("{free} free of {slots}"))
            .wanted(format!("{new} free")));
    }
    Ok(free < new)
}

/// Proves that a forced set has a mark for each of `slots`, and marks exactly `kept` slots, all
/// valid.
///
/// # Errors
/// `Usage`.
pub fn check_forced(stays: &[bool], slots: usize, kept: usize, is_valid: impl Fn(usize) -> bool) -> Result<()> {
    length("one mark per slot", stays.len(), slots)?;
    let marked = stays.iter().filter(|s| **s).count();
    let held = stays.iter().enumerate().filter(|(i, s)| **s && is_valid(*i)).count();
    if marked != kept || held != kept {
        return Err(Error::new(ErrorKind::Usage, "a forced set of the wrong size")
            .got(format!("{marked} marked, {held} of them valid"))
            .wanted(format!("{kept} valid")));
    }
    Ok(())
}

/// Writes the slots of the pool for `out.len()` new tokens into `out`, ascending.
///
/// While free slots suffice, these are the lowest free slots. Otherwise B - |new| old tokens stay
/// (B = `slots.len()`), and `out` is all other slots. The paper does not define ties; here the
/// older chunk stays, then the lower token index. `order` is scratch of at least B elements. Does
/// not allocate on the good path. After an error, `out` is unspecified.
///
/// # Errors
/// `Capacity` when the new tokens outnumber the pool, or under [`Policy::Full`] without enough free
/// slots. `Usage` for a wrong length, or a forced set of the wrong size. `Output` when the score of
/// a valid slot is not finite.
pub fn destinations(policy: Policy<'_>, slots: &[Slot], order: &mut [u32], out: &mut [u32]) -> Result<()> {
    let new = out.len();
    if !makes_room(policy, slots.len(), free(slots), new)? {
        fill(out, (0u32..).zip(slots).filter(|(_, slot)| !slot.valid).map(|(i, _)| i));
        return Ok(());
    }
    let kept = slots.len() - new;
    if order.len() < slots.len() {
        return Err(Error::new(ErrorKind::Usage, "scratch for the order is too short").got(order.len()).wanted(slots.len()));
    }
    let mut valid = 0;
    for (i, _) in (0u32..).zip(slots).filter(|(_, slot)| slot.valid) {
        order[valid] = i;
        valid += 1;
    }
    let order = &mut order[..valid];
    let at = |i: u32| &slots[i as usize];
    let age = |a: u32, b: u32| (at(a).chunk, at(a).token, a).cmp(&(at(b).chunk, at(b).token, b));
    match policy {
        // Refused by `makes_room` above.
        Policy::Full => {}
        Policy::Fifo => drop(order.select_nth_unstable_by(kept, |a, b| age(*b, *a))),
        Policy::Selective(scores) => {
            length("one score per slot", scores.len(), slots.len())?;
            if let Some(i) = order.iter().find(|i| !scores[**i as usize].is_finite()) {
                return Err(Error::new(ErrorKind::Output, "a score is not finite").at(format!("slot {i}")).got(scores[*i as usize]));
            }
            order.select_nth_unstable_by(kept, |a, b| best_first(scores[*a as usize], scores[*b as usize]).then_with(|| age(*a, *b)));
        }
        Policy::Random(seed) => {
            let draw = |i: u32| mix(seed ^ mix(u64::from(at(i).chunk) << 32 | u64::from(at(i).token)));
            order.select_nth_unstable_by(kept, |a, b| draw(*a).cmp(&draw(*b)).then_with(|| age(*a, *b)));
        }
        Policy::Forced(stays) => {
            check_forced(stays, slots.len(), kept, |i| slots[i].valid)?;
            order.select_nth_unstable_by_key(kept, |i| (!stays[*i as usize], *i));
        }
    }
    // The first `kept` stay; their order does not matter.
    let free = (0u32..).zip(slots).filter(|(_, slot)| !slot.valid).map(|(i, _)| i);
    fill(out, free.chain(order[kept..].iter().copied()));
    out.sort_unstable();
    Ok(())
}

/// Descending order; both zeros are equal. The values are finite.
fn best_first(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}

fn fill(out: &mut [u32], slots: impl Iterator<Item = u32>) {
    for (place, slot) in out.iter_mut().zip(slots) {
        *place = slot;
    }
}

fn length(what: &str, got: usize, wanted: usize) -> Result<()> {
    if got == wanted {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, what).got(got).wanted(wanted))
}

/// The finaliser of SplitMix64.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

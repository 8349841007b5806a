//! Who decides what is forgotten, and where the new tokens go.

use super::slots::{Slot, free};
use crate::error::{Error, ErrorKind, Result};
use std::cmp::Ordering;

/// Who decides what is forgotten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Policy<'a> {
    /// Nobody; no free slot is an error.
    Full,
    /// Age: the oldest chunk goes first; within a chunk, the lowest token index.
    Fifo,
    /// The scores of [`super::score`], one per slot: the lowest goes first.
    Selective,
    /// Chance, drawn from the seed, the chunk and the token index, so that slot order does not matter; a device asks [`Policy::of_set`].
    Random(u64),
    /// Somebody else: true marks each slot whose token stays. For goldens and studies.
    Forced(&'a [bool]),
}

impl Policy<'_> {
    /// The policy of one layer and head set: chance draws anew for each, all others are the same for all.
    #[must_use]
    pub fn of_set(self, layer: usize, set: usize) -> Self {
        match self {
            Self::Random(seed) => Self::Random(mix(seed ^ mix((layer as u64) << 32 | set as u64))),
            same => same,
        }
    }
}

/// Whether [`destinations`] will forget anything; where it will not, there is nothing to score.
pub fn must_forget(slots: &[Slot], new: usize) -> bool {
    free(slots) < new
}

/// Whether a pool of `slots`, `free` of them, must forget something for `new` tokens to fit.
///
/// # Errors
/// `Capacity` when they outnumber the pool, or when it must and `policy` forgets nothing.
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

/// Proves that a forced set has a mark for each of `slots`, and marks `kept` of them, all valid.
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

/// Writes into `out`, ascending, the slots of the pool that `out.len()` new tokens are written over.
///
/// While free slots suffice these are the lowest free slots. Otherwise B - |new| old tokens stay (B = `slots.len()`) and `out` is
/// every other slot. `Top` of the paper does not say what a tie does; here the older chunk stays, then the lower token index.
/// `scores` has one score per slot under [`Policy::Selective`], and is not read under any other policy.
/// `order` is scratch of at least B. Does not allocate on the good path; on an error `out` means nothing.
///
/// # Errors
/// `Capacity` when the new tokens outnumber the pool, or under [`Policy::Full`] when no free slot is left. `Usage` for a wrong
/// length or a forced set of the wrong size. `Output` for a score of a valid slot that is not finite.
pub fn destinations(policy: Policy<'_>, scores: &[f32], slots: &[Slot], order: &mut [u32], out: &mut [u32]) -> Result<()> {
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
        // Refused above.
        Policy::Full => {}
        Policy::Fifo => drop(order.select_nth_unstable_by(kept, |a, b| age(*b, *a))),
        Policy::Selective => {
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
    // The first `kept` of the order stay, in whatever order.
    let free = (0u32..).zip(slots).filter(|(_, slot)| !slot.valid).map(|(i, _)| i);
    fill(out, free.chain(order[kept..].iter().copied()));
    out.sort_unstable();
    Ok(())
}

/// Larger first; both zeros are equal. The values are finite.
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

/// SplitMix64's finaliser.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

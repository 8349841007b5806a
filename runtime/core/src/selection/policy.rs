//! The policies that decide which tokens are forgotten, and the slots that new tokens are written
//! to.

use super::slots::{Slot, free};
use crate::error::{Error, ErrorKind, Result};
use std::cmp::Ordering;

/// Which tokens are forgotten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Policy<'a> {
    /// None; too few free slots are an error.
    Full,
    /// The oldest chunk first; within a chunk, the lowest token index first.
    Fifo,
    /// The lowest score of [`super::score()`] first.
    Selective,
    /// Random tokens, drawn from the seed, the chunk and the token index, so that the order of
    /// slots does not matter. A device draws with the seed that [`Policy::of_set`] returns.
    Random(u64),
    /// The tokens that the caller selects: true marks each slot whose token is kept. For goldens
    /// and studies.
    Forced(&'a [bool]),
}

impl Policy<'_> {
    /// The policy of one layer and head set. `Random` draws anew for each; every other policy is
    /// returned unchanged.
    #[must_use]
    pub fn of_set(self, layer: usize, set: usize) -> Self {
        match self {
            Self::Random(seed) => Self::Random(mix(seed ^ mix((layer as u64) << 32 | set as u64))),
            same => same,
        }
    }
}

/// Whether [`destinations`] forgets any token. If not, no scores are needed.
pub fn must_forget(slots: &[Slot], new: usize) -> bool {
    free(slots) < new
}

/// Whether a pool of `slots` slots, of which `free` are free, must forget tokens before `new`
/// tokens fit.
///
/// # Errors
/// `Capacity` when `new` exceeds the pool, or when tokens must be forgotten and `policy` forgets
/// none.
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

/// Checks that a forced set has a mark for each of `slots` slots, and marks `kept` of them, all
/// valid.
///
/// # Errors
/// `Usage` when it does not.
pub fn check_forced(stays: &[bool], slots: usize, kept: usize, is_valid: impl Fn(usize) -> bool) -> Result<()> {
    length("the marks are not one for each slot", stays.len(), slots)?;
    let marked = stays.iter().filter(|s| **s).count();
    let held = stays.iter().enumerate().filter(|(i, s)| **s && is_valid(*i)).count();
    if marked != kept || held != kept {
        return Err(Error::new(ErrorKind::Usage, "a forced set of the wrong size")
            .got(format!("{marked} marked, {held} of them valid"))
            .wanted(format!("{kept} valid")));
    }
    Ok(())
}

/// Writes the slots that `out.len()` new tokens overwrite into `out`, in ascending order.
///
/// While there are enough free slots, these are the lowest free slots. Otherwise B - |new| old
/// tokens are kept (B = `slots.len()`), and `out` gets every other slot. The paper does not say how
/// `Top` resolves a tie; here the older chunk is kept, then the lower token index. `scores` has one
/// score for each slot under [`Policy::Selective`], and is not read under any other policy. `order`
/// is scratch with at least B elements. Does not allocate unless it fails; after an error, the
/// content of `out` is undefined.
///
/// # Errors
/// `Capacity` when there are more new tokens than slots, or under [`Policy::Full`] when there are
/// not enough free slots. `Usage` for a wrong length or a forced set of the wrong size. `Output`
/// for a valid slot whose score is not finite.
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
        // `makes_room` returned an error above.
        Policy::Full => {}
        Policy::Fifo => drop(order.select_nth_unstable_by(kept, |a, b| age(*b, *a))),
        Policy::Selective => {
            length("the scores are not one for each slot", scores.len(), slots.len())?;
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
    // The first `kept` slots of `order` are kept; their order does not matter.
    let free = (0u32..).zip(slots).filter(|(_, slot)| !slot.valid).map(|(i, _)| i);
    fill(out, free.chain(order[kept..].iter().copied()));
    out.sort_unstable();
    Ok(())
}

/// Larger first; -0 and +0 are equal. The values must be finite.
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

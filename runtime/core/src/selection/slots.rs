//! The slot table: what each memory slot holds, for each head set of one layer.

use crate::error::{Error, ErrorKind, Result};
use std::ops::Range;

/// Where the key and the value of a token come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// From a partly denoised latent. The token is kept until the observed commit, and is never
    /// scored.
    Predicted,
    /// From what the vehicle observed and did.
    Observed,
}

/// A memory slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slot {
    /// Whether the slot holds a token. If not, the other fields have no meaning.
    pub valid: bool,
    /// The chunk of the token.
    pub chunk: u32,
    /// The index of the token in its chunk and modality, in raster order.
    pub token: u32,
    /// Where the token comes from.
    pub provenance: Provenance,
    /// The score at the last selection, 0 before the first.
    pub score: f32,
}

impl Slot {
    /// A slot that holds no token.
    pub const FREE: Self = Self { valid: false, chunk: 0, token: 0, provenance: Provenance::Observed, score: 0.0 };
}

/// The slots of one layer, `[Hs, S]`. Allocates in [`SlotTable::new`] only.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotTable {
    sets: usize,
    slots: usize,
    rows: Vec<Slot>,
}

impl SlotTable {
    /// A table of `sets` sets of `slots` free slots.
    pub fn new(sets: usize, slots: usize) -> Self {
        Self { sets, slots, rows: vec![Slot::FREE; sets * slots] }
    }

    /// Hs, the number of head sets.
    pub fn sets(&self) -> usize {
        self.sets
    }

    /// The slots `pool` of set `set`.
    ///
    /// # Errors
    /// `Usage` when they are outside the table.
    pub fn pool(&self, set: usize, pool: Range<usize>) -> Result<&[Slot]> {
        let range = self.range(set, pool)?;
        Ok(&self.rows[range])
    }

    /// The slots `pool` of set `set`, to be changed.
    ///
    /// # Errors
    /// `Usage` when they are outside the table.
    pub fn pool_mut(&mut self, set: usize, pool: Range<usize>) -> Result<&mut [Slot]> {
        let range = self.range(set, pool)?;
        Ok(&mut self.rows[range])
    }

    fn range(&self, set: usize, pool: Range<usize>) -> Result<Range<usize>> {
        if set >= self.sets || pool.start > pool.end || pool.end > self.slots {
            return Err(Error::new(ErrorKind::Usage, "outside the slot table")
                .got(format!("set {set}, slots {pool:?}"))
                .wanted(format!("{} sets of {} slots", self.sets, self.slots)));
        }
        Ok(set * self.slots + pool.start..set * self.slots + pool.end)
    }
}

/// The number of slots that hold no token.
pub fn free(slots: &[Slot]) -> usize {
    slots.iter().filter(|s| !s.valid).count()
}

/// Writes the scores of a selection into the valid slots.
///
/// # Errors
/// `Usage` when the lengths differ.
pub fn record(slots: &mut [Slot], scores: &[f32]) -> Result<()> {
    if slots.len() != scores.len() {
        return Err(Error::new(ErrorKind::Usage, "the scores are not one for each slot").got(scores.len()).wanted(slots.len()));
    }
    for (slot, score) in slots.iter_mut().zip(scores).filter(|(slot, _)| slot.valid) {
        slot.score = *score;
    }
    Ok(())
}

/// Writes the tokens of `chunk` into the slots `destinations`, token i into the i-th of them. The
/// previous tokens of these slots are forgotten.
///
/// # Errors
/// `Usage` when a destination is outside the pool; nothing is changed then.
pub fn commit(slots: &mut [Slot], destinations: &[u32], chunk: u32, provenance: Provenance) -> Result<()> {
    if let Some(outside) = destinations.iter().find(|d| **d as usize >= slots.len()) {
        return Err(Error::new(ErrorKind::Usage, "destination outside the pool").got(outside).wanted(format!("below {}", slots.len())));
    }
    for (token, destination) in (0u32..).zip(destinations) {
        slots[*destination as usize] = Slot { valid: true, chunk, token, provenance, score: 0.0 };
    }
    Ok(())
}

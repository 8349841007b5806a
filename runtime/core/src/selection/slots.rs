//! The slot table: the token in each slot of the memory, for each set of one layer.

use crate::error::{Error, ErrorKind, Result};
use std::ops::Range;

/// The origin of a token's key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// A partly denoised latent. The token stays until the observed commit and is never scored.
    Predicted,
    /// Observed frames and motion.
    Observed,
}

/// One slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slot {
    /// Whether the slot holds a token. Otherwise the other fields have no meaning.
    pub valid: bool,
    /// The token's chunk.
    pub chunk: u32,
    /// The token's index in its chunk and modality, in raster order.
    pub token: u32,
    /// The origin.
    pub provenance: Provenance,
    /// The score at the last selection; 0 before the first.
    pub score: f32,
}

impl Slot {
    /// A free slot.
    pub const FREE: Self = Self { valid: false, chunk: 0, token: 0, provenance: Provenance::Observed, score: 0.0 };
}

/// The slots `[Hs, S]` of one layer. Allocates only when it is made.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotTable {
    sets: usize,
    slots: usize,
    rows: Vec<Slot>,
}

impl SlotTable {
    /// A table of free slots.
    pub fn new(sets: usize, slots: usize) -> Self {
        Self { sets, slots, rows: vec![Slot::FREE; sets * slots] }
    }

    /// Hs.
    pub fn sets(&self) -> usize {
        self.sets
    }

    /// The slots `pool` of set `set`.
    ///
    /// # Errors
    /// `Usage` outside the table.
    pub fn pool(&self, set: usize, pool: Range<usize>) -> Result<&[Slot]> {
        let range = self.range(set, pool)?;
        Ok(&self.rows[range])
    }

    /// The slots `pool` of set `set`, mutable.
    ///
    /// # Errors
    /// `Usage` outside the table.
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

/// The number of free slots.
pub fn free(slots: &[Slot]) -> usize {
    slots.iter().filter(|s| !s.valid).count()
}

/// Stores the scores of a selection in the valid slots.
///
/// # Errors
/// `Usage` when the lengths differ.
pub fn record(slots: &mut [Slot], scores: &[f32]) -> Result<()> {
    if slots.len() != scores.len() {
        return Err(Error::new(ErrorKind::Usage, "one score per slot").got(scores.len()).wanted(slots.len()));
    }
    for (slot, score) in slots.iter_mut().zip(scores).filter(|(slot, _)| slot.valid) {
        slot.score = *score;
    }
    Ok(())
}

/// Stores the tokens of `chunk` in `destinations`, token i in the i-th. Their old tokens are lost.
///
/// # Errors
/// `Usage`, without a change, when a destination is outside of the pool.
pub fn commit(slots: &mut [Slot], destinations: &[u32], chunk: u32, provenance: Provenance) -> Result<()> {
    if let Some(outside) = destinations.iter().find(|d| **d as usize >= slots.len()) {
        return Err(Error::new(ErrorKind::Usage, "destination outside the pool").got(outside).wanted(format!("below {}", slots.len())));
    }
    for (token, destination) in (0u32..).zip(destinations) {
        slots[*destination as usize] = Slot { valid: true, chunk, token, provenance, score: 0.0 };
    }
    Ok(())
}

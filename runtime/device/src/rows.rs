//! Copies of equally long rows from one region to another.

use drivewam_core::arena::Region;
use drivewam_core::{Error, ErrorKind, Result};

/// Equally long rows of two regions: row i begins i·`from_step` behind the start of the one, and i·`to_step` behind the start of the other. A step is at least a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// How many.
    pub count: usize,
    /// Of a row, elements.
    pub len: usize,
    /// Elements.
    pub from_step: usize,
    /// Elements.
    pub to_step: usize,
}

impl Rows {
    /// A single row.
    pub fn one(len: usize) -> Self {
        Self { count: 1, len, from_step: len, to_step: len }
    }

    /// From the first to behind the last, elements of a side whose rows are `step` apart.
    fn span(&self, step: usize) -> Option<usize> {
        let last = self.count.checked_sub(1)?;
        last.checked_mul(step)?.checked_add(self.len)
    }

    /// Proves that the rows are inside of both regions, which are of one type and share no byte.
    ///
    /// # Errors
    /// `Usage`, also for rows that overlap, and for none.
    pub(crate) fn check(&self, from: Region, to: Region) -> Result<()> {
        let inside = |region: Region, step: usize| self.span(step).is_some_and(|span| span <= region.len());
        let apart = self.from_step.min(self.to_step) >= self.len;
        if self.len > 0
            && apart
            && inside(from, self.from_step)
            && inside(to, self.to_step)
            && from.dtype() == to.dtype()
            && !from.overlaps(&to)
        {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Usage, "rows that cannot be copied")
            .at("device")
            .got(format!("{self:?} from {from:?} to {to:?}"))
            .wanted("rows apart, inside of both regions, which are of one type and do not overlap"))
    }
}

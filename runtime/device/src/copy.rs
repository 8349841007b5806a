//! Copies of equally long rows from one region to another.

use drivewam_core::arena::Region;
use drivewam_core::{Error, ErrorKind, Result};

/// A copy of equally long rows: row i begins `i * from_stride` elements after the start of the
/// source and `i * to_stride` elements after the start of the target. A stride is at least a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StridedCopy {
    /// Number of rows.
    pub count: usize,
    /// Elements of a row.
    pub len: usize,
    /// Elements from one row of the source to the next.
    pub from_stride: usize,
    /// Elements from one row of the target to the next.
    pub to_stride: usize,
}

impl StridedCopy {
    /// A single row.
    pub fn contiguous(len: usize) -> Self {
        Self { count: 1, len, from_stride: len, to_stride: len }
    }

    /// Elements from the start of the first row to the end of the last, on a side of this stride.
    fn span(&self, stride: usize) -> Option<usize> {
        let last = self.count.checked_sub(1)?;
        last.checked_mul(stride)?.checked_add(self.len)
    }

    /// Checks that the rows lie inside both regions, which have one type and share no byte.
    ///
    /// # Errors
    /// `Usage`, also for rows that overlap, and for no rows.
    pub(crate) fn check(&self, from: Region, to: Region) -> Result<()> {
        let inside = |region: Region, stride: usize| self.span(stride).is_some_and(|span| span <= region.len());
        let apart = self.from_stride.min(self.to_stride) >= self.len;
        if self.len > 0
            && apart
            && inside(from, self.from_stride)
            && inside(to, self.to_stride)
            && from.dtype() == to.dtype()
            && !from.overlaps(&to)
        {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Usage, "cannot copy these rows")
            .at("device")
            .got(format!("{self:?} from {from:?} to {to:?}"))
            .wanted("disjoint rows inside both regions, which have one type and do not overlap"))
    }
}

//! Counts how often in a row a doubt was found.

use super::causes::Cause;

/// How often a doubt was found in a row.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DoubtRun(u32);

impl DoubtRun {
    /// Whether the doubt was found, and not ended since.
    pub(crate) fn is_open(self) -> bool {
        self.0 > 0
    }

    /// Counts the doubt as found `times` more, or ends the run without a cause. Returns the cause
    /// with its count.
    pub(crate) fn count(&mut self, found: Option<Cause>, times: u32) -> Option<Cause> {
        self.0 = if found.is_some() { self.0.saturating_add(times) } else { 0 };
        Some(Cause { in_a_row: self.0, ..found? })
    }
}

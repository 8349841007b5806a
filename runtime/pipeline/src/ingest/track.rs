//! A ring of stamped values: a new value replaces the oldest one.

use drivewam_core::{Error, ErrorKind, Result};

/// A stamp, ns, and its value, if there is one.
pub(crate) type Found<T> = Option<(i64, T)>;

/// A ring of stamped values with strictly rising stamps. It allocates only in [`Track::new`].
#[derive(Debug)]
pub(crate) struct Track<T> {
    what: &'static str,
    entries: Vec<(i64, T)>,
    capacity: usize,
    /// Index of the oldest entry, once the ring is full.
    head: usize,
}

impl<T: Copy> Track<T> {
    /// A ring for `capacity` values. Writing `blank` once touches every page of its memory.
    pub(crate) fn new(what: &'static str, capacity: usize, blank: T) -> Self {
        let mut entries = vec![(0, blank); capacity];
        entries.clear();
        Self { what, entries, capacity, head: 0 }
    }

    /// Appends a value.
    ///
    /// # Errors
    /// `Input` for a stamp that is not after the newest.
    pub(crate) fn push(&mut self, stamp_ns: i64, value: T) -> Result<()> {
        if let Some(newest) = self.newest_ns().filter(|newest| *newest >= stamp_ns) {
            let what = if newest == stamp_ns { "a stamp occurs twice" } else { "stamps go backwards" };
            return Err(Error::new(ErrorKind::Input, what)
                .at(self.what)
                .got(format!("{stamp_ns} ns"))
                .wanted(format!("after {newest} ns")));
        }
        if self.entries.len() < self.capacity {
            self.entries.push((stamp_ns, value));
        } else if let Some(oldest) = self.entries.get_mut(self.head) {
            *oldest = (stamp_ns, value);
            self.head = (self.head + 1) % self.capacity;
        }
        Ok(())
    }

    /// Forgets all values; the memory stays allocated.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.head = 0;
    }

    fn get(&self, i: usize) -> Found<T> {
        let index = self.head + i;
        self.entries.get(if index < self.entries.len() { index } else { index - self.entries.len() }).copied()
    }

    /// Drops the values after `most_ns`. Returns the newest stamp dropped.
    pub(crate) fn drop_after(&mut self, most_ns: i64) -> Option<i64> {
        let newest = self.newest_ns().filter(|newest| *newest > most_ns)?;
        // In order of stamp from here on, so that the newest lie at the end.
        self.entries.rotate_left(self.head);
        self.head = 0;
        self.entries.truncate(self.entries.partition_point(|(ns, _)| *ns <= most_ns));
        Some(newest)
    }

    /// The newest value, with its stamp.
    pub(crate) fn newest(&self) -> Found<T> {
        self.get(self.entries.len().checked_sub(1)?)
    }

    /// The newest stamp.
    pub(crate) fn newest_ns(&self) -> Option<i64> {
        self.newest().map(|(ns, _)| ns)
    }

    /// The last value at or before `at_ns`, and the first one after it.
    pub(crate) fn around(&self, at_ns: i64) -> (Found<T>, Found<T>) {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.get(middle).is_some_and(|(ns, _)| ns <= at_ns) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let after = if low < self.entries.len() { self.get(low) } else { None };
        (low.checked_sub(1).and_then(|i| self.get(i)), after)
    }
}

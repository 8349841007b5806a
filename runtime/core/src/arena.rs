//! The plan of the arena: which regions the one device allocation holds, where each begins, and
//! which stage owns it. Arithmetic only.
//!
//! A [`Planner`] collects [`Region`]s and finishes into an [`ArenaPlan`], whose `Display` is a
//! table. [`Planner::finish`] checks that the plan fits the target. The device crate makes the one
//! allocation and alone turns regions into memory. A full arena is an error; there is never a
//! second allocation.

use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// Every region begins at a multiple of this many bytes. Engines require 256 bytes for tensors. For
/// scratch memory they require the texture alignment of the GPU, which is 512 bytes on some GPUs.
pub const ALIGNMENT: usize = 512;

/// A range of elements of one type in the arena. Plain data: only an arena with the plan that it
/// belongs to turns it into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Region {
    offset: usize,
    len: usize,
    dtype: DType,
}

impl Region {
    /// Distance from the start of the arena, bytes.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the region has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.len * self.dtype.bytes()
    }

    /// The elements `start .. start + len` of this region.
    ///
    /// # Errors
    /// `Usage` when they are not all inside the region.
    pub fn part(&self, start: usize, len: usize) -> Result<Self> {
        match start.checked_add(len) {
            Some(end) if end <= self.len => Ok(Self { offset: self.offset + start * self.dtype.bytes(), len, dtype: self.dtype }),
            _ => Err(Error::new(ErrorKind::Usage, "the part is not inside its region")
                .got(format!("{start} + {len}"))
                .wanted(format!("within {} elements", self.len))),
        }
    }

    /// Whether two regions share a byte.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.offset < other.offset + other.bytes() && other.offset < self.offset + self.bytes()
    }
}

/// One row of the plan's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArenaRow {
    /// Name of the region, for example `mem_k.0`.
    pub name: String,
    /// The stage that owns the region, for example `memory`.
    pub owner: &'static str,
    /// The lane that the region belongs to; `None` where lanes share it.
    pub lane: Option<usize>,
    /// Shape of the tensor in the region.
    pub shape: Vec<usize>,
    /// Place of the region in the arena.
    pub region: Region,
}

/// Collects regions into a plan. [`Planner::finish`] returns the plan.
#[derive(Debug, Default)]
pub struct Planner {
    rows: Vec<ArenaRow>,
    end: usize,
}

impl Planner {
    /// An empty plan.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a region for a tensor of `shape`. An error leaves the plan unchanged.
    ///
    /// # Errors
    /// `Capacity` when the size exceeds the address space.
    pub fn add(&mut self, owner: &'static str, name: impl Into<String>, dtype: DType, shape: &[usize]) -> Result<Region> {
        self.add_of_lane(None, owner, name.into(), dtype, shape)
    }

    /// As [`Planner::add`], for a region of one lane.
    ///
    /// # Errors
    /// As [`Planner::add`].
    pub fn add_of_lane(&mut self, lane: Option<usize>, owner: &'static str, name: String, dtype: DType, shape: &[usize]) -> Result<Region> {
        let too_large = || {
            Error::new(ErrorKind::Capacity, "a region is larger than the address space")
                .at(format!("arena: {owner}: {name}"))
                .got(format!("{shape:?} {dtype}"))
        };
        let len = shape.iter().try_fold(1usize, |len, &axis| len.checked_mul(axis)).ok_or_else(too_large)?;
        let end = len
            .checked_mul(dtype.bytes())
            .and_then(|bytes| bytes.checked_next_multiple_of(ALIGNMENT))
            .and_then(|bytes| bytes.checked_add(self.end))
            .filter(|&end| isize::try_from(end).is_ok())
            .ok_or_else(too_large)?;
        let region = Region { offset: self.end, len, dtype };
        self.end = end;
        self.rows.push(ArenaRow { name, owner, lane, shape: shape.to_vec(), region });
        Ok(region)
    }

    /// The finished plan, which must fit in `capacity_bytes`.
    ///
    /// # Errors
    /// `Capacity` when it does not fit. The message names the need, the capacity, the largest owner
    /// and the configuration keys to change.
    pub fn finish(self, capacity_bytes: usize) -> Result<ArenaPlan> {
        let plan = ArenaPlan { rows: self.rows, bytes: self.end, capacity_bytes };
        if plan.bytes <= capacity_bytes {
            return Ok(plan);
        }
        let largest = plan.owners().into_iter().max_by_key(|(_, bytes)| *bytes);
        let (owner, bytes) = largest.unwrap_or(("nobody", 0));
        Err(Error::new(ErrorKind::Capacity, "the plan does not fit the arena")
            .at("arena")
            .got(format!("a need of {} bytes, of which {owner:?} {bytes}", plan.bytes))
            .wanted(format!(
                "at most {capacity_bytes} bytes: raise `target.arena_bytes` or lower `memory.video_slots`, `memory.action_slots`, `memory.max_chunks` or `lanes.count`"
            )))
    }
}

/// A plan that fits its capacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArenaPlan {
    rows: Vec<ArenaRow>,
    bytes: usize,
    capacity_bytes: usize,
}

impl ArenaPlan {
    /// Size of the one allocation, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The largest size that the target allows (`target.arena_bytes`), bytes.
    pub fn capacity_bytes(&self) -> usize {
        self.capacity_bytes
    }

    /// The regions, in order of offset.
    pub fn rows(&self) -> &[ArenaRow] {
        &self.rows
    }

    /// Checks that `region` lies inside one region of this plan, has the same type, and begins at
    /// one of its elements. An empty region is always accepted.
    ///
    /// # Errors
    /// `Usage` when it does not.
    pub fn holds(&self, region: Region) -> Result<()> {
        let after = self.rows.partition_point(|row| row.region.offset <= region.offset);
        let inside = after.checked_sub(1).and_then(|i| self.rows.get(i)).is_some_and(|row| {
            let into = region.offset - row.region.offset;
            row.region.dtype == region.dtype && into.is_multiple_of(region.dtype.bytes()) && into + region.bytes() <= row.region.bytes()
        });
        if inside || region.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Usage, "the region is not in this arena's plan")
            .at("arena")
            .got(format!("{region:?}"))
            .wanted("a part of one region of the plan, with its type"))
    }

    /// Bytes of one lane's regions, and of the regions that the lanes share, padding included. All
    /// lanes are of one size.
    pub fn lane_and_shared_bytes(&self) -> (usize, usize) {
        let sum = |lane: Option<usize>| {
            self.rows.iter().filter(|row| row.lane == lane).map(|row| row.region.bytes().next_multiple_of(ALIGNMENT)).sum::<usize>()
        };
        (sum(Some(0)), sum(None))
    }

    /// Total bytes of each owner, padding to [`ALIGNMENT`] included, in order of first appearance.
    pub fn owners(&self) -> Vec<(&'static str, usize)> {
        let mut owners: Vec<(&'static str, usize)> = Vec::new();
        for row in &self.rows {
            let bytes = row.region.bytes().next_multiple_of(ALIGNMENT);
            match owners.iter_mut().find(|(owner, _)| *owner == row.owner) {
                Some((_, sum)) => *sum += bytes,
                None => owners.push((row.owner, bytes)),
            }
        }
        owners
    }
}

/// Checks that no region in `writes` overlaps a region in `reads` or another one in `writes`.
///
/// # Errors
/// `Usage` when regions overlap.
pub fn apart(reads: &[Region], writes: &[Region]) -> Result<()> {
    for (i, write) in writes.iter().enumerate() {
        let others = writes.iter().take(i).chain(reads);
        if let Some(other) = others.into_iter().find(|other| other.overlaps(write)) {
            return Err(Error::new(ErrorKind::Usage, "a written region overlaps another region of the same loan")
                .at("arena")
                .got(format!("{write:?} and {other:?}"))
                .wanted("regions that do not overlap"));
        }
    }
    Ok(())
}

impl fmt::Display for ArenaPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|r| r.name.len()).max().unwrap_or(6).max(6);
        writeln!(f, "{:<width$}  {:<10}  {:<20}  {:>5}  {:>14}  {:>14}", "region", "owner", "shape", "dtype", "bytes", "offset")?;
        for row in &self.rows {
            let shape = format!("{:?}", row.shape);
            writeln!(
                f,
                "{:<width$}  {:<10}  {shape:<20}  {:>5}  {:>14}  {:>14}",
                row.name,
                row.owner,
                row.region.dtype.to_string(),
                row.region.bytes(),
                row.region.offset
            )?;
        }
        for (owner, bytes) in self.owners() {
            writeln!(f, "{:<width$}  {owner:<10}  {:<20}  {:>5}  {bytes:>14}", "", "", "")?;
        }
        let share = 100.0 * self.bytes as f64 / self.capacity_bytes.max(1) as f64;
        write!(f, "{:<width$}  {:<10}  {:<20}  {:>5}  {:>14}  of {} ({share:.1} %)", "total", "", "", "", self.bytes, self.capacity_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_aligned_and_never_overlap() {
        let mut planner = Planner::new();
        let a = planner.add("memory", "a", DType::F32, &[3, 5]).unwrap();
        let b = planner.add("memory", "b", DType::U8, &[1]).unwrap();
        let c = planner.add("sampler", "c", DType::F16, &[0]).unwrap();
        let plan = planner.finish(1 << 20).unwrap();
        assert_eq!((a.offset(), b.offset(), c.offset()), (0, 512, 1024));
        assert!(!a.overlaps(&b) && !b.overlaps(&c));
        assert_eq!(plan.bytes(), 1024);
        assert_eq!(plan.owners(), vec![("memory", 1024), ("sampler", 0)]);
    }

    #[test]
    fn a_full_arena_errors_and_names_the_keys_to_raise() {
        let mut planner = Planner::new();
        planner.add("memory", "mem_k", DType::F32, &[1024]).unwrap();
        let error = planner.finish(4095).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Capacity);
        let text = error.to_string();
        for word in ["4096", "4095", "memory", "target.arena_bytes", "memory.video_slots"] {
            assert!(text.contains(word), "{word} is missing in {text}");
        }
    }

    #[test]
    fn a_region_beyond_the_address_space_errors_instead_of_wrapping() {
        let mut planner = Planner::new();
        let error = planner.add("memory", "huge", DType::F32, &[usize::MAX / 2, 3]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Capacity);
        assert!(planner.add("memory", "half", DType::F32, &[usize::MAX / 16]).is_ok());
        assert!(planner.add("memory", "more", DType::F32, &[usize::MAX / 16]).is_err());
        assert_eq!(planner.rows.len(), 1, "a refused region must leave the plan as it was");
    }

    #[test]
    fn a_part_outside_its_region_errors() {
        let region = Planner::new().add("x", "r", DType::F32, &[10]).unwrap();
        assert_eq!(region.part(4, 6).unwrap().offset(), 16);
        assert!(region.part(5, 6).is_err());
        assert!(region.part(usize::MAX, 2).is_err());
    }
}

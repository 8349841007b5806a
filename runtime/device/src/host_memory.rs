//! What an engine needs of memory that the host can address, and the only code that turns a region
//! into a slice.
//!
//! An engine borrows several regions at once through a [`Lease`]. The lease proves once, in Warm,
//! that no write overlaps another read or write, so a loan in Run is a look-up. Foreign libraries
//! get addresses from [`HostMemory::address`].

#![expect(unsafe_code, reason = "makes typed slices of the memory that is lent")]

use drivewam_core::arena::{Region, apart};
use drivewam_core::{Error, ErrorKind, Result};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// An arena that the host can address, for engines that compute on the host.
///
/// # Safety
/// Engines hand addresses to foreign libraries. An implementer guarantees that an address is valid
/// for every element of its region, aligned and initialised, as long as the arena lives, and that
/// it accepts no lease but its own.
pub unsafe trait HostMemory {
    /// The address of `region`, for a library that keeps it. It stays valid, and the same, as long
    /// as the arena lives, wherever the arena value is moved. Code that reads or writes through it
    /// must do so while no slice of the region is borrowed: in practice, inside a call that holds
    /// the arena as `&mut`.
    ///
    /// # Errors
    /// `Usage` when the region is not f32 or not of this arena's plan.
    fn address(&self, region: Region) -> Result<*mut f32>;

    /// Proves that `reads` and `writes` may be borrowed together. Warm; valid for this arena alone.
    ///
    /// # Errors
    /// `Usage` when a region is not f32 or not of this plan, or when a write overlaps a read or
    /// another write.
    fn lease(&self, reads: &[Region], writes: &[Region]) -> Result<Lease>;

    /// Borrows all regions of `lease` at once. Does not allocate.
    ///
    /// # Errors
    /// `Usage` when the lease belongs to another arena.
    fn loan<'a>(&'a mut self, lease: &'a Lease) -> Result<Loan<'a>>;
}

/// Elements that were checked to lie inside one arena. `offset` counts bytes from the aligned base
/// and is a multiple of 4; `len` counts f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

impl Span {
    pub(crate) const EMPTY: Self = Self { offset: 0, len: 0 };

    pub(crate) fn pointer(self, base: NonNull<u8>) -> *mut f32 {
        base.as_ptr().wrapping_add(self.offset).cast()
    }

    /// # Safety
    /// - `base` is the arena that the span was checked for, and it outlives `'a`.
    /// - nobody writes to the span during `'a`.
    pub(crate) unsafe fn slice<'a>(self, base: NonNull<u8>) -> &'a [f32] {
        // SAFETY: inside the allocation and aligned (see `Span`), initialised (the arena began
        // zeroed and every bit pattern is an f32), shared by the caller's guarantee.
        unsafe { std::slice::from_raw_parts(self.pointer(base), self.len) }
    }

    /// # Safety
    /// - `base` is the arena that the span was checked for, and it outlives `'a`.
    /// - nobody else reads or writes the span during `'a`.
    pub(crate) unsafe fn slice_mut<'a>(self, base: NonNull<u8>) -> &'a mut [f32] {
        // SAFETY: inside the allocation and aligned (see `Span`), initialised (as in `slice`),
        // exclusive by the caller's guarantee.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(base), self.len) }
    }
}

/// The proof that some regions of one arena may be borrowed together, from [`HostMemory::lease`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    arena: u64,
    reads: Box<[Span]>,
    /// No span here overlaps another of `reads` or `writes`.
    writes: Box<[Span]>,
}

impl Lease {
    /// Proves that `reads` and `writes` of the arena with the number `arena` may be borrowed
    /// together. `span` checks that a region lies in it.
    ///
    /// # Errors
    /// `Usage` when a write overlaps a read or another write; errors of `span`.
    pub(crate) fn new(arena: u64, reads: &[Region], writes: &[Region], span: impl Fn(Region) -> Result<Span>) -> Result<Self> {
        apart(reads, writes)?;
        let spans = |regions: &[Region]| regions.iter().map(|&r| span(r)).collect::<Result<Box<[Span]>>>();
        Ok(Self { arena, reads: spans(reads)?, writes: spans(writes)? })
    }

    /// Lends the regions of the arena with the number `arena`, whose memory begins at `base`.
    ///
    /// # Errors
    /// `Usage` when the lease belongs to another arena.
    ///
    /// # Safety
    /// `base` is the memory of that arena, which outlives the loan and is borrowed exclusively for
    /// it.
    pub(crate) unsafe fn loan(&self, arena: u64, base: NonNull<u8>) -> Result<Loan<'_>> {
        if self.arena != arena {
            return Err(Error::new(ErrorKind::Usage, "the lease belongs to another arena").at("arena").got(self.arena).wanted(arena));
        }
        Ok(Loan { base, lease: self, memory: PhantomData })
    }
}

/// The borrowed regions of a [`Lease`], numbered as the caller of [`HostMemory::lease`] gave them.
#[derive(Debug)]
pub struct Loan<'a> {
    base: NonNull<u8>,
    lease: &'a Lease,
    memory: PhantomData<&'a mut [f32]>,
}

impl Loan<'_> {
    /// Region `i` of the reads.
    ///
    /// # Errors
    /// `Usage` when the lease has no such region.
    pub fn read(&self, i: usize) -> Result<&[f32]> {
        let span = *self.lease.reads.get(i).ok_or_else(|| missing(i, self.lease.reads.len()))?;
        // SAFETY: proved by the lease of this arena; `self` holds the arena exclusively, and no
        // write of the lease overlaps the span.
        Ok(unsafe { span.slice(self.base) })
    }

    /// Region `i` of the writes.
    ///
    /// # Errors
    /// `Usage` when the lease has no such region.
    pub fn write(&mut self, i: usize) -> Result<&mut [f32]> {
        let span = *self.lease.writes.get(i).ok_or_else(|| missing(i, self.lease.writes.len()))?;
        // SAFETY: proved by the lease of this arena; `&mut self` excludes every other slice of this
        // loan.
        Ok(unsafe { span.slice_mut(self.base) })
    }

    /// Both sides, to hold reads while writing.
    pub fn split(&mut self) -> (Reads<'_>, Writes<'_>) {
        (
            Reads { base: self.base, spans: &self.lease.reads, memory: PhantomData },
            Writes { base: self.base, spans: &self.lease.writes, memory: PhantomData },
        )
    }
}

/// The reads of a loan; any number may be held.
#[derive(Debug, Clone, Copy)]
pub struct Reads<'a> {
    base: NonNull<u8>,
    spans: &'a [Span],
    memory: PhantomData<&'a [f32]>,
}

impl<'a> Reads<'a> {
    /// Region `i`.
    ///
    /// # Errors
    /// `Usage` when the lease has no such region.
    pub fn get(&self, i: usize) -> Result<&'a [f32]> {
        let span = *self.spans.get(i).ok_or_else(|| missing(i, self.spans.len()))?;
        // SAFETY: proved by the lease; the loan holds the arena exclusively for 'a, and no write of
        // it overlaps the span.
        Ok(unsafe { span.slice(self.base) })
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [f32]> + use<'a> {
        let base = self.base;
        // SAFETY: as in `get`.
        self.spans.iter().map(move |span| unsafe { span.slice(base) })
    }
}

/// The writes of a loan.
#[derive(Debug)]
pub struct Writes<'a> {
    base: NonNull<u8>,
    spans: &'a [Span],
    memory: PhantomData<&'a mut [f32]>,
}

impl Writes<'_> {
    /// Region `i`.
    ///
    /// # Errors
    /// `Usage` when the lease has no such region.
    pub fn get(&mut self, i: usize) -> Result<&mut [f32]> {
        let span = *self.spans.get(i).ok_or_else(|| missing(i, self.spans.len()))?;
        // SAFETY: proved by the lease; the loan holds the arena exclusively, and `&mut self`
        // excludes every other write.
        Ok(unsafe { span.slice_mut(self.base) })
    }

    /// All of them, in order, each once, so that they may be held together.
    pub fn iter(&mut self) -> impl ExactSizeIterator<Item = &mut [f32]> {
        let base = self.base;
        // SAFETY: proved by the lease; each span is yielded once and overlaps no other of the loan;
        // `&mut self` excludes every other write.
        self.spans.iter().map(move |span| unsafe { span.slice_mut(base) })
    }
}

fn missing(i: usize, len: usize) -> Error {
    Error::new(ErrorKind::Usage, "the lease has no such region").at("arena").got(i).wanted(format!("below {len}"))
}

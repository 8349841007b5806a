//! The arena in host memory, and the only code that turns a region into a slice.
//!
//! A [`HostArena`] is allocated from a plan in Warm: aligned, zeroed, every page touched. Callers
//! borrow one region with [`HostArena::f32`] and [`HostArena::f32_mut`], and several at once
//! through a [`Lease`]. The lease proves once that no write overlaps another read or write, so a
//! loan in Run is a look-up. Foreign libraries get addresses from [`HostArena::address`], which
//! stay valid as long as the arena lives.

#![expect(unsafe_code, reason = "makes typed slices of one allocation")]

use drivewam_core::arena::{ALIGNMENT, ArenaPlan, Region, apart};
use drivewam_core::dtype::DType;
use drivewam_core::{Error, ErrorKind, Result};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// The smallest page of the supported machines. A write to each page makes the kernel back the
/// whole arena with memory.
const PAGE: usize = 4096;

/// Regions to read and regions to write, borrowed together.
pub type Borrowed<'a, const R: usize, const W: usize> = ([&'a [f32]; R], [&'a mut [f32]; W]);

/// One aligned, zeroed, resident allocation that follows an [`ArenaPlan`].
#[derive(Debug)]
pub struct HostArena {
    /// Aligned to [`ALIGNMENT`]; owned; `layout.size()` bytes, all initialised.
    base: NonNull<u8>,
    layout: Layout,
    id: u64,
    plan: ArenaPlan,
}

// SAFETY: this value alone owns the memory behind `base`, which belongs to no thread.
unsafe impl Send for HostArena {}

// SAFETY: `&HostArena` only reads the memory. Writes need `&mut HostArena`, or an address and the
// caller's own guarantee.
unsafe impl Sync for HostArena {}

impl HostArena {
    /// Allocates the memory of `plan`. Warm.
    ///
    /// # Errors
    /// `Capacity` when the host cannot allocate the memory.
    pub fn new(plan: ArenaPlan) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let refused = || {
            Error::new(ErrorKind::Capacity, "cannot allocate the arena")
                .at("arena")
                .got(format!("{} bytes needed", plan.bytes()))
                .wanted("free memory, or a lower `memory.video_slots`, `memory.action_slots` or `memory.max_chunks`")
        };
        let layout = Layout::from_size_align(plan.bytes().max(ALIGNMENT), ALIGNMENT).map_err(|e| refused().caused_by(e))?;
        // SAFETY: the layout's size is at least ALIGNMENT, so not zero.
        let raw = unsafe { alloc_zeroed(layout) };
        let base = NonNull::new(raw).ok_or_else(refused)?;
        for offset in (0..layout.size()).step_by(PAGE) {
            // SAFETY: `offset` is below the allocation's size.
            let page = unsafe { base.add(offset) };
            // SAFETY: `page` points into the allocation, which nothing else uses yet. The write is
            // volatile, so that the compiler keeps it.
            unsafe { page.write_volatile(0) };
        }
        Ok(Self { base, layout, id: NEXT.fetch_add(1, Ordering::Relaxed), plan })
    }

    /// The plan of the allocation.
    pub fn plan(&self) -> &ArenaPlan {
        &self.plan
    }

    /// The whole allocation, for a device that shares it. The rules of [`HostArena::address`]
    /// apply.
    #[cfg(feature = "emulator")]
    pub(crate) fn whole(&self) -> (*mut u8, usize) {
        (self.base.as_ptr(), self.layout.size())
    }

    /// The elements of `region`.
    ///
    /// # Errors
    /// `Usage` when the region is not f32 or not of this arena's plan.
    pub fn f32(&self, region: Region) -> Result<&[f32]> {
        let span = self.span(region)?;
        // SAFETY: `span` is inside the allocation, and `&self` excludes writers while the slice
        // lives.
        Ok(unsafe { span.slice(self.base) })
    }

    /// The elements of `region`, mutable.
    ///
    /// # Errors
    /// `Usage` when the region is not f32 or not of this arena's plan.
    pub fn f32_mut(&mut self, region: Region) -> Result<&mut [f32]> {
        let span = self.span(region)?;
        // SAFETY: `span` is inside the allocation, and `&mut self` excludes all other users while
        // the slice lives.
        Ok(unsafe { span.slice_mut(self.base) })
    }

    /// The address of `region`, for a library that keeps it. It stays valid, and the same, as long
    /// as the arena lives, wherever the arena value is moved. Code that reads or writes through it
    /// must do so while no slice of the region is borrowed: in practice, inside a call that holds
    /// the arena as `&mut`.
    ///
    /// # Errors
    /// `Usage` when the region is not f32 or not of this arena's plan.
    pub fn address(&self, region: Region) -> Result<*mut f32> {
        Ok(self.span(region)?.pointer(self.base))
    }

    /// Proves that `reads` and `writes` may be borrowed together. Warm; valid for this arena alone.
    ///
    /// # Errors
    /// `Usage` when a region is not f32 or not of this plan, or when a write overlaps a read or
    /// another write.
    pub fn lease(&self, reads: &[Region], writes: &[Region]) -> Result<Lease> {
        apart(reads, writes)?;
        let spans = |regions: &[Region]| regions.iter().map(|&r| self.span(r)).collect::<Result<Box<[Span]>>>();
        Ok(Lease { arena: self.id, reads: spans(reads)?, writes: spans(writes)? })
    }

    /// Borrows all regions of `lease` at once. Does not allocate.
    ///
    /// # Errors
    /// `Usage` when the lease belongs to another arena.
    pub fn loan<'a>(&'a mut self, lease: &'a Lease) -> Result<Loan<'a>> {
        if lease.arena != self.id {
            return Err(Error::new(ErrorKind::Usage, "the lease belongs to another arena").at("arena").got(lease.arena).wanted(self.id));
        }
        Ok(Loan { base: self.base, lease, arena: PhantomData })
    }

    /// Borrows a few regions at once and checks them at every call: for operations of a device.
    /// Does not allocate.
    ///
    /// # Errors
    /// `Usage` when a region is not f32 or not of this plan, or when a write overlaps a read or
    /// another write.
    pub fn disjoint<const R: usize, const W: usize>(&mut self, reads: [Region; R], writes: [Region; W]) -> Result<Borrowed<'_, R, W>> {
        apart(&reads, &writes)?;
        let (mut read, mut written) = ([Span::EMPTY; R], [Span::EMPTY; W]);
        for (span, &region) in read.iter_mut().zip(&reads).chain(written.iter_mut().zip(&writes)) {
            *span = self.span(region)?;
        }
        let base = self.base;
        Ok((
            // SAFETY: inside the allocation; `&mut self` excludes all other users while the slices
            // live, and no write overlaps them.
            read.map(|span| unsafe { span.slice(base) }),
            // SAFETY: inside the allocation, `&mut self` as above; no two of the writes overlap.
            written.map(|span| unsafe { span.slice_mut(base) }),
        ))
    }

    /// The span of `region`, checked to be f32 and within one row of the plan.
    fn span(&self, region: Region) -> Result<Span> {
        let bad = |what: &str| Error::new(ErrorKind::Usage, what).at("arena").got(format!("{region:?}"));
        if region.dtype() != DType::F32 {
            return Err(bad("the region is not f32").wanted(DType::F32));
        }
        if region.is_empty() {
            return Ok(Span::EMPTY);
        }
        self.plan.holds(region)?;
        Ok(Span { offset: region.offset(), len: region.len() })
    }
}

impl Drop for HostArena {
    fn drop(&mut self) {
        // SAFETY: allocated by `alloc_zeroed` with this layout, and no slice outlives the arena.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// Elements that were checked to lie inside one arena. `offset` counts bytes from the aligned base
/// and is a multiple of 4; `len` counts f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    offset: usize,
    len: usize,
}

impl Span {
    const EMPTY: Self = Self { offset: 0, len: 0 };

    fn pointer(self, base: NonNull<u8>) -> *mut f32 {
        base.as_ptr().wrapping_add(self.offset).cast()
    }

    /// # Safety
    /// - `base` is the arena that the span was checked for, and it outlives `'a`.
    /// - nobody writes to the span during `'a`.
    unsafe fn slice<'a>(self, base: NonNull<u8>) -> &'a [f32] {
        // SAFETY: inside the allocation and aligned (see `Span`), initialised (the arena began
        // zeroed and every bit pattern is an f32), shared by the caller's guarantee.
        unsafe { std::slice::from_raw_parts(self.pointer(base), self.len) }
    }

    /// # Safety
    /// - `base` is the arena that the span was checked for, and it outlives `'a`.
    /// - nobody else reads or writes the span during `'a`.
    unsafe fn slice_mut<'a>(self, base: NonNull<u8>) -> &'a mut [f32] {
        // SAFETY: inside the allocation and aligned (see `Span`), initialised (as in `slice`),
        // exclusive by the caller's guarantee.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(base), self.len) }
    }
}

/// The proof that some regions of one arena may be borrowed together, from [`HostArena::lease`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    arena: u64,
    reads: Box<[Span]>,
    /// No span here overlaps another of `reads` or `writes`.
    writes: Box<[Span]>,
}

/// The borrowed regions of a [`Lease`], numbered as the caller of [`HostArena::lease`] gave them.
#[derive(Debug)]
pub struct Loan<'a> {
    base: NonNull<u8>,
    lease: &'a Lease,
    arena: PhantomData<&'a mut HostArena>,
}

impl<'a> Loan<'a> {
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
            Reads { base: self.base, spans: &self.lease.reads, arena: PhantomData },
            Writes { base: self.base, spans: &self.lease.writes, arena: PhantomData },
        )
    }
}

/// The reads of a loan; any number may be held.
#[derive(Debug, Clone, Copy)]
pub struct Reads<'a> {
    base: NonNull<u8>,
    spans: &'a [Span],
    arena: PhantomData<&'a HostArena>,
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
    arena: PhantomData<&'a mut HostArena>,
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

#[cfg(test)]
mod tests;

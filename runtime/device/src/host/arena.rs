//! The one allocation of the host, and the only place where a region becomes memory.
//!
//! A [`HostArena`] is made from a plan (Warm): aligned, zeroed, every page touched. Single regions are borrowed with [`HostArena::f32`] and
//! [`HostArena::f32_mut`]; several at once through a [`Lease`], which proves once that no write touches another read or write, so that lending in Run
//! is a look-up. Whoever hands addresses to a foreign library takes them from [`HostArena::address`]; they stay good as long as the arena.

#![expect(unsafe_code, reason = "one allocation is carved into typed slices")]

use drivewam_core::arena::{ALIGNMENT, ArenaPlan, Region, apart};
use drivewam_core::dtype::DType;
use drivewam_core::{Error, ErrorKind, Result};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// The smallest page of the supported machines; touching each once makes the kernel back the whole arena.
const PAGE: usize = 4096;

/// What is read and what is written, borrowed together.
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

// SAFETY: the memory behind `base` is owned by this value alone and is tied to no thread.
unsafe impl Send for HostArena {}

// SAFETY: through `&HostArena` the memory is only read; writes ask for `&mut HostArena`, or for an address and the caller's own promise.
unsafe impl Sync for HostArena {}

impl HostArena {
    /// Allocates what `plan` asks for. Warm.
    ///
    /// # Errors
    /// `Capacity` when the memory is not to be had.
    pub fn new(plan: ArenaPlan) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let refused = || {
            Error::new(ErrorKind::Capacity, "the host does not give the arena's memory")
                .at("arena")
                .got(format!("a need of {} bytes", plan.bytes()))
                .wanted("free memory, or a lower `memory.video_slots`, `memory.action_slots` or `memory.max_chunks`")
        };
        let layout = Layout::from_size_align(plan.bytes().max(ALIGNMENT), ALIGNMENT).map_err(|e| refused().caused_by(e))?;
        // SAFETY: the layout's size is at least ALIGNMENT, so not zero.
        let raw = unsafe { alloc_zeroed(layout) };
        let base = NonNull::new(raw).ok_or_else(refused)?;
        for offset in (0..layout.size()).step_by(PAGE) {
            // SAFETY: `offset` is below the allocation's size.
            let page = unsafe { base.add(offset) };
            // SAFETY: `page` points into the allocation, which nobody else knows yet. Volatile, so that the write is not left out.
            unsafe { page.write_volatile(0) };
        }
        Ok(Self { base, layout, id: NEXT.fetch_add(1, Ordering::Relaxed), plan })
    }

    /// The plan that the allocation follows.
    pub fn plan(&self) -> &ArenaPlan {
        &self.plan
    }

    /// The whole allocation, for a device that shares it: as [`HostArena::address`].
    #[cfg(feature = "emulator")]
    pub(crate) fn whole(&self) -> (*mut u8, usize) {
        (self.base.as_ptr(), self.layout.size())
    }

    /// The numbers of `region`.
    ///
    /// # Errors
    /// `Usage` when the region is not f32 or not of this arena's plan.
    pub fn f32(&self, region: Region) -> Result<&[f32]> {
        let span = self.span(region)?;
        // SAFETY: `span` is inside the allocation, and `&self` keeps writers away as long as the slice lives.
        Ok(unsafe { span.slice(self.base) })
    }

    /// The numbers of `region`, to change.
    ///
    /// # Errors
    /// `Usage` when the region is not f32 or not of this arena's plan.
    pub fn f32_mut(&mut self, region: Region) -> Result<&mut [f32]> {
        let span = self.span(region)?;
        // SAFETY: `span` is inside the allocation, and `&mut self` keeps everybody else away as long as the slice lives.
        Ok(unsafe { span.slice_mut(self.base) })
    }

    /// The address of `region`, for a library that is bound to it once. It stays good, and the same, as long as the arena lives, wherever the arena
    /// value itself is moved. Who reads or writes through it must do so while no slice of the same region is borrowed, as if it held the arena by
    /// reference: in practice, inside a call that has the arena as `&mut`.
    ///
    /// # Errors
    /// `Usage` when the region is not f32 or not of this arena's plan.
    pub fn address(&self, region: Region) -> Result<*mut f32> {
        Ok(self.span(region)?.pointer(self.base))
    }

    /// Proves that `reads` and `writes` may be borrowed together. Warm; the proof is good for this arena alone.
    ///
    /// # Errors
    /// `Usage` when a region is not f32 or not of this plan, or when a write overlaps a read or another write.
    pub fn lease(&self, reads: &[Region], writes: &[Region]) -> Result<Lease> {
        apart(reads, writes)?;
        let spans = |regions: &[Region]| regions.iter().map(|&r| self.span(r)).collect::<Result<Box<[Span]>>>();
        Ok(Lease { arena: self.id, reads: spans(reads)?, writes: spans(writes)? })
    }

    /// Borrows all regions of `lease` at once. Does not allocate.
    ///
    /// # Errors
    /// `Usage` when the lease is of another arena.
    pub fn lend<'a>(&'a mut self, lease: &'a Lease) -> Result<Lent<'a>> {
        if lease.arena != self.id {
            return Err(Error::new(ErrorKind::Usage, "a lease of another arena").at("arena").got(lease.arena).wanted(self.id));
        }
        Ok(Lent { base: self.base, lease, arena: PhantomData })
    }

    /// Borrows a few regions at once, proved at every call: for the operations of a device. Does not allocate.
    ///
    /// # Errors
    /// `Usage` when a region is not f32 or not of this plan, or when a write overlaps a read or another write.
    pub fn disjoint<const R: usize, const W: usize>(&mut self, reads: [Region; R], writes: [Region; W]) -> Result<Borrowed<'_, R, W>> {
        apart(&reads, &writes)?;
        let (mut read, mut written) = ([Span::EMPTY; R], [Span::EMPTY; W]);
        for (span, &region) in read.iter_mut().zip(&reads).chain(written.iter_mut().zip(&writes)) {
            *span = self.span(region)?;
        }
        let base = self.base;
        Ok((
            // SAFETY: inside the allocation; `&mut self` keeps everybody else away as long as the slices live, and the writes lie elsewhere.
            read.map(|span| unsafe { span.slice(base) }),
            // SAFETY: inside the allocation, `&mut self` as above; no two of the writes overlap.
            written.map(|span| unsafe { span.slice_mut(base) }),
        ))
    }

    /// Where `region` lies, once it is proved to be f32 and within one row of the plan.
    fn span(&self, region: Region) -> Result<Span> {
        let bad = |what: &str| Error::new(ErrorKind::Usage, what).at("arena").got(format!("{region:?}"));
        if region.dtype() != DType::F32 {
            return Err(bad("a region of another type is read as f32").wanted(DType::F32));
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

/// A place that was proved to lie inside one arena: `offset` is a multiple of 4 from an aligned base, `len` numbers follow.
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
    /// - `base` is the arena that the span was proved for, and it outlives `'a`.
    /// - nobody writes to the span during `'a`.
    unsafe fn slice<'a>(self, base: NonNull<u8>) -> &'a [f32] {
        // SAFETY: inside the allocation and aligned (see `Span`), initialised (the arena began zeroed and every bit pattern is an f32), shared by the
        // caller's promise.
        unsafe { std::slice::from_raw_parts(self.pointer(base), self.len) }
    }

    /// # Safety
    /// - `base` is the arena that the span was proved for, and it outlives `'a`.
    /// - nobody else reads or writes the span during `'a`.
    unsafe fn slice_mut<'a>(self, base: NonNull<u8>) -> &'a mut [f32] {
        // SAFETY: inside the allocation and aligned (see `Span`), initialised (as in `slice`), exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(base), self.len) }
    }
}

/// The proof that some regions of one arena may be borrowed together; made by [`HostArena::lease`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    arena: u64,
    reads: Box<[Span]>,
    /// No span here overlaps another of `reads` or `writes`.
    writes: Box<[Span]>,
}

/// The regions of a [`Lease`], borrowed. Regions are numbered as they were given to [`HostArena::lease`].
#[derive(Debug)]
pub struct Lent<'a> {
    base: NonNull<u8>,
    lease: &'a Lease,
    arena: PhantomData<&'a mut HostArena>,
}

impl<'a> Lent<'a> {
    /// Region `i` of those that are read.
    ///
    /// # Errors
    /// `Usage` when the lease has no such region.
    pub fn read(&self, i: usize) -> Result<&[f32]> {
        let span = *self.lease.reads.get(i).ok_or_else(|| missing(i, self.lease.reads.len()))?;
        // SAFETY: proved by the lease of this arena; `self` holds the arena exclusively, and writes of the lease lie elsewhere.
        Ok(unsafe { span.slice(self.base) })
    }

    /// Region `i` of those that are written.
    ///
    /// # Errors
    /// `Usage` when the lease has no such region.
    pub fn write(&mut self, i: usize) -> Result<&mut [f32]> {
        let span = *self.lease.writes.get(i).ok_or_else(|| missing(i, self.lease.writes.len()))?;
        // SAFETY: proved by the lease of this arena; `&mut self` keeps every other slice of this loan away.
        Ok(unsafe { span.slice_mut(self.base) })
    }

    /// Both sides, to hold reads while writes are under way.
    pub fn split(&mut self) -> (Reads<'_>, Writes<'_>) {
        (
            Reads { base: self.base, spans: &self.lease.reads, arena: PhantomData },
            Writes { base: self.base, spans: &self.lease.writes, arena: PhantomData },
        )
    }
}

/// The regions of a loan that are read; any number may be held.
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
        // SAFETY: proved by the lease; the loan holds the arena exclusively for 'a, and its writes lie elsewhere.
        Ok(unsafe { span.slice(self.base) })
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [f32]> + use<'a> {
        let base = self.base;
        // SAFETY: as in `get`.
        self.spans.iter().map(move |span| unsafe { span.slice(base) })
    }
}

/// The regions of a loan that are written.
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
        // SAFETY: proved by the lease; the loan holds the arena exclusively, and `&mut self` keeps every other write away.
        Ok(unsafe { span.slice_mut(self.base) })
    }

    /// All of them, in order, each once: they may be held together.
    pub fn iter(&mut self) -> impl ExactSizeIterator<Item = &mut [f32]> {
        let base = self.base;
        // SAFETY: proved by the lease; each span is yielded once and overlaps no other of the loan; `&mut self` keeps every other write away.
        self.spans.iter().map(move |span| unsafe { span.slice_mut(base) })
    }
}

fn missing(i: usize, len: usize) -> Error {
    Error::new(ErrorKind::Usage, "the lease has no such region").at("arena").got(i).wanted(format!("below {len}"))
}

#[cfg(test)]
mod tests;

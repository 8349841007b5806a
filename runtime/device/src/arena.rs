//! The arena in host memory.
//!
//! A [`HostArena`] is allocated from a plan in Warm: aligned, zeroed, every page touched. A device
//! borrows one region with [`HostArena::f32`] and [`HostArena::f32_mut`], and several at once with
//! [`HostArena::disjoint`]. Engines borrow through [`HostMemory`].

#![expect(unsafe_code, reason = "makes typed slices of one allocation")]

use crate::host_memory::{HostMemory, Lease, Loan, Span};
use drivewam_core::arena::{ALIGNMENT, ArenaPlan, Region, apart};
use drivewam_core::dtype::DType;
use drivewam_core::{Error, ErrorKind, Result};
use std::alloc::{Layout, alloc_zeroed, dealloc};
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

    /// The whole allocation, for a device that shares it. The rules of [`HostMemory::address`]
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

// SAFETY: `span` checks that a region lies inside the allocation, which is aligned, initialised and
// at one place until `drop`. `Lease::loan` refuses the lease of an arena with another number.
unsafe impl HostMemory for HostArena {
    fn address(&self, region: Region) -> Result<*mut f32> {
        Ok(self.span(region)?.pointer(self.base))
    }

    fn lease(&self, reads: &[Region], writes: &[Region]) -> Result<Lease> {
        Lease::new(self.id, reads, writes, |region| self.span(region))
    }

    fn loan<'a>(&'a mut self, lease: &'a Lease) -> Result<Loan<'a>> {
        // SAFETY: `base` is the memory of the arena `id`, which `&mut self` borrows exclusively
        // while the loan lives.
        unsafe { lease.loan(self.id, self.base) }
    }
}

impl Drop for HostArena {
    fn drop(&mut self) {
        // SAFETY: allocated by `alloc_zeroed` with this layout, and no slice outlives the arena.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests;

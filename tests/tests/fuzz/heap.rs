//! Counts the heap memory of a call.

#![expect(unsafe_code, reason = "a counting allocator has to be a global allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Bytes that this thread holds, and the most since the last [`peak`] began.
    static HELD: Cell<(i64, i64)> = const { Cell::new((0, 0)) };
}

/// The result of `call`, and the most bytes that it held at a time on this thread.
pub(crate) fn peak<T>(call: impl FnOnce() -> T) -> (T, u64) {
    let before = HELD.with(|held| {
        let now = held.get().0;
        held.set((now, now));
        now
    });
    let result = call();
    let most = HELD.with(Cell::get).1;
    (result, u64::try_from(most - before).unwrap_or(0))
}

fn add(bytes: i64) {
    // A thread that ends may free memory after its counter is gone.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = now + bytes;
        held.set((now, most.max(now)));
    });
}

// SAFETY: every call is forwarded unchanged to the system's allocator, which has the same contract;
// counting only updates a cell of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as i64);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(-(layout.size() as i64));
        // SAFETY: the pointer came from `System`, through `alloc` or `realloc` above, with this
        // layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size as i64 - layout.size() as i64);
        // SAFETY: as for `dealloc`; the caller upholds the rest of the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

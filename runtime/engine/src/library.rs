//! Marks calls into engine libraries, so that their allocations can be told from ours.
//!
//! `Run` allocates nothing in our code, but `rten` and ONNX Runtime allocate inside their own
//! calls. A counting allocator asks [`inside`] on every allocation. It is true from just before a
//! call into a library until just after its return, on every thread, because the library's worker
//! threads allocate too. Argument lists that a library takes by value are built inside. The flag is
//! process-wide: while an engine runs on one thread, an allocation of our code on another one
//! counts as the library's. A test that counts therefore drives one ride.

use std::sync::atomic::{AtomicUsize, Ordering};

static DEPTH: AtomicUsize = AtomicUsize::new(0);

/// Whether a thread of this process is inside a call into an engine library. Does not allocate, so
/// that an allocator can call it.
pub fn inside() -> bool {
    DEPTH.load(Ordering::SeqCst) > 0
}

/// Runs `call` with [`inside`] true. The flag is restored even if `call` panics.
pub(crate) fn enter<T>(call: impl FnOnce() -> T) -> T {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            DEPTH.fetch_sub(1, Ordering::SeqCst);
        }
    }
    DEPTH.fetch_add(1, Ordering::SeqCst);
    let _guard = Guard;
    call()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_a_library_leaves_the_depth_as_it_was() {
        let before = DEPTH.load(Ordering::SeqCst);
        let caught = std::panic::catch_unwind(|| enter(|| enter(|| assert!(!inside(), "inside, so this panics"))));
        assert!(caught.is_err());
        assert_eq!(DEPTH.load(Ordering::SeqCst), before);
    }
}

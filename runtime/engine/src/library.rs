//! Whether an engine library is at work, so that its allocations can be counted apart from ours.
//!
//! `Run` allocates nothing in our code; what `rten` or ONNX Runtime allocate inside one of their own calls is theirs, and is shown apart. A counting
//! allocator asks [`inside`] on every allocation: true from just before a call into a library until just after it returned, on every thread, because
//! the library's worker threads allocate too. The arguments that a library wants as an owned list are made inside: its calling convention asks for
//! them. The flag is process-wide: while two engines run at once on two threads, what our code allocates meanwhile on a third would be counted as a
//! library's, so a test that counts runs one ride.

use std::sync::atomic::{AtomicUsize, Ordering};

static DEPTH: AtomicUsize = AtomicUsize::new(0);

/// Whether any thread of this process is inside a call to an engine library. Allocates nothing: callable from an allocator.
pub fn inside() -> bool {
    DEPTH.load(Ordering::SeqCst) > 0
}

/// Runs `call` with [`inside`] true; also when `call` panics, the flag is right afterwards.
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

//! The machine that was measured.

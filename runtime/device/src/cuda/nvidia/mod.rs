//! The vendor's driver, opened at run time through `cudarc`: one context, one stream, one module of
//! kernels.
//!
//! One stream orders all work, so there are no events. Two drivers on one GPU do not wait for each
//! other; the ride's stream has priority. Copies go through pinned memory that Warm allocates: a
//! write is staged and sent while the host goes on, a read waits. In Run a launch, a copy and a
//! replay allocate nothing. Handles are released in the reverse order of their creation, once the
//! stream has drained; the next [`Nvidia::open`] of the process returns an error of the release.
//!
//! `handles` owns the driver's handles, `driver` implements [`super::Driver`], `primary` retains
//! the GPU's context, and `clock` times launches for benchmarks.

mod clock;
mod driver;
mod error;
mod handles;
mod primary;

pub use handles::Nvidia;
pub use primary::{PrimaryContext, driver_version};

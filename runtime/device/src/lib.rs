//! Memory and the work between engine calls.
//!
//! Enters: an arena plan, pictures, the keys and values that a pass produced. Leaves: one allocation whose regions everyone names by token, the
//! KV memory scored, selected and overwritten in place, solver steps taken, pictures resampled. Never: models, policies of the ride, or a second
//! allocation after [`Device::kv_open`]. A [`Device`] is owned by one ride and used by one thread.
//!
//! ```
//! use drivewam_core::{arena::Planner, dtype::DType, flow::solver::SolverStep};
//! use drivewam_device::{Device, HostDevice};
//!
//! # fn main() -> drivewam_core::Result<()> {
//! let mut planner = Planner::new();
//! let x = planner.add("sampler", "x", DType::F32, &[2, 3])?;
//! let velocity = planner.add("sampler", "velocity", DType::F32, &[2, 3])?;
//! let mut device = HostDevice::new(planner.finish(4096)?, 2)?;
//! device.fill(velocity, 2.0)?;
//! device.solve(&SolverStep::Euler { span: -0.5 }, x, velocity, &[], 3, &[0, 2])?;
//! let mut row = [0.0; 3];
//! device.download(x, &mut row)?;
//! assert_eq!(row, [-1.0, 0.0, -1.0]);
//! # Ok(())
//! # }
//! ```

pub mod affinity;
pub mod camera;
pub mod cuda;
pub mod device;
pub mod host;
pub mod picture;
pub mod ranges;
pub mod rows;
mod shape;
pub mod taps;

pub use affinity::{Affinity, AffinityGuard};
pub use camera::SourceCamera;
pub use cuda::CudaDevice;
pub use device::{Commit, Device, KvCounts, KvLayout, KvRegions, PassKv, Pool, Traffic};
pub use host::{HostArena, HostDevice};
pub use picture::{Pictures, PixelFormat};
pub use rows::Rows;
pub use taps::Taps;

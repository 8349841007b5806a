//! Memory and the operations between engine calls, on the host and on CUDA.
//!
//! A [`Device`] is made from an arena plan. It owns one allocation, whose regions callers name by
//! token. It uploads and downloads them, resamples camera pictures, takes solver steps, and keeps
//! the KV memory: it scores, selects and overwrites slots in place. It allocates nothing after
//! [`KvMemory::kv_open`] and [`ImageOps::open_camera`], and it knows neither models nor the
//! policies of a ride. One ride owns a device, and one thread uses it.
//!
//! The contract (`device`, `kv`, `gpu`, `host_memory`, `camera`, `picture`) names no
//! implementation; `host` (with `arena`) and `cuda` implement it.
//!
//! ```
//! use drivewam_core::{arena::Planner, dtype::DType, flow::solver::SolverStep};
//! use drivewam_device::{DeviceMemory, HostDevice, SolverOps};
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
pub mod arena;
pub mod camera;
mod checks;
pub mod copy;
pub mod cuda;
pub mod device;
pub mod gpu;
pub mod host;
pub mod host_memory;
pub mod kv;
pub mod picture;
pub mod profiler;
pub mod resample;
pub mod wrapper;

pub use affinity::{Affinity, AffinityGuard};
pub use arena::HostArena;
pub use camera::{SourceCamera, SourceMount};
pub use copy::StridedCopy;
pub use cuda::CudaDevice;
pub use device::{Device, DeviceMemory, ImageOps, KvMemory, SolverOps, Traffic};
pub use gpu::Gpu;
pub use host::HostDevice;
pub use host_memory::HostMemory;
pub use kv::{Commit, KvCounts, KvLayout, KvRegions, PassKv, Pool};
pub use picture::{Pictures, PixelFormat};
pub use resample::ResampleWeights;
pub use wrapper::DeviceWrapper;

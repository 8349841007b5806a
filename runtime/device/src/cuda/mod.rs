//! A GPU as a device: kernels on one ordered stream, in memory that was allocated in Warm.
//!
//! [`CudaDevice`] knows the arena, the kernels and their order; a [`Driver`] launches them. There
//! are two drivers: [`Nvidia`] opens the vendor's driver library at run time; the emulator of
//! `../emulator` (feature `emulator`, for tests) runs the same `.cu` files on the CPU. The host
//! never learns which slots a selection chose. A fault that a kernel detects (a number that is not
//! finite) waits on the device, and [`crate::DeviceMemory::synchronize`] or
//! [`crate::DeviceMemory::download`] returns it; until then no kernel writes into the KV memory.

mod context;
pub mod cubins;
mod device;
mod driver;
#[cfg(feature = "emulator")]
mod emulator;
mod fault;
mod image;
mod kv;
mod nvidia;
#[cfg(feature = "nvrtc")]
pub mod nvrtc;
mod solver;

pub use device::CudaDevice;
pub use driver::{Driver, Kernel, LaunchGrid};
#[cfg(feature = "emulator")]
pub use emulator::{Emulator, LaunchCounts};
pub use nvidia::{Nvidia, PrimaryContext, driver_version};

//! The host as a device: an arena in host memory, vector loops, and a few threads.

mod device;
mod image;
mod kv;
mod score;
mod simd;
mod threads;

pub use device::HostDevice;

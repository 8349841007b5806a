//! Opens the device that the configured engines compute on.

use drivewam_core::Result;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::config;
use drivewam_device::cuda::Nvidia;
use drivewam_device::gpu::StreamPriority;
use drivewam_device::{CudaDevice, Device, HostDevice};
use std::path::{Path, PathBuf};

/// Opens the device for `config.kind` and allocates the arena that `arena` plans.
///
/// Engines that run on a GPU get a [`CudaDevice`] on GPU `config.tensorrt.gpu`, with one stream of
/// `priority`. Its kernels come from `config.tensorrt.kernels`, or from the directory `kernels`
/// beside `config.folder` where that is not set; `threads` is then not used. All other engines get
/// a [`HostDevice`], which selects memory tokens on `threads` threads; `priority` is then not used.
///
/// # Errors
/// `Capacity` when the arena cannot be allocated. `Device` when the engines need a GPU and the
/// driver, the GPU or the kernels cannot be used.
pub fn open_device(config: &config::EngineConfig, arena: ArenaPlan, threads: usize, priority: StreamPriority) -> Result<Box<dyn Device>> {
    if !config.kind.on_gpu() {
        return Ok(Box::new(HostDevice::new(arena, threads)?));
    }
    let options = &config.tensorrt;
    let kernels = match &options.kernels {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(&config.folder).with_file_name("kernels"),
    };
    let driver = Nvidia::open(i32::try_from(options.gpu).unwrap_or(i32::MAX), &kernels, priority)?;
    Ok(Box::new(CudaDevice::new(Box::new(driver), arena)?))
}

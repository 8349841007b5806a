//! The GPU's primary context, which every handle of the vendor's libraries needs, and facts about
//! the GPU.

#![expect(unsafe_code, reason = "calls the vendor's driver through cudarc's thin layer")]

use super::error::{failed, fault, keep_release_error, take_release_error};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use drivewam_core::Result;
use std::ffi::c_int;
use std::sync::Arc;

/// The oldest supported driver: CUDA 12.2, JetPack 6.
const OLDEST_DRIVER: i32 = 12020;

/// A GPU and its retained primary context. It lives until the last owner drops it, so every owner
/// of memory or handles of the GPU keeps one.
#[derive(Debug)]
pub struct PrimaryContext {
    name: String,
    capability: [u32; 2],
    driver: [u32; 2],
    is_integrated: bool,
    multiprocessors: u32,
    texture_alignment: u32,
    shared_bytes: u32,
    device: sys::CUdevice,
    context: sys::CUcontext,
}

// SAFETY: a context belongs to no thread; `enter` makes it current on the calling thread.
unsafe impl Send for PrimaryContext {}
// SAFETY: the driver locks its own contexts, and nothing here changes after `retain`.
unsafe impl Sync for PrimaryContext {}

/// The CUDA version of the driver: major, minor.
///
/// # Errors
/// `Device` when no driver is installed, it does not start, or it is too old.
pub fn driver_version() -> Result<[u32; 2]> {
    // SAFETY: opens and closes the driver's library, whose initialisers are the vendor's.
    if !unsafe { sys::is_culib_present() } {
        return Err(fault("no NVIDIA driver is installed (libcuda.so)").wanted("a GPU and its driver, or the host device"));
    }
    result::init().map_err(|e| failed("cannot start the driver", e))?;
    let mut version: c_int = 0;
    // SAFETY: the variable lives through the call.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().map_err(|e| failed("cannot read the version of the driver", e))?;
    if version < OLDEST_DRIVER {
        let version_of = |v: i32| format!("CUDA {}.{}", v / 1000, v % 1000 / 10);
        return Err(fault("the driver is too old").got(version_of(version)).wanted(format!("{} or later", version_of(OLDEST_DRIVER))));
    }
    Ok([version / 1000, version % 1000 / 10].map(i32::unsigned_abs))
}

impl PrimaryContext {
    /// Opens GPU `ordinal`. Warm.
    ///
    /// # Errors
    /// Those of [`driver_version`]; `Device` when there is no such GPU, or the release of an
    /// earlier device failed.
    pub fn retain(ordinal: i32) -> Result<Arc<Self>> {
        if let Some(error) = take_release_error() {
            return Err(error);
        }
        let driver = driver_version()?;
        let count = result::device::get_count().map_err(|e| failed("cannot count the GPUs", e))?;
        if !(0..count).contains(&ordinal) {
            return Err(fault("no such GPU").got(ordinal).wanted(format!("below {count}")));
        }
        let device = result::device::get(ordinal).map_err(|e| failed("cannot open the GPU", e))?;
        let name = result::device::get_name(device).map_err(|e| failed("cannot read the name of the GPU", e))?;
        let attribute = |which| -> Result<u32> {
            // SAFETY: `device` is from the driver.
            let value =
                unsafe { result::device::get_attribute(device, which) }.map_err(|e| failed("cannot read an attribute of the GPU", e))?;
            Ok(u32::try_from(value).unwrap_or(0))
        };
        let capability = [
            attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ];
        let is_integrated = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED)? != 0;
        let multiprocessors = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let texture_alignment = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT)?;
        let shared_bytes = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        // SAFETY: `device` is from the driver.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(|e| failed("cannot retain the context of the GPU", e))?;
        Ok(Arc::new(Self { name, capability, driver, is_integrated, multiprocessors, texture_alignment, shared_bytes, device, context }))
    }

    /// The GPU's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The GPU's model: name and multiprocessors, in which boards of one name may differ.
    pub fn model(&self) -> String {
        format!("{}, {} multiprocessors", self.name, self.multiprocessors)
    }

    /// Alignment of work space, bytes.
    pub fn texture_alignment(&self) -> u32 {
        self.texture_alignment
    }

    /// Shared memory that a block may request, bytes.
    pub(super) fn shared_bytes(&self) -> u32 {
        self.shared_bytes
    }

    /// Compute capability: major, minor.
    pub fn capability(&self) -> [u32; 2] {
        self.capability
    }

    /// CUDA version of the driver: major, minor.
    pub fn driver(&self) -> [u32; 2] {
        self.driver
    }

    /// Whether the GPU shares its memory with the host. The free memory then excludes the host's
    /// caches, although the host would release them.
    pub(super) fn is_integrated(&self) -> bool {
        self.is_integrated
    }

    pub(super) fn set_current(&self) -> std::result::Result<(), DriverError> {
        // SAFETY: the context is retained until `drop`.
        unsafe { result::ctx::set_current(self.context) }
    }

    /// Makes the context current on this thread, as the vendor's libraries require.
    ///
    /// # Errors
    /// `Device`.
    pub fn enter(&self) -> Result<()> {
        self.set_current().map_err(|e| failed("cannot enter the context", e))
    }

    /// Waits for all work on the GPU, before what it uses is released.
    ///
    /// # Errors
    /// `Device`, also for a fault in that work.
    pub fn synchronize(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: the context is current.
        unsafe { sys::cuCtxSynchronize() }.result().map_err(|e| failed("work on the GPU failed", e))
    }
}

impl Drop for PrimaryContext {
    fn drop(&mut self) {
        // SAFETY: retained in `retain`, once.
        if let Err(error) = unsafe { result::primary_ctx::release(self.device) } {
            keep_release_error(error);
        }
    }
}

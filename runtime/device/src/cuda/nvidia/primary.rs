//! The GPU's primary context: what the driver, the machine's facts and every handle of a vendor's library stand on.

#![expect(unsafe_code, reason = "calls the vendor's driver through cudarc's thin layer")]

use super::{DROPPED, failed, fault};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use drivewam_core::Result;
use std::ffi::c_int;
use std::sync::{Arc, PoisonError};

/// The oldest driver whose functions are called: CUDA 12.2, JetPack 6.
const OLDEST_DRIVER: i32 = 12020;

/// A GPU and its retained primary context, which lives until the last owner is gone: whoever owns memory or handles of the GPU keeps one.
#[derive(Debug)]
pub struct Primary {
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

// SAFETY: a context is tied to no thread; `enter` makes it current on whatever thread calls.
unsafe impl Send for Primary {}
// SAFETY: the driver locks its own contexts; nothing here changes after `retain`.
unsafe impl Sync for Primary {}

/// CUDA version of the driver.
///
/// # Errors
/// `Device` when no driver is installed, it does not start, or it is too old.
pub fn driver_version() -> Result<[u32; 2]> {
    // SAFETY: opens and closes the driver's library, whose initialisers are the vendor's.
    if !unsafe { sys::is_culib_present() } {
        return Err(fault("no NVIDIA driver is installed (libcuda.so)").wanted("a GPU and its driver, or the host device"));
    }
    result::init().map_err(|e| failed("the driver does not start", e))?;
    let mut version: c_int = 0;
    // SAFETY: the place lives through the call.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().map_err(|e| failed("the driver does not tell its version", e))?;
    if version < OLDEST_DRIVER {
        let words = |v: i32| format!("CUDA {}.{}", v / 1000, v % 1000 / 10);
        return Err(fault("the driver is too old").got(words(version)).wanted(format!("{} or later", words(OLDEST_DRIVER))));
    }
    Ok([version / 1000, version % 1000 / 10].map(i32::unsigned_abs))
}

impl Primary {
    /// Opens GPU `ordinal`. Warm.
    ///
    /// # Errors
    /// As [`driver_version`]; `Device` when there is no such GPU, or an earlier one failed while it was given back.
    pub fn retain(ordinal: i32) -> Result<Arc<Self>> {
        if let Some(error) = DROPPED.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let driver = driver_version()?;
        let count = result::device::get_count().map_err(|e| failed("the driver does not count its GPUs", e))?;
        if !(0..count).contains(&ordinal) {
            return Err(fault("no such GPU").got(ordinal).wanted(format!("below {count}")));
        }
        let device = result::device::get(ordinal).map_err(|e| failed("the GPU cannot be opened", e))?;
        let name = result::device::get_name(device).map_err(|e| failed("the GPU does not tell its name", e))?;
        let attribute = |which| -> Result<u32> {
            // SAFETY: `device` is from the driver.
            let value =
                unsafe { result::device::get_attribute(device, which) }.map_err(|e| failed("the GPU does not tell an attribute", e))?;
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
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(|e| failed("the GPU gives no context", e))?;
        Ok(Arc::new(Self { name, capability, driver, is_integrated, multiprocessors, texture_alignment, shared_bytes, device, context }))
    }

    /// The GPU's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The GPU's model, which boards of one name may differ in.
    pub fn model(&self) -> String {
        format!("{}, {} multiprocessors", self.name, self.multiprocessors)
    }

    /// What addresses of work space must be multiples of, bytes.
    pub fn texture_alignment(&self) -> u32 {
        self.texture_alignment
    }

    /// Shared memory that a block may have when it asks.
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

    /// Shares its memory with the host, whose caches count as used though they would give way.
    pub(super) fn is_integrated(&self) -> bool {
        self.is_integrated
    }

    pub(super) fn set_current(&self) -> std::result::Result<(), DriverError> {
        // SAFETY: the context is retained until `drop`.
        unsafe { result::ctx::set_current(self.context) }
    }

    /// Makes the context current on this thread, as the vendor's libraries want it.
    ///
    /// # Errors
    /// `Device`.
    pub fn enter(&self) -> Result<()> {
        self.set_current().map_err(|e| failed("the context cannot be entered", e))
    }
}

impl Primary {
    /// Waits until all work on the GPU is done: before what it uses is given back.
    ///
    /// # Errors
    /// `Device`, also for what went wrong in that work.
    pub fn synchronize(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: the context is current.
        unsafe { sys::cuCtxSynchronize() }.result().map_err(|e| failed("work on the GPU failed", e))
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        // SAFETY: retained in `retain`, once.
        if let Err(error) = unsafe { result::primary_ctx::release(self.device) } {
            let mut dropped = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
            dropped.get_or_insert_with(|| failed("an earlier device could not be given back", error));
        }
    }
}

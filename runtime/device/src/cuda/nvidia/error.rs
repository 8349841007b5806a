//! Errors of the driver.

use cudarc::driver::result::DriverError;
use cudarc::driver::sys;
use drivewam_core::{Error, ErrorKind};
use std::sync::{Mutex, PoisonError};

/// The first error of a release that nobody has returned yet.
static RELEASE_ERROR: Mutex<Option<Error>> = Mutex::new(None);

/// Keeps an error of a release, unless an earlier one waits.
pub(super) fn keep_release_error(error: DriverError) {
    let mut kept = RELEASE_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    kept.get_or_insert_with(|| failed("cannot release an earlier device", error));
}

/// Takes the error of an earlier release.
pub(super) fn take_release_error() -> Option<Error> {
    RELEASE_ERROR.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A `Device` error.
pub(super) fn fault(what: &str) -> Error {
    Error::new(ErrorKind::Device, what).at("device")
}

/// The error for a failed call, with the driver's name and text of it.
pub(super) fn failed(what: &str, error: DriverError) -> Error {
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|_| format!("{:?}", error.0));
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    fault(what).got(format!("{name}: {text}"))
}

/// Whether the error makes its context unusable.
pub(super) fn is_fatal(error: DriverError) -> bool {
    use sys::CUresult as R;
    matches!(
        error.0,
        R::CUDA_ERROR_ILLEGAL_ADDRESS
            | R::CUDA_ERROR_LAUNCH_FAILED
            | R::CUDA_ERROR_LAUNCH_TIMEOUT
            | R::CUDA_ERROR_MISALIGNED_ADDRESS
            | R::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | R::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | R::CUDA_ERROR_INVALID_PC
            | R::CUDA_ERROR_HARDWARE_STACK_ERROR
            | R::CUDA_ERROR_ECC_UNCORRECTABLE
            | R::CUDA_ERROR_ASSERT
            | R::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | R::CUDA_ERROR_MPS_CLIENT_TERMINATED
            | R::CUDA_ERROR_EXTERNAL_DEVICE
            | R::CUDA_ERROR_UNKNOWN
    )
}

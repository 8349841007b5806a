//! Queries the GPUs through NVIDIA's management library (NVML).
//!
//! The library is loaded at run time. A missing library, driver or GPU is reported as text.

use super::tree::{Tree, clean};
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, PerformancePolicy, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Nvml, cuda_driver_version_major, cuda_driver_version_minor};
use serde::Serialize;
use std::ffi::OsStr;

/// Most GPUs that are queried.
const GPUS: u32 = 64;

/// The GPUs and their driver.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Graphics {
    /// Why there is no GPU, if there is none.
    pub(crate) missing: Option<String>,
    pub(crate) driver: Option<String>,
    /// The newest CUDA version that the driver supports.
    pub(crate) cuda: Option<String>,
    pub(crate) gpus: Vec<Gpu>,
}

/// One GPU. Values that it does not support are `None` and listed in `not_offered`.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Gpu {
    /// NVML's index. CUDA's may differ (`CUDA_VISIBLE_DEVICES`, `CUDA_DEVICE_ORDER`).
    pub(crate) index: u32,
    pub(crate) name: Option<String>,
    pub(crate) uuid: Option<String>,
    pub(crate) memory_total_bytes: Option<u64>,
    pub(crate) memory_used_bytes: Option<u64>,
    pub(crate) sm_mhz: Option<u32>,
    pub(crate) sm_highest_mhz: Option<u32>,
    pub(crate) memory_mhz: Option<u32>,
    pub(crate) memory_highest_mhz: Option<u32>,
    pub(crate) celsius: Option<u32>,
    /// On newer GPUs the mean of the last second.
    pub(crate) power_mw: Option<u32>,
    pub(crate) power_limit_mw: Option<u32>,
    /// Present throttle reasons.
    pub(crate) held_back_by: Vec<&'static str>,
    /// Time throttled by heat and by the power limit since the driver was loaded, in
    /// nanoseconds.
    pub(crate) held_by_heat_ns: Option<u64>,
    pub(crate) held_by_power_ns: Option<u64>,
    pub(crate) persistence: Option<bool>,
    pub(crate) ecc: Option<bool>,
    pub(crate) not_offered: Vec<&'static str>,
}

/// Opens NVML from `library`, or where the system finds it.
///
/// # Errors
/// A message: no library, no driver or no permission.
pub(super) fn open(library: Option<&OsStr>) -> Result<Nvml, String> {
    let mut builder = Nvml::builder();
    if let Some(library) = library {
        builder.lib_path(library);
    }
    builder.init().map_err(|e| match e {
        NvmlError::LibloadingError(e) => clean(&format!("no NVIDIA library: {e}")),
        e => clean(&format!("cannot initialise the NVIDIA library: {e}")),
    })
}

/// Queries the driver and every GPU. Failed queries are noted in `tree`.
pub(super) fn graphics(nvml: Result<Nvml, String>, tree: &mut Tree) -> Graphics {
    let nvml = match nvml {
        Ok(nvml) => nvml,
        Err(why) => return Graphics { missing: Some(why), ..Graphics::default() },
    };
    let mut system = Answers { of: "NVML".to_owned(), not_offered: Vec::new(), tree };
    let driver = system.text("driver", nvml.sys_driver_version());
    let cuda = system.take("CUDA version", nvml.sys_cuda_driver_version());
    let cuda = cuda.map(|version| format!("{}.{}", cuda_driver_version_major(version), cuda_driver_version_minor(version)));
    let count = system.take("number of GPUs", nvml.device_count()).unwrap_or(0);
    let gpus: Vec<Gpu> = (0..count.min(GPUS)).filter_map(|index| gpu(&nvml, index, tree)).collect();
    let missing = (count == 0).then(|| "the NVIDIA library finds no GPU".to_owned());
    Graphics { missing, driver, cuda, gpus }
}

fn gpu(nvml: &Nvml, index: u32, tree: &mut Tree) -> Option<Gpu> {
    let mut answers = Answers { of: format!("GPU {index}"), not_offered: Vec::new(), tree };
    let device = answers.take("GPU", nvml.device_by_index(index))?;
    let memory = answers.take("memory", device.memory_info());
    let held = |answers: &mut Answers, what, policy| answers.take(what, device.violation_status(policy)).map(|time| time.violation_time);
    Some(Gpu {
        index,
        name: answers.text("name", device.name()),
        uuid: answers.text("UUID", device.uuid()),
        memory_total_bytes: memory.as_ref().map(|memory| memory.total),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        sm_mhz: answers.take("SM clock", device.clock_info(Clock::SM)),
        sm_highest_mhz: answers.take("highest SM clock", device.max_clock_info(Clock::SM)),
        memory_mhz: answers.take("memory clock", device.clock_info(Clock::Memory)),
        memory_highest_mhz: answers.take("highest memory clock", device.max_clock_info(Clock::Memory)),
        celsius: answers.take("temperature", device.temperature(TemperatureSensor::Gpu)),
        power_mw: answers.take("power", device.power_usage()),
        power_limit_mw: answers.take("power limit", device.enforced_power_limit()),
        held_back_by: answers.take("throttle reasons", device.current_throttle_reasons()).map(reason_names).unwrap_or_default(),
        held_by_heat_ns: held(&mut answers, "time held back by heat", PerformancePolicy::Thermal),
        held_by_power_ns: held(&mut answers, "time held back by power", PerformancePolicy::Power),
        persistence: answers.take("persistence mode", device.is_in_persistent_mode()),
        ecc: answers.take("ECC", device.is_ecc_enabled()).map(|ecc| ecc.currently_enabled),
        not_offered: answers.not_offered,
    })
}

/// Sorts the library's results into values, unsupported ones and errors.
struct Answers<'t, 'r> {
    of: String,
    not_offered: Vec<&'static str>,
    tree: &'t mut Tree<'r>,
}

impl Answers<'_, '_> {
    fn take<T>(&mut self, what: &'static str, answer: Result<T, NvmlError>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            // An older driver lacks the symbol.
            Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_)) => {
                self.not_offered.push(what);
                None
            }
            Err(e) => {
                self.tree.add_note(&format!("{what} ({}, NVML): {e}", self.of));
                None
            }
        }
    }

    fn text(&mut self, what: &'static str, answer: Result<String, NvmlError>) -> Option<String> {
        self.take(what, answer).map(|text| clean(&text))
    }
}

/// The names of throttle reasons.
pub(super) fn reason_names(reasons: ThrottleReasons) -> Vec<&'static str> {
    [
        (ThrottleReasons::GPU_IDLE, "idleness"),
        (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, "application clocks"),
        (ThrottleReasons::DISPLAY_CLOCK_SETTING, "display clocks"),
        (ThrottleReasons::SYNC_BOOST, "another GPU of its group"),
        (ThrottleReasons::SW_POWER_CAP, "the power limit"),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, "heat"),
        (ThrottleReasons::HW_SLOWDOWN, "a hardware slowdown"),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, "a hardware slowdown for heat"),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "the power brake"),
    ]
    .into_iter()
    .filter_map(|(reason, name)| reasons.contains(reason).then_some(name))
    .collect()
}

//! Named time ranges for a profiler: NVTX ranges in a domain of their own. Nsight Systems shows
//! them on the timeline of their thread.
//!
//! Without the feature `nvtx` a range does nothing. With it, and without a profiler, a range costs
//! two calls that return at once. Names are registered in Warm; a range carries its name alone, so
//! that opening one allocates nothing.

use std::marker::PhantomData;

/// Registers `names` with the profiler. Only the first call of a process has an effect. Warm.
#[cfg_attr(not(feature = "nvtx"), expect(unused_variables, reason = "no profiler interface is compiled in"))]
pub fn register(names: impl IntoIterator<Item = &'static str>) {
    #[cfg(feature = "nvtx")]
    nvtx_ranges::register(names);
}

/// A range that is open until it is dropped. The ranges of one thread nest.
#[derive(Debug)]
#[must_use = "a range is open until it is dropped"]
pub struct ProfilerRange {
    #[cfg(feature = "nvtx")]
    _open: Option<nvtx::domain::LocalRange<'static>>,
    /// A range ends on its own thread, with or without the feature.
    _thread: PhantomData<*const ()>,
}

impl ProfilerRange {
    /// Opens the range `name`. The profiler does not show a name that was not registered.
    #[cfg_attr(not(feature = "nvtx"), expect(unused_variables, reason = "no profiler interface is compiled in"))]
    #[inline]
    pub fn open(name: &'static str) -> Self {
        Self {
            #[cfg(feature = "nvtx")]
            _open: nvtx_ranges::open(name),
            _thread: PhantomData,
        }
    }
}

#[cfg(feature = "nvtx")]
mod nvtx_ranges {
    use nvtx::domain::{LocalRange, RegisteredString};
    use nvtx::{Domain, Str};
    use std::ffi::CString;
    use std::sync::{LazyLock, OnceLock};

    static DOMAIN: LazyLock<Domain> = LazyLock::new(|| Domain::new(c"drivewam"));
    static NAMES: OnceLock<Vec<(&'static str, RegisteredString<'static>)>> = OnceLock::new();

    pub(super) fn register(names: impl IntoIterator<Item = &'static str>) {
        let registered = |name: &'static str| Some((name, DOMAIN.register_string(Str::from(CString::new(name).ok()?.as_c_str()))));
        NAMES.get_or_init(|| names.into_iter().filter_map(registered).collect());
    }

    pub(super) fn open(name: &'static str) -> Option<LocalRange<'static>> {
        let (_, registered) = NAMES.get()?.iter().find(|(known, _)| *known == name)?;
        Some(DOMAIN.local_range(*registered))
    }
}

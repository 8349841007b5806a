//! Ranges of time with a name, for a profiler that listens: NVTX's, in a domain of their own. Nsight Systems shows them on the line of their thread.
//!
//! Without the feature `nvtx` a range is nothing, and is not opened. With it and nobody listening, it is two calls that return. Names are made known in Warm; a range
//! carries nothing but its name, so that opening one allocates nothing.

use std::marker::PhantomData;

/// Makes `names` known to whoever listens; the first call of a process counts. Warm.
#[cfg_attr(not(feature = "nvtx"), expect(unused_variables, reason = "there is nobody to tell"))]
pub fn register(names: impl IntoIterator<Item = &'static str>) {
    #[cfg(feature = "nvtx")]
    listened::register(names);
}

/// Open until it is dropped. Those of one thread nest.
#[derive(Debug)]
#[must_use = "a range is open until it is dropped"]
pub struct Range {
    #[cfg(feature = "nvtx")]
    _open: Option<nvtx::domain::LocalRange<'static>>,
    /// It ends on its own thread, with or without the feature.
    _thread: PhantomData<*const ()>,
}

impl Range {
    /// Opens the range `name`. A name that was not made known is not shown.
    #[cfg_attr(not(feature = "nvtx"), expect(unused_variables, reason = "there is nobody to tell"))]
    #[inline]
    pub fn open(name: &'static str) -> Self {
        Self {
            #[cfg(feature = "nvtx")]
            _open: listened::open(name),
            _thread: PhantomData,
        }
    }
}

#[cfg(feature = "nvtx")]
mod listened {
    use nvtx::domain::{LocalRange, RegisteredString};
    use nvtx::{Domain, Str};
    use std::ffi::CString;
    use std::sync::{LazyLock, OnceLock};

    static DOMAIN: LazyLock<Domain> = LazyLock::new(|| Domain::new(c"drivewam"));
    static NAMES: OnceLock<Vec<(&'static str, RegisteredString<'static>)>> = OnceLock::new();

    pub(super) fn register(names: impl IntoIterator<Item = &'static str>) {
        let known = |name: &'static str| Some((name, DOMAIN.register_string(Str::from(CString::new(name).ok()?.as_c_str()))));
        NAMES.get_or_init(|| names.into_iter().filter_map(known).collect());
    }

    pub(super) fn open(name: &'static str) -> Option<LocalRange<'static>> {
        let (_, known) = NAMES.get()?.iter().find(|(known, _)| *known == name)?;
        Some(DOMAIN.local_range(*known))
    }
}

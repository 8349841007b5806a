//! What a kernel found wrong, as `kernels/kernel.cuh` tells it.

use crate::device::{KvCounts, Pool};
use bytemuck::{Pod, Zeroable};
use drivewam_core::{Error, ErrorKind};

/// `ACTION_POOL` of `kernel.cuh`.
const ACTION_POOL: u32 = 1 << 31;

/// `State` of `kernel.cuh`, field by field.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct State {
    pub(crate) raised: u32,
    code: u32,
    place: [u32; 3],
    counts: [u32; 3],
}

impl State {
    /// The fault in words.
    pub(crate) fn error(&self) -> Error {
        let [a, b, c] = self.place;
        let output = |what: &str, place: String| Error::new(ErrorKind::Output, what).at(place);
        // `Code` of kernel.cuh. A job is a layer and head set; how many sets a layer has is the memory's to say, so it adds the layer.
        match self.code & !ACTION_POOL {
            1 => output("a new key is not finite", format!("head {b}, row {c}")),
            2 => output("a new value is not finite", format!("head {b}, row {c}")),
            3 => output("a product of query and key is not finite", format!("query {b}, key {c}")),
            4 => output("a score is not finite", format!("slot {b}")),
            5 => output("a velocity is not finite", format!("row {a}, channel {b}")),
            other => Error::new(ErrorKind::Device, "a kernel told of a fault that nobody knows").at("device").got(other),
        }
    }

    /// Whose rows were at fault, and the layer and head set whose job found it, where one did; `sets` is the number of sets of a layer.
    pub(crate) fn job(&self, sets: usize) -> Option<(Pool, usize, usize)> {
        let job = self.place[0] as usize;
        let pool = if self.code & ACTION_POOL == 0 { Pool::Video } else { Pool::Action };
        (1..=4).contains(&(self.code & !ACTION_POOL)).then(|| (pool, job / sets, job % sets))
    }

    /// What the memory held before the operation that found it.
    pub(crate) fn counts(&self) -> KvCounts {
        let [video, action, tail] = self.counts.map(|n| n as usize);
        KvCounts { video, action, tail }
    }
}

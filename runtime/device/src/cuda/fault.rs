//! Faults that kernels report, as `kernels/kernel.cuh` lays them out.

use crate::kv::{KvCounts, Pool};
use bytemuck::{Pod, Zeroable};
use drivewam_core::{Error, ErrorKind};

/// `ACTION_POOL` of `kernel.cuh`.
const ACTION_POOL: u32 = 1 << 31;

/// `State` of `kernel.cuh`, field by field.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct FaultState {
    pub(crate) raised: u32,
    code: u32,
    place: [u32; 3],
    counts: [u32; 3],
}

impl FaultState {
    /// The fault as an error.
    pub(crate) fn error(&self) -> Error {
        let [a, b, c] = self.place;
        let output = |what: &str, place: String| Error::new(ErrorKind::Output, what).at(place);
        // `Code` of kernel.cuh. For a fault of the memory `a` is the job. Only the memory knows the
        // number of head sets of a layer, so it adds layer and set to the error (`job`).
        match self.code & !ACTION_POOL {
            1 => output("a new key is not finite", format!("head {b}, row {c}")),
            2 => output("a new value is not finite", format!("head {b}, row {c}")),
            3 => output("a product of query and key is not finite", format!("query {b}, key {c}")),
            4 => output("a score is not finite", format!("slot {b}")),
            5 => output("a velocity is not finite", format!("row {a}, channel {b}")),
            other => Error::new(ErrorKind::Device, "a kernel reported an unknown fault").at("device").got(other),
        }
    }

    /// The pool whose rows were at fault, and the layer and head set of the job that found it;
    /// `None` for a fault outside the memory. `sets` is the number of head sets of a layer.
    pub(crate) fn job(&self, sets: usize) -> Option<(Pool, usize, usize)> {
        let job = self.place[0] as usize;
        let pool = if self.code & ACTION_POOL == 0 { Pool::Video } else { Pool::Action };
        (1..=4).contains(&(self.code & !ACTION_POOL)).then(|| (pool, job / sets, job % sets))
    }

    /// The memory's counts before the operation that found the fault.
    pub(crate) fn counts(&self) -> KvCounts {
        let [video, action, tail] = self.counts.map(|n| n as usize);
        KvCounts { video, action, tail }
    }
}

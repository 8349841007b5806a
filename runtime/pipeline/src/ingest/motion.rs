//! Contradictions between poses and ego states, counted from chunk to chunk.

use crate::guard::DoubtRun;
use crate::guard::{Cause, CauseKind, Causes};
use drivewam_core::motion::{FoundConflict, MotionCheck, MotionConflict};
use drivewam_core::pose::Pose2;

/// What the poses pushed since the last chunk contradict.
#[derive(Debug, Clone, Default)]
pub(crate) struct MotionDoubts {
    check: MotionCheck,
    /// The first of each kind since the last chunk, and how many there were.
    found: [Option<(FoundConflict, u32)>; MotionConflict::ALL.len()],
    runs: [DoubtRun; MotionConflict::ALL.len()],
}

impl MotionDoubts {
    /// Reads a pose and the newest speed at or before it.
    pub(crate) fn push(&mut self, stamp_ns: i64, pose: Pose2, speed_mps: Option<f64>) {
        let found = &mut self.found;
        self.check.push(stamp_ns, pose, speed_mps, |conflict| {
            let (_, times) = found[conflict.kind as usize].get_or_insert((conflict, 0));
            *times += 1;
        });
    }

    /// Begins with the next pose, as after a gap.
    pub(crate) fn begin_anew(&mut self) {
        self.check.clear();
    }

    /// Adds what was found since the last call to `causes`.
    pub(crate) fn take(&mut self, causes: &mut Causes) {
        for (kind, run) in MotionConflict::ALL.into_iter().zip(&mut self.runs) {
            let found = self.found[kind as usize].take();
            let cause = found.map(|(found, _)| Cause::new(CauseKind::Motion(kind), found.value, found.limit));
            if let Some(cause) = run.count(cause, found.map_or(0, |(_, times)| times)) {
                causes.add(cause);
            }
        }
    }
}

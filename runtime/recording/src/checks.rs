//! What must hold between the files of a recording, once each has been read by itself.
//!
//! Every check is a row: what was found, what is accepted, and an error where the two do not meet.
//! A recording opens when no row has an error.

use crate::files::StampColumn;
use crate::recording::{Limits, Recording};
use drivewam_core::motion::{MotionCheck, MotionConflict};
use drivewam_core::stamp::{exceeds_ms, rounded_ms};
use drivewam_core::{Error, Result};

/// Shortest median time between two rows of poses or ego states: 2 kHz.
const MIN_STEP_NS: i64 = 500_000;
/// Shortest median time between two frames: 250 Hz.
const MIN_FRAME_STEP_NS: i64 = 4_000_000;
/// Farthest that a command may lie from the frames.
const DAY_NS: i64 = 86_400_000_000_000;

/// One check of a recording, and what it found.
#[derive(Debug)]
pub struct InputCheck {
    /// What was checked.
    pub check: &'static str,
    /// The file, by its own name.
    pub file: String,
    /// What was found, with its unit.
    pub figure: String,
    /// What is accepted.
    pub limit: String,
    /// Beyond the limit, but driven all the same.
    pub is_noted: bool,
    /// Why the recording is refused.
    pub fault: Option<Error>,
}

impl InputCheck {
    /// A check that found `figure`, and refuses it if `result` is an error.
    pub fn new(check: &'static str, file: impl Into<String>, figure: String, limit: impl Into<String>, result: Result<()>) -> Self {
        Self { check, file: file.into(), figure, limit: limit.into(), is_noted: false, fault: result.err() }
    }

    /// A check whose finding does not keep the recording from being driven.
    pub fn note(check: &'static str, file: impl Into<String>, figure: String, limit: impl Into<String>, is_noted: bool) -> Self {
        Self { is_noted, ..Self::new(check, file, figure, limit, Ok(())) }
    }
}

/// Adds the row of a file that was read, and hands out what it holds; `None` where it was refused.
pub(crate) fn add_read<T>(
    checks: &mut Vec<InputCheck>,
    check: &'static str,
    file: &str,
    limit: &str,
    read: Result<T>,
    figure: impl FnOnce(&T) -> String,
) -> Option<T> {
    let (figure, kept, result) = match read {
        Ok(found) => (figure(&found), Some(found), Ok(())),
        Err(error) => ("-".to_owned(), None, Err(error)),
    };
    checks.push(InputCheck::new(check, file, figure, limit, result));
    kept
}

/// A recording whose files have been read, and not yet compared with one another.
pub(crate) struct ReadRecording {
    pub(crate) recording: Recording,
    pub(crate) frames: StampColumn,
    pub(crate) poses: StampColumn,
    pub(crate) ego: StampColumn,
    pub(crate) commands: StampColumn,
}

impl ReadRecording {
    /// Adds all checks that need more than one row.
    pub(crate) fn check(&self, limits: Limits, checks: &mut Vec<InputCheck>) {
        for (column, least_ns) in [(&self.frames, MIN_FRAME_STEP_NS), (&self.poses, MIN_STEP_NS), (&self.ego, MIN_STEP_NS)] {
            checks.push(step(column, least_ns));
        }
        checks.extend([gap("gap in the poses", &self.poses, limits), gap("gap in the ego states", &self.ego, limits)]);
        self.ranges(checks);
        checks.push(self.clock_of_commands());
        let first = self.recording.first_frame();
        let figure = format!("{} of {}", self.usable_frames().len(), self.frames.stamps.len());
        let first_ns = first.as_ref().ok().and_then(|first| self.frames.stamps.get(*first)).copied();
        let limit = "at least 1, none after the last pose";
        let is_whole = self.usable_frames().len() == self.frames.stamps.len();
        let known = InputCheck::new("frames with pose and ego state", self.frames.file(), figure, limit, first.map(drop));
        checks.push(InputCheck { is_noted: !is_whole, ..known });
        if let Some(first_ns) = first_ns {
            checks.extend([self.end_of_ego(limits), self.length(first_ns, limits)]);
            checks.extend(self.motion());
        }
    }

    /// Stamps of the frames between the first and the last pose, from the first ego state on.
    fn usable_frames(&self) -> &[i64] {
        let known = self.poses.stamps.first().max(self.ego.stamps.first()).zip(self.poses.stamps.last());
        let Some((&from, &to)) = known else { return &[] };
        let stamps = &self.frames.stamps;
        stamps.get(stamps.partition_point(|s| *s < from)..stamps.partition_point(|s| *s <= to)).unwrap_or_default()
    }

    /// The extent of every number; its range was checked where it was read.
    fn ranges(&self, checks: &mut Vec<InputCheck>) {
        use drivewam_core::{ego::EgoState, pose::Pose2};
        let mut add = |file: &StampColumn, (name, most): (&'static str, f64), numbers: &mut dyn Iterator<Item = f64>| {
            let (low, high) = numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), n| (low.min(n), high.max(n)));
            let figure = if low <= high { format!("{low:.3} to {high:.3}") } else { "none".to_owned() };
            checks.push(InputCheck::new(name, file.file(), figure, format!("±{most}"), Ok(())));
        };
        for (i, range) in Pose2::RANGES.into_iter().enumerate() {
            let mut numbers = self.recording.poses.as_slice().iter().map(|(_, p)| [p.x_m, p.y_m, p.yaw_rad][i]);
            add(&self.poses, range, &mut numbers);
        }
        for (i, range) in EgoState::RANGES.into_iter().enumerate() {
            let mut numbers = self.recording.ego.iter().map(|(_, e)| [e.speed_mps, e.acceleration_mps2, e.curvature_1pm][i]);
            add(&self.ego, range, &mut numbers);
        }
    }

    /// A command lies within a day of the frames, or is stamped 0: in force from the beginning.
    fn clock_of_commands(&self) -> InputCheck {
        let (first, last) = (self.frames.stamps.first().copied().unwrap_or(0), self.frames.stamps.last().copied().unwrap_or(0));
        let away = |ns: i64| (first - ns).max(ns - last).max(0);
        let stamps = self.commands.stamps.iter().enumerate().filter(|(_, ns)| **ns != 0);
        let farthest = stamps.max_by_key(|(_, ns)| away(**ns));
        let result = match farthest {
            Some((row, &ns)) if away(ns) > DAY_NS => Err(self
                .commands
                .bad(row, "the commands have another clock or unit than the frames")
                .got(format!("{ns} ns"))
                .wanted(format!("within a day of the frames, which are at {first} to {last} ns"))),
            _ => Ok(()),
        };
        let figure = farthest.map_or_else(|| "no command".to_owned(), |(_, ns)| seconds(away(*ns)));
        InputCheck::new("commands away from the frames", self.commands.file(), figure, "a day", result)
    }

    fn end_of_ego(&self, limits: Limits) -> InputCheck {
        let frame_ns = self.usable_frames().last().copied().unwrap_or(0);
        let (row, ego_ns) = (self.ego.stamps.len().saturating_sub(1), self.ego.stamps.last().copied().unwrap_or(0));
        let age_ns = (frame_ns - ego_ns).max(0);
        let wanted =
            format!("at most {} ms before the last frame with a pose, at {frame_ns} ns (`ingest.max_pose_gap_ms`)", limits.max_pose_gap_ms);
        let result = if exceeds_ms(age_ns, limits.max_pose_gap_ms) {
            Err(self.ego.bad(row, "the ego states end before the frames").got(format!("the last one at {ego_ns} ns")).wanted(wanted))
        } else {
            Ok(())
        };
        let figure = format!("{} ms before the last frame", rounded_ms(age_ns));
        InputCheck::new("end of the ego states", self.ego.file(), figure, format!("{} ms", limits.max_pose_gap_ms), result)
    }

    fn length(&self, first_ns: i64, limits: Limits) -> InputCheck {
        let last_ns = self.poses.stamps.last().copied().unwrap_or(first_ns);
        let figure = seconds(last_ns - first_ns);
        let limit = format!("at least {}", seconds(limits.min_drive_ns));
        let row = self.poses.stamps.len().saturating_sub(1);
        let result = if rounded_ms(last_ns - first_ns) < rounded_ms(limits.min_drive_ns) {
            Err(self
                .poses
                .bad(row, "the drive is shorter than a chunk")
                .got(format!("{figure} from the first frame with a pose to the last pose"))
                .wanted(&limit))
        } else {
            Ok(())
        };
        InputCheck::new("length of the drive", self.poses.file(), figure, limit, result)
    }

    /// Where poses and speeds tell different motions ([`MotionCheck`]): the first of each kind.
    fn motion(&self) -> impl Iterator<Item = InputCheck> {
        let (mut check, mut first) = (MotionCheck::default(), [None; MotionConflict::ALL.len()]);
        for (stamp_ns, pose) in self.recording.poses.as_slice() {
            let ego = &self.recording.ego;
            let newest = ego.partition_point(|e| e.0 <= *stamp_ns).checked_sub(1).and_then(|i| ego.get(i));
            check.push(*stamp_ns, *pose, newest.map(|e| e.1.speed_mps), |found| {
                first[found.kind as usize].get_or_insert(found);
            });
        }
        MotionConflict::ALL.into_iter().zip(first).map(|(kind, found)| {
            let unit = kind.unit();
            let figure = found.map_or_else(|| "none".to_owned(), |f| format!("{:.2} {unit} at {} ns", f.value, f.stamp_ns));
            let limit = found.map_or_else(|| "none".to_owned(), |f| format!("{:.2} {unit}", f.limit));
            InputCheck::note(kind.as_str(), self.poses.file(), figure, limit, found.is_some())
        })
    }
}

fn seconds(ns: i64) -> String {
    format!("{:.3} s", ns as f64 * 1e-9)
}

/// The median time between two rows shows stamps in another unit than nanoseconds.
fn step(column: &StampColumn, least_ns: i64) -> InputCheck {
    let mut steps: Vec<i64> = column.stamps.windows(2).map(|w| w[1] - w[0]).collect();
    steps.sort_unstable();
    let median = steps.get(steps.len() / 2).copied().unwrap_or(least_ns);
    let result = if median < least_ns {
        Err(column
            .bad(0, "the stamps are not in nanoseconds")
            .got(format!("a row every {median} ns (median)"))
            .wanted(format!("at least {least_ns} ns; stamps in ms, us or s must be multiplied")))
    } else {
        Ok(())
    };
    InputCheck::new("median time between rows", column.file(), format!("{median} ns"), format!("at least {least_ns} ns"), result)
}

fn gap(check: &'static str, column: &StampColumn, limits: Limits) -> InputCheck {
    let gaps = column.stamps.windows(2).map(|w| (w[0], w[1]));
    let most = limits.max_pose_gap_ms;
    let is_too_long = |(from, to): (i64, i64)| exceeds_ms(to - from, most);
    let result = match gaps.clone().position(is_too_long).zip(gaps.clone().find(|gap| is_too_long(*gap))) {
        Some((row, (from, to))) => Err(column
            .bad(row + 1, &format!("a {check}"))
            .got(format!("{} from stamps {from} to {to}", seconds(to - from)))
            .wanted(format!("at most {} (`ingest.max_pose_gap_ms`)", seconds(i64::from(most) * 1_000_000)))),
        None => Ok(()),
    };
    let longest = gaps.map(|(from, to)| to - from).max().unwrap_or(0);
    InputCheck::new(check, column.file(), format!("{} ms", rounded_ms(longest)), format!("{most} ms"), result)
}

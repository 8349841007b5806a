//! The loop of a drive: the source feeds the ride, and outcomes become rows. A row is written as
//! soon as the path driven after it is known.

use super::args::Args;
use super::future::Imagined;
use super::memory_picture::SeenFrames;
use super::output::OutputDir;
use super::overlay;
use super::route_trace::RouteTrace;
use super::row::Row;
use super::source::{CameraImage, Input, Source};
use anyhow::{Context, Result};
use drivewam::outcome::Outcome;
use drivewam::{Progress, Ride};
use drivewam_core::pose::wrap;
use drivewam_core::trajectory::Trajectory;
use drivewam_recording::PoseTrack;
use indicatif::ProgressBar;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// An input that is pushed this long after its stamp has waited, ns.
const BACKLOG_NS: i64 = 100_000_000;

/// A chunk that waits for the path driven after it.
struct Pending {
    row: Row,
    image: Option<CameraImage>,
    imagined: Option<Imagined>,
}

/// Where a drive ended because the car was lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lost {
    pub(super) stamp_ns: i64,
    /// Distance from the lane, metres.
    pub(super) off_road_m: f64,
}

/// The files that a drive writes as it goes.
struct Files {
    out: OutputDir,
    lines: BufWriter<File>,
    overlays: usize,
    seen: SeenFrames,
}

/// A drive in progress.
pub(super) struct Drive<'a> {
    args: &'a Args,
    /// `None` for a drive that is only measured.
    files: Option<Files>,
    pub(super) bar: ProgressBar,
    pub(super) rows: Vec<Row>,
    pub(super) frames: u64,
    pub(super) driven_m: f64,
    /// Of a simulated world.
    pub(super) trace: Option<RouteTrace>,
    /// Wall time inside [`Drive::run`].
    pub(super) wall: Duration,
    /// Set where the drive ended because the car was lost.
    pub(super) lost: Option<Lost>,
    /// Stamp of the first frame: the zero of the times in figures.
    origin_ns: Option<i64>,
    stop_requested: &'a AtomicBool,
}

impl<'a> Drive<'a> {
    /// A drive that writes into `out`.
    ///
    /// # Errors
    /// A file cannot be created.
    pub(super) fn new(args: &'a Args, mut out: OutputDir, bar: ProgressBar, stop_requested: &'a AtomicBool) -> Result<Self> {
        let path = out.path("trajectories.jsonl");
        let lines = BufWriter::new(File::create(&path).with_context(|| format!("cannot write {path:?}"))?);
        if args.future {
            out.folder("future")?;
        }
        Ok(Self {
            files: Some(Files { out, lines, overlays: 0, seen: SeenFrames::default() }),
            ..Self::unwritten(args, bar, stop_requested)
        })
    }

    /// A drive that writes nothing.
    pub(super) fn unwritten(args: &'a Args, bar: ProgressBar, stop_requested: &'a AtomicBool) -> Self {
        Self {
            args,
            files: None,
            bar,
            rows: Vec::new(),
            frames: 0,
            driven_m: 0.0,
            trace: None,
            wall: Duration::ZERO,
            lost: None,
            origin_ns: None,
            stop_requested,
        }
    }

    /// Whether a signal asked to stop.
    pub(super) fn is_interrupted(&self) -> bool {
        self.stop_requested.load(Ordering::Relaxed)
    }

    /// Drives `source` to its end, to the limit of chunks, until the car is lost, or until a
    /// signal. A chunk in progress is finished. Frames after `last_frame_ns` are not pushed; poses
    /// after it still extend the driven path.
    ///
    /// # Errors
    /// Those of the source and the ride; a file cannot be written. Every chunk that was published
    /// before has its row all the same.
    pub(super) fn run(&mut self, source: &mut dyn Source, ride: &mut Ride, last_frame_ns: i64) -> Result<()> {
        let started = Instant::now();
        let (mut track, mut pending) = (PoseTrack::default(), VecDeque::new());
        let driven = self.drive(source, ride, last_frame_ns, (&mut track, &mut pending));
        let written = self.write_complete(source, &track, &mut pending, true);
        self.trace = source.trace();
        self.wall += started.elapsed();
        driven.and(written)
    }

    /// [`Drive::run`], except for the chunks that are still pending at its end.
    fn drive(
        &mut self,
        source: &mut dyn Source,
        ride: &mut Ride,
        last_frame_ns: i64,
        (track, pending): (&mut PoseTrack, &mut VecDeque<Pending>),
    ) -> Result<()> {
        let origin_ns = *self.origin_ns.get_or_insert(source.span_ns().0);
        let mut pace = Pace { first_ns: source.span_ns().0, started: Instant::now(), is_realtime: self.args.realtime };
        let mut speeds = Vec::new();
        let mut chunks = 0;
        while !self.is_interrupted() {
            let Some((stamp_ns, input)) = source.next()? else { break };
            if let Some(off_road_m) = source.lost_m() {
                self.lost = Some(Lost { stamp_ns, off_road_m });
                break;
            }
            pace.wait_for(stamp_ns);
            match input {
                Input::Command(command) => ride.push_command(stamp_ns, command)?,
                Input::Ego(ego) => {
                    speeds.push((stamp_ns, ego.speed_mps));
                    ride.push_ego(stamp_ns, ego)?;
                }
                Input::Pose(pose) => {
                    if let Some(&(_, last)) = track.as_slice().last() {
                        self.driven_m += last.distance_m(&pose);
                    }
                    track.push(stamp_ns, pose)?;
                    ride.push_pose(stamp_ns, pose)?;
                }
                Input::Frame => {
                    let is_wanted = stamp_ns <= last_frame_ns && self.args.chunks.is_none_or(|most| chunks < most);
                    if !is_wanted && pending.iter().all(|p| p.imagined.is_none()) {
                        continue;
                    }
                    source.load()?;
                    self.frames += 1;
                    for waiting in pending.iter_mut() {
                        if let Some(imagined) = &mut waiting.imagined {
                            imagined.add(stamp_ns, source.frame())?;
                        }
                    }
                    if is_wanted {
                        ride.push_frame(stamp_ns, source.frame())?;
                    }
                }
            }
            let now_ns = pace.now_ns(stamp_ns);
            // A ride is asked once all that has arrived is pushed: what waits behind a long chunk
            // is no silence. Each frame may complete a chunk.
            let has_waited = input != Input::Frame && now_ns - stamp_ns > BACKLOG_NS;
            let progress = if has_waited { Ok(Progress::Waiting) } else { ride.step(now_ns) };
            if let Progress::Outcome(outcome) = progress.with_context(|| format!("at stamp {stamp_ns} ns"))? {
                let outcome = outcome.clone();
                source.steer(&outcome);
                if let Some(files) = &mut self.files {
                    files.seen.add(&outcome, source.frame(), source.width(), &ride.config().model)?;
                }
                let is_drawn = self.args.future && self.files.is_some() && outcome.policy_t0_ns.is_some();
                let imagined = if is_drawn { Some(Imagined::new(ride, source, &outcome, origin_ns)?) } else { None };
                let waiting = pending.iter().filter(|p| p.image.is_some()).count();
                let has_room = self.files.as_ref().is_some_and(|files| files.overlays + waiting < self.args.overlays);
                let image = has_room.then(|| source.large_image());
                let row = Self::row(ride, outcome, track, &speeds)?;
                pending.push_back(Pending { row, image, imagined });
                chunks += 1;
                self.bar.set_message(format!("chunk {}", self.rows.len() + pending.len()));
            }
            self.bar.set_position(u64::try_from((stamp_ns - pace.first_ns) / 1_000_000).unwrap_or(0));
            // With --realtime, drawing waits until the drive is over: it would delay plans.
            if !self.args.realtime {
                self.write_complete(source, track, pending, false)?;
            }
            if self.args.chunks.is_some_and(|most| chunks >= most) && pending.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// The row of an outcome. The baseline takes its speed from the newest ego state at t0, and its
    /// yaw rate from the last two poses, one pose period apart. Without a plan of the policy, t0 is
    /// the anchor.
    fn row(ride: &Ride, outcome: Outcome, track: &PoseTrack, speeds: &[(i64, f64)]) -> Result<Row> {
        let model = &ride.config().model;
        let t0_ns = outcome.policy_t0_ns.unwrap_or(outcome.anchor_ns);
        let newest = speeds.partition_point(|s| s.0 <= t0_ns).checked_sub(1).and_then(|i| speeds.get(i));
        let speed_mps = newest.map_or(0.0, |s| s.1);
        let period_ns = model.pose_period_ns();
        let before = track.at(t0_ns - period_ns);
        let turn = before.zip(track.at(t0_ns)).map_or(0.0, |(before, now)| wrap(now.yaw_rad - before.yaw_rad));
        let yaw_rate = turn / (period_ns as f64 * 1e-9);
        let mut constant = Trajectory::new(model.poses(), period_ns)?;
        constant.set_constant(speed_mps, yaw_rate);
        Ok(Row { speed_mps, constant, truth: None, outcome })
    }

    /// Writes the pending chunks whose driven path and frames are complete; `at_end`, all of them.
    fn write_complete(&mut self, source: &dyn Source, track: &PoseTrack, pending: &mut VecDeque<Pending>, at_end: bool) -> Result<()> {
        while let Some(first) = pending.front() {
            let is_complete = |last_ns: i64| {
                let has_frames = first.imagined.as_ref().is_none_or(|imagined| imagined.is_complete(last_ns));
                has_frames && last_ns >= first.row.outcome.valid_until_ns
            };
            if !(at_end || track.last_ns().is_some_and(is_complete)) {
                break;
            }
            let Some(Pending { mut row, image, imagined }) = pending.pop_front() else { break };
            let points = row.outcome.trajectory.points().len();
            let period_ns = (row.outcome.trajectory.step_s() * 1e9).round() as i64;
            if let Some(t0_ns) = row.outcome.policy_t0_ns.filter(|_| source.is_truth()) {
                row.truth = track.driven_from(t0_ns, period_ns, points);
            }
            let index = self.rows.len();
            self.rows.push(row);
            let (Some(files), Some(row)) = (&mut self.files, self.rows.last()) else { continue };
            // Whole on the disk before the next row, whatever ends the process.
            writeln!(files.lines, "{}", row.json()?).and_then(|()| files.lines.flush()).context("cannot write \"trajectories.jsonl\"")?;
            files.out.keep();
            if let Some(image) = image {
                let elapsed_s = (row.outcome.anchor_ns - self.origin_ns.unwrap_or(0)) as f64 * 1e-9;
                overlay::draw(row, elapsed_s, &image, &source.mount(), &files.out.path(&format!("overlay/{index:06}.png")))?;
                files.overlays += 1;
            }
            if let Some(imagined) = imagined {
                imagined.save(&files.out.path(&format!("future/{index:06}.png")))?;
            }
        }
        Ok(())
    }

    /// Writes `memory.png`, if the drive writes.
    ///
    /// # Errors
    /// The device fails; the file cannot be written.
    pub(super) fn draw_memory(&self, ride: &mut Ride) -> Result<()> {
        match (&self.files, self.rows.last()) {
            (Some(files), Some(row)) => files.seen.draw(ride, &row.outcome, &files.out.path("memory.png")),
            _ => Ok(()),
        }
    }

    /// The options of the drive.
    pub(super) fn args(&self) -> &'a Args {
        self.args
    }

    /// The folder that the drive writes into, if it writes.
    pub(super) fn output(&self) -> Option<&OutputDir> {
        self.files.as_ref().map(|files| &files.out)
    }

    /// The folder that the drive wrote into, if it wrote.
    pub(super) fn into_output(self) -> Option<OutputDir> {
        self.files.map(|files| files.out)
    }
}

/// The length of a progress bar over a span of stamps, milliseconds.
pub(super) fn length_ms((first_ns, last_ns): (i64, i64)) -> u64 {
    u64::try_from((last_ns - first_ns) / 1_000_000).unwrap_or(0).max(1)
}

/// The clock of a drive: the stamps, or with --realtime the wall time since the first stamp.
struct Pace {
    first_ns: i64,
    started: Instant,
    is_realtime: bool,
}

impl Pace {
    fn since_ns(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }

    /// Sleeps until `stamp_ns` is due.
    fn wait_for(&mut self, stamp_ns: i64) {
        if self.is_realtime {
            let due_ns = (stamp_ns - self.first_ns).saturating_sub(self.since_ns());
            std::thread::sleep(Duration::from_nanos(u64::try_from(due_ns).unwrap_or(0)));
        }
    }

    fn now_ns(&self, stamp_ns: i64) -> i64 {
        if self.is_realtime { self.first_ns.saturating_add(self.since_ns()) } else { stamp_ns }
    }
}

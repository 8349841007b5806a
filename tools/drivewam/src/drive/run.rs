//! The loop of a drive: the source feeds the ride, and outcomes become rows. A row is written as
//! soon as the path driven after it is known.

use super::args::Args;
use super::future::Imagined;
use super::output_dir::OutputDir;
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

/// A chunk that waits for the path driven after it.
struct Pending {
    row: Row,
    image: Option<CameraImage>,
    imagined: Option<Imagined>,
}

/// A drive in progress.
pub(super) struct Drive<'a> {
    pub(super) args: &'a Args,
    pub(super) out: OutputDir,
    pub(super) bar: ProgressBar,
    pub(super) rows: Vec<Row>,
    pub(super) frames: u64,
    pub(super) driven_m: f64,
    /// Of a simulated world.
    pub(super) trace: Option<RouteTrace>,
    /// Wall time inside [`Drive::run`].
    pub(super) wall: Duration,
    lines: BufWriter<File>,
    overlays: usize,
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
            args,
            out,
            bar,
            rows: Vec::new(),
            frames: 0,
            driven_m: 0.0,
            trace: None,
            wall: Duration::ZERO,
            lines,
            overlays: 0,
            origin_ns: None,
            stop_requested,
        })
    }

    /// Whether Ctrl-C was pressed.
    pub(super) fn is_interrupted(&self) -> bool {
        self.stop_requested.load(Ordering::Relaxed)
    }

    /// Drives `source` to its end, to the limit of chunks, or until Ctrl-C. A chunk in progress is
    /// finished. Frames after `last_frame_ns` are not pushed; poses after it still extend the
    /// driven path.
    ///
    /// # Errors
    /// Those of the source and the ride; a file cannot be written.
    pub(super) fn run(&mut self, source: &mut dyn Source, ride: &mut Ride, last_frame_ns: i64) -> Result<()> {
        let started = Instant::now();
        let origin_ns = *self.origin_ns.get_or_insert(source.span_ns().0);
        let mut pace = Pace { first_ns: source.span_ns().0, started, is_realtime: self.args.realtime };
        let (mut track, mut speeds) = (PoseTrack::default(), Vec::new());
        let mut pending: VecDeque<Pending> = VecDeque::new();
        let mut chunks = 0;
        while !self.is_interrupted() {
            let Some((stamp_ns, input)) = source.next()? else { break };
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
                    for waiting in &mut pending {
                        if let Some(imagined) = &mut waiting.imagined {
                            imagined.add(stamp_ns, source.frame())?;
                        }
                    }
                    if is_wanted {
                        ride.push_frame(stamp_ns, source.frame())?;
                    }
                }
            }
            let progress = ride.step(pace.now_ns(stamp_ns)).with_context(|| format!("at stamp {stamp_ns} ns"))?;
            if let Progress::Outcome(outcome) = progress {
                let outcome = outcome.clone();
                source.steer(&outcome);
                let has_future = self.args.future && outcome.policy_t0_ns.is_some();
                let imagined = if has_future { Some(Imagined::new(ride, source, &outcome, origin_ns)?) } else { None };
                let image = (self.overlays + pending.iter().filter(|p| p.image.is_some()).count() < self.args.overlays)
                    .then(|| source.large_image());
                let row = Self::row(ride, outcome, &track, &speeds)?;
                pending.push_back(Pending { row, image, imagined });
                chunks += 1;
                self.bar.set_message(format!("chunk {}", self.rows.len() + pending.len()));
            }
            self.bar.set_position(u64::try_from((stamp_ns - pace.first_ns) / 1_000_000).unwrap_or(0));
            // With --realtime, drawing waits until the drive is over: it would delay plans.
            if !self.args.realtime {
                self.write_complete(source, &track, &mut pending, false)?;
            }
            if self.args.chunks.is_some_and(|most| chunks >= most) && pending.is_empty() {
                break;
            }
        }
        self.write_complete(source, &track, &mut pending, true)?;
        self.trace = source.trace();
        self.wall += started.elapsed();
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
            writeln!(self.lines, "{}", row.json()?).context("cannot write \"trajectories.jsonl\"")?;
            if let Some(image) = image {
                let elapsed_s = (row.outcome.anchor_ns - self.origin_ns.unwrap_or(0)) as f64 * 1e-9;
                overlay::draw(&row, elapsed_s, &image, &source.mount(), &self.out.path(&format!("overlay/{index:06}.png")))?;
                self.overlays += 1;
            }
            if let Some(imagined) = imagined {
                imagined.save(&self.out.path(&format!("future/{index:06}.png")))?;
            }
            self.rows.push(row);
        }
        Ok(())
    }

    /// Flushes `trajectories.jsonl`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.lines.flush().context("cannot write \"trajectories.jsonl\"")
    }
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

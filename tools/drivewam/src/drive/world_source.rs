//! A simulated world as a source. The expert drives, or, in the closed loop, the published
//! trajectory.

use super::route_trace::RouteTrace;
use super::source::{CameraImage, Input, Source};
use anyhow::Result;
use drivewam::SourceCamera;
use drivewam::outcome::Outcome;
use drivewam_core::config::Config;
use drivewam_core::dims::{Command, Intrinsics};
use drivewam_recording::CameraMount;
use drivewam_simulation::frame_every;
use drivewam_world::{CAMERA_AHEAD_M, CAMERA_HEIGHT_M, Canvas, Control, Follower, Options, TICK_NS, TICK_S, Violations, World};
use std::collections::VecDeque;

/// The first stamp; `drivewam world` writes the same.
const FIRST_STAMP_NS: i64 = 1_000_000_000;
/// A car so far from its lane, metres, finds no way back: the closed loop ends. The study of routes
/// ends a route there too.
const LOST_M: f64 = 30.0;
/// Minimum width of images for human readers, pixels.
const LARGE_WIDTH: usize = 896;

/// A simulated world.
pub(super) struct WorldSource {
    world: World,
    trace: RouteTrace,
    ticks: u64,
    tick: u64,
    frame_every: u64,
    queue: VecDeque<(i64, Input)>,
    is_started: bool,
    command: Option<Command>,
    canvas: Canvas,
    large: Canvas,
    closed_loop: bool,
    plan: Option<(i64, Follower)>,
}

impl WorldSource {
    /// The world of `seed` for `seconds`, rendered with the model's camera.
    ///
    /// # Errors
    /// As [`frame_every`].
    pub(super) fn new(config: &Config, seed: u64, options: Options, seconds: f64, closed_loop: bool) -> Result<Self> {
        let (model, frame_every) = (&config.model, frame_every(config)?);
        let Intrinsics { fx_px, fy_px, cx_px, cy_px } = model.camera;
        let (width, height, times) = (model.image.width, model.image.height, LARGE_WIDTH.div_ceil(model.image.width));
        let scale = times as f64;
        let large = Intrinsics { fx_px: fx_px * scale, fy_px: fy_px * scale, cx_px: cx_px * scale, cy_px: cy_px * scale };
        Ok(Self {
            world: World::new(seed, options),
            trace: RouteTrace::default(),
            ticks: (seconds / TICK_S).round() as u64,
            tick: 0,
            frame_every,
            queue: VecDeque::with_capacity(4),
            is_started: false,
            command: None,
            canvas: Canvas::new(width, height, model.camera),
            large: Canvas::new(width * times, height * times, large),
            closed_loop,
            plan: None,
        })
    }

    fn stamp_ns(&self) -> i64 {
        FIRST_STAMP_NS + self.tick as i64 * TICK_NS
    }

    /// Queues the inputs of this tick. The last tick has no frame: it completes the path driven
    /// after the last plan, and starts no plan.
    fn queue_inputs(&mut self) {
        let (stamp_ns, ego) = (self.stamp_ns(), self.world.ego());
        let command = self.world.command();
        if self.command != Some(command) {
            self.command = Some(command);
            self.queue.push_back((stamp_ns, Input::Command(command)));
        }
        self.queue.push_back((stamp_ns, Input::Ego(ego.state())));
        self.queue.push_back((stamp_ns, Input::Pose(ego.pose)));
        if self.tick.is_multiple_of(self.frame_every) && self.tick < self.ticks {
            self.queue.push_back((stamp_ns, Input::Frame));
        }
    }

    fn control(&self) -> Control {
        match &self.plan {
            Some((anchor_ns, plan)) if self.closed_loop => plan.control((self.stamp_ns() - anchor_ns) as f64 * 1e-9, &self.world.ego()),
            _ => self.world.expert(),
        }
    }
}

impl Source for WorldSource {
    fn name(&self) -> String {
        format!("world {}", self.world.seed())
    }

    fn mount(&self) -> CameraMount {
        CameraMount::on_centre_line(CAMERA_AHEAD_M, CAMERA_HEIGHT_M, 0.0)
    }

    fn span_ns(&self) -> (i64, i64) {
        (FIRST_STAMP_NS, FIRST_STAMP_NS + self.ticks as i64 * TICK_NS)
    }

    fn next(&mut self) -> Result<Option<(i64, Input)>> {
        if self.queue.is_empty() {
            if self.is_started {
                if self.tick == self.ticks {
                    return Ok(None);
                }
                let control = self.control();
                self.world.step(control);
                self.tick += 1;
            }
            self.is_started = true;
            self.trace.record(&self.world);
            self.queue_inputs();
        }
        Ok(self.queue.pop_front())
    }

    fn load(&mut self) -> Result<()> {
        self.world.render(&mut self.canvas);
        Ok(())
    }

    fn frame(&self) -> &[u8] {
        &self.canvas.rgb
    }

    fn width(&self) -> usize {
        self.canvas.width
    }

    fn large_image(&mut self) -> CameraImage {
        self.world.render(&mut self.large);
        let camera = SourceCamera::rgb8(self.large.width, self.large.height, self.large.intrinsics);
        CameraImage { rgb: self.large.rgb.clone(), camera, distortion: None }
    }

    fn is_truth(&self) -> bool {
        !self.closed_loop
    }

    fn steer(&mut self, outcome: &Outcome) {
        if let Some(origin) = outcome.pose.filter(|_| self.closed_loop) {
            self.plan = Some((outcome.anchor_ns, Follower::new(origin, outcome.published.clone())));
        }
    }

    fn lost_m(&self) -> Option<f64> {
        let (_, off_m) = self.world.place();
        Some(off_m.abs()).filter(|off_m| self.closed_loop && *off_m >= LOST_M)
    }

    fn violations(&self) -> Option<Violations> {
        self.closed_loop.then(|| self.world.violations())
    }

    fn trace(&self) -> Option<RouteTrace> {
        Some(self.trace.clone())
    }
}

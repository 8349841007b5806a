//! A car whose inputs a test can disturb: ego states and poses ten times a second, a picture every
//! second, and a call of `step` each time, on a running clock.

use super::{SECOND, picture, ride_with};
use drivewam::guard::{CauseKind, Verdict};
use drivewam::outcome::Outcome;
use drivewam::{Progress, Ride, RideOptions};
use drivewam_core::bindings::Graph;
use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;

/// Time between two calls.
pub const TICK: i64 = SECOND / 10;

/// What the test reads of an outcome.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Time of the call, s.
    pub at_s: f64,
    pub verdict: Verdict,
    pub cause: Option<CauseKind>,
    name: Option<&'static str>,
    pub t0_ns: Option<i64>,
    pub anchor_ns: i64,
    pub published_ns: i64,
    /// The names of the degradations.
    pub degraded: Vec<&'static str>,
    /// First and last speed of what went out.
    pub speeds: [f64; 2],
}

impl Seen {
    fn of(at_ns: i64, outcome: &Outcome) -> Self {
        let points = outcome.published.points();
        Self {
            at_s: at_ns as f64 * 1e-9,
            verdict: outcome.verdict,
            cause: outcome.cause.map(|cause| cause.kind),
            name: outcome.cause.map(|cause| cause.as_str()),
            t0_ns: outcome.t0_ns,
            anchor_ns: outcome.anchor_ns,
            published_ns: outcome.published_ns,
            degraded: outcome.degraded.iter().map(|cause| cause.as_str()).collect(),
            speeds: [points[0].v_mps, points[points.len() - 1].v_mps],
        }
    }

    /// The name of the cause that decided the verdict.
    pub fn cause_name(&self) -> Option<&'static str> {
        self.name
    }
}

/// Inputs of one call, which a test may change before they are pushed. `None`: not pushed.
#[derive(Debug, Clone)]
pub struct Inputs {
    pub now_ns: i64,
    pub pose: Option<(i64, Pose2)>,
    pub ego: Option<(i64, EgoState)>,
    pub frame: Option<(i64, Vec<u8>)>,
}

/// A car on a straight road, and everything that went out to it.
pub struct Car {
    pub ride: Ride,
    pub speed_mps: f64,
    x_m: f64,
    tick: i64,
    pub seen: Vec<Seen>,
    /// Messages of refused calls.
    pub refused: Vec<String>,
}

impl Car {
    /// A car of 6 m/s whose plans the closed-form transformer makes.
    pub fn new(options: RideOptions) -> Self {
        Self::with(options, "{}")
    }

    /// The same with the settings `set`.
    pub fn with(options: RideOptions, set: &str) -> Self {
        let ride = ride_with(options, set, Graph::Dit, None);
        Self { ride, speed_mps: 6.0, x_m: 0.0, tick: 0, seen: Vec::new(), refused: Vec::new() }
    }

    pub fn now_ns(&self) -> i64 {
        self.tick * TICK
    }

    /// Drives for `seconds`; `change` disturbs the inputs of each call.
    pub fn drive(&mut self, seconds: f64, mut change: impl FnMut(&mut Inputs)) {
        for _ in 0..(seconds * 10.0).round() as i64 {
            let now_ns = self.now_ns();
            let state = EgoState { speed_mps: self.speed_mps, ..EgoState::default() };
            let frame = (self.tick % 10 == 0).then(|| (now_ns, picture(self.tick)));
            let pose = Pose2::new(self.x_m, 0.0, 0.0);
            let mut inputs = Inputs { now_ns, pose: Some((now_ns, pose)), ego: Some((now_ns, state)), frame };
            change(&mut inputs);
            self.push(&inputs);
            self.step(inputs.now_ns);
            self.x_m += 0.1 * self.speed_mps;
            self.tick += 1;
        }
    }

    pub fn push(&mut self, inputs: &Inputs) {
        let ride = &mut self.ride;
        let done = [
            inputs.ego.map_or(Ok(()), |(stamp, ego)| ride.push_ego(stamp, ego)),
            inputs.pose.map_or(Ok(()), |(stamp, pose)| ride.push_pose(stamp, pose)),
            inputs.frame.as_ref().map_or(Ok(()), |(stamp, picture)| ride.push_frame(*stamp, picture)),
        ];
        self.refused.extend(done.into_iter().filter_map(Result::err).map(|error| error.to_string()));
    }

    pub fn step(&mut self, now_ns: i64) {
        let answered = match self.ride.step(now_ns) {
            Ok(Progress::Waiting) => false,
            Ok(Progress::Outcome(_)) => true,
            Err(error) => {
                self.refused.push(error.to_string());
                true
            }
        };
        if let Some(outcome) = self.ride.outcome().filter(|_| answered) {
            self.seen.push(Seen::of(now_ns, outcome));
        }
    }

    /// Lets `seconds` pass without a call. The inputs of the time come at once, with one call after
    /// each of them, as from a process that was stopped.
    pub fn stop_process(&mut self, seconds: f64) {
        let end_ns = self.now_ns() + (seconds * 1e9) as i64;
        self.drive(seconds, |inputs| inputs.now_ns = end_ns);
    }

    /// What went out after `from_s`.
    pub fn since(&self, from_s: f64) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(move |seen| seen.at_s >= from_s)
    }
}

//! What a ride is told of a world, tick by tick.

use drivewam::outcome::Outcome;
use drivewam::{Progress, Ride};
use drivewam_core::config::Config;
use drivewam_core::dims::Command;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_world::{Canvas, TICK_NS, World};

/// Ticks from one frame to the next: as many as the frames of all lanes need.
///
/// # Errors
/// `Config` if the model's frame rate or the lanes do not divide the world's ten ticks per second.
pub fn frame_every(config: &Config) -> Result<u64> {
    let frame_hz = config.model.image.frame_hz;
    let refused = |key: &str, got: u64, wanted: &str| {
        Err(Error::new(ErrorKind::Config, "the frames do not lie on the world's ten ticks per second").at(key).got(got).wanted(wanted))
    };
    if frame_hz == 0 || !10u32.is_multiple_of(frame_hz) {
        return refused("model.image.frame_hz", frame_hz.into(), "1, 2, 5 or 10");
    }
    if config.stagger_ns() % TICK_NS != 0 {
        return refused("lanes.count", config.lanes.count as u64, "lanes a multiple of 100 ms apart");
    }
    // Their greatest common divisor.
    let (mut every, mut rest) = (u64::from(10 / frame_hz), config.stagger_ns().unsigned_abs() / TICK_NS.unsigned_abs());
    while rest != 0 {
        (every, rest) = (rest, every % rest);
    }
    Ok(every)
}

/// The stream of inputs of one ride.
#[derive(Debug)]
pub(crate) struct RideInputs {
    /// Ticks since the start.
    pub(crate) tick: u64,
    frame_every: u64,
    /// The time of the newest step of the ride.
    now_ns: i64,
    command: Option<Command>,
}

impl RideInputs {
    /// # Errors
    /// As [`frame_every`].
    pub(crate) fn new(config: &Config) -> Result<Self> {
        Ok(Self { tick: 0, frame_every: frame_every(config)?, now_ns: 0, command: None })
    }

    /// The ride was restarted: it knows no command.
    pub(crate) fn begin(&mut self) {
        (self.command, self.now_ns) = (None, 0);
    }

    /// Whether this tick has a frame.
    pub(crate) fn is_frame(&self) -> bool {
        self.tick.is_multiple_of(self.frame_every)
    }

    /// Number of the newest frame, from 0.
    pub(crate) fn frame(&self) -> u64 {
        self.tick / self.frame_every
    }

    /// Pushes command, ego state and pose of this tick. If the tick has a frame, also pushes
    /// `canvas`, if it was not lost, and lets the ride step `late_ns` after the tick, and never
    /// before an earlier step; returns its outcome if a chunk is complete.
    ///
    /// # Errors
    /// Those of the ride.
    pub(crate) fn push<'a>(
        &mut self,
        ride: &'a mut Ride,
        world: &World,
        command: Command,
        canvas: Option<&Canvas>,
        late_ns: i64,
    ) -> Result<Option<&'a Outcome>> {
        let (stamp_ns, ego) = (self.tick as i64 * TICK_NS, world.ego());
        if self.command != Some(command) {
            self.command = Some(command);
            ride.push_command(stamp_ns, command)?;
        }
        ride.push_ego(stamp_ns, ego.state())?;
        ride.push_pose(stamp_ns, ego.pose)?;
        if !self.is_frame() {
            return Ok(None);
        }
        canvas.map_or(Ok(()), |canvas| ride.push_frame(stamp_ns, &canvas.rgb))?;
        self.now_ns = self.now_ns.max(stamp_ns.saturating_add(late_ns));
        Ok(match ride.step(self.now_ns)? {
            Progress::Outcome(outcome) => Some(outcome),
            Progress::Waiting => None,
        })
    }
}

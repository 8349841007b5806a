//! Which frames a chunk is made of: those on the grid, and what a missing one does.

use drivewam_core::dims::Model;
use drivewam_core::{Error, ErrorKind, Result};

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It begins a rollout: chunk 0 is this frame alone. Where it ends another rollout, the place on the grid that stayed empty.
    First {
        /// The place on the grid that stayed empty.
        missed_ns: Option<i64>,
    },
    /// It is this frame of the chunk under way.
    Slot(usize),
    /// It lies between two places of the grid.
    Between,
}

/// Frames that make a whole latent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Capture time of the newest frame.
    pub(crate) t0_ns: i64,
    /// t0 of the chunk before; none for the first frame of a rollout.
    pub(crate) from_ns: Option<i64>,
    /// Largest distance of a frame from its place.
    pub(crate) jitter_ns: i64,
}

/// The grid of one rollout, anchored at the newest frame of the previous chunk so that jitter does not add up.
#[derive(Debug)]
pub(crate) struct Grid {
    period_ns: i64,
    tolerance_ns: i64,
    frames: usize,
    newest_ns: Option<i64>,
    anchor_ns: Option<i64>,
    taken: usize,
    jitter_ns: i64,
    ready: Option<Ready>,
}

impl Grid {
    pub(crate) fn new(model: &Model, tolerance_ms: u32) -> Self {
        Self {
            period_ns: model.frame_period_ns(),
            tolerance_ns: i64::from(tolerance_ms) * 1_000_000,
            frames: model.image.frames_per_latent,
            newest_ns: None,
            anchor_ns: None,
            taken: 0,
            jitter_ns: 0,
            ready: None,
        }
    }

    /// Says what becomes of a frame captured at `stamp_ns`. A frame ahead of its place is taken if no later one of this camera can lie nearer.
    ///
    /// # Errors
    /// `Input` for a stamp that does not come after the newest, or a frame for the next chunk while this one still waits for poses.
    pub(crate) fn place(&mut self, stamp_ns: i64) -> Result<Place> {
        if let Some(newest) = self.newest_ns.filter(|newest| *newest >= stamp_ns) {
            let what = if newest == stamp_ns { "a stamp comes twice" } else { "stamps go backwards" };
            return Err(Error::new(ErrorKind::Input, what).at("frame").got(format!("{stamp_ns} ns")).wanted(format!("after {newest} ns")));
        }
        let camera_ns = self.newest_ns.map_or(self.period_ns, |newest| stamp_ns - newest);
        let Some(anchor) = self.anchor_ns else {
            self.newest_ns = Some(stamp_ns);
            self.begin(stamp_ns);
            return Ok(Place::First { missed_ns: None });
        };
        let expected_ns = anchor + (self.taken as i64 + 1) * self.period_ns;
        let off_ns = stamp_ns - expected_ns;
        if off_ns < -self.tolerance_ns.min(camera_ns / 2) {
            self.newest_ns = Some(stamp_ns);
            return Ok(Place::Between);
        }
        if let Some(ready) = self.ready {
            return Err(Error::new(
                ErrorKind::Input,
                "a frame of the next chunk came before this one was computed: poses or ego states are late",
            )
            .at("frame")
            .got(format!("{stamp_ns} ns"))
            .wanted(format!("poses up to {} ns", ready.t0_ns)));
        }
        self.newest_ns = Some(stamp_ns);
        if off_ns > self.tolerance_ns {
            self.begin(stamp_ns);
            return Ok(Place::First { missed_ns: Some(expected_ns) });
        }
        let slot = self.taken;
        self.taken += 1;
        self.jitter_ns = self.jitter_ns.max(off_ns.abs());
        if self.taken == self.frames {
            self.ready = Some(Ready { t0_ns: stamp_ns, from_ns: Some(anchor), jitter_ns: self.jitter_ns });
            self.anchor_ns = Some(stamp_ns);
            self.taken = 0;
            self.jitter_ns = 0;
        }
        Ok(Place::Slot(slot))
    }

    fn begin(&mut self, stamp_ns: i64) {
        self.anchor_ns = Some(stamp_ns);
        self.taken = 0;
        self.jitter_ns = 0;
        self.ready = Some(Ready { t0_ns: stamp_ns, from_ns: None, jitter_ns: 0 });
    }

    /// The frames that wait to be computed.
    pub(crate) fn ready(&self) -> Option<Ready> {
        self.ready
    }

    /// They were computed.
    pub(crate) fn taken(&mut self) {
        self.ready = None;
    }

    /// The next frame begins a rollout.
    pub(crate) fn end_rollout(&mut self) {
        self.anchor_ns = None;
        self.ready = None;
    }
}

//! The frame grid: which frames make up a chunk, and what a missing frame does.

use drivewam_core::dims::Model;
use drivewam_core::{Error, ErrorKind, Result};

/// The use of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameSlot {
    /// It begins a rollout: chunk 0 consists of this frame.
    First {
        /// The expected capture time without a frame, where that ended another rollout.
        missed_ns: Option<i64>,
    },
    /// It is the frame of this index in the current chunk.
    Frame(usize),
    /// It lies between two expected capture times and is not used.
    Between,
}

/// The complete frames of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Capture time of the newest frame.
    pub(crate) t0_ns: i64,
    /// t0 of the chunk before; `None` for the first frame of a rollout.
    pub(crate) from_ns: Option<i64>,
    /// Largest difference between a capture time and its expected one.
    pub(crate) jitter_ns: i64,
}

/// The grid of a rollout. It is anchored at the newest frame of the previous chunk, so that jitter
/// does not accumulate.
#[derive(Debug)]
pub(crate) struct Grid {
    period_ns: i64,
    tolerance_ns: i64,
    frames: usize,
    newest_ns: Option<i64>,
    /// The stamp before the newest.
    before_ns: Option<i64>,
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
            before_ns: None,
            anchor_ns: None,
            taken: 0,
            jitter_ns: 0,
            ready: None,
        }
    }

    /// Assigns a frame captured at `stamp_ns`. A frame before its expected time is taken if no
    /// later frame of this camera can lie nearer.
    ///
    /// # Errors
    /// `Input` for a stamp that is not after the newest, or a frame of the next chunk while this
    /// one waits for poses.
    pub(crate) fn assign(&mut self, stamp_ns: i64) -> Result<FrameSlot> {
        if let Some(newest) = self.newest_ns.filter(|newest| *newest >= stamp_ns) {
            let what = if newest == stamp_ns { "a stamp occurs twice" } else { "stamps go backwards" };
            return Err(Error::new(ErrorKind::Input, what).at("frame").got(format!("{stamp_ns} ns")).wanted(format!("after {newest} ns")));
        }
        let camera_ns = self.newest_ns.map_or(self.period_ns, |newest| stamp_ns - newest);
        let Some(anchor) = self.anchor_ns else {
            self.note(stamp_ns);
            self.begin(stamp_ns);
            return Ok(FrameSlot::First { missed_ns: None });
        };
        let expected_ns = anchor + (self.taken as i64 + 1) * self.period_ns;
        let off_ns = stamp_ns - expected_ns;
        if off_ns < -self.tolerance_ns.min(camera_ns / 2) {
            self.note(stamp_ns);
            return Ok(FrameSlot::Between);
        }
        if let Some(ready) = self.ready {
            return Err(Error::new(
                ErrorKind::Input,
                "a frame of the next chunk arrived before this one was computed: poses or ego states are late",
            )
            .at("frame")
            .got(format!("{stamp_ns} ns"))
            .wanted(format!("poses up to {} ns", ready.t0_ns)));
        }
        self.note(stamp_ns);
        if off_ns > self.tolerance_ns {
            self.begin(stamp_ns);
            return Ok(FrameSlot::First { missed_ns: Some(expected_ns) });
        }
        let frame = self.taken;
        self.taken += 1;
        self.jitter_ns = self.jitter_ns.max(off_ns.abs());
        if self.taken == self.frames {
            self.ready = Some(Ready { t0_ns: stamp_ns, from_ns: Some(anchor), jitter_ns: self.jitter_ns });
            self.anchor_ns = Some(stamp_ns);
            self.taken = 0;
            self.jitter_ns = 0;
        }
        Ok(FrameSlot::Frame(frame))
    }

    fn note(&mut self, stamp_ns: i64) {
        (self.before_ns, self.newest_ns) = (self.newest_ns, Some(stamp_ns));
    }

    fn begin(&mut self, stamp_ns: i64) {
        self.anchor_ns = Some(stamp_ns);
        self.taken = 0;
        self.jitter_ns = 0;
        self.ready = Some(Ready { t0_ns: stamp_ns, from_ns: None, jitter_ns: 0 });
    }

    /// The complete frames that are not computed yet.
    pub(crate) fn ready(&self) -> Option<Ready> {
        self.ready
    }

    /// Marks them as computed.
    pub(crate) fn take_ready(&mut self) {
        self.ready = None;
    }

    /// The newest stamp.
    pub(crate) fn newest_ns(&self) -> Option<i64> {
        self.newest_ns
    }

    /// Ends the rollout and takes the newest stamp back if it lies after `most_ns`. Returns it
    /// then.
    pub(crate) fn drop_after(&mut self, most_ns: i64) -> Option<i64> {
        let newest = self.newest_ns.filter(|newest| *newest > most_ns)?;
        self.end_rollout();
        self.newest_ns = self.before_ns.filter(|before| *before <= most_ns);
        Some(newest)
    }

    /// Ends the rollout: the next frame begins another.
    pub(crate) fn end_rollout(&mut self) {
        self.anchor_ns = None;
        self.ready = None;
    }
}

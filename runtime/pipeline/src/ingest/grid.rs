//! The frame grid: which frames make up a chunk of each lane, and what a missing frame does.

use drivewam_core::config::Config;
use drivewam_core::{Error, ErrorKind, Result};

/// What a lane does with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameSlot {
    /// It begins a rollout: chunk 0 consists of this frame.
    First {
        /// The expected capture time without a frame, where that ended another rollout.
        missed_ns: Option<i64>,
    },
    /// It is the frame of this index in the current chunk.
    Frame(usize),
    /// It lies between two expected capture times, or the lane waits for its turn to begin.
    Between,
}

/// The complete frames of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    /// The lane of the chunk.
    pub(crate) lane: usize,
    /// Capture time of the newest frame.
    pub(crate) t0_ns: i64,
    /// t0 of the chunk before; `None` for the first frame of a rollout.
    pub(crate) from_ns: Option<i64>,
    /// Largest difference between a capture time and its expected one.
    pub(crate) jitter_ns: i64,
}

/// The frames of one lane. Its grid is anchored at the newest frame of the chunk before, so that
/// jitter does not accumulate.
#[derive(Debug, Clone, Copy, Default)]
struct LaneGrid {
    /// `None` while the lane has no rollout.
    anchor_ns: Option<i64>,
    taken: usize,
    jitter_ns: i64,
    ready: Option<Ready>,
    /// The expected capture time of the frame whose absence ended the last rollout.
    missed_ns: Option<i64>,
}

/// The grids of all lanes. A lane without a rollout begins one where its turn is: so many staggers
/// after the others. Where no lane has one, the first begins at the next frame.
#[derive(Debug)]
pub(crate) struct Grid {
    period_ns: i64,
    tolerance_ns: i64,
    frames: usize,
    chunk_ns: i64,
    /// Time from one lane's chunk to the next lane's.
    stagger_ns: i64,
    newest_ns: Option<i64>,
    /// The stamp before the newest.
    before_ns: Option<i64>,
    lanes: Vec<LaneGrid>,
    slots: Vec<FrameSlot>,
}

impl Grid {
    pub(crate) fn new(config: &Config) -> Self {
        let (model, lanes) = (&config.model, config.lanes.count);
        Self {
            period_ns: model.frame_period_ns(),
            tolerance_ns: i64::from(config.ingest.frame_tolerance_ms) * 1_000_000,
            frames: model.image.frames_per_latent,
            chunk_ns: model.chunk_ns(),
            stagger_ns: config.stagger_ns(),
            newest_ns: None,
            before_ns: None,
            lanes: vec![LaneGrid::default(); lanes],
            slots: vec![FrameSlot::Between; lanes],
        }
    }

    /// Forgets all stamps and rollouts.
    pub(crate) fn clear(&mut self) {
        (self.newest_ns, self.before_ns) = (None, None);
        self.lanes.fill(LaneGrid::default());
    }

    /// Assigns a frame captured at `stamp_ns` to the lanes ([`Grid::slot`]). A frame before its
    /// expected time is taken if no later frame of this camera can lie nearer.
    ///
    /// # Errors
    /// `Input` for a stamp that is not after the newest, or a frame of a lane's next chunk while
    /// this one waits for poses; nothing changes then.
    pub(crate) fn assign(&mut self, stamp_ns: i64) -> Result<()> {
        if let Some(newest) = self.newest_ns.filter(|newest| *newest >= stamp_ns) {
            let what = if newest == stamp_ns { "a stamp occurs twice" } else { "stamps go backwards" };
            return Err(Error::new(ErrorKind::Input, what).at("frame").got(format!("{stamp_ns} ns")).wanted(format!("after {newest} ns")));
        }
        let camera_ns = self.newest_ns.map_or(self.period_ns, |newest| stamp_ns - newest);
        // The earliest that a frame may lie before its expected time.
        let least_ns = -self.tolerance_ns.min(camera_ns / 2);
        for lane in &self.lanes {
            if let (Some(expected_ns), Some(ready)) = (self.expected_ns(lane), lane.ready)
                && stamp_ns - expected_ns >= least_ns
            {
                return Err(Error::new(
                    ErrorKind::Input,
                    "a frame of the next chunk arrived before this one was computed: poses or ego states are late",
                )
                .at("frame")
                .got(format!("{stamp_ns} ns"))
                .wanted(format!("poses up to {} ns", ready.t0_ns)));
            }
        }
        (self.before_ns, self.newest_ns) = (self.newest_ns, Some(stamp_ns));
        for i in 0..self.lanes.len() {
            self.slots[i] = self.take(i, stamp_ns, least_ns);
        }
        for i in 0..self.lanes.len() {
            if self.lanes[i].anchor_ns.is_none() && self.is_turn(i, stamp_ns, least_ns) {
                let missed_ns = self.lanes[i].missed_ns.take();
                let ready = Ready { lane: i, t0_ns: stamp_ns, from_ns: None, jitter_ns: 0 };
                self.lanes[i] = LaneGrid { anchor_ns: Some(stamp_ns), ready: Some(ready), ..LaneGrid::default() };
                self.slots[i] = FrameSlot::First { missed_ns };
            }
        }
        Ok(())
    }

    /// What lane `lane` does with the frame that was assigned last.
    pub(crate) fn slot(&self, lane: usize) -> FrameSlot {
        self.slots[lane]
    }

    /// The time at which a lane with a rollout expects its next frame.
    fn expected_ns(&self, lane: &LaneGrid) -> Option<i64> {
        Some(lane.anchor_ns? + (lane.taken as i64 + 1) * self.period_ns)
    }

    /// Gives a frame to a lane with a rollout, or ends the rollout because a frame is missing.
    fn take(&mut self, i: usize, stamp_ns: i64, least_ns: i64) -> FrameSlot {
        let (Some(anchor_ns), Some(expected_ns)) = (self.lanes[i].anchor_ns, self.expected_ns(&self.lanes[i])) else {
            return FrameSlot::Between;
        };
        let off_ns = stamp_ns - expected_ns;
        let lane = &mut self.lanes[i];
        if off_ns < least_ns {
            return FrameSlot::Between;
        }
        if off_ns > self.tolerance_ns {
            *lane = LaneGrid { missed_ns: Some(expected_ns), ..LaneGrid::default() };
            return FrameSlot::Between;
        }
        let frame = lane.taken;
        lane.taken += 1;
        lane.jitter_ns = lane.jitter_ns.max(off_ns.abs());
        if lane.taken == self.frames {
            let ready = Ready { lane: i, t0_ns: stamp_ns, from_ns: Some(anchor_ns), jitter_ns: lane.jitter_ns };
            *lane = LaneGrid { anchor_ns: Some(stamp_ns), ready: Some(ready), ..LaneGrid::default() };
        }
        FrameSlot::Frame(frame)
    }

    /// Whether lane `i`, which has no rollout, begins one with the frame at `stamp_ns`.
    fn is_turn(&self, i: usize, stamp_ns: i64, least_ns: i64) -> bool {
        let Some((other, anchor_ns)) = (0i64..).zip(&self.lanes).find_map(|(other, lane)| Some((other, lane.anchor_ns?))) else {
            return true;
        };
        let off_ns = stamp_ns - anchor_ns - (i as i64 - other) * self.stagger_ns;
        // The distance to the nearest of its turns, which are a chunk apart.
        let off_ns = (off_ns + self.chunk_ns / 2).rem_euclid(self.chunk_ns) - self.chunk_ns / 2;
        (least_ns..=self.tolerance_ns).contains(&off_ns)
    }

    /// The earliest complete frames that are not computed yet.
    pub(crate) fn ready(&self) -> Option<Ready> {
        self.lanes.iter().filter_map(|lane| lane.ready).min_by_key(|ready| ready.t0_ns)
    }

    /// Marks a lane's frames as computed.
    pub(crate) fn take_ready(&mut self, lane: usize) {
        self.lanes[lane].ready = None;
    }

    /// The newest stamp.
    pub(crate) fn newest_ns(&self) -> Option<i64> {
        self.newest_ns
    }

    /// The first lane that has a rollout.
    pub(crate) fn first_lane(&self) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.anchor_ns.is_some())
    }

    /// Number of lanes without a rollout.
    pub(crate) fn idle_lanes(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.anchor_ns.is_none()).count()
    }

    /// Ends all rollouts and takes the newest stamp back if it lies after `most_ns`. Returns it
    /// then.
    pub(crate) fn drop_after(&mut self, most_ns: i64) -> Option<i64> {
        let newest = self.newest_ns.filter(|newest| *newest > most_ns)?;
        self.lanes.fill(LaneGrid::default());
        self.newest_ns = self.before_ns.filter(|before| *before <= most_ns);
        Some(newest)
    }

    /// Ends a lane's rollout: it begins another when its turn comes.
    pub(crate) fn end_rollout(&mut self, lane: usize) {
        self.lanes[lane] = LaneGrid::default();
    }
}

//! The monitors: numbers in [0, 1] that say how far the ride may trust what it sees and plans. The
//! manifest has their constants ([`drivewam_core::manifest::Monitors`]); the guard's table of
//! causes decides what follows.

use crate::guard::DoubtRun;
use crate::guard::{Cause, CauseKind, Causes};
use crate::regions::Regions;
use drivewam_core::action::Increment;
use drivewam_core::arena::Region;
use drivewam_core::bindings::{self, Graph};
use drivewam_core::config::{Config, MonitorMode};
use drivewam_core::manifest::{ImaginationMonitor, LaneMonitor, Manifest, Monitor, Monitors as Constants};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use drivewam_engine::{Binding, Engine};

/// A car that is slower than this stands or creeps, m/s.
pub(crate) const STANDS_MPS: f64 = 0.5;

/// What a monitor found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MonitorReading {
    /// The number, in [0, 1].
    pub value: f64,
    /// The largest number that is ordinary.
    pub threshold: f64,
}

impl MonitorReading {
    /// Whether the number is not ordinary.
    pub fn is_raised(&self) -> bool {
        // A NaN is not ordinary.
        self.value > self.threshold || self.value.is_nan()
    }
}

/// What the monitors found; `None` where one did not judge.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MonitorReadings([Option<MonitorReading>; Monitor::ALL.len()]);

impl MonitorReadings {
    /// What `monitor` found.
    pub fn get(&self, monitor: Monitor) -> Option<MonitorReading> {
        self.0[monitor as usize]
    }

    /// The monitors that judged, and what they found.
    pub fn iter(&self) -> impl Iterator<Item = (Monitor, MonitorReading)> {
        Monitor::ALL.into_iter().filter_map(|monitor| Some((monitor, self.get(monitor)?)))
    }

    fn set(&mut self, monitor: Monitor, value: f64, threshold: f64) {
        self.0[monitor as usize] = Some(MonitorReading { value, threshold });
    }
}

/// The monitors of one ride.
#[derive(Debug)]
pub(crate) struct Monitors {
    constants: Constants,
    mode: MonitorMode,
    scene: Option<SceneGraph>,
    lanes: Vec<LaneVideo>,
    /// Numbers of a token row, and those of them that are video.
    width: usize,
    channels: usize,
    doubts: [DoubtRun; Monitor::ALL.len()],
}

/// The graph that judges a chunk's frames and motion.
#[derive(Debug)]
struct SceneGraph {
    engine: Box<dyn Engine>,
    binding: Binding,
    increments: Region,
    unfamiliar: Region,
    values: Vec<f32>,
}

/// The newest chunk of a lane, and what was imagined for the next: token rows `[Nv, W]`.
#[derive(Debug)]
struct LaneVideo {
    seen: Vec<f32>,
    imagined: Vec<f32>,
}

impl Monitors {
    /// Allocates what the monitors of `manifest` need, and binds `engine`, the graph `monitor`.
    /// Called in Warm.
    pub(crate) fn new(
        engine: Option<Box<dyn Engine>>,
        config: &Config,
        manifest: &Manifest,
        regions: &Regions,
        device: &mut dyn Device,
    ) -> Result<Self> {
        let (model, constants) = (&config.model, manifest.monitors);
        let scene = engine.map(|engine| SceneGraph::new(engine, manifest, regions, device)).transpose()?;
        let rows = if constants.imagination.is_some() { model.video_tokens() * model.token_width() } else { 0 };
        let lane = || LaneVideo { seen: vec![0.0; rows], imagined: vec![0.0; rows] };
        Ok(Self {
            constants,
            mode: config.guard.monitors,
            scene,
            lanes: (0..config.lanes.count).map(|_| lane()).collect(),
            width: model.token_width(),
            channels: model.video_channels(),
            doubts: Default::default(),
        })
    }

    /// Judges the chunk of lane `lane`: its video `[Nv, W]`, whose latent is on the device, and its
    /// motion. A first chunk has neither motion nor an imagined video.
    pub(crate) fn observe(
        &mut self,
        device: &mut dyn Device,
        lane: usize,
        video: &[f32],
        motion: Option<&[Increment]>,
    ) -> Result<MonitorReadings> {
        let mut readings = MonitorReadings::default();
        let LaneVideo { seen, imagined } = &mut self.lanes[lane];
        if let Some(motion) = motion {
            if let Some((scene, constants)) = self.scene.as_mut().zip(self.constants.scene) {
                readings.set(Monitor::Scene, scene.run(device, motion)?, constants.threshold);
            }
            if let Some(constants) = self.constants.imagination {
                let between = |other: &[f32]| mean_square_difference(video, other, self.width, self.channels);
                let value = imagination(constants, between(imagined), between(seen));
                readings.set(Monitor::Imagination, value, constants.threshold);
            }
        }
        if self.constants.imagination.is_some() {
            seen.copy_from_slice(video);
        }
        Ok(readings)
    }

    /// Keeps the video `[Nv, W]` that lane `lane` imagined for its next chunk.
    pub(crate) fn imagine(&mut self, lane: usize, video: &[f32]) {
        if self.constants.imagination.is_some() {
            self.lanes[lane].imagined.copy_from_slice(video);
        }
    }

    /// Adds to `readings` that a plan lies `distance_m` from another lane's.
    pub(crate) fn compare_lanes(&self, distance_m: f64, readings: &mut MonitorReadings) {
        if let Some(LaneMonitor { scale_m, threshold }) = self.constants.lanes {
            readings.set(Monitor::Lanes, share(distance_m / scale_m), threshold);
        }
    }

    /// Adds the causes that follow from `readings` of a car at `speed_mps`. While it stands, doubts
    /// do not add up, but stay as they were: it cannot be led astray before it drives, and what
    /// stopped it must not let it go.
    pub(crate) fn judge(&mut self, readings: &MonitorReadings, speed_mps: f64, causes: &mut Causes) {
        let times = u32::from(speed_mps.abs() >= STANDS_MPS);
        for (monitor, reading) in readings.iter() {
            let doubt = &mut self.doubts[monitor as usize];
            let MonitorReading { value, threshold } = reading;
            let found = reading.is_raised().then(|| Cause::new(CauseKind::Monitor(monitor), value, threshold));
            let counted = doubt.count(found, times).filter(|_| self.mode == MonitorMode::Judge);
            counted.into_iter().for_each(|cause| causes.add(cause));
        }
    }

    /// Forgets how often each doubt was found.
    pub(crate) fn forget(&mut self) {
        self.doubts = Default::default();
    }

    /// Library and version of the engine.
    pub(crate) fn describe(&self) -> Option<String> {
        self.scene.as_ref().map(|scene| scene.engine.describe())
    }
}

impl SceneGraph {
    fn new(mut engine: Box<dyn Engine>, manifest: &Manifest, regions: &Regions, device: &mut dyn Device) -> Result<Self> {
        let signature = manifest.signature(Graph::Monitor)?;
        let region = |name: &str| regions.get(name);
        let io = regions.io(&signature, 0, |spec| region(&spec.name), |spec| region(&spec.name))?;
        let (increments, unfamiliar) = (region(bindings::INCREMENTS)?, region(bindings::UNFAMILIAR)?);
        Ok(Self { binding: engine.bind(device, &io)?, engine, increments, unfamiliar, values: vec![0.0; increments.len()] })
    }

    fn run(&mut self, device: &mut dyn Device, motion: &[Increment]) -> Result<f64> {
        for (values, step) in self.values.chunks_exact_mut(3).zip(motion) {
            for (value, number) in values.iter_mut().zip(step.to_array()) {
                *value = number as f32;
            }
        }
        device.upload(self.increments, &self.values)?;
        self.engine.run(self.binding, device)?;
        let mut unfamiliar = [0.0f32];
        device.download(self.unfamiliar, &mut unfamiliar)?;
        let [number] = unfamiliar;
        if !(0.0..=1.0).contains(&number) {
            return Err(Error::new(ErrorKind::Output, "the number is out of range").at("monitor").got(number).wanted("0 to 1"));
        }
        Ok(f64::from(number))
    }
}

/// 1 − 2^(−x): 0 for 0, 0.5 for 1.
fn share(x: f64) -> f64 {
    1.0 - libm::exp2(-x)
}

/// The number of an imagined video that differs from the one that came by `error`, where that
/// differs from the one before by `change`.
fn imagination(constants: ImaginationMonitor, error: f64, change: f64) -> f64 {
    share(error / (change + constants.floor))
}

/// The mean square difference of the first `channels` numbers of each row of `width`.
fn mean_square_difference(a: &[f32], b: &[f32], width: usize, channels: usize) -> f64 {
    let rows = a.chunks_exact(width).zip(b.chunks_exact(width));
    let of_row = |(a, b): (&[f32], &[f32])| -> f64 {
        a.iter().zip(b).take(channels).map(|(a, b)| f64::from(a - b)).map(|difference| difference * difference).sum()
    };
    rows.map(of_row).sum::<f64>() / (a.len() / width * channels).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_that_stands_still_is_as_good_as_half_and_padding_does_not_count() {
        let constants = ImaginationMonitor { floor: 0.1, threshold: 0.6 };
        assert_eq!(imagination(constants, 0.0, 0.3), 0.0);
        assert!((imagination(constants, 0.4, 0.3) - 0.5).abs() < 1e-12);
        // Rows of three numbers, of which the last is padding.
        let (a, b) = ([1.0, 2.0, 9.0, 3.0, 4.0, 9.0], [1.0, 0.0, 0.0, 3.0, 4.0, 0.0]);
        assert_eq!(mean_square_difference(&a, &b, 3, 2), 1.0);
    }

    /// Breaks when a standing car is stopped by what it sees, when a doubt that began while it
    /// drove is forgotten while it stands, or when an ordinary number does not end the doubt.
    #[test]
    fn doubts_add_up_while_the_car_drives_and_stay_while_it_stands() {
        let mut monitors = Monitors {
            constants: Constants::default(),
            mode: MonitorMode::Judge,
            scene: None,
            lanes: Vec::new(),
            width: 0,
            channels: 0,
            doubts: Default::default(),
        };
        let mut judge = |value: f64, speed_mps: f64| {
            let (mut readings, mut causes) = (MonitorReadings::default(), Causes::default());
            readings.set(Monitor::Scene, value, 0.9);
            monitors.judge(&readings, speed_mps, &mut causes);
            causes.get(CauseKind::Monitor(Monitor::Scene)).map(|cause| cause.in_a_row)
        };
        assert_eq!([0.0, 0.4, 0.0].map(|speed_mps| judge(0.99, speed_mps)), [Some(0); 3]);
        assert_eq!([0.5, -3.0, 0.2, 3.0, 0.0].map(|speed_mps| judge(0.99, speed_mps)), [Some(1), Some(2), Some(2), Some(3), Some(3)]);
        assert_eq!([judge(0.5, 0.0), judge(0.99, 3.0)], [None, Some(1)]);
    }
}

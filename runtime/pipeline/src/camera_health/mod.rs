//! Camera health: finds pictures that do not change while the car moves, that have no contrast,
//! that are noise, that come in reversed order, or that do not follow on from one another; and
//! pictures unlike those of the training.

mod jump;
mod reversal;

use crate::guard::{Cause, CauseKind, Causes, DoubtRun};
use crate::monitors::STANDS_MPS;
use crate::trained;
use drivewam_core::manifest::TrainedPictures;
use drivewam_core::pose::Pose2;
use drivewam_device::SourceCamera;
use jump::JumpCheck;
use reversal::{PAIRS, ReversalCheck};
use std::hash::{DefaultHasher, Hasher};

/// Distance between two identical pictures that a standing car does not cover, m.
const MOVED_M: f64 = 0.5;
/// The least standard deviation of the brightness of a picture, of 255. Fog and night have more.
const CONTRAST: f64 = 3.0;
/// The least correlation of the brightness of neighbouring pixels. Pictures of roads have more than
/// 0.8, independent noise has 0.
const CORRELATION: f64 = 0.3;
/// Pixels that a picture is sampled at, per axis.
const SAMPLES: usize = 64;

/// Outputs in a row at which a car stands, until a picture that did not follow on is trusted.
const TRUSTED_STANDSTILLS: u32 = 4;

/// What a picture looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
struct FrameLook {
    stamp_ns: i64,
    hash: u64,
    /// Mean brightness.
    brightness: f64,
    /// Standard deviation of the brightness.
    deviation: f64,
    /// Correlation of the brightness of horizontal neighbours.
    correlation: f64,
    /// Mean distance between the strongest and the weakest colour of a pixel.
    saturation: f64,
}

impl FrameLook {
    fn of(camera: &SourceCamera, stamp_ns: i64, picture: &[u8]) -> Self {
        let pictures = camera.pictures();
        let place = |i: usize, size: usize| (2 * i + 1) * size / (2 * SAMPLES);
        let (mut sum, mut squares, mut products, mut colours) = (0.0, 0.0, 0.0, 0.0);
        for row in 0..SAMPLES {
            for column in 0..SAMPLES {
                let (x, y) = (place(column, camera.width), place(row, camera.height));
                let neighbour = if x + 1 < camera.width { x + 1 } else { x.saturating_sub(1) };
                let [a, b] = [x, neighbour].map(|x| f64::from(pictures.luma(picture, x, y)));
                sum += 0.5 * (a + b);
                squares += 0.5 * (a * a + b * b);
                products += a * b;
                let [red, green, blue] = pictures.pixel(picture, x, y);
                colours += f64::from(red.max(green).max(blue) - red.min(green).min(blue));
            }
        }
        let count = (SAMPLES * SAMPLES) as f64;
        let mean = sum / count;
        let variance = (squares / count - mean * mean).max(0.0);
        let covariance = products / count - mean * mean;
        let mut hasher = DefaultHasher::new();
        hasher.write(picture);
        let correlation = if variance > 0.0 { covariance / variance } else { 1.0 };
        let (deviation, saturation) = (variance.sqrt(), colours / count);
        Self { stamp_ns, hash: hasher.finish(), brightness: mean, deviation, correlation, saturation }
    }
}

/// The pictures of the current chunk, and the newest one before it.
#[derive(Debug)]
pub(crate) struct CameraHealth {
    camera: SourceCamera,
    /// The looks of the training's pictures; `None` where nobody says.
    trained: Option<TrainedPictures>,
    looks: Vec<FrameLook>,
    /// Whether the first look is that of the chunk before.
    is_continued: bool,
    frozen: DoubtRun,
    blank: DoubtRun,
    noise: DoubtRun,
    jumped: DoubtRun,
    order: ReversalCheck,
    jump: JumpCheck,
    /// Outputs in a row at which the car stood after a jump, and no monitor was raised.
    standstills: u32,
}

impl CameraHealth {
    /// For chunks of `frames` pictures.
    pub(crate) fn new(camera: SourceCamera, frames: usize, trained: Option<TrainedPictures>) -> Self {
        let looks = Vec::with_capacity(frames + 1);
        let [frozen, blank, noise, jumped] = <[DoubtRun; 4]>::default();
        let (order, jump) = (ReversalCheck::new(), JumpCheck::new(&camera));
        Self { camera, trained, looks, is_continued: false, frozen, blank, noise, jumped, order, jump, standstills: 0 }
    }

    /// Looks at a picture of the current chunk.
    pub(crate) fn see(&mut self, stamp_ns: i64, picture: &[u8]) {
        if self.looks.len() == self.looks.capacity() {
            self.looks.remove(0);
            self.is_continued = false;
        }
        self.looks.push(FrameLook::of(&self.camera, stamp_ns, picture));
    }

    /// Looks at any picture, also between two of a chunk, taken at `pose`.
    pub(crate) fn see_order(&mut self, picture: &[u8], pose: Pose2, speed_mps: f64) {
        self.order.see(&self.camera, picture, pose, speed_mps);
        self.jump.see(&self.camera, picture, pose);
    }

    /// Ends the chunk: adds what is wrong with its pictures to `causes`. `pose_at`: the ego's pose
    /// at a stamp.
    pub(crate) fn judge(&mut self, causes: &mut Causes, pose_at: impl Fn(i64) -> Option<Pose2>) {
        // The first look is that of the chunk before, and was judged with it.
        let from = usize::from(self.is_continued);
        for i in from..self.looks.len() {
            let Some(look) = self.looks.get(i).copied() else { break };
            let before = i.checked_sub(1).and_then(|i| self.looks.get(i)).filter(|before| before.hash == look.hash);
            let moved_m = before.and_then(|before| Some(pose_at(before.stamp_ns)?.distance_m(&pose_at(look.stamp_ns)?)));
            let cause = |is_so: bool, kind, value, threshold| is_so.then(|| Cause::new(kind, value, threshold));
            let is_blank = look.deviation < CONTRAST;
            let is_noise = !is_blank && look.correlation < CORRELATION;
            // A picture that stood still while the car moved stays wrong when the car stands.
            let (stays, moved_m) = (before.is_some() && self.frozen.is_open(), moved_m.unwrap_or(0.0));
            let has_moved = moved_m >= MOVED_M;
            let found = [
                self.frozen.count(cause(has_moved || stays, CauseKind::CameraFrozen, moved_m, MOVED_M), has_moved.into()),
                self.blank.count(cause(is_blank, CauseKind::CameraBlank, look.deviation, CONTRAST), 1),
                self.noise.count(cause(is_noise, CauseKind::CameraNoise, look.correlation, CORRELATION), 1),
            ];
            found.into_iter().flatten().for_each(|cause| causes.add(cause));
            if let Some(trained) = &self.trained {
                trained::judge_picture(trained, look.brightness, look.deviation, look.saturation, causes);
            }
        }
        let pairs = self.order.shrinking();
        if pairs >= PAIRS {
            let cause = Cause::new(CauseKind::CameraReversed, f64::from(pairs), f64::from(PAIRS));
            causes.add(Cause { in_a_row: pairs / PAIRS, ..cause });
        }
        let jump = self.jump.jump().map(|jump| Cause::new(jump.kind, jump.value, jump.threshold));
        self.jumped.count(jump, 1).into_iter().for_each(|cause| causes.add(cause));
        let newest = self.looks.pop();
        self.looks.clear();
        self.looks.extend(newest);
        self.is_continued = newest.is_some();
    }

    /// Forgets all pictures.
    pub(crate) fn clear(&mut self) {
        self.looks.clear();
        self.is_continued = false;
        self.order.clear();
        self.trust();
        (self.frozen, self.blank, self.noise) = Default::default();
    }

    /// Takes the next picture as it is, whatever came before.
    pub(crate) fn trust(&mut self) {
        self.jump.clear();
        self.jumped = DoubtRun::default();
        self.standstills = 0;
    }

    /// After a jump: trusts the next picture when the car has stood for some outputs at which the
    /// monitors found nothing. What filled the view may have been a pedestrian.
    pub(crate) fn note_standstill(&mut self, speed_mps: f64, is_ordinary: bool) {
        let is_calm = self.jump.jump().is_some() && speed_mps.abs() < STANDS_MPS && is_ordinary;
        self.standstills = if is_calm { self.standstills + 1 } else { 0 };
        if self.standstills >= TRUSTED_STANDSTILLS {
            self.trust();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drivewam_core::intrinsics::Intrinsics;

    /// Breaks when a picture that stood still while the car moved is trusted as soon as the car
    /// stands, when that counts on, or when another picture does not end it.
    #[test]
    fn a_frozen_picture_stays_frozen_while_the_car_stands() {
        let intrinsics = Intrinsics { fx_px: 8.0, fy_px: 8.0, cx_px: 8.0, cy_px: 8.0 };
        let mut health = CameraHealth::new(SourceCamera::rgb8(16, 16, intrinsics), 1, None);
        let mut picture: Vec<u8> = (0..16 * 16 * 3).map(|i| (i * 7 % 251) as u8).collect();
        let places_m = [0.0, 0.0, 2.0, 4.0, 4.0, 4.0, 4.0];
        let wanted = [None, None, Some(1), Some(2), Some(2), Some(2), None];
        for (stamp_ns, wanted) in (0..).zip(wanted) {
            if stamp_ns == 6 {
                picture.reverse();
            }
            let mut causes = Causes::NONE;
            health.see(stamp_ns, &picture);
            health.judge(&mut causes, |stamp_ns| Some(Pose2::new(places_m[stamp_ns as usize], 0.0, 0.0)));
            assert_eq!(causes.get(CauseKind::CameraFrozen).map(|cause| cause.in_a_row), wanted, "picture {stamp_ns}");
        }
    }

    /// Breaks when a car that stands before a mirrored view trusts it too soon, while it drives, or
    /// while a monitor finds the view strange, or when it never trusts it again.
    #[test]
    fn a_standing_car_trusts_a_new_view_after_some_ordinary_outputs() {
        let intrinsics = Intrinsics { fx_px: 60.0, fy_px: 60.0, cx_px: 56.0, cy_px: 32.0 };
        let mut health = CameraHealth::new(SourceCamera::rgb8(112, 64, intrinsics), 1, None);
        // Posts of many widths and shades; the same in every row.
        let shade = |column: usize| (column / 5 * 97 % 211) as u8;
        let view: Vec<u8> = (0..64 * 112).flat_map(|i| [shade(i % 112); 3]).collect();
        let mirrored: Vec<u8> = (0..64 * 112).flat_map(|i| [shade(111 - i % 112); 3]).collect();
        let mut is_trusted = |picture: &[u8]| {
            health.see_order(picture, Pose2::default(), 0.0);
            health.jump.jump().is_none()
        };
        assert!(is_trusted(&view) && !is_trusted(&mirrored));
        let outputs =
            [(0.0, true), (0.0, true), (0.0, true), (2.0, true), (0.0, true), (0.0, false), (0.0, true), (0.0, true), (0.0, true)];
        for (i, (speed_mps, is_ordinary)) in outputs.into_iter().enumerate() {
            health.note_standstill(speed_mps, is_ordinary);
            assert!(health.jump.jump().is_some(), "output {i}");
        }
        health.note_standstill(0.0, true);
        assert_eq!(health.jump.jump(), None);
        health.see_order(&mirrored, Pose2::default(), 0.0);
        assert_eq!(health.jump.jump(), None, "the mirrored view is the car's own now");
        health.see_order(&view, Pose2::default(), 0.0);
        assert!(health.jump.jump().is_some(), "and the former one is mirrored");
    }
}

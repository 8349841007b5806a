//! Whether each picture follows on from the one before. What lies far ahead moves in the picture by
//! the turn that the poses measured, and grows a little; what lies near is left out.
//!
//! A camera that is knocked aside, exchanged or mirrored breaks this in one picture. The view is
//! compared in blocks, and the median counts: a sign beside the road fills one of them. At a
//! picture a second, 680 pictures of simulated drives resembled the one before by 0.64 or more; of
//! the first pictures of cameras turned by 20°, 30° and 90°, 98, 100 and 98 of 100 are found.

use crate::guard::CauseKind;
use drivewam_core::pose::{Pose2, wrap};
use drivewam_device::SourceCamera;

/// Directions of a patch: columns across the view, rows from the horizon up.
const COLUMNS: usize = 89;
const ROWS: usize = 15;
/// The widest view that is compared, to each side, rad.
const HALF_VIEW_RAD: f32 = 0.768;
/// Elevations of the lowest and the highest row, rad.
const ELEVATIONS_RAD: (f32, f32) = (0.0087, 0.227);
/// Of the camera's own view this margin is left out, rad.
const MARGIN_RAD: f32 = 0.026;
/// Samples of a patch's pixel, per axis.
const SAMPLES: usize = 2;
/// Of two patches every such column and row is compared.
const EVERY: usize = 2;
/// Factors by which the scene may grow between two pictures.
const ZOOMS: [f32; 4] = [1.0, 1.08, 1.18, 1.3];
/// Errors of the measured turn, rad.
const TURN_ERRORS_RAD: [f32; 5] = [-0.052, -0.026, 0.0, 0.026, 0.052];
/// The view's blocks, side by side.
const BLOCKS: usize = 5;
/// A block counts where both pictures show this share of it.
const LEAST_SHARE: f32 = 0.6;
/// A block counts where one of both has this standard deviation of the brightness along its rows:
/// the sky has none.
const LEAST_DEVIATION: f32 = 2.0;
/// So many blocks must count.
const LEAST_BLOCKS: usize = 2;
/// A picture that resembles the one before less does not follow on from it, where pictures usually
/// do: the last few resembled each other this much in the mean. On a highway at a picture a second,
/// where most of what is seen is near, they do not.
const LEAST_RESEMBLANCE: f32 = 0.45;
const USUAL: f32 = 0.8;
/// Pictures that make the mean: their least number, and the weight of the newest.
const LAST: (u32, f32) = (4, 0.125);
/// A picture that resembles the one before so much, and this much more, after another turn than the
/// measured one, is turned.
const TURNED: (f32, f32) = (0.6, 0.15);
/// Other turns: the least difference from the measured one and the steps, rad, and their number to
/// each side; and factors of growth.
const OTHER_TURNS: (f32, f32, u8) = (0.14, 0.035, 26);
const OTHER_ZOOMS: [f32; 2] = [1.0, 1.12];
/// After one that did not, pictures must resemble the last good one so much: the car is elsewhere.
const ENOUGH_TO_RETURN: f32 = 0.6;
/// A picture that resembles the one before so much, and this much more, when left and right are
/// exchanged, is mirrored.
const MIRRORED: (f32, f32) = (0.5, 0.1);
/// The least standard deviation of the brightness along a row: fog and night show nothing far away.
const LEAST_CONTRAST: f32 = 3.0;
/// Pictures that lie farther apart show other things, m.
const APART_M: f64 = 30.0;

/// A picture that does not follow on from the last one that did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Jump {
    pub(super) kind: CauseKind,
    pub(super) value: f64,
    pub(super) threshold: f64,
}

/// Compares each picture with the last one that followed on.
#[derive(Debug)]
pub(super) struct JumpCheck {
    /// Columns and rows of a patch lie so far apart, rad; the middle column looks along the
    /// camera's axis.
    column_rad: f32,
    row_rad: f32,
    /// The pixels (x, y) of a picture that each pixel of a patch is the mean of.
    samples: Vec<[(usize, usize); SAMPLES * SAMPLES]>,
    before: Patch,
    now: Patch,
    /// Where the picture in `before` was taken.
    place: Option<Pose2>,
    jump: Option<Jump>,
    /// The mean resemblance of the last pictures that followed on, and their number.
    usual: (f32, u32),
}

/// Brightness by direction, row by row, columns from left to right.
#[derive(Debug)]
struct Patch(Vec<f32>);

impl JumpCheck {
    pub(super) fn new(camera: &SourceCamera) -> Self {
        let intrinsics = camera.intrinsics;
        let [left, right, up] = [
            (intrinsics.cx_px, intrinsics.fx_px),
            (camera.width as f64 - intrinsics.cx_px, intrinsics.fx_px),
            (intrinsics.cy_px, intrinsics.fy_px),
        ]
        .map(|(pixels, focal)| libm::atan(pixels / focal) as f32 - MARGIN_RAD);
        let half = HALF_VIEW_RAD.min(left).min(right).max(0.0);
        let height = ELEVATIONS_RAD.1.min(up).max(0.0) - ELEVATIONS_RAD.0;
        let (column_rad, row_rad) = (2.0 * half / (COLUMNS - 1) as f32, height / (ROWS - 1) as f32);
        let blank = || Patch(vec![0.0; COLUMNS * ROWS]);
        let samples = (0..COLUMNS * ROWS).map(|i| {
            std::array::from_fn(|sample| {
                let part = |sample: usize| (sample as f32 + 0.5) / SAMPLES as f32 - 0.5;
                let column = (i % COLUMNS) as f32 + part(sample % SAMPLES) - (COLUMNS / 2) as f32;
                let row = (i / COLUMNS) as f32 + part(sample / SAMPLES);
                pixel(camera, column * column_rad, ELEVATIONS_RAD.0 + row * row_rad)
            })
        });
        Self { column_rad, row_rad, samples: samples.collect(), before: blank(), now: blank(), place: None, jump: None, usual: (0.0, 0) }
    }

    /// Looks at a picture taken at `pose`.
    pub(super) fn see(&mut self, camera: &SourceCamera, picture: &[u8], pose: Pose2) {
        self.look(camera, picture);
        if self.now.contrast() < LEAST_CONTRAST {
            return;
        }
        let near = self.place.filter(|place| self.jump.is_some() || place.distance_m(&pose) <= APART_M);
        let direct = near.and_then(|place| {
            let turn = wrap(pose.yaw_rad - place.yaw_rad) as f32;
            let direct = self.resemblance(turn, 1.0)?;
            // No correlation is above 1, so nothing can resemble the one before more by a margin.
            let is_clear = direct + MIRRORED.1.min(TURNED.1) >= 1.0;
            self.jump = if is_clear { None } else { self.judge(direct, self.resemblance(turn, -1.0)?, self.resemblance_elsewhere(turn)) };
            Some(direct)
        });
        if near.is_some() && self.jump.is_some() {
            return;
        }
        if let Some(direct) = direct {
            let (mean, count) = self.usual;
            let weight = if count == 0 { 1.0 } else { LAST.1 };
            self.usual = (mean + (direct - mean) * weight, count.saturating_add(1));
        }
        std::mem::swap(&mut self.before, &mut self.now);
        self.place = Some(pose);
    }

    /// What is wrong with the newest picture.
    pub(super) fn jump(&self) -> Option<Jump> {
        self.jump
    }

    /// Takes the next picture as it is.
    pub(super) fn clear(&mut self) {
        (self.place, self.jump, self.usual) = (None, None, (0.0, 0));
    }

    fn judge(&self, direct: f32, mirrored: f32, turned: Option<f32>) -> Option<Jump> {
        let jump = |kind, value: f32, threshold: f32| Some(Jump { kind, value: value.into(), threshold: threshold.into() });
        if mirrored > MIRRORED.0 && mirrored > direct + MIRRORED.1 {
            return jump(CauseKind::CameraMirrored, mirrored, direct + MIRRORED.1);
        }
        let (mean, count) = self.usual;
        let least = match self.jump {
            Some(_) => ENOUGH_TO_RETURN,
            None if count >= LAST.0 && mean >= USUAL => LEAST_RESEMBLANCE,
            None => -1.0,
        };
        let other = turned.filter(|turned| *turned > TURNED.0).map_or(-1.0, |turned| turned - TURNED.1);
        let least = least.max(other);
        if direct < least { jump(CauseKind::CameraJump, direct, least) } else { None }
    }

    /// Writes the patch of a picture to `now`.
    fn look(&mut self, camera: &SourceCamera, picture: &[u8]) {
        let pictures = camera.pictures();
        for (out, samples) in self.now.0.iter_mut().zip(&self.samples) {
            *out = samples.iter().map(|&(x, y)| pictures.luma(picture, x, y)).sum::<f32>() / samples.len() as f32;
        }
    }

    /// How well the newest patch continues the one before, after a turn to the left by about
    /// `turn`: the best over growths and errors of the turn. `side` is −1 where left and right are
    /// exchanged. `None` where both show too little in common.
    fn resemblance(&self, turn: f32, side: f32) -> Option<f32> {
        let turns = TURN_ERRORS_RAD.map(|error| (turn + error) / self.column_rad.max(f32::EPSILON));
        let each = ZOOMS.into_iter().flat_map(|zoom| turns.map(|turn| self.median(zoom, turn, side)));
        each.flatten().max_by(f32::total_cmp)
    }

    /// The same, unmirrored, after other turns than about `turn`.
    fn resemblance_elsewhere(&self, turn: f32) -> Option<f32> {
        let (least, step, count) = OTHER_TURNS;
        let turns = (0..count).map(|i| f32::from(i).mul_add(step, least)).flat_map(|other| [turn + other, turn - other]);
        let columns = turns.map(|turn| turn / self.column_rad.max(f32::EPSILON));
        columns.flat_map(|turn| OTHER_ZOOMS.map(|zoom| self.median(zoom, turn, 1.0))).flatten().max_by(f32::total_cmp)
    }

    /// The median of the blocks' correlations. `turn` is in columns.
    fn median(&self, zoom: f32, turn: f32, side: f32) -> Option<f32> {
        let (mut found, mut count) = ([0.0; BLOCKS], 0);
        for correlation in (0..BLOCKS).filter_map(|block| self.correlation(block, zoom, turn, side)) {
            found[count] = correlation;
            count += 1;
        }
        let found = &mut found[..count];
        found.sort_unstable_by(f32::total_cmp);
        (count >= LEAST_BLOCKS).then(|| f32::midpoint(found[(count - 1) / 2], found[count / 2]))
    }

    /// Pearson's correlation of a block, after the means of its rows are taken away.
    fn correlation(&self, block: usize, zoom: f32, turn: f32, side: f32) -> Option<f32> {
        let middle = (COLUMNS / 2) as f32;
        let horizon = -ELEVATIONS_RAD.0 / self.row_rad.max(f32::EPSILON);
        let columns = || (block * COLUMNS / BLOCKS..(block + 1) * COLUMNS / BLOCKS).step_by(EVERY);
        let (mut compared, mut products, mut squares) = (0.0, 0.0, [0.0; 2]);
        for row in (0..ROWS).step_by(EVERY) {
            let from = (row as f32 - horizon) / zoom + horizon;
            let (mut count, mut sums, mut product, mut square) = (0.0, [0.0; 2], 0.0, [0.0; 2]);
            for column in columns() {
                let at = side * (column as f32 - middle) / zoom - turn + middle;
                if (0.0..=(COLUMNS - 1) as f32).contains(&at) {
                    let [a, b] = [self.before.between(from, at), self.now.0[row * COLUMNS + column]];
                    (count, product) = (count + 1.0, product + a * b);
                    (sums, square) = ([sums[0] + a, sums[1] + b], [square[0] + a * a, square[1] + b * b]);
                }
            }
            if count > 0.0 {
                products += product - sums[0] * sums[1] / count;
                squares = [0, 1].map(|i| squares[i] + (square[i] - sums[i] * sums[i] / count).max(0.0));
            }
            compared += count;
        }
        let all = (columns().count() * ROWS.div_ceil(EVERY)) as f32;
        let [a, b]: [f32; 2] = squares.map(|square| square / compared.max(1.0));
        let counts = compared >= LEAST_SHARE * all && a.max(b) >= LEAST_DEVIATION * LEAST_DEVIATION;
        let scale = (squares[0] * squares[1]).sqrt();
        counts.then_some(if scale > 0.0 { products / scale } else { 0.0 })
    }
}

/// The pixel (x, y) in a direction to the right of the camera's axis and above the horizon, rad.
fn pixel(camera: &SourceCamera, right: f32, up: f32) -> (usize, usize) {
    let intrinsics = camera.intrinsics;
    let pitch = camera.mount.map_or(0.0, |mount| mount.pitch_rad);
    let (right, up) = (f64::from(right), f64::from(up) + pitch);
    let x = intrinsics.cx_px + intrinsics.fx_px * libm::tan(right);
    let y = intrinsics.cy_px - intrinsics.fy_px * libm::tan(up) / libm::cos(right);
    let within = |at: f64, size: usize| (at.max(0.0) as usize).min(size.saturating_sub(1));
    (within(x, camera.width), within(y, camera.height))
}

impl Patch {
    /// The brightness between pixels.
    fn between(&self, row: f32, column: f32) -> f32 {
        let (y, x) = ((row.max(0.0) as usize).min(ROWS - 2), (column as usize).min(COLUMNS - 2));
        let (down, right) = (row - y as f32, column - x as f32);
        let line = |y: usize| self.0[y * COLUMNS + x] * (1.0 - right) + self.0[y * COLUMNS + x + 1] * right;
        line(y) * (1.0 - down) + line(y + 1) * down
    }

    /// The standard deviation of the brightness along the rows.
    fn contrast(&self) -> f32 {
        let rows = self.0.chunks_exact(COLUMNS).map(|row| {
            let mean = row.iter().sum::<f32>() / COLUMNS as f32;
            row.iter().map(|value| (value - mean).powi(2)).sum::<f32>()
        });
        (rows.sum::<f32>() / self.0.len() as f32).sqrt()
    }
}

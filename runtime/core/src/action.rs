//! Actions: increments of the ego pose, and the token rows of the transformer that carry them.
//!
//! Increment t of a chunk is pose t minus pose t − 1, both in the frame of the chunk's first pose.
//! That frame does not rotate from step to step, so positions are plain sums of increments.
//!
//! An increment is three numbers, normalised with quantiles of the training drives
//! (`manifest.yaml`). A token row holds `steps_per_token` increments: they fill the used channels
//! of the row in order, and all other numbers of the row are zero.
//! `export/drivewam_export/train/data.py` does the same arithmetic.
//!
//! All functions write into slices of the caller; nothing allocates after [`ActionRows::new`].

use crate::dims::{INCREMENT_CHANNELS, Model};
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::ActionNormalisation;
use crate::pose::{Pose2, wrap};

/// The largest magnitude of a normalised value in training. Observed actions are clipped to ± this
/// value; predicted actions are not.
pub const OBSERVED_CLIP: f32 = 4.0;

/// The motion of one step, in the frame of the chunk's first pose.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Increment {
    /// Change of position along the heading of the chunk's first pose, metres, forward positive.
    pub dx_m: f64,
    /// Change of position across that heading, metres, left positive.
    pub dy_m: f64,
    /// Change of yaw, radians, counter-clockwise positive.
    pub dyaw_rad: f64,
}

impl Increment {
    /// dx, dy and dyaw.
    pub fn to_array(self) -> [f64; INCREMENT_CHANNELS] {
        [self.dx_m, self.dy_m, self.dyaw_rad]
    }

    fn from_array([dx_m, dy_m, dyaw_rad]: [f64; INCREMENT_CHANNELS]) -> Self {
        Self { dx_m, dy_m, dyaw_rad }
    }
}

/// Writes the increments from `start` through `poses` to `out`. The poses follow `start` one step
/// apart, all in one continuous frame. Every turn is taken the shorter way round, so the yaws may
/// be wrapped.
///
/// # Errors
/// `Usage` when `out` and `poses` differ in length; `Input`, with the index of the pose, when it or
/// `start` is not finite.
pub fn increments(start: &Pose2, poses: &[Pose2], out: &mut [Increment]) -> Result<()> {
    if out.len() != poses.len() {
        return Err(Error::new(ErrorKind::Usage, "increments and poses differ in number").got(out.len()).wanted(poses.len()));
    }
    let (sin, cos) = libm::sincos(start.yaw_rad);
    let mut last = *start;
    for (i, (pose, out)) in poses.iter().zip(out).enumerate() {
        if !(pose.is_finite() && start.is_finite()) {
            return Err(Error::new(ErrorKind::Input, "a pose is not finite")
                .at(format!("pose {i}"))
                .got(format!("{pose:?} from {start:?}")));
        }
        let (dx, dy) = (pose.x_m - last.x_m, pose.y_m - last.y_m);
        *out = Increment { dx_m: cos * dx + sin * dy, dy_m: cos * dy - sin * dx, dyaw_rad: wrap(pose.yaw_rad - last.yaw_rad) };
        last = *pose;
    }
    Ok(())
}

/// Converts increments to normalised token rows `[Na, W]` and back.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionRows {
    normalisation: ActionNormalisation,
    tokens: usize,
    steps_per_token: usize,
    used: Vec<usize>,
    width: usize,
}

impl ActionRows {
    /// The converter for `model`, which must have passed [`Model::check`]. `normalisation` holds
    /// the quantiles that the weights were trained with.
    pub fn new(model: &Model, normalisation: ActionNormalisation) -> Self {
        Self {
            normalisation,
            tokens: model.action_tokens(),
            steps_per_token: model.action.steps_per_token,
            used: model.action.used_channels.clone(),
            width: model.token_width(),
        }
    }

    /// Number of increments in a chunk.
    pub fn increments_len(&self) -> usize {
        self.tokens * self.steps_per_token
    }

    /// Number of values in the rows of a chunk, Na·W.
    pub fn rows_len(&self) -> usize {
        self.tokens * self.width
    }

    /// The channels of a row that carry increments. A solver steps only these.
    pub fn used_channels(&self) -> &[usize] {
        &self.used
    }

    /// Writes the rows of observed increments, clipped to ± [`OBSERVED_CLIP`] as in training.
    /// Unused channels become zero.
    ///
    /// # Errors
    /// `Usage` when a length does not match the chunk; `Input`, with the index, for an increment
    /// that is not finite.
    pub fn observe(&self, increments: &[Increment], rows: &mut [f32]) -> Result<()> {
        self.check(increments.len(), rows.len())?;
        if let Some((i, bad)) = increments.iter().enumerate().find(|(_, a)| !a.to_array().iter().all(|v| v.is_finite())) {
            return Err(Error::new(ErrorKind::Input, "an increment is not finite").at(format!("increment {i}")).got(format!("{bad:?}")));
        }
        self.fill(rows, |step| increments.get(step).copied().unwrap_or_default());
        Ok(())
    }

    /// Writes the rows of the first chunk, before which there was no motion. They hold the
    /// normalised increment of a standing vehicle, which differs from a normalised zero.
    ///
    /// # Errors
    /// `Usage` when the length does not match the chunk.
    pub fn physical_zero(&self, rows: &mut [f32]) -> Result<()> {
        self.check(self.increments_len(), rows.len())?;
        self.fill(rows, |_| Increment::default());
        Ok(())
    }

    /// Converts `rows` to increments in physical units. Unused channels are not read.
    ///
    /// # Errors
    /// `Usage` when a length does not match the chunk; `Output`, with the token and channel, for a
    /// value that is not finite.
    pub fn decode(&self, rows: &[f32], increments: &mut [Increment]) -> Result<()> {
        self.check(increments.len(), rows.len())?;
        let steps = rows.chunks_exact(self.width).zip(increments.chunks_exact_mut(self.steps_per_token)).enumerate();
        for (token, (row, increments)) in steps {
            for (channels, increment) in self.used.chunks_exact(INCREMENT_CHANNELS).zip(increments) {
                let mut values = [0.0; INCREMENT_CHANNELS];
                for (k, (value, &channel)) in values.iter_mut().zip(channels).enumerate() {
                    let normalised = row[channel];
                    if !normalised.is_finite() {
                        let place = format!("action token {token}, channel {channel}");
                        return Err(Error::new(ErrorKind::Output, "an action is not finite").at(place).got(normalised));
                    }
                    *value = self.physical(k, f64::from(normalised));
                }
                *increment = Increment::from_array(values);
            }
        }
        Ok(())
    }

    fn fill(&self, rows: &mut [f32], increment: impl Fn(usize) -> Increment) {
        rows.fill(0.0);
        for (token, row) in rows.chunks_exact_mut(self.width).enumerate() {
            for (step, channels) in self.used.chunks_exact(INCREMENT_CHANNELS).enumerate() {
                let values = increment(token * self.steps_per_token + step).to_array();
                for (k, (value, &channel)) in values.into_iter().zip(channels).enumerate() {
                    row[channel] = (self.normalised(k, value) as f32).clamp(-OBSERVED_CLIP, OBSERVED_CLIP);
                }
            }
        }
    }

    /// q99 − q01 + ε of increment channel `k`: the physical range of the normalised values −1 to 1.
    fn span(&self, k: usize) -> f64 {
        self.normalisation.q99[k] - self.normalisation.q01[k] + self.normalisation.epsilon
    }

    fn normalised(&self, k: usize, value: f64) -> f64 {
        2.0 * (value - self.normalisation.q01[k]) / self.span(k) - 1.0
    }

    fn physical(&self, k: usize, normalised: f64) -> f64 {
        (normalised + 1.0) / 2.0 * self.span(k) + self.normalisation.q01[k]
    }

    fn check(&self, increments: usize, rows: usize) -> Result<()> {
        if (increments, rows) == (self.increments_len(), self.rows_len()) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Usage, "the lengths do not match one chunk")
            .got(format!("{increments} increments, {rows} numbers"))
            .wanted(format!("{} increments, {} numbers", self.increments_len(), self.rows_len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::tiny;
    use std::f64::consts::{FRAC_PI_2, PI};

    const NORMALISATION: ActionNormalisation = ActionNormalisation { q01: [0.0, -0.2, -0.05], q99: [1.5, 0.3, 0.05], epsilon: 1e-6 };

    fn rows() -> ActionRows {
        ActionRows::new(&tiny(), NORMALISATION)
    }

    #[test]
    fn increments_stand_in_the_frame_of_the_first_pose_and_do_not_turn_with_the_vehicle() {
        let start = Pose2::new(10.0, 5.0, FRAC_PI_2);
        let mut out = [Increment::default(); 2];
        // North, then east while heading east: seen from the start, first forward, then right.
        increments(&start, &[Pose2::new(10.0, 7.0, 0.0), Pose2::new(13.0, 7.0, 0.0)], &mut out).unwrap();
        let wanted = [[2.0, 0.0, -FRAC_PI_2], [0.0, -3.0, 0.0]];
        for (got, wanted) in out.iter().zip(wanted) {
            assert!(got.to_array().iter().zip(wanted).all(|(g, w)| (g - w).abs() < 1e-12), "{got:?}");
        }
    }

    #[test]
    fn a_yaw_that_wraps_turns_the_shorter_way_and_a_pose_that_is_not_finite_is_refused() {
        let mut out = [Increment::default()];
        increments(&Pose2::new(0.0, 0.0, PI - 0.01), &[Pose2::new(0.0, 0.0, -PI + 0.01)], &mut out).unwrap();
        assert!((out[0].dyaw_rad - 0.02).abs() < 1e-12);
        let error = increments(&Pose2::default(), &[Pose2::new(f64::NAN, 0.0, 0.0)], &mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert_eq!(increments(&Pose2::default(), &[], &mut out).unwrap_err().kind(), ErrorKind::Usage);
    }

    /// Expected values: `Normalisation.apply` and `pack` of `train/data.py` on the tiny model,
    /// computed by hand for one step.
    #[test]
    fn a_row_holds_its_steps_in_order_and_zeros_elsewhere() {
        let (rows, model) = (rows(), tiny());
        let mut actions = vec![Increment::default(); rows.increments_len()];
        // Step 2 of the five steps of token 1.
        actions[7] = Increment { dx_m: 0.75, dy_m: 0.3, dyaw_rad: -0.05 };
        let mut out = vec![f32::NAN; rows.rows_len()];
        rows.observe(&actions, &mut out).unwrap();
        let used = &model.action.used_channels;
        let row = &out[model.token_width()..2 * model.token_width()];
        let got = [row[used[6]], row[used[7]], row[used[8]]];
        for (got, wanted) in got.iter().zip([0.0f32, 1.0, -1.0]) {
            assert!((got - wanted).abs() < 1e-4, "{got} {wanted}");
        }
        let standing = [row[used[0]], row[used[1]], row[used[2]]];
        for (got, wanted) in standing.iter().zip([-1.0f32, -0.2, 0.0]) {
            assert!((got - wanted).abs() < 1e-4, "{got} {wanted}");
        }
        assert!(row.iter().enumerate().all(|(c, &v)| used.contains(&c) || v == 0.0));
        let mut first = vec![f32::NAN; rows.rows_len()];
        rows.physical_zero(&mut first).unwrap();
        assert_eq!(first[..model.token_width()], out[..model.token_width()]);
    }

    #[test]
    fn decode_undoes_observe_within_the_clip() {
        let rows = rows();
        let mut actions: Vec<Increment> = (0..rows.increments_len())
            .map(|i| Increment { dx_m: 0.04 * i as f64, dy_m: 0.2 - 0.01 * i as f64, dyaw_rad: 0.002 * i as f64 })
            .collect();
        let mut out = vec![0.0; rows.rows_len()];
        let mut back = vec![Increment::default(); rows.increments_len()];
        rows.observe(&actions, &mut out).unwrap();
        rows.decode(&out, &mut back).unwrap();
        for (a, b) in actions.iter().zip(&back) {
            assert!(a.to_array().iter().zip(b.to_array()).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?} {b:?}");
        }
        actions[3].dx_m = 50.0;
        rows.observe(&actions, &mut out).unwrap();
        assert_eq!(out.iter().copied().fold(0.0, f32::max), OBSERVED_CLIP);
    }

    #[test]
    fn what_cannot_be_an_action_is_refused_with_its_place() {
        let (rows, model) = (rows(), tiny());
        let mut out = vec![0.0; rows.rows_len()];
        let mut actions = vec![Increment::default(); rows.increments_len()];
        let at = 2 * model.token_width() + model.action.used_channels[4];
        out[at] = f32::INFINITY;
        let error = rows.decode(&out, &mut actions).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Output);
        assert!(error.to_string().contains("action token 2, channel 4"), "{error}");
        actions[5].dy_m = f64::NAN;
        assert!(rows.observe(&actions, &mut out).unwrap_err().to_string().contains("increment 5"));
        assert!(rows.observe(&actions[1..], &mut out).is_err() && rows.physical_zero(&mut out[1..]).is_err());
    }
}

//! Integrators: a solver advances a sample in place by a velocity.
//!
//! [`plan`] computes the constants of every step once, in f64 (Warm). [`apply`] does the same few
//! multiplications for every row (Run); it is the reference for the kernels of devices. Apart from
//! the history, a step is independent of the others.
//!
//! UniPC is the second-order multistep predictor-corrector of Zhao et al. 2023 with B(h) = e^h − 1
//! on the predicted data, as in diffusers' `UniPCMultistepScheduler` (`flow_prediction`,
//! `use_flow_sigmas`, order 2, `bh2`). With α = 1 − σ, λ = ln(α/σ), h = λ' − λ and E = e^(−h) − 1,
//! a predictor step from σ to σ' is x' = (σ'/σ)·x − α'·E·(m0 + (m1 − m0)/(2r)), where r is the
//! previous step's −h over this one's. So every step is a linear combination of the sample and the
//! last predicted data.

use super::schedule::Step;
use crate::config::SolverKind;
use crate::error::{Error, ErrorKind, Result};

/// The level of pure noise in UniPC's logarithms, as in diffusers: at exactly 1, α is 0 and λ is
/// undefined. The engine still gets the schedule's flow time.
const NOISIEST: f64 = 1.0 - 1e-6;

/// The constants of one step, in the precision of the samples. The buffer of a zero coefficient is
/// not used, even if it holds NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SolverStep {
    /// x ← x + span·v (paper section 4.2).
    Euler {
        /// τ' − τ.
        span: f32,
    },
    /// m0 = x − sigma·v; x_c = the corrector over (last, m1, m2, m0), or x without one; x' = the
    /// predictor over (x_c, m0, m1). Then last ← x_c, m2 ← m1, m1 ← m0, x ← x'. The history is
    /// (last, m1, m2).
    Unipc {
        /// σ of the velocity.
        sigma: f32,
        /// Coefficients of last, m1, m2, m0; `None` in the first step.
        corrector: Option<[f32; 4]>,
        /// Coefficients of x_c, m0, m1.
        predictor: [f32; 3],
    },
}

impl SolverStep {
    /// Number of history buffers, each of the sample's length, that the step reads and writes.
    pub fn history_len(&self) -> usize {
        match self {
            Self::Euler { .. } => 0,
            Self::Unipc { .. } => 3,
        }
    }
}

/// Number of history buffers, each of the sample's length, that `kind` keeps between steps. Their
/// contents before the first step are not read.
pub fn history_len(kind: SolverKind) -> usize {
    match kind {
        SolverKind::Euler => 0,
        SolverKind::Unipc => 3,
    }
}

/// The constants of `steps` for `kind`. The last step of UniPC is of first order.
///
/// # Errors
/// `Config` when levels do not fall strictly, or a UniPC step begins and ends within 1e-6 of pure
/// noise.
pub fn plan(kind: SolverKind, steps: &[Step]) -> Result<Vec<SolverStep>> {
    if let Some((i, step)) = steps.iter().enumerate().find(|(i, s)| {
        let follows = i.checked_sub(1).and_then(|before| steps.get(before)).is_none_or(|before| before.tau_next == s.tau);
        let start = if kind == SolverKind::Unipc { s.tau.min(NOISIEST) } else { s.tau };
        !(follows && s.tau_next >= 0.0 && s.tau_next < start && s.tau <= 1.0)
    }) {
        return Err(Error::new(ErrorKind::Config, "not a step of a schedule")
            .at(format!("step {i}"))
            .got(format!("{} to {}", step.tau, step.tau_next))
            .wanted("levels that fall from at most 1 to at least 0, each step from where the last one ended"));
    }
    Ok(match kind {
        SolverKind::Euler => steps.iter().map(|s| SolverStep::Euler { span: (s.tau_next - s.tau) as f32 }).collect(),
        SolverKind::Unipc => unipc(steps),
    })
}

/// The terms of a step that predictor and corrector share.
struct Span {
    /// σ'/σ.
    keep: f64,
    /// −α'·E, the weight of the data.
    gain: f64,
    /// h.
    h: f64,
}

impl Span {
    fn new(from: f64, to: f64) -> Self {
        let lambda = |sigma: f64| libm::log(1.0 - sigma) - libm::log(sigma);
        let h = lambda(to) - lambda(from);
        Self { keep: to / from, gain: -(1.0 - to) * libm::expm1(-h), h }
    }

    /// The predictor over (x, m0, m1). `before` is the previous step, for second order.
    fn predictor(&self, before: Option<&Self>) -> [f64; 3] {
        // r = −h_before / h. The published simplification sets the weight of the second-order term
        // to 1/2.
        let slope = before.map_or(0.0, |b| -0.5 * self.h / b.h);
        [self.keep, self.gain * (1.0 - slope), self.gain * slope]
    }

    /// The corrector over (last, m1, m2, m0): repeats the step with the data at its end.
    fn corrector(&self, before: Option<&Self>) -> [f64; 4] {
        let Some(before) = before else {
            return [self.keep, 0.5 * self.gain, 0.0, 0.5 * self.gain];
        };
        let (r, hh) = (-before.h / self.h, -self.h);
        let e = libm::expm1(hh);
        let phi = e / hh - 1.0;
        // The two conditions of order: ρ0 + ρ1 = b0 and r·ρ0 + ρ1 = b1.
        let (b0, b1) = (phi / e, 2.0 * (phi / hh - 0.5) / e);
        let rho = (b1 - b0) / (r - 1.0);
        let (older, newest) = (rho / r, b0 - rho);
        [self.keep, self.gain * (1.0 - older - newest), self.gain * older, self.gain * newest]
    }
}

fn unipc(steps: &[Step]) -> Vec<SolverStep> {
    let spans: Vec<Span> = steps.iter().map(|s| Span::new(s.tau.min(NOISIEST), s.tau_next)).collect();
    let span = |i: Option<usize>| i.and_then(|i| spans.get(i));
    (spans.iter().zip(steps).enumerate())
        .map(|(i, (this, step))| {
            let one = i.checked_sub(1);
            // A step is of second order if there is a previous one and it is not the last. The
            // corrector has the order of the step that it corrects, which is never the last.
            let corrector = span(one).map(|last| last.corrector(span(i.checked_sub(2))));
            let predictor = this.predictor(if i + 1 < steps.len() { span(one) } else { None });
            SolverStep::Unipc {
                sigma: step.tau.min(NOISIEST) as f32,
                corrector: corrector.map(|c| c.map(|c| c as f32)),
                predictor: predictor.map(|p| p as f32),
            }
        })
        .collect()
}

/// Proves that the lengths of sample and velocity (`lens`) and of the history's buffers fit each
/// other and the step.
///
/// # Errors
/// `Usage`.
pub fn check(
    step: &SolverStep,
    lens: [usize; 2],
    history: impl ExactSizeIterator<Item = usize>,
    width: usize,
    channels: &[usize],
) -> Result<()> {
    let [x, velocity] = lens;
    let (buffers, rows) = (history.len(), width != 0 && x.is_multiple_of(width) && channels.iter().all(|&c| c < width));
    if rows && velocity == x && buffers == step.history_len() && { history }.all(|len| len == x) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, "sample, velocity and history do not fit")
        .got(format!("{x} and {velocity} numbers, {buffers} buffers, rows of {width}"))
        .wanted(format!("equal lengths of whole rows, channels inside a row, {} buffers", step.history_len())))
}

/// Applies one step to `x`, in place, for `channels` of each row of `width` numbers. Other channels
/// of `x` and `history` do not change.
///
/// # Errors
/// `Output`, with row and channel, when a velocity is not finite; `x` and `history` are then
/// unspecified. `Usage` when lengths differ, are no multiple of the width, or the history has
/// another length than [`SolverStep::history_len`].
pub fn apply(
    step: &SolverStep,
    x: &mut [f32],
    velocity: &[f32],
    history: &mut [&mut [f32]],
    width: usize,
    channels: &[usize],
) -> Result<()> {
    check(step, [x.len(), velocity.len()], history.iter().map(|h| h.len()), width, channels)?;
    for row in 0..x.len() / width {
        for &channel in channels {
            let at = row * width + channel;
            let v = velocity[at];
            if !v.is_finite() {
                return Err(Error::new(ErrorKind::Output, "a velocity is not finite").at(format!("row {row}, channel {channel}")).got(v));
            }
            match (step, &mut *history) {
                (&SolverStep::Euler { span }, _) => x[at] += span * v,
                (SolverStep::Unipc { sigma, corrector, predictor }, [last, m1, m2]) => {
                    let m0 = x[at] - sigma * v;
                    let corrected = match corrector {
                        Some(c) => c[0] * last[at] + c[1] * m1[at] + unless_zero(c[2], m2[at]) + c[3] * m0,
                        None => x[at],
                    };
                    x[at] = predictor[0] * corrected + predictor[1] * m0 + unless_zero(predictor[2], m1[at]);
                    (last[at], m2[at], m1[at]) = (corrected, m1[at], m0);
                }
                // `check` proved the history's length.
                (SolverStep::Unipc { .. }, _) => {}
            }
        }
    }
    Ok(())
}

fn unless_zero(coefficient: f32, value: f32) -> f32 {
    if coefficient == 0.0 { 0.0 } else { coefficient * value }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::{VideoEnd, action_steps, video_steps};
    use super::*;

    const KINDS: [SolverKind; 2] = [SolverKind::Euler, SolverKind::Unipc];

    /// Steps `x` along a plan. The history begins with NaN, which must not be read.
    fn run(kind: SolverKind, path: &[Step], x: &mut [f32], velocity: impl Fn(f64, &[f32]) -> Vec<f32>, width: usize, channels: &[usize]) {
        let mut buffers = vec![vec![f32::NAN; x.len()]; history_len(kind)];
        for (step, constants) in path.iter().zip(plan(kind, path).unwrap()) {
            let v = velocity(step.tau, x);
            let mut history: Vec<&mut [f32]> = buffers.iter_mut().map(Vec::as_mut_slice).collect();
            apply(&constants, x, &v, &mut history, width, channels).unwrap();
        }
    }

    fn one(tau: f64, tau_next: f64) -> SolverStep {
        plan(SolverKind::Euler, &[Step { tau, tau_next }]).unwrap()[0]
    }

    #[test]
    fn every_solver_is_exact_on_a_straight_path() {
        let (data, noise) = ([0.5f32, -2.0, 3.0], [1.0f32, 0.25, -1.5]);
        let velocity: Vec<f32> = data.iter().zip(&noise).map(|(x, e)| e - x).collect();
        for kind in KINDS {
            for (path, end) in [
                (action_steps(10, 1.0), 0.0f32),
                (action_steps(1, 3.0), 0.0),
                (action_steps(2, 3.0), 0.0),
                (video_steps(3, 5.0, VideoEnd::Tau(0.6)), 0.6),
                (video_steps(1, 5.0, VideoEnd::Tau(0.6)), 0.6),
            ] {
                let mut x = noise;
                run(kind, &path, &mut x, |_, _| velocity.clone(), 3, &[0, 1, 2]);
                for i in 0..3 {
                    let wanted = (1.0 - end) * data[i] + end * noise[i];
                    // UniPC starts a millionth below pure noise, as in diffusers.
                    assert!((x[i] - wanted).abs() < 5e-6, "{kind:?}, {} steps: {} for {wanted}", path.len(), x[i]);
                }
            }
        }
    }

    #[test]
    fn masked_channels_stay_as_they_were() {
        for kind in KINDS {
            let mut x = [0.0f32; 6];
            run(kind, &action_steps(3, 1.0), &mut x, |_, _| vec![1.0; 6], 3, &[1]);
            assert!((x[1] + 1.0).abs() < 5e-6 && x[1] == x[4], "{kind:?}: {x:?}");
            assert_eq!([x[0], x[2], x[3], x[5]], [0.0; 4]);
        }
    }

    #[test]
    fn a_velocity_that_is_not_finite_is_an_error_with_its_place() {
        let mut x = [0.0f32; 4];
        let error = apply(&one(1.0, 0.5), &mut x, &[0.0, 0.0, f32::NAN, 0.0], &mut [], 2, &[0, 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Output);
        assert!(error.to_string().contains("row 1, channel 0"), "{error}");
        assert!(apply(&one(1.0, 0.5), &mut x, &[0.0, 0.0, f32::NAN, 0.0], &mut [], 2, &[1]).is_ok(), "a masked channel is not looked at");
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let unipc = plan(SolverKind::Unipc, &action_steps(1, 1.0)).unwrap()[0];
        let (mut x, mut a, mut b, mut short) = ([0.0f32; 4], [0.0f32; 4], [0.0f32; 4], [0.0f32; 3]);
        assert!(apply(&unipc, &mut x, &[0.0; 4], &mut [], 2, &[0]).unwrap_err().to_string().contains("3 buffers"));
        assert!(apply(&unipc, &mut x, &[0.0; 4], &mut [&mut a, &mut b, &mut short], 2, &[0]).is_err());
        for (velocity, width, channel) in [(3, 2, 0), (4, 0, 0), (4, 3, 0), (4, 2, 2)] {
            assert!(apply(&one(1.0, 0.0), &mut x, &vec![0.0; velocity], &mut [], width, &[channel]).is_err());
        }
    }

    #[test]
    fn levels_that_do_not_fall_are_refused() {
        let step = |tau, tau_next| Step { tau, tau_next };
        for kind in KINDS {
            for path in [vec![step(0.5, 0.5)], vec![step(0.5, -0.1)], vec![step(1.0, 0.5), step(0.4, 0.0)], vec![step(f64::NAN, 0.0)]] {
                assert!(plan(kind, &path).is_err(), "{kind:?} {path:?}");
            }
        }
        assert!(plan(SolverKind::Unipc, &[step(1.0, 1.0 - 1e-7)]).is_err());
    }
}

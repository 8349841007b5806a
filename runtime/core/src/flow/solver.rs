//! Solvers: a solver computes the next sample from velocities, in place.
//!
//! [`plan`] computes the constants of every step once, in f64 (Warm). [`apply`] does one step: a
//! few multiplications for each element (Run). It is the reference for the kernels of a device. All
//! that a step knows of earlier steps is in the history buffers.
//!
//! UniPC is the second-order multistep predictor and corrector of Zhao et al. 2023, with
//! B(h) = e^h − 1, on predictions of the data. The implementation follows diffusers'
//! `UniPCMultistepScheduler` (`flow_prediction`, `use_flow_sigmas`, order 2, `bh2`). With
//! α = 1 − σ, λ = ln(α/σ), h = λ' − λ and E = e^(−h) − 1, a predictor step from σ to σ' is
//!
//! ```text
//! x' = (σ'/σ)·x − α'·E·(m0 + (m1 − m0)/(2r)), r = −h_before/h,
//! ```
//!
//! where h_before is the h of the earlier step. Each step is thus a linear combination of the
//! sample and the last predictions of the data.

use super::schedule::Step;
use crate::config::SolverKind;
use crate::error::{Error, ErrorKind, Result};

/// The noise level that replaces pure noise in UniPC's logarithms, as in diffusers. At exactly 1,
/// the share of the data is 0 and λ is undefined. The engine still gets the schedule's own flow
/// time.
const NOISIEST: f64 = 1.0 - 1e-6;

/// The constants of one step, in the precision of the samples. A term with a coefficient of zero is
/// left out, whatever its buffer holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SolverStep {
    /// x ← x + span·v (paper section 4.2).
    Euler {
        /// τ' − τ.
        span: f32,
    },
    /// m0 = x − sigma·v. x_c is the corrector over (last, m1, m2, m0), or x without a corrector. x'
    /// is the predictor over (x_c, m0, m1). Then last ← x_c, m2 ← m1, m1 ← m0, x ← x'. The history
    /// buffers are (last, m1, m2).
    Unipc {
        /// The noise level σ at which the velocity was evaluated.
        sigma: f32,
        /// Coefficients of last, m1, m2, m0; `None` in the first step.
        corrector: Option<[f32; 4]>,
        /// Coefficients of x_c, m0, m1.
        predictor: [f32; 3],
    },
}

impl SolverStep {
    /// Number of history buffers, each as long as the sample, that the step reads and writes.
    pub fn history_len(&self) -> usize {
        match self {
            Self::Euler { .. } => 0,
            Self::Unipc { .. } => 3,
        }
    }
}

/// Number of history buffers, each as long as the sample, that `kind` keeps between steps. Their
/// contents before the first step of a plan are never read.
pub fn history_len(kind: SolverKind) -> usize {
    match kind {
        SolverKind::Euler => 0,
        SolverKind::Unipc => 3,
    }
}

/// The constants of `steps` for the solver `kind`. UniPC's last step is of first order, at whatever
/// level it ends.
///
/// # Errors
/// `Config` when the levels do not fall strictly, a step does not begin where the last one ended,
/// or a UniPC step ends so near to pure noise (within 1e-6) that its length is not positive.
pub fn plan(kind: SolverKind, steps: &[Step]) -> Result<Vec<SolverStep>> {
    if let Some((i, step)) = steps.iter().enumerate().find(|(i, s)| {
        let follows = i.checked_sub(1).and_then(|before| steps.get(before)).is_none_or(|before| before.tau_next == s.tau);
        let start = if kind == SolverKind::Unipc { s.tau.min(NOISIEST) } else { s.tau };
        !(follows && s.tau_next >= 0.0 && s.tau_next < start && s.tau <= 1.0)
    }) {
        return Err(Error::new(ErrorKind::Config, "not a valid step of a schedule")
            .at(format!("step {i}"))
            .got(format!("{} to {}", step.tau, step.tau_next))
            .wanted("levels that fall from at most 1 to at least 0; each step begins where the last one ended"));
    }
    Ok(match kind {
        SolverKind::Euler => steps.iter().map(|s| SolverStep::Euler { span: (s.tau_next - s.tau) as f32 }).collect(),
        SolverKind::Unipc => unipc(steps),
    })
}

/// The terms that the predictor and the corrector of one step share.
struct Span {
    /// σ'/σ, the weight of the sample.
    keep: f64,
    /// −α'·E, the weight of the data.
    gain: f64,
    /// h = λ' − λ.
    h: f64,
}

impl Span {
    fn new(from: f64, to: f64) -> Self {
        let lambda = |sigma: f64| libm::log(1.0 - sigma) - libm::log(sigma);
        let h = lambda(to) - lambda(from);
        Self { keep: to / from, gain: -(1.0 - to) * libm::expm1(-h), h }
    }

    /// The predictor's coefficients of (x, m0, m1). `before` is the step before, in a step of
    /// second order.
    fn predictor(&self, before: Option<&Self>) -> [f64; 3] {
        // slope = 1/(2r), r = −h_before / h: as published, the weight of the second-order term is
        // simplified to 1/2.
        let slope = before.map_or(0.0, |b| -0.5 * self.h / b.h);
        [self.keep, self.gain * (1.0 - slope), self.gain * slope]
    }

    /// The corrector's coefficients of (last, m1, m2, m0). It repeats the step, now with the data
    /// predicted at its end.
    fn corrector(&self, before: Option<&Self>) -> [f64; 4] {
        let Some(before) = before else {
            return [self.keep, 0.5 * self.gain, 0.0, 0.5 * self.gain];
        };
        let (r, hh) = (-before.h / self.h, -self.h);
        let e = libm::expm1(hh);
        let phi = e / hh - 1.0;
        // The two order conditions: ρ0 + ρ1 = b0 and r·ρ0 + ρ1 = b1.
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
            // A step is of second order if there is a step before it and it is not the last. The
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

/// Checks that the lengths of a sample, its velocity (`lens`) and the history buffers match each
/// other and the step.
///
/// # Errors
/// `Usage` when they do not.
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
    Err(Error::new(ErrorKind::Usage, "the lengths of sample, velocity and history do not match")
        .got(format!("{x} and {velocity} numbers, {buffers} buffers, rows of {width}"))
        .wanted(format!("equal lengths of whole rows, channels inside a row, {} buffers", step.history_len())))
}

/// Does one step of `x`, in place. In each row of `width` numbers, only `channels` are stepped. The
/// others keep their values, in `x` and in `history`.
///
/// # Errors
/// `Output`, with row and channel, when a velocity is not finite; `x` and `history` are then
/// unspecified and must be dropped. `Usage` when lengths differ or are not multiples of the width,
/// a channel is outside of a row, or the number of history buffers is not
/// [`SolverStep::history_len`].
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
                // `check` has verified the number of buffers.
                (SolverStep::Unipc { .. }, _) => {}
            }
        }
    }
    Ok(())
}

/// `coefficient` · `value`, or 0 for a coefficient of 0 even if `value` is not finite.
fn unless_zero(coefficient: f32, value: f32) -> f32 {
    if coefficient == 0.0 { 0.0 } else { coefficient * value }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::{VideoEnd, action_steps, video_steps};
    use super::*;

    const KINDS: [SolverKind; 2] = [SolverKind::Euler, SolverKind::Unipc];

    /// Steps `x` through a plan. The history begins as NaN, which shows any read before the first
    /// write.
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
                    // UniPC starts 1e-6 below pure noise, as diffusers does.
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

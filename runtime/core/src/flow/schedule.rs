//! The flow times at which a stream is denoised.
//!
//! A schedule is a list of [`Step`]s, plain values that a sampler may drop or replace. Levels are
//! shifted towards noise by σ(u) = s·u / (1 + (s − 1)·u), where u falls from 1 in equal steps, as
//! in LingBot-VA's `FlowMatchScheduler` and diffusers' `FlowMatchEulerDiscreteScheduler`.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// One step of a solver, from `tau` down to `tau_next`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Flow time of the velocity.
    pub tau: f64,
    /// Flow time at the end of the step.
    pub tau_next: f64,
}

/// Where the video's denoising stops. There are three readings: the paper says "from τ = 1 to τ =
/// 0.6" (section 4.2), the argument of its code is called `video_denoise_fraction`, and its code
/// base executes the first steps of a longer schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum VideoEnd {
    /// Stop at this flow time: the literal reading.
    Tau(f64),
    /// Denoise this fraction of the path, and stop at one minus it.
    DenoiseFraction(f64),
    /// Execute the first steps of a schedule of `of` steps.
    ExecSteps {
        /// Steps of the whole schedule.
        of: usize,
    },
}

impl VideoEnd {
    /// Proves that a schedule of `steps` steps can end here.
    ///
    /// # Errors
    /// `Config` when the end is outside [0, 1), or the whole schedule is shorter than `steps`.
    pub fn check(&self, steps: usize) -> Result<()> {
        let bad = |got: String, wanted: &str| Err(Error::new(ErrorKind::Config, "out of range").got(got).wanted(wanted));
        match *self {
            Self::Tau(tau) if !(0.0..1.0).contains(&tau) => bad(tau.to_string(), "a flow time from 0 to below 1"),
            Self::DenoiseFraction(share) if !(share > 0.0 && share <= 1.0) => bad(share.to_string(), "a fraction above 0, at most 1"),
            Self::ExecSteps { of } if of < steps => bad(format!("{of} steps"), "at least as many as are executed"),
            _ => Ok(()),
        }
    }
}

/// σ(u) = s·u / (1 + (s − 1)·u).
pub fn shifted(u: f64, shift: f64) -> f64 {
    shift * u / (1.0 + (shift - 1.0) * u)
}

/// u of σ(u) = `sigma`.
fn unshifted(sigma: f64, shift: f64) -> f64 {
    sigma / (shift - (shift - 1.0) * sigma)
}

fn between(steps: usize, shift: f64, last_u: f64) -> Vec<Step> {
    // Exactly 1 at the start, without rounding: the first velocity is that of pure noise.
    let level = |i: usize| if i == 0 { 1.0 } else { shifted(1.0 + (last_u - 1.0) * i as f64 / steps as f64, shift) };
    (0..steps).map(|i| Step { tau: level(i), tau_next: level(i + 1) }).collect()
}

/// The action's steps, from noise to data.
pub fn action_steps(steps: usize, shift: f64) -> Vec<Step> {
    between(steps, shift, 0.0)
}

/// The video's steps, from noise to `end`.
pub fn video_steps(steps: usize, shift: f64, end: VideoEnd) -> Vec<Step> {
    let to = |tau: f64| {
        let mut path = between(steps, shift, unshifted(tau, shift));
        if let Some(last) = path.last_mut() {
            last.tau_next = tau;
        }
        path
    };
    match end {
        VideoEnd::Tau(tau) => to(tau),
        VideoEnd::DenoiseFraction(share) => to(1.0 - share),
        VideoEnd::ExecSteps { of } => between(of, shift, 0.0).into_iter().take(steps).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(end: VideoEnd) -> f64 {
        video_steps(3, 5.0, end).last().unwrap().tau_next
    }

    #[test]
    fn the_three_readings_of_the_paper_s_video_end_are_three_noise_levels() {
        assert_eq!(end_of(VideoEnd::Tau(0.6)), 0.6);
        assert_eq!(end_of(VideoEnd::DenoiseFraction(0.6)), 0.4);
        assert!((end_of(VideoEnd::ExecSteps { of: 5 }) - 0.769_230_769).abs() < 1e-9);
    }

    #[test]
    fn steps_are_contiguous_and_fall_from_noise() {
        for path in
            [action_steps(10, 1.0), action_steps(5, 0.05), video_steps(3, 5.0, VideoEnd::Tau(0.6)), video_steps(1, 2.0, VideoEnd::Tau(0.0))]
        {
            assert_eq!(path[0].tau, 1.0);
            assert!(path.iter().all(|s| s.tau_next < s.tau));
            assert!(path.windows(2).all(|w| w[0].tau_next == w[1].tau));
        }
        assert_eq!(action_steps(10, 3.0).last().unwrap().tau_next, 0.0);
    }

    /// diffusers 0.42.1, `FlowMatchEulerDiscreteScheduler(shift=5.0)` fed with `linspace(1, 0,
    /// 6)[:-1]`: its sigmas.
    #[test]
    fn levels_equal_those_of_diffusers() {
        let wanted = [1.0, 0.952_380_95, 0.882_352_94, 0.769_230_77, 0.555_555_56, 0.0];
        let path = action_steps(5, 5.0);
        for (step, pair) in path.iter().zip(wanted.windows(2)) {
            assert!((step.tau - pair[0]).abs() < 1e-6 && (step.tau_next - pair[1]).abs() < 1e-6, "{step:?} {pair:?}");
        }
    }

    #[test]
    fn an_end_that_cannot_be_reached_is_refused_with_what_was_wanted() {
        for (end, word) in
            [(VideoEnd::Tau(1.0), "below 1"), (VideoEnd::DenoiseFraction(0.0), "above 0"), (VideoEnd::ExecSteps { of: 2 }, "2 steps")]
        {
            let error = end.check(3).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(VideoEnd::Tau(f64::NAN).check(3).is_err());
    }
}

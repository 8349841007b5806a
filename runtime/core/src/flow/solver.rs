//! How a step is taken: a solver turns velocities into the next sample, in place.

use super::schedule::Step;
use crate::error::{Error, ErrorKind, Result};

/// One Euler step: x ← x + (τ' − τ)·v (paper section 4.2). `channels` masks each row of `width` numbers: the others are held at zero.
///
/// # Errors
/// `Output`, with the index, when a velocity is not finite; `x` is then unspecified and must be dropped. `Usage` when lengths differ or are no
/// multiple of the width.
pub fn euler(step: Step, x: &mut [f32], velocity: &[f32], width: usize, channels: &[usize]) -> Result<()> {
    if x.len() != velocity.len() || width == 0 || !x.len().is_multiple_of(width) || channels.iter().any(|&c| c >= width) {
        return Err(Error::new(ErrorKind::Usage, "sample and velocity do not fit")
            .got(format!("{} and {} numbers, rows of {width}", x.len(), velocity.len()))
            .wanted("equal lengths of whole rows, channels inside a row"));
    }
    let span = (step.tau_next - step.tau) as f32;
    for (row, (x, velocity)) in x.chunks_exact_mut(width).zip(velocity.chunks_exact(width)).enumerate() {
        for &channel in channels {
            let v = velocity[channel];
            if !v.is_finite() {
                return Err(Error::new(ErrorKind::Output, "a velocity is not finite").at(format!("row {row}, channel {channel}")).got(v));
            }
            x[channel] += span * v;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::schedule::{VideoEnd, action_steps, video_steps};
    use super::*;

    #[test]
    fn euler_is_exact_on_a_straight_path() {
        let (data, noise) = ([0.5f32, -2.0, 3.0], [1.0f32, 0.25, -1.5]);
        let velocity: Vec<f32> = data.iter().zip(&noise).map(|(x, e)| e - x).collect();
        for (path, end) in [(action_steps(10, 1.0), 0.0f32), (video_steps(3, 5.0, VideoEnd::Tau(0.6)), 0.6)] {
            let mut x = noise;
            for step in path {
                euler(step, &mut x, &velocity, 3, &[0, 1, 2]).unwrap();
            }
            for i in 0..3 {
                assert!((x[i] - ((1.0 - end) * data[i] + end * noise[i])).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn masked_channels_stay_as_they_were() {
        let mut x = [0.0f32; 6];
        euler(Step { tau: 1.0, tau_next: 0.0 }, &mut x, &[1.0; 6], 3, &[1]).unwrap();
        assert_eq!(x, [0.0, -1.0, 0.0, 0.0, -1.0, 0.0]);
    }

    #[test]
    fn a_velocity_that_is_not_finite_is_an_error_with_its_place() {
        let mut x = [0.0f32; 4];
        let error = euler(Step { tau: 1.0, tau_next: 0.5 }, &mut x, &[0.0, 0.0, f32::NAN, 0.0], 2, &[0, 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Output);
        assert!(error.to_string().contains("row 1, channel 0"), "{error}");
    }
}

//! Schedules and solvers equal diffusers' (`export/drivewam_export/fixtures/schedulers.py`) on a
//! nonlinear velocity.

use super::schedule::{Step, VideoEnd, action_steps, video_steps};
use super::solver::{apply, history_len, plan};
use crate::config::SolverKind;
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    start: Vec<f32>,
    euler: Vec<Case>,
    unipc: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    shift: f64,
    steps: usize,
    /// The end of UniPC's schedule.
    #[serde(default)]
    end: f64,
    levels: Vec<f64>,
    /// Samples after each step.
    samples: Vec<Vec<f64>>,
    /// The last sample with the scheduler's f32 levels.
    stock: Option<Vec<f64>>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../../tests/fixtures/schedulers.json")).unwrap()
}

fn velocity(x: &[f32], tau: f64) -> Vec<f32> {
    (0..x.len())
        .map(|i| {
            let (x, next) = (f64::from(x[i]), f64::from(x[(i + 1) % x.len()]));
            (libm::sin(2.0 * x) + 0.5 * libm::cos(3.0 * tau) * next - tau * x) as f32
        })
        .collect()
}

/// Largest difference, relative to the largest value.
fn difference(got: &[f32], wanted: &[f64]) -> f64 {
    let largest = wanted.iter().fold(0.0f64, |a, w| a.max(w.abs()));
    got.iter().zip(wanted).fold(0.0f64, |a, (g, w)| a.max((f64::from(*g) - w).abs())) / largest
}

/// Our samples after each step.
fn run(kind: SolverKind, path: &[Step], start: &[f32]) -> Vec<Vec<f32>> {
    let mut x = start.to_vec();
    let mut buffers = vec![vec![f32::NAN; x.len()]; history_len(kind)];
    let channels: Vec<usize> = (0..x.len()).collect();
    let mut samples = Vec::new();
    for (step, constants) in path.iter().zip(plan(kind, path).unwrap()) {
        let v = velocity(&x, step.tau);
        let mut history: Vec<&mut [f32]> = buffers.iter_mut().map(Vec::as_mut_slice).collect();
        apply(&constants, &mut x, &v, &mut history, start.len(), &channels).unwrap();
        samples.push(x.clone());
    }
    samples
}

/// Levels and samples, all failing cases listed.
fn compare(kind: SolverKind, cases: &[Case], start: &[f32]) {
    let mut failures = Vec::new();
    for case in cases {
        let path = if case.end == 0.0 {
            action_steps(case.steps, case.shift)
        } else {
            video_steps(case.steps, case.shift, VideoEnd::Tau(case.end))
        };
        let levels: Vec<f32> = path.iter().map(|s| s.tau).chain(path.last().map(|s| s.tau_next)).map(|l| l as f32).collect();
        let samples = run(kind, &path, start);
        assert_eq!((levels.len(), samples.len()), (case.levels.len(), case.samples.len()));
        let worst = samples
            .iter()
            .zip(&case.samples)
            .map(|(got, wanted)| difference(got, wanted))
            .fold(difference(&levels, &case.levels), f64::max);
        if worst > 1e-6 {
            failures.push(format!("{kind:?}, shift {}, {} steps, to {}: {worst:e}", case.shift, case.steps, case.end));
        }
        // f32 represents α of the first level, a millionth, to one percent: the scheduler's
        // rounding, not ours.
        if let Some(stock) = &case.stock {
            let far = difference(samples.last().unwrap(), stock);
            if far > 2e-5 {
                failures.push(format!("{kind:?} beside the untouched scheduler, shift {}, {} steps: {far:e}", case.shift, case.steps));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn euler_takes_the_steps_of_diffusers() {
    let fixture = fixture();
    assert_eq!(fixture.euler.len(), 16);
    compare(SolverKind::Euler, &fixture.euler, &fixture.start);
}

#[test]
fn unipc_takes_the_steps_of_diffusers_to_zero_and_to_a_partial_end() {
    let fixture = fixture();
    assert_eq!(fixture.unipc.len(), 32);
    compare(SolverKind::Unipc, &fixture.unipc, &fixture.start);
}

#[test]
fn unipc_needs_fewer_steps_than_euler_for_the_same_closeness() {
    let start = fixture().start;
    let end = |kind, steps| run(kind, &action_steps(steps, 1.0), &start).pop().unwrap();
    let fine: Vec<f64> = end(SolverKind::Euler, 5000).iter().map(|&x| f64::from(x)).collect();
    let (euler, unipc) = (difference(&end(SolverKind::Euler, 20), &fine), difference(&end(SolverKind::Unipc, 20), &fine));
    assert!(unipc < 0.3 * euler, "Euler {euler}, UniPC {unipc}");
}

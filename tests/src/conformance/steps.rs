//! Solver steps against those of core.

use super::Make;
use drivewam_core::ErrorKind;
use drivewam_core::arena::{Planner, Region};
use drivewam_core::config::SolverKind;
use drivewam_core::dtype::DType;
use drivewam_core::flow::schedule::action_steps;
use drivewam_core::flow::solver::{SolverStep, apply, history_len, plan};
use drivewam_core::noise::{Stream, standard_normal};
use drivewam_device::Device;

const ROWS: usize = 5;
const WIDTH: usize = 9;
/// The channels to step; the other two stay unchanged.
const CHANNELS: [usize; 7] = [0, 1, 2, 4, 5, 7, 8];

/// Regions of x, velocity, and three of history.
fn five(make: Make) -> (Box<dyn Device>, [Region; 5]) {
    let mut planner = Planner::new();
    let regions = ["x", "velocity", "last", "m1", "m2"].map(|name| planner.add("sampler", name, DType::F32, &[ROWS, WIDTH]).unwrap());
    ((make.device)(planner.finish(1 << 20).unwrap()).unwrap(), regions)
}

/// Breaks if a device steps other channels, reads history of weight zero, or shifts the history
/// wrongly.
pub fn a_step_of_every_solver_is_the_step_of_core(make: Make) {
    for kind in [SolverKind::Euler, SolverKind::Unipc] {
        let (mut device, [x, v, history @ ..]) = five(make);
        let history = &history[..history_len(kind)];
        let mut wanted = vec![0.0; ROWS * WIDTH];
        standard_normal(1, 0, Stream::Video, &mut wanted);
        device.upload(x, &wanted).unwrap();
        let mut buffers = vec![vec![f32::NAN; ROWS * WIDTH]; history.len()];
        for region in history {
            device.fill(*region, f32::NAN).unwrap();
        }
        for (i, step) in (1u64..).zip(plan(kind, &action_steps(6, 2.0)).unwrap()) {
            let mut velocity = vec![0.0; ROWS * WIDTH];
            standard_normal(1, i, Stream::Video, &mut velocity);
            device.upload(v, &velocity).unwrap();
            device.solve(&step, x, v, history, WIDTH, &CHANNELS).unwrap();
            let mut held: Vec<&mut [f32]> = buffers.iter_mut().map(Vec::as_mut_slice).collect();
            apply(&step, &mut wanted, &velocity, &mut held, WIDTH, &CHANNELS).unwrap();
            for (name, region, wanted) in
                [("x", &x, &wanted)].into_iter().chain(history.iter().zip(&buffers).map(|(r, b)| ("history", r, b)))
            {
                let mut got = vec![0.0; ROWS * WIDTH];
                device.download(*region, &mut got).unwrap();
                for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
                    let close = (got - wanted).abs() <= 1e-5 * wanted.abs().max(1.0) || (got.is_nan() && wanted.is_nan());
                    assert!(close, "{kind:?}, step {i}, {name}, element {at}: {got} for {wanted}");
                }
            }
        }
    }
}

/// Breaks if an engine's output that is not finite reaches the sample, or a shape is not checked.
pub fn a_velocity_that_is_not_finite_is_an_output_error(make: Make) {
    let (mut device, [x, v, last, m1, m2]) = five(make);
    let euler = SolverStep::Euler { span: -0.5 };
    let unipc = plan(SolverKind::Unipc, &action_steps(1, 1.0)).unwrap()[0];
    for bad in [f32::NAN, f32::INFINITY] {
        let mut velocity = vec![0.0; ROWS * WIDTH];
        velocity[3 * WIDTH + 4] = bad;
        device.upload(v, &velocity).unwrap();
        for (step, history) in [(euler, &[][..]), (unipc, &[last, m1, m2])] {
            let error = device.solve(&step, x, v, history, WIDTH, &CHANNELS).and_then(|()| device.synchronize()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Output);
            assert!(error.to_string().contains("row 3, channel 4"), "{error}");
            assert!(
                device.solve(&step, x, v, history, WIDTH, &[3]).and_then(|()| device.synchronize()).is_ok(),
                "a channel that is not stepped is not checked"
            );
        }
    }
    device.fill(v, 0.0).unwrap();
    for (step, history, width, channels) in [
        (euler, &[last, m1, m2][..], WIDTH, &[0][..]),
        (unipc, &[], WIDTH, &[0]),
        (unipc, &[last, m1], WIDTH, &[0]),
        (unipc, &[last, m1, m1], WIDTH, &[0]),
        (euler, &[], 7, &[0]),
        (euler, &[], WIDTH, &[WIDTH]),
    ] {
        assert_eq!(
            device.solve(&step, x, v, history, width, channels).unwrap_err().kind(),
            ErrorKind::Usage,
            "{step:?} {history:?} {width}"
        );
    }
}

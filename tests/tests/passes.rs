//! Packed passes equal the published loop: 14 passes per chunk give the same result as 16, with the
//! same slots kept, and a leaking mask is detected.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam::{Plan, Ride, RideOptions, SourceCamera, load_config};
use drivewam_core::config::{Config, Layer};
use drivewam_device::HostDevice;
use drivewam_engine::closed_form::{self, ClosedForm, Fault, Options};
use drivewam_engine::{EngineBundle, Trust};
use drivewam_tests::drive;
use std::path::Path;

fn config(set: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml");
    load_config(&path, &[Layer { name: "test".to_owned(), text: set.to_owned() }]).unwrap()
}

fn plan(config: &Config, bundle: &EngineBundle) -> Plan {
    let camera = SourceCamera::of_model(&config.model);
    Plan::new(config.clone(), bundle.manifest(), camera, RideOptions::EVALUATION).unwrap()
}

fn trained(set: &str) -> Ride {
    let config = config(set);
    let bundle = EngineBundle::open(config.engine.folder.as_ref(), &Trust::default()).unwrap();
    plan(&config, &bundle).warm(bundle).unwrap()
}

fn closed_form(set: &str, fault: Option<Fault>) -> Ride {
    let config = config(set);
    let bundle = closed_form::bundle(&config.model).unwrap();
    let options = Options { fault, ..Options::default() };
    let device = |arena| Ok(Box::new(HostDevice::new(arena, 1)?) as Box<_>);
    plan(&config, &bundle).warm_with(bundle, device, |bundle, graph| Ok(Box::new(ClosedForm::open(bundle, graph, options)?))).unwrap()
}

/// Drives a simulated world. Returns all numbers of all trajectories, and the passes of the last
/// chunk.
fn drive(mut ride: Ride, chunks: usize) -> (Vec<f64>, u32) {
    let driven = drive::drive(&mut ride, chunks).unwrap();
    assert_eq!(driven.poses.len(), chunks * 40);
    (driven.numbers(), driven.passes)
}

/// Largest difference, relative to the largest absolute value.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    let scale = b.iter().fold(1e-9f64, |m, x| m.max(x.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f64::max)
}

fn with(passes: &str, policy: &str, more: &str) -> String {
    format!("{{memory: {{policy: {policy}}}, flow: {{passes: {passes}{more}}}}}")
}

/// Compares packed with single passes for several settings; `make` warms up a ride with settings.
fn packed_equals_unpacked(name: &str, make: fn(&str) -> Ride) {
    for (policy, more) in [
        ("fifo", ""),
        ("selective", ""),
        ("fifo", ", video_commit: zero_time"),
        ("fifo", ", video_commit: last_step"),
        ("fifo", ", solver: unipc"),
    ] {
        let (packed, fewer) = drive(make(&with("packed", policy, more)), 8);
        let (unpacked, more_passes) = drive(make(&with("unpacked", policy, more)), 8);
        let worst = difference(&packed, &unpacked);
        println!("{name}, {policy}{more}: {fewer} passes against {more_passes}, largest relative difference {worst:.1e}");
        let wanted = if more.contains("last_step") { (14, 15) } else { (14, 16) };
        assert_eq!((fewer, more_passes), wanted);
        assert!(worst <= 1e-5, "{name}, {policy}{more}: {worst:.1e}");
    }
}

/// Breaks when a flow time, a self-attention scale, a slot of the tail or a mask differs between
/// packed and single passes of the trained network.
#[test]
fn packed_passes_equal_the_unpacked_loop() {
    packed_equals_unpacked("tiny", trained);
}

/// The same for passes in closed form.
#[test]
fn packed_passes_in_closed_form_equal_the_unpacked_loop() {
    packed_equals_unpacked("closed form", |set| closed_form(set, None));
}

/// Proves that the tests above can fail: a mask that lets video tokens see the action tokens of
/// their pass changes the result.
#[test]
fn a_mask_that_leaks_makes_packed_passes_differ() {
    let (packed, _) = drive(closed_form(&with("packed", "fifo", ""), Some(Fault::LeakyMask)), 8);
    let (unpacked, _) = drive(closed_form(&with("unpacked", "fifo", ""), Some(Fault::LeakyMask)), 8);
    let worst = difference(&packed, &unpacked);
    println!("leaky mask: largest relative difference {worst:.1e}");
    assert!(worst > 1e-3, "{worst:.1e}");
}

/// Breaks when a ride depends on the number of threads, on time, or on earlier computations.
#[test]
fn the_same_inputs_give_the_same_bits() {
    let (first, _) = drive(trained("{memory: {policy: selective}}"), 8);
    let (second, _) = drive(trained("{memory: {policy: selective}, target: {threads: 1}}"), 8);
    assert!(first.iter().zip(&second).all(|(a, b)| a.to_bits() == b.to_bits()));
    let (other, _) = drive(trained("{memory: {policy: selective}, flow: {seed: 1}}"), 8);
    assert!(difference(&first, &other) > 1e-6, "the noise seed has no effect");
}

/// The first video that a ride shows, decoded.
fn first_future(set: &str) -> Vec<f64> {
    let config = config(set);
    let bundle = EngineBundle::open(config.engine.folder.as_ref(), &Trust::default()).unwrap();
    let options = RideOptions { decoder: true, ..RideOptions::default() };
    let camera = SourceCamera::of_model(&config.model);
    let mut ride = Plan::new(config, bundle.manifest(), camera, options).unwrap().warm(bundle).unwrap();
    drive::drive(&mut ride, 1).unwrap();
    ride.future().unwrap().iter().map(|x| f64::from(*x)).collect()
}

/// Breaks when the imagined video is shown with the noise that its denoising leaves, or the rest of
/// the way to the data is followed in another direction. From one velocity, a step to flow time 0
/// and a shorter one lead to the same data.
#[test]
fn the_video_is_shown_without_the_noise_that_is_left() {
    let to = |end: &str, more: &str| first_future(&format!("{{flow: {{video: {{steps: 1, shift: 2.0, end: {{tau: {end}}}}}{more}}}}}"));
    let whole = to("0.0", ", video_commit: last_step");
    for end in ["0.3", "0.6", "0.9"] {
        let worst = difference(&to(end, ", video_commit: last_step"), &whole);
        assert!(worst <= 1e-4, "to {end}: {worst:.1e}");
    }
    // The commit's pass sees the video where its denoising ends, so its velocity counts.
    let (packed, unpacked) = (to("0.6", ", passes: packed"), to("0.6", ", passes: unpacked"));
    assert!(difference(&packed, &unpacked) <= 1e-4 && difference(&packed, &whole) > 1e-3);
}

//! The policy at the wheel of drives that are written for training, and the expert beside it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam::{Plan, RideOptions, SourceCamera, load_config};
use drivewam_engine::closed_form::{self, ClosedForm};
use drivewam_simulation::PolicyDriver;
use drivewam_world::{Driver, Options, World};
use std::path::Path;

/// A driver on the closed form, whose plans look at nothing.
fn blind(expert_every: u64) -> PolicyDriver {
    let config = load_config(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml"), &[]).unwrap();
    let bundle = closed_form::bundle(&config.model).unwrap();
    let camera = SourceCamera::of_model(&config.model);
    let plan = Plan::new(config, bundle.manifest(), camera, RideOptions::EVALUATION).unwrap();
    let open = |bundle: &_, graph| Ok(Box::new(ClosedForm::open(bundle, graph, closed_form::Options::default())?) as Box<_>);
    PolicyDriver::new(plan.warm_engines(bundle, open).unwrap(), expert_every).unwrap()
}

/// Breaks if the policy does not drive, if nobody brings a lost car back, or if the expert does not
/// drive the drives that are its own.
#[test]
fn the_policy_drives_until_the_car_is_lost_and_the_expert_brings_it_back() {
    let drive = |driver: &mut PolicyDriver, seed: u64| {
        let mut world = World::new(seed, Options::default());
        driver.begin(&world).unwrap();
        let (mut off_m, mut others) = (Vec::new(), 0);
        for _ in 0..400 {
            let control = driver.control(&world).unwrap();
            others += u32::from(control != world.expert());
            world.step(control);
            off_m.push(world.place().1.abs());
        }
        (off_m, others)
    };
    let mut driver = blind(2);
    let (off_m, others) = drive(&mut driver, 3);
    assert!(others > 100, "{others} of 400 ticks were the policy's");
    let lost = off_m.iter().position(|m| *m > 3.0).unwrap();
    assert!(off_m.iter().all(|m| *m < 6.0) && off_m[lost..].iter().any(|m| *m < 0.5), "{off_m:?}");
    let (off_m, others) = drive(&mut driver, 4);
    assert!(others == 0 && off_m.iter().all(|m| *m < 1.0), "seed 4 is the expert's");
}

//! The shipped policy on held-out worlds, through the whole runtime: observed history, ten chunks a world, beside constant velocity and yaw rate.
//!
//! Seeds 0 to 9999 are never trained on. Runs 24 worlds; `DRIVEWAM_WORLDS=200` runs the number that the README reports, and
//! `DRIVEWAM_SET='memory: {policy: fifo}'` puts a layer on top of the shipped configuration.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam::ingest::EgoState;
use drivewam::{Plan, Progress, Ride, RideOptions, SourceCamera, load_config};
use drivewam_core::config::Layer;
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::{Displacement, Trajectory};
use drivewam_engine::Folder;
use drivewam_world::{Canvas, Options, World};
use std::path::Path;

const TICK_NS: i64 = 100_000_000;
const CHUNKS: usize = 10;
const POSES: usize = 40;

/// Displacement at 3 s and 4 s of the policy and of the baseline, for one chunk.
type Row = [[Displacement; 2]; 2];

/// What came out at a tick: the policy's plan and the baseline's.
type Plans = Vec<(usize, Trajectory, Trajectory)>;

fn drive(ride: &mut Ride, seed: u64) -> Vec<Row> {
    let model = ride.config().model.clone();
    let mut world = World::new(seed, Options::default());
    let mut canvas = Canvas::new(model.image.width, model.image.height, model.camera);
    let (mut poses, mut plans): (Vec<Pose2>, Plans) = (Vec::new(), Vec::new());
    // The ride's stamps go on from world to world; the jump in time begins a new rollout.
    let start = seed as i64 * 1_000_000_000_000;
    let mut command = None;
    for tick in 0..=CHUNKS * POSES {
        let (stamp, ego) = (start + tick as i64 * TICK_NS, world.ego());
        if command != Some(world.command()) {
            command = Some(world.command());
            ride.push_command(stamp, world.command()).unwrap();
        }
        let (speed_mps, acceleration_mps2, curvature_1pm) = (ego.speed_mps, ego.acceleration_mps2, ego.curvature_1pm);
        ride.push_ego(stamp, EgoState { speed_mps, acceleration_mps2, curvature_1pm }).unwrap();
        ride.push_pose(stamp, ego.pose).unwrap();
        poses.push(ego.pose);
        if tick % 10 == 0 && tick < CHUNKS * POSES {
            world.render(&mut canvas);
            ride.push_frame(stamp, &canvas.rgb).unwrap();
            if let Progress::Outcome(outcome) = ride.step(stamp).unwrap() {
                let mut constant = outcome.trajectory.clone();
                constant.set_constant(ego.speed_mps, ego.speed_mps * ego.curvature_1pm);
                plans.push((tick, outcome.trajectory.clone(), constant));
            }
        }
        world.step(world.expert());
    }
    plans
        .iter()
        .map(|(tick, policy, constant)| {
            let truth: Vec<Pose2> = poses[tick + 1..=tick + POSES].iter().map(|p| p.relative_to(&poses[*tick])).collect();
            [policy, constant].map(|plan| [3.0, 4.0].map(|horizon_s| plan.displacement(&truth, horizon_s).unwrap()))
        })
        .collect()
}

fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

#[test]
fn the_shipped_policy_is_at_least_a_quarter_better_than_constant_velocity_and_yaw_rate() {
    let worlds: u64 = std::env::var("DRIVEWAM_WORLDS").map_or(24, |n| n.parse().unwrap());
    let layer = |text| Layer { name: "DRIVEWAM_SET".to_owned(), text };
    let layers: Vec<Layer> = std::env::var("DRIVEWAM_SET").ok().map(layer).into_iter().collect();
    let config = load_config(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml"), &layers).unwrap();
    let folder = Folder::open(config.engine.folder.as_ref(), None).unwrap();
    let camera = SourceCamera::of_model(&config.model);
    let mut ride = Plan::new(config, folder.manifest(), camera, RideOptions::default()).unwrap().warm(&folder).unwrap();
    let drives: Vec<Vec<Row>> = (0..worlds).map(|seed| drive(&mut ride, seed)).collect();
    assert!(drives.iter().all(|rows| rows.len() == CHUNKS));
    // Chunks of a world are not independent: the standard error is over worlds.
    let of_worlds = |pick: &dyn Fn(&Row) -> f64| -> Vec<f64> {
        drives.iter().map(|rows| rows.iter().map(pick).sum::<f64>() / rows.len() as f64).collect()
    };
    let mut ade = [0.0; 2];
    for (who, name) in ["policy", "constant velocity and yaw rate"].into_iter().enumerate() {
        let mut line = format!("{name:32}");
        for (when, horizon) in ["3s", "4s"].into_iter().enumerate() {
            let (mean, error) = mean_and_error(&of_worlds(&|row| row[who][when].mean_m));
            let (last, last_error) = mean_and_error(&of_worlds(&|row| row[who][when].last_m));
            line += &format!("  ADE@{horizon} {mean:.3} ± {error:.3}  FDE@{horizon} {last:.3} ± {last_error:.3}");
            ade[who] = mean;
        }
        println!("{line}");
    }
    let better: Vec<f64> = of_worlds(&|row| row[1][1].mean_m - row[0][1].mean_m);
    let (gain, error) = mean_and_error(&better);
    println!(
        "{worlds} worlds x {CHUNKS} chunks: {:.1} % below, paired difference {gain:.3} ± {error:.3} m",
        100.0 * (1.0 - ade[0] / ade[1])
    );
    assert!(ade[0] <= 0.75 * ade[1], "ADE@4s {:.3} m against {:.3} m", ade[0], ade[1]);
}

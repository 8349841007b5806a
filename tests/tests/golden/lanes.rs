//! Four lanes against the reference, which runs four rollouts side by side
//! (`export/drivewam_export/golden.py --lanes 4`).

use super::{Golden, SECOND, TOLERANCE, Worst, commands, opened};
use drivewam::ndarray::ArrayView2;
use drivewam_core::action::Increment;
use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;
use drivewam_device::HostDevice;
use safetensors::SafeTensors;

const LANES: usize = 4;

/// The numbers of a tensor of f64, in rows of three.
fn rows(golden: &Golden, name: &str) -> Vec<[f64; 3]> {
    let file = SafeTensors::deserialize(&golden.bytes).unwrap();
    let numbers: Vec<f64> = file.tensor(name).unwrap().data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect();
    numbers.chunks_exact(3).map(|row| [row[0], row[1], row[2]]).collect()
}

/// Breaks if a lane's frames, poses, memory or context are not those of its own four seconds, or if
/// a lane computes in another's turn.
#[test]
fn every_chunk_of_four_lanes_equals_the_reference() {
    let (mut ride, golden, index) = opened("tiny-lanes", LANES, |arena| Ok(Box::new(HostDevice::new(arena, 2)?)));
    let (poses, ego, words) = (rows(&golden, "poses"), rows(&golden, "ego"), commands(&index));
    let frames = SafeTensors::deserialize(&golden.bytes).unwrap().tensor("frames").unwrap().data().to_vec();
    let size = 64 * 112 * 3;
    let (mut worst, mut commands_seen) = (Worst::default(), 1);
    for (second, frame) in frames.chunks_exact(size).enumerate() {
        let (lane, chunk) = (second % LANES, second as u64 / LANES as u64 + 1);
        for tick in (second * 10).saturating_sub(9)..=second * 10 {
            let stamp_ns = tick as i64 * SECOND / 10;
            let ([x, y, yaw], [speed_mps, acceleration_mps2, curvature_1pm]) = (poses[tick], ego[tick]);
            ride.push_pose(stamp_ns, Pose2::new(x, y, yaw)).unwrap();
            ride.push_ego(stamp_ns, EgoState { speed_mps, acceleration_mps2, curvature_1pm }).unwrap();
        }
        let stamp_ns = second as i64 * SECOND;
        if second == 0 || words[second - 1] != words[second] {
            ride.push_command(stamp_ns, words[second]).unwrap();
            commands_seen += usize::from(second > 0);
        }
        let name = format!("lane.{lane}.chunk.{chunk}");
        let noise = golden.tensor(&format!("{name}.video.noise")).unwrap();
        let noise = ArrayView2::from_shape((noise.len() / 96, 96), &noise).unwrap();
        ride.set_noise(noise, ArrayView2::from(&[[0.0; 96]; 8])).unwrap();
        ride.push_frame(stamp_ns, frame).unwrap();
        ride.step(stamp_ns).unwrap();
        let outcome = ride.outcome().unwrap();
        assert_eq!((outcome.lane, outcome.chunk, outcome.policy_t0_ns), (lane, chunk, Some(stamp_ns)));
        let wanted = golden.tensor(&format!("{name}.trajectory.increments")).unwrap();
        let mut got = vec![Increment::default(); wanted.len() / 3];
        outcome.trajectory.increments(&mut got).unwrap();
        let got: Vec<f32> = got.iter().flat_map(|i| [i.dx_m as f32, i.dy_m as f32, i.dyaw_rad as f32]).collect();
        worst.compare("trajectory", &got, &wanted);
    }
    let (difference, count) = worst.0["trajectory"];
    println!("{count} trajectories of {LANES} lanes, largest relative difference {difference:.1e}");
    assert_eq!((count, words.len()), (8 * LANES, 8 * LANES), "eight chunks a lane");
    assert!(commands_seen >= 2, "the route command must change");
    assert!(difference <= TOLERANCE);
}

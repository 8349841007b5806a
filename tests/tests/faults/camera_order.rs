//! A camera whose pictures come in reversed order, in a simulated world, and one whose pictures
//! come at the wrong time.

use super::car::Car;
use super::{SECOND, ride_with};
use drivewam::guard::Verdict;
use drivewam::{Progress, RideOptions};
use drivewam_core::bindings::Graph;
use drivewam_core::ego::EgoState;
use drivewam_core::pose::Pose2;
use drivewam_world::{Canvas, Options, World};

/// Pictures of a drive of 40 s, five a second, with the motion at each.
struct Clip {
    pictures: Vec<Vec<u8>>,
    motion: Vec<(EgoState, Pose2)>,
}

const TICKS: usize = 400;
/// Ticks of 100 ms between two pictures.
const PER_PICTURE: usize = 2;

impl Clip {
    fn of_world(seed: u64) -> Self {
        let model = ride_with(RideOptions::EVALUATION, "{}", Graph::Dit, None).config().model.clone();
        let mut canvas = Canvas::new(model.image.width, model.image.height, model.camera);
        let mut world = World::new(seed, Options::default());
        let mut clip = Self { pictures: Vec::new(), motion: Vec::new() };
        for tick in 0..TICKS {
            let ego = world.ego();
            let state = EgoState { speed_mps: ego.speed_mps, acceleration_mps2: ego.acceleration_mps2, curvature_1pm: ego.curvature_1pm };
            clip.motion.push((state, ego.pose));
            if tick % PER_PICTURE == 0 {
                world.render(&mut canvas);
                clip.pictures.push(canvas.rgb.clone());
            }
            world.step(world.expert());
        }
        clip
    }

    /// Drives a ride through the clip. Returns when `camera_reversed` was first named and when it
    /// first decided a refusal, s.
    fn drive(&self) -> (Option<f64>, Option<f64>) {
        let mut ride = ride_with(RideOptions::default(), "{}", Graph::Dit, None);
        let (mut named_s, mut refused_s) = (None, None);
        for (tick, &(state, pose)) in self.motion.iter().enumerate() {
            let stamp = tick as i64 * SECOND / 10;
            ride.push_ego(stamp, state).unwrap();
            ride.push_pose(stamp, pose).unwrap();
            if tick % PER_PICTURE == 0 {
                ride.push_frame(stamp, &self.pictures[tick / PER_PICTURE]).unwrap();
            }
            if let Ok(Progress::Outcome(outcome)) = ride.step(stamp) {
                let at_s = tick as f64 / 10.0;
                if outcome.degraded.iter().any(|cause| cause.as_str() == "camera_reversed") {
                    named_s = named_s.or(Some(at_s));
                    refused_s = refused_s.or((outcome.verdict != Verdict::Accepted).then_some(at_s));
                }
            }
        }
        (named_s, refused_s)
    }
}

/// Breaks if a ride does not notice that its pictures come in reversed order, or takes a true drive
/// for a reversed one. The car of these worlds hardly stops: the pictures of a car that stands are
/// the same in either order.
#[test]
fn reversed_pictures_are_named_and_refused_and_a_true_drive_is_not() {
    for seed in [1, 7] {
        let mut clip = Clip::of_world(seed);
        assert_eq!(clip.drive(), (None, None), "world {seed}, true order");
        clip.pictures.reverse();
        let (named_s, refused_s) = clip.drive();
        assert!(named_s.is_some_and(|s| s <= 4.0), "world {seed}: named at {named_s:?} s");
        assert!(refused_s.is_some_and(|s| s <= 12.0), "world {seed}: refused at {refused_s:?} s");
    }
}

/// Breaks if a frame far from its expected time is not named, or one near it is.
#[test]
fn a_frame_far_from_its_time_is_named_and_one_near_it_is_not() {
    for (late_ms, is_named) in [(0, false), (5, false), (10, false), (20, true)] {
        let mut car = Car::new(RideOptions::default());
        car.drive(9.0, |inputs| {
            // The first frame sets the times of the others.
            let is_first = inputs.now_ns == 0;
            for (stamp_ns, _) in inputs.frame.iter_mut().filter(|_| !is_first) {
                *stamp_ns -= late_ms * SECOND / 1000;
            }
        });
        let named = car.seen.iter().any(|seen| seen.degraded.contains(&"frame_jitter_ms"));
        assert_eq!(named, is_named, "{late_ms} ms: {:?}", car.seen);
        assert!(car.seen.iter().all(|seen| seen.verdict == Verdict::Accepted), "{late_ms} ms: {:?}", car.seen);
    }
}

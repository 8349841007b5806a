//! Lanes: staggered rollouts of one ride. Each must be what a ride of its own is; together they
//! plan every second, and a fault of one is no fault of another.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam::guard::{CauseKind, Verdict};
use drivewam::monitors::MonitorReading;
use drivewam::outcome::{Outcome, Restart};
use drivewam::{Pose2, Progress, Ride};
use drivewam_core::ErrorKind;
use drivewam_core::dims::Command;
use drivewam_core::ego::EgoState;
use drivewam_core::manifest::Monitor;
use drivewam_core::selection::SlotTable;
use drivewam_core::trajectory::Point;
use drivewam_device::HostDevice;
use drivewam_device::cuda::{CudaDevice, Emulator};
use drivewam_engine::closed_form::Fault;
use drivewam_tests::drive::picture;
use drivewam_world::{Canvas, Options, World};

mod support;

use support::{Asked, Counted, closed_form, closed_form_with, on, realtime, tiny};

const SECOND: i64 = 1_000_000_000;

/// The inputs of one tick.
struct Tick {
    stamp_ns: i64,
    ego: EgoState,
    pose: Pose2,
    command: Command,
    frame: Option<Vec<u8>>,
}

/// The inputs of `seconds` of world 5 with its expert, a frame every second.
fn recorded(ride: &Ride, seconds: i64) -> Vec<Tick> {
    let model = &ride.config().model;
    let mut canvas = Canvas::new(model.image.width, model.image.height, model.camera);
    let mut world = World::new(5, Options::default());
    (0..=seconds * 10)
        .map(|tick| {
            let ego = world.ego();
            let frame = (tick % 10 == 0).then(|| {
                world.render(&mut canvas);
                canvas.rgb.clone()
            });
            let now = Tick { stamp_ns: tick * SECOND / 10, ego: ego.state(), pose: ego.pose, command: world.command(), frame };
            world.step(world.expert());
            now
        })
        .collect()
}

/// What a chunk left: its lane, chunk and t0, its trajectory, the first layer's slots, and what the
/// monitors of a lane alone found.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    lane: usize,
    chunk: u64,
    t0_ns: Option<i64>,
    trajectory: Vec<Point>,
    table: SlotTable,
    monitors: [Option<MonitorReading>; 2],
}

/// Pushes `ticks`, the frames from `from_ns` on.
fn drive(ride: &mut Ride, ticks: &[Tick], from_ns: i64) -> Vec<Seen> {
    let mut seen = Vec::new();
    for (i, tick) in ticks.iter().enumerate() {
        ride.push_ego(tick.stamp_ns, tick.ego).unwrap();
        ride.push_pose(tick.stamp_ns, tick.pose).unwrap();
        if i == 0 || ticks[i - 1].command != tick.command {
            ride.push_command(tick.stamp_ns, tick.command).unwrap();
        }
        let Some(frame) = tick.frame.as_ref().filter(|_| tick.stamp_ns >= from_ns) else { continue };
        ride.push_frame(tick.stamp_ns, frame).unwrap();
        let Progress::Outcome(Outcome { lane, chunk, policy_t0_ns, trajectory, monitors, .. }) = ride.step(tick.stamp_ns).unwrap() else {
            continue;
        };
        let (lane, chunk, t0_ns, trajectory) = (*lane, *chunk, *policy_t0_ns, trajectory.points().to_vec());
        let monitors = [Monitor::Imagination, Monitor::Scene].map(|monitor| monitors.get(monitor));
        seen.push(Seen { lane, chunk, t0_ns, trajectory, monitors, table: ride.memory_table(0).unwrap() });
    }
    seen
}

/// Breaks if lanes share what each must have alone (memory, causal cache, frames, text, ego state,
/// noise of a chunk), to the bit; or if K lanes do not give K plans a chunk. `set`: keys of the
/// configuration beside the lanes.
fn equals_rides_of_their_own(device: on::Device, set: &str, seconds: i64) {
    let mut joint = tiny(&format!("{{lanes: {{count: 4}}, {set}}}"), device);
    let ticks = recorded(&joint, seconds);
    let seen = drive(&mut joint, &ticks, 0);
    assert_eq!(seen.len() as i64, seconds + 1, "a plan every second");
    for lane in 0..4 {
        let own = drive(&mut tiny(&format!("{{{set}}}"), device), &ticks, lane as i64 * SECOND);
        let of_lane: Vec<_> = seen.iter().filter(|seen| seen.lane == lane).cloned().collect();
        assert!(own.len() as i64 >= (seconds - 3) / 4 && own.iter().all(|seen| seen.lane == 0));
        for (own, of_lane) in own.iter().zip(&of_lane) {
            assert_eq!(*of_lane, Seen { lane, ..own.clone() });
        }
        assert_eq!(own.len(), of_lane.len());
    }
}

#[test]
fn each_lane_is_to_the_bit_a_ride_of_its_own() {
    equals_rides_of_their_own(|arena| Ok(Box::new(HostDevice::new(arena, 2)?)), "", 19);
}

/// The same where nothing is forgotten, and where the oldest tokens are: pools that are full after
/// two chunks.
#[test]
fn each_lane_has_a_memory_of_its_own_under_the_other_policies_too() {
    let one_step = "flow: {video: {steps: 1}, action: {steps: 1}}";
    for memory in ["{policy: full, max_chunks: 4}", "{policy: fifo, video_slots: 56, action_slots: 16}"] {
        equals_rides_of_their_own(|arena| Ok(Box::new(HostDevice::new(arena, 2)?)), &format!("memory: {memory}, {one_step}"), 15);
    }
}

/// The same on the emulated CUDA kernels.
#[test]
fn each_lane_is_a_ride_of_its_own_on_the_cuda_kernels_too() {
    equals_rides_of_their_own(|arena| Ok(Box::new(CudaDevice::new(Box::new(Emulator::new(5)), arena)?)), "", 7);
}

/// Breaks if a graph is bound in the ride, or not once for each lane and shape in Warm.
#[test]
fn every_lane_is_bound_in_warm_and_nothing_is_bound_in_the_ride() {
    for lanes in [1, 4] {
        let counted = Counted::default();
        let mut ride = closed_form_with(&format!("{{lanes: {{count: {lanes}}}}}"), None, realtime(), Some(&counted));
        // The encoder's first frame and two turns, two contexts, three shapes of the transformer.
        assert_eq!(counted.bound(), 8 * lanes);
        for s in 0..9 {
            second(&mut ride, s);
        }
        assert_eq!(counted.bound(), 8 * lanes);
    }
}

/// Pushes the inputs of second `s` of a car at 6 m/s, and steps ten times. Returns what went out.
fn second(ride: &mut Ride, s: i64) -> Vec<Outcome> {
    let mut out = Vec::new();
    for tick in (s * 10 - 9).max(0)..=s * 10 {
        let stamp_ns = tick * SECOND / 10;
        ride.push_ego(stamp_ns, EgoState { speed_mps: 6.0, ..EgoState::default() }).unwrap();
        ride.push_pose(stamp_ns, Pose2::new(0.6 * tick as f64, 0.0, 0.0)).unwrap();
        if tick == s * 10 {
            ride.push_frame(stamp_ns, &picture(s)).unwrap();
        }
        match ride.step(stamp_ns).map(|progress| matches!(progress, Progress::Outcome(_))) {
            Ok(false) => {}
            Ok(true) | Err(_) => out.push(ride.outcome().unwrap().clone()),
        }
    }
    out
}

/// Breaks if there is an instant without a valid plan once four lanes run, if a plan is judged
/// against another than the one that went out last, or if publication is not in order.
#[test]
fn the_plans_of_four_lanes_overlap_and_each_is_judged_against_the_last() {
    // A machine under load is not late: another test is about that.
    let mut ride = closed_form("{lanes: {count: 4}, guard: {deadline_ms: 30000}}", None);
    let out: Vec<Outcome> = (0..20).flat_map(|s| second(&mut ride, s)).collect();
    assert_eq!(out.len(), 20);
    for (i, pair) in out.windows(2).enumerate() {
        let [before, now] = pair else { unreachable!() };
        assert_eq!((now.lane, now.verdict, now.uncovered_ms), ((i + 1) % 4, Verdict::Accepted, 0.0));
        assert!(now.published_ns < before.valid_until_ns - 2 * SECOND, "the plan before still covers two seconds");
        assert!(now.t0_ns > before.t0_ns && now.rollout == 0 && now.degraded.is_empty());
        // The car has driven 6 m along a plan of the closed form, whose end lies elsewhere.
        let place = before.published.at(1.0).unwrap();
        let wanted_m = (6.0 - place.x_m).hypot(place.y_m);
        assert!((now.continuity_error_m.unwrap() - wanted_m).abs() < 1e-9, "{:?}, wanted {wanted_m}", now.continuity_error_m);
    }
}

/// Breaks if a fault of one lane ends another's rollout, if the lane begins again out of its turn,
/// or if the others' plans change.
#[test]
fn a_lane_that_fails_restarts_alone() {
    // Warm runs two chunks of 14 passes in each lane. The ninth chunk is the third of lane 0.
    let (warm, faulty) = (4 * 28, 8);
    let mut whole = closed_form("{lanes: {count: 4}}", None);
    let mut ride = closed_form("{lanes: {count: 4}}", Some(Fault::ErrorAt(warm + 14 * faulty + 5)));
    for s in 0..24u64 {
        let wanted = second(&mut whole, s as i64).pop().unwrap();
        let got = second(&mut ride, s as i64).pop().unwrap();
        assert_eq!(got.lane, (s % 4) as usize);
        match s {
            8 => {
                assert_eq!((got.verdict, got.cause.unwrap().kind), (Verdict::Held, CauseKind::Fault(ErrorKind::Engine)));
                assert_eq!((got.t0_ns, got.anchor_ns), (Some(7 * SECOND), got.published_ns), "lane 3's plan is continued");
            }
            12 => {
                assert_eq!((got.chunk, got.rollout, got.restarted), (1, 1, Some(Restart::Fault(ErrorKind::Engine))));
                assert_eq!(got.verdict, Verdict::Accepted);
            }
            16 | 20 => assert_eq!((got.chunk, got.rollout, got.restarted), ((s - 8) / 4, 1, None)),
            _ => {
                assert_eq!((got.trajectory.points(), got.chunk, got.rollout), (wanted.trajectory.points(), wanted.chunk, 0), "second {s}");
                // Lane 0 waits for its turn meanwhile.
                let idle = got.degraded.get(CauseKind::IdleLanes).map(|cause| cause.value);
                assert_eq!(idle, (9..12).contains(&s).then_some(1.0), "second {s}");
            }
        }
    }
}

/// Breaks if a late plan of one lane is accepted, holds the lanes back, or lets an older plan go
/// out after a newer one.
#[test]
fn a_late_lane_is_refused_and_the_next_plan_in_time_goes_out() {
    let mut ride = closed_form("{lanes: {count: 4}, guard: {deadline_ms: 700}}", None);
    (0..9).for_each(|s| drop(second(&mut ride, s)));
    // Nobody calls for 0.9 s after the frame at 9 s.
    for tick in 81..=99 {
        let stamp_ns = tick * SECOND / 10;
        ride.push_ego(stamp_ns, EgoState { speed_mps: 6.0, ..EgoState::default() }).unwrap();
        ride.push_pose(stamp_ns, Pose2::new(0.6 * tick as f64, 0.0, 0.0)).unwrap();
        if tick == 90 {
            ride.push_frame(stamp_ns, &picture(9)).unwrap();
        }
    }
    assert!(matches!(ride.step(99 * SECOND / 10).unwrap(), Progress::Outcome(_)));
    let late = ride.outcome().unwrap().clone();
    assert_eq!((late.lane, late.verdict, late.cause.unwrap().kind), (1, Verdict::Held, CauseKind::Late));
    assert_eq!((late.t0_ns, late.chunk), (Some(8 * SECOND), 3));
    ride.push_ego(10 * SECOND, EgoState { speed_mps: 6.0, ..EgoState::default() }).unwrap();
    ride.push_pose(10 * SECOND, Pose2::new(60.0, 0.0, 0.0)).unwrap();
    ride.push_frame(10 * SECOND, &picture(10)).unwrap();
    assert!(matches!(ride.step(10 * SECOND).unwrap(), Progress::Outcome(_)));
    let next = ride.outcome().unwrap();
    assert_eq!((next.lane, next.verdict, next.t0_ns, next.rollout), (2, Verdict::Accepted, Some(10 * SECOND), 0));
    for s in 11..20 {
        let out = second(&mut ride, s).pop().unwrap();
        assert_eq!((out.lane, out.verdict, out.rollout), ((s % 4) as usize, Verdict::Accepted, 0), "second {s}");
    }
}

/// Breaks if shared guidance is asked by every lane, if a lane does not read the newest shared
/// answer, or if a lane of its own guidance reads another's.
#[test]
fn guidance_is_asked_once_a_chunk_and_shared_or_by_every_lane_for_itself() {
    for (sharing, asked_by) in [("shared", vec![0, 0, 0, 0]), ("per_lane", vec![0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0])] {
        let mut ride = closed_form(&format!("{{lanes: {{count: 4, guidance: {sharing}}}, guidance: {{wait_ms: inf}}}}"), None);
        let asked = Asked::default();
        ride.set_guidance_model(Box::new(asked.clone())).unwrap();
        let mut read = Vec::new();
        for s in 0..13 {
            let out = second(&mut ride, s).pop().unwrap();
            read.push(out.guidance.text.clone());
        }
        assert_eq!(asked.lanes(), asked_by, "{sharing}");
        // The fake answers with the second that it was asked about.
        let wanted: Vec<String> = (0..13).map(|s| if sharing == "shared" { s / 4 * 4 } else { s }).map(|s| format!("At {s} s.")).collect();
        assert_eq!(read, wanted, "{sharing}");
    }
}

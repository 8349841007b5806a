//! Which inputs are accepted, which are refused, and the messages.

use super::*;
use drivewam_core::config::IngestConfig as Settings;
use drivewam_core::stamp::LAST_STAMP_NS;

fn model() -> Model {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/tiny.yaml");
    crate::load_config(&path, &[]).unwrap().model
}

const MS: i64 = 1_000_000;

fn slots(stamps_ms: &[i64]) -> Vec<FrameSlot> {
    let mut grid = Grid::new(&model(), 50);
    stamps_ms
        .iter()
        .map(|ms| {
            let slot = grid.assign(ms * MS).unwrap();
            grid.take_ready();
            slot
        })
        .collect()
}

#[test]
fn a_fast_camera_s_nearest_frames_are_taken_and_the_others_lie_between() {
    let frames: Vec<i64> = (0..60).map(|i| i * 1000 / 30).collect();
    let slots = slots(&frames);
    let taken: Vec<i64> = frames.iter().zip(&slots).filter(|(_, p)| matches!(p, FrameSlot::Frame(_))).map(|(ms, _)| *ms).collect();
    assert_eq!(slots[0], FrameSlot::First { missed_ns: None });
    assert_eq!(taken, [1000], "0, 33, .. 966, 1000, .. 1966: the frame at 1000 and none of its neighbours");
}

#[test]
fn jitter_within_the_tolerance_is_taken_and_does_not_add_up() {
    // Every fourth frame anchors the next grid: 4.04 s, then 8.08 s, each 40 ms after its own grid.
    let stamps: Vec<i64> = (0..=8).map(|i| i * 1010).collect();
    let slots = slots(&stamps);
    assert!(slots[1..].iter().all(|p| matches!(p, FrameSlot::Frame(_))), "{slots:?}");
}

#[test]
fn a_frame_too_far_off_the_grid_ends_the_rollout_and_begins_the_next() {
    let slots = slots(&[0, 1000, 2051, 3051]);
    assert_eq!(slots[2], FrameSlot::First { missed_ns: Some(2000 * MS) });
    assert_eq!(slots[3], FrameSlot::Frame(0));
}

#[test]
fn stamps_that_come_twice_or_go_backwards_are_refused_and_change_nothing() {
    let mut grid = Grid::new(&model(), 50);
    grid.assign(5_000 * MS).unwrap();
    grid.take_ready();
    for (stamp, word) in [(5_000, "twice"), (4_000, "backwards")] {
        let error = grid.assign(stamp * MS).unwrap_err();
        assert!(error.kind() == ErrorKind::Input && error.to_string().contains(word), "{error}");
    }
    assert_eq!(grid.assign(6_000 * MS).unwrap(), FrameSlot::Frame(0));
}

#[test]
fn four_frames_are_ready_and_a_fifth_waits_for_them() {
    let mut grid = Grid::new(&model(), 50);
    grid.assign(0).unwrap();
    assert_eq!(grid.ready().unwrap().from_ns, None);
    grid.take_ready();
    for i in 1..=4 {
        grid.assign(i * 1000 * MS).unwrap();
    }
    let ready = grid.ready().unwrap();
    assert_eq!((ready.t0_ns, ready.from_ns), (4000 * MS, Some(0)));
    assert!(grid.assign(5000 * MS).unwrap_err().to_string().contains("poses or ego states are late"));
    grid.take_ready();
    assert_eq!(grid.assign(5000 * MS).unwrap(), FrameSlot::Frame(0), "the refused frame can be pushed again");
}

fn ingest() -> Ingest {
    Ingest::new(Settings::default(), &model())
}

#[test]
fn poses_are_interpolated_and_the_yaw_runs_on_across_the_half_turn() {
    let mut ingest = ingest();
    for i in 0..=50 {
        ingest.push_pose(i * 100 * MS, Pose2::new(i as f64, 0.0, wrap(3.0 + 0.01 * i as f64))).unwrap();
    }
    let mut out = [Pose2::default(); 41];
    ingest.poses(50 * MS, &mut out).unwrap();
    assert!((out[0].x_m - 0.5).abs() < 1e-9 && (out[40].x_m - 40.5).abs() < 1e-9);
    assert!(out.windows(2).all(|w| (w[1].yaw_rad - w[0].yaw_rad - 0.01).abs() < 1e-9));
}

#[test]
fn a_hole_between_poses_is_an_error_only_where_it_is_asked_for() {
    let mut ingest = ingest();
    for ms in [0, 100, 251, 350] {
        ingest.push_pose(ms * MS, Pose2::default()).unwrap();
    }
    ingest.push_pose(500 * MS + 400_000, Pose2::default()).unwrap();
    assert!(ingest.pose(400 * MS).is_ok(), "150.4 ms are 150 ms after rounding");
    assert!(ingest.pose(50 * MS).is_ok() && ingest.pose(100 * MS).is_ok());
    let error = ingest.pose(200 * MS).unwrap_err().to_string();
    assert!(error.contains("hole") && error.contains("100000000 ns") && error.contains("150 ms"), "{error}");
    assert!(ingest.pose(501 * MS).is_err());
}

#[test]
fn what_is_not_finite_or_out_of_order_is_refused() {
    let mut ingest = ingest();
    let nan = EgoState { speed_mps: f64::NAN, ..EgoState::default() };
    assert!(ingest.push_ego(0, nan).unwrap_err().to_string().contains("NaN"));
    assert!(ingest.push_pose(0, Pose2::new(0.0, f64::INFINITY, 0.0)).is_err());
    ingest.push_pose(5, Pose2::default()).unwrap();
    assert!(ingest.push_pose(5, Pose2::default()).unwrap_err().to_string().contains("pose: a stamp occurs twice"));
}

#[test]
fn an_ego_state_that_is_too_old_is_refused() {
    let mut ingest = ingest();
    ingest.push_ego(0, EgoState { speed_mps: 3.0, ..EgoState::default() }).unwrap();
    assert_eq!(ingest.ego(150 * MS + 400_000).unwrap().1, 150 * MS + 400_000);
    assert!(ingest.ego(151 * MS).unwrap_err().to_string().contains("151 ms old"));
}

#[test]
fn a_full_ring_forgets_the_oldest_and_still_finds_the_rest() {
    let mut track = Track::new("x", 8, 0);
    for i in 0..20i64 {
        track.push(i * 10, i).unwrap();
    }
    assert_eq!(track.around(119), (None, Some((120, 12))));
    for i in 12..19 {
        assert_eq!(track.around(i * 10 + 5), (Some((i * 10, i)), Some((i * 10 + 10, i + 1))));
    }
    assert_eq!(track.around(1000), (Some((190, 19)), None));
}

#[test]
fn stamps_and_values_beyond_all_reason_are_refused_at_the_door() {
    let mut ingest = ingest();
    for stamp in [i64::MIN, -1, i64::MAX, LAST_STAMP_NS + 1] {
        assert!(ingest.push_pose(stamp, Pose2::default()).unwrap_err().to_string().contains("out of range"), "{stamp}");
        assert!(ingest.push_command(stamp, Command::Left).is_err() && check_stamp(stamp).is_err());
    }
    let fast = EgoState { speed_mps: 1e300, ..EgoState::default() };
    assert!(ingest.push_ego(0, fast).unwrap_err().to_string().contains("speed_mps"));
    assert!(ingest.push_pose(0, Pose2::new(1e12, 0.0, 0.0)).unwrap_err().to_string().contains("x_m"));
    assert!(ingest.push_pose(LAST_STAMP_NS, Pose2::default()).is_ok());
}

//! Which inputs are accepted, which are refused, and the messages.

use super::*;
use drivewam_core::config::{Config, IngestConfig as Settings, Layer};
use drivewam_core::stamp::LAST_STAMP_NS;

fn config(lanes: usize) -> Config {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/tiny.yaml");
    let set = Layer { name: "test".to_owned(), text: format!("{{lanes: {{count: {lanes}}}, ingest: {{frame_tolerance_ms: 50}}}}") };
    crate::load_config(&path, &[set]).unwrap()
}

fn model() -> Model {
    config(1).model
}

const MS: i64 = 1_000_000;

fn slots(stamps_ms: &[i64]) -> Vec<FrameSlot> {
    let mut grid = Grid::new(&config(1));
    stamps_ms
        .iter()
        .map(|ms| {
            grid.assign(ms * MS).unwrap();
            grid.take_ready(0);
            grid.slot(0)
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
    let mut grid = Grid::new(&config(1));
    grid.assign(5_000 * MS).unwrap();
    grid.take_ready(0);
    for (stamp, word) in [(5_000, "twice"), (4_000, "backwards")] {
        let error = grid.assign(stamp * MS).unwrap_err();
        assert!(error.kind() == ErrorKind::Input && error.to_string().contains(word), "{error}");
    }
    grid.assign(6_000 * MS).unwrap();
    assert_eq!(grid.slot(0), FrameSlot::Frame(0));
}

#[test]
fn four_frames_are_ready_and_a_fifth_waits_for_them() {
    let mut grid = Grid::new(&config(1));
    grid.assign(0).unwrap();
    assert_eq!(grid.ready().unwrap().from_ns, None);
    grid.take_ready(0);
    for i in 1..=4 {
        grid.assign(i * 1000 * MS).unwrap();
    }
    let ready = grid.ready().unwrap();
    assert_eq!((ready.t0_ns, ready.from_ns), (4000 * MS, Some(0)));
    assert!(grid.assign(5000 * MS).unwrap_err().to_string().contains("poses or ego states are late"));
    grid.take_ready(0);
    grid.assign(5000 * MS).unwrap();
    assert_eq!(grid.slot(0), FrameSlot::Frame(0), "the refused frame can be pushed again");
}

/// Pushes frames; returns for each the lanes whose chunk is then complete, with t0 of the chunk
/// before in ms.
fn computed(grid: &mut Grid, stamps_ms: impl IntoIterator<Item = i64>) -> Vec<Vec<(usize, Option<i64>)>> {
    let mut all = Vec::new();
    for ms in stamps_ms {
        grid.assign(ms * MS).unwrap();
        let mut now = Vec::new();
        while let Some(ready) = grid.ready() {
            assert_eq!(ready.t0_ns, ms * MS);
            grid.take_ready(ready.lane);
            now.push((ready.lane, ready.from_ns.map(|ns| ns / MS)));
        }
        all.push(now);
    }
    all
}

/// Breaks if lanes do not begin a stagger after one another, two compute at one frame, or a lane's
/// chunk has other frames than every frame of its four seconds.
#[test]
fn lanes_begin_one_after_the_other_and_each_has_a_chunk_of_four_seconds() {
    let mut grid = Grid::new(&config(4));
    let seen = computed(&mut grid, (0..=11).map(|i| i * 1000));
    for (i, now) in (0i64..).zip(&seen) {
        let from = (i >= 4).then_some((i - 4) * 1000);
        assert_eq!(*now, [((i % 4) as usize, from)], "at {i} s");
    }
    // Eight lanes need a frame every half second; with one every second, every other lane waits.
    let mut grid = Grid::new(&config(8));
    let seen = computed(&mut grid, (0..=16).map(|i| i * 500));
    assert!(seen.iter().enumerate().all(|(i, now)| now.len() == 1 && now[0].0 == i % 8), "{seen:?}");
    assert_eq!(grid.idle_lanes(), 0);
    let mut grid = Grid::new(&config(8));
    let seen = computed(&mut grid, (0..=8).map(|i| i * 1000));
    assert!(seen.iter().enumerate().all(|(i, now)| now.len() == 1 && now[0].0 == 2 * i % 8), "{seen:?}");
    assert_eq!(grid.idle_lanes(), 4);
}

/// Breaks if a lane that lost its rollout takes the others with it, or begins out of its turn.
#[test]
fn a_lane_that_ends_begins_again_at_its_turn() {
    let mut grid = Grid::new(&config(4));
    computed(&mut grid, (0..=5).map(|i| i * 1000));
    grid.end_rollout(1);
    let seen = computed(&mut grid, (6..=13).map(|i| i * 1000));
    let lanes: Vec<usize> = seen.iter().flatten().map(|(lane, _)| *lane).collect();
    assert_eq!(lanes, [2, 3, 0, 1, 2, 3, 0, 1]);
    assert_eq!(seen[3], [(1, None)], "at 9 s lane 1 begins anew");
    assert_eq!(seen[7], [(1, Some(9000))]);
}

/// Breaks if the turns are counted from the first frame, so that a camera whose second is 5 ms long
/// lets a lane begin at a wrong frame, or if lanes that miss a frame all begin at the next.
#[test]
fn turns_follow_the_camera_and_a_missing_frame_staggers_the_lanes_anew() {
    let mut grid = Grid::new(&config(4));
    computed(&mut grid, (0..200).map(|i| i * 1005));
    grid.end_rollout(2);
    let seen = computed(&mut grid, (200..204).map(|i| i * 1005));
    assert_eq!(seen.concat().iter().map(|(lane, _)| *lane).collect::<Vec<_>>(), [0, 1, 2, 3]);
    grid.assign(204 * 1005 * MS + 300 * MS).unwrap();
    let missed = FrameSlot::First { missed_ns: Some(204 * 1005 * MS) };
    assert!(matches!(grid.slot(0), FrameSlot::First { missed_ns: Some(_) }), "{:?}, like {missed:?}", grid.slot(0));
    assert_eq!([1, 2, 3].map(|lane| grid.slot(lane)), [FrameSlot::Between; 3]);
    grid.take_ready(0);
    let seen = computed(&mut grid, (1..4).map(|i| 204 * 1005 + 300 + i * 1000));
    assert_eq!(seen.concat(), [(1, None), (2, None), (3, None)]);
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
fn a_gap_between_poses_is_an_error_only_where_it_is_asked_for() {
    let mut ingest = ingest();
    for ms in [0, 100, 251, 350] {
        ingest.push_pose(ms * MS, Pose2::default()).unwrap();
    }
    ingest.push_pose(500 * MS + 400_000, Pose2::default()).unwrap();
    assert!(ingest.pose(400 * MS).is_ok(), "150.4 ms are 150 ms after rounding");
    assert!(ingest.pose(50 * MS).is_ok() && ingest.pose(100 * MS).is_ok());
    let error = ingest.pose(200 * MS).unwrap_err().to_string();
    assert!(error.contains("have a gap") && error.contains("100000000 ns") && error.contains("150 ms"), "{error}");
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

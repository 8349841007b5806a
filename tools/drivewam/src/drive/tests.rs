//! Figures and lines of synthetic chunks: overlays match the camera, and lines have their keys.

use super::row::Row;
use super::source::{CameraImage, Source};
use super::world_source::WorldSource;
use super::{charts, overlay, path_chart};
use drivewam::guard::{Cause, CauseKind, Causes, Verdict};
use drivewam::outcome::{Ages, Outcome};
use drivewam::stages::{Stage, StageRun, StageTimes};
use drivewam_core::config::{Config, Layer};
use drivewam_core::dims::Command;
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::Trajectory;
use drivewam_recording::{CameraMount, Distortion};
use drivewam_world::Options;

/// A chunk at `pose` with `verdict`, whose plan keeps `speed_mps` on a curve. The driven path goes
/// straight on.
pub(super) fn row(chunk: u64, pose: Pose2, speed_mps: f64, yaw_rate: f64, verdict: Verdict) -> Row {
    let mut trajectory = Trajectory::new(40, 100_000_000).unwrap();
    trajectory.set_constant(speed_mps, yaw_rate);
    let mut constant = trajectory.clone();
    constant.set_constant(speed_mps, 0.0);
    let mut stages = StageTimes::default();
    for stage in Stage::ALL {
        stages.add(StageRun::start(stage));
    }
    let t0_ns = 1_000_000_000 + chunk as i64 * 4_000_000_000;
    let outcome = Outcome {
        lane: 0,
        chunk,
        rollout: 0,
        t0_ns: Some(t0_ns),
        anchor_ns: t0_ns,
        policy_t0_ns: Some(t0_ns),
        published_ns: t0_ns,
        valid_until_ns: t0_ns + 4_000_000_000,
        uncovered_ms: 0.0,
        pose: Some(pose),
        published: trajectory.clone(),
        trajectory,
        verdict,
        cause: (verdict != Verdict::Accepted).then_some(Cause::new(CauseKind::SideSlip, 0.9, 0.5)),
        continuity_error_m: None,
        command: Command::Straight,
        guidance: Default::default(),
        ages: Ages::default(),
        monitors: Default::default(),
        degraded: Causes::NONE,
        restarted: None,
        memory: Default::default(),
        stages,
    };
    let truth = (1..=40).map(|i| Pose2::new(f64::from(i) * 0.1 * speed_mps, 0.0, 0.0)).collect();
    Row { outcome, speed_mps, constant, truth: Some(truth) }
}

pub(super) fn tiny() -> Config {
    let layers = [
        include_str!("../../../../configs/model/tiny.yaml"),
        include_str!("../../../../configs/target/host-cpu.yaml"),
        include_str!("../../../../configs/vehicle/world.yaml"),
        include_str!("../../../../configs/tiny.yaml"),
    ];
    Config::from_layers(&layers.map(|text| Layer { name: "shipped".into(), text: text.into() })).unwrap()
}

/// Breaks when the projection, the mount or the status bar above the image shifts the ribbon.
#[test]
fn a_plan_is_drawn_where_the_camera_sees_the_road() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = WorldSource::new(&tiny(), 2, Options::default(), 10.0, false).unwrap();
    while world.next().unwrap().is_some_and(|(stamp, _)| stamp < 3_000_000_000) {}
    let (image, mount) = (world.large_image(), world.mount());
    let row = row(1, Pose2::default(), 6.0, 0.0, Verdict::Accepted);
    let path = dir.path().join("overlay.png");
    overlay::draw(&row, 2.0, &image, &mount, &path).unwrap();
    let drawn = image::open(&path).unwrap().into_rgb8();
    let scale = f64::from(drawn.width()) / image.camera.width as f64;
    // Beside the centre line, so that the driven path does not cover the ribbon.
    for (x_m, y_m, is_covered) in [(10.0, 0.6, true), (15.0, -0.6, true), (10.0, 1.6, false), (15.0, -1.6, false), (27.0, 0.6, false)] {
        let ahead = x_m - 1.5;
        let camera = image.camera.intrinsics;
        let (u, v) = (camera.cx_px - camera.fx_px * y_m / ahead, camera.cy_px + camera.fy_px * 1.5 / ahead);
        let at = (v as usize * image.camera.width + u as usize) * 3;
        let before = [image.rgb[at], image.rgb[at + 1], image.rgb[at + 2]];
        let after = drawn.get_pixel((u * scale) as u32, (v * scale + 44.0) as u32).0;
        let greener = i32::from(after[1]) - i32::from(after[0]) - i32::from(before[1]) + i32::from(before[0]);
        assert_eq!(greener > 25, is_covered, "at {x_m}, {y_m}: {before:?} became {after:?}");
    }
}

/// Breaks when the overlay ignores yaw, roll or distortion of the camera: the plan then lies where
/// it lay without them.
#[test]
fn a_camera_that_is_turned_or_bends_the_image_sees_the_plan_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = WorldSource::new(&tiny(), 2, Options::default(), 10.0, false).unwrap();
    while world.next().unwrap().is_some_and(|(stamp, _)| stamp < 3_000_000_000) {}
    let (image, row) = (world.large_image(), row(1, Pose2::default(), 6.0, 0.0, Verdict::Accepted));
    // The mean column of what was drawn.
    let middle = |angles: [f64; 3], distortion: Option<Distortion>| -> f64 {
        let path = dir.path().join("overlay.png");
        let (mount, image) = (CameraMount::looking(1.5, 1.5, angles), CameraImage { distortion, ..image.clone() });
        overlay::draw(&row, 2.0, &image, &mount, &path).unwrap();
        let drawn = image::open(&path).unwrap().into_rgb8();
        // Above the legend, whose colours are those of the plan.
        let below = image.camera.height as u32 * 3 / 4;
        let changed = (44..below).flat_map(|y| (0..drawn.width()).map(move |x| (x, y))).filter(|(x, y)| {
            let at = ((y - 44) as usize * image.camera.width + *x as usize) * 3;
            drawn.get_pixel(*x, *y).0 != [image.rgb[at], image.rgb[at + 1], image.rgb[at + 2]]
        });
        let columns: Vec<f64> = changed.map(|(x, _)| f64::from(x)).collect();
        columns.iter().sum::<f64>() / columns.len() as f64
    };
    let straight = middle([0.0; 3], None);
    let (left, rolled) = (middle([0.1, 0.0, 0.0], None), middle([0.0, 0.0, 0.2], None));
    let bent = middle([0.1, 0.0, 0.0], Some(Distortion::Opencv { k1: 0.0, k2: 0.0, p1: 0.0, p2: 0.3, k3: 0.0 }));
    assert!(left > straight + 20.0, "the camera looks left, the plan lies to the right: {left} {straight}");
    assert!((rolled - straight).abs() > 5.0, "{rolled} {straight}");
    assert!((bent - left).abs() > 2.0, "{bent} {left}");
}

fn path(rows: &[Row], title: &str, file: &std::path::Path) -> anyhow::Result<()> {
    path_chart::draw(rows, None, title, file)
}

#[test]
fn charts_are_drawn_for_any_number_of_chunks() {
    let dir = tempfile::tempdir().unwrap();
    for count in [0u64, 1, 40] {
        let rows: Vec<Row> = (0..count)
            .map(|i| {
                let verdict = [Verdict::Accepted, Verdict::Held, Verdict::MinimalRisk][i as usize % 3];
                row(i + 1, Pose2::new(20.0 * i as f64, 3.0 * (i as f64).sin(), 0.0), 5.0, 0.1, verdict)
            })
            .collect();
        for (name, draw) in [("path", path as fn(&[Row], &str, &std::path::Path) -> anyhow::Result<()>), ("latency", charts::latency)] {
            let file = dir.path().join(format!("{name}{count}.png"));
            draw(&rows, "a title", &file).unwrap();
            let drawn = image::open(&file).unwrap().into_rgb8();
            let coloured = drawn.pixels().filter(|p| p.0 != [255; 3]).count();
            assert!(coloured > 2000, "{name} of {count} chunks has {coloured} pixels");
        }
    }
}

#[test]
fn a_line_has_the_policys_poses_only_where_another_plan_was_published() {
    let accepted = row(1, Pose2::default(), 5.0, 0.0, Verdict::Accepted).json().unwrap();
    let held = row(2, Pose2::default(), 5.0, 0.1, Verdict::Held).json().unwrap();
    assert_eq!((&accepted["schema"], &accepted["guidance"]["source"]), (&2.into(), &"command".into()));
    assert!(accepted.get("policy_poses").is_none() && held["policy_poses"].as_array().unwrap().len() == 40);
    assert!(held["reason"].as_str().unwrap().contains("across the heading"));
    assert!(accepted["errors_m"]["policy"]["ade_4s"].as_f64().unwrap() < 1e-9);
    assert!(held["errors_m"]["policy"]["fde_4s"].as_f64().unwrap() > 1.0);
}

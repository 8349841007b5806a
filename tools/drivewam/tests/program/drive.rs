//! Complete drives, as a user starts them.

use super::lab::{Lab, drivewam, stderr, workspace};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn lines(out: &Path) -> Vec<Value> {
    fs::read_to_string(out.join("trajectories.jsonl")).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn count(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

fn drive_world(out: &Path, more: &[&str]) -> Value {
    let mut args = vec!["drive", "--out", out.to_str().unwrap(), "--json"];
    args.extend_from_slice(more);
    let done = drivewam(&args);
    assert!(done.status.success(), "{}", stderr(&done));
    let printed = String::from_utf8(done.stdout).unwrap();
    assert_eq!(printed, fs::read_to_string(out.join("summary.json")).unwrap(), "the summary is exactly what is printed");
    serde_json::from_str(&printed).unwrap()
}

/// How much the imagined frames of a figure resemble those that came, which stand below them: the
/// best correlation of its upper part with what stands some rows further down. Noise has little.
fn resemblance(figure: &Path) -> f64 {
    let grey = image::open(figure).unwrap().into_luma8();
    let (width, height) = grey.dimensions();
    let upper = (height / 6, height / 2 - 10);
    let at = |down: u32| -> Vec<f64> {
        let rows = upper.0 + down..upper.1 + down;
        rows.flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| f64::from(grey.get_pixel(x, y).0[0])).collect()
    };
    let centred = |values: Vec<f64>| -> Vec<f64> {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.into_iter().map(|value| value - mean).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let imagined = centred(at(0));
    let below = (height / 3..height - upper.1).map(|down| centred(at(down)));
    below.map(|came| dot(&imagined, &came) / (dot(&imagined, &imagined) * dot(&came, &came)).sqrt()).fold(0.0, f64::max)
}

/// Breaks when a file of the output is missing, what is imagined cannot be read, a chunk is lost,
/// or the same seeds give another drive.
#[test]
fn a_world_drive_writes_all_that_it_promises_and_the_same_again_for_the_same_seed() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("a/drive");
    let summary = drive_world(&out, &["--seconds", "12", "--seed", "3", "--future", "--expert"]);
    assert_eq!((&summary["chunks"], &summary["driver"], &summary["partial"]), (&3.into(), &"expert".into(), &false.into()));
    assert_eq!((&summary["schema"], &summary["interrupted"]), (&2.into(), &false.into()));
    assert_eq!((&summary["guidance"]["sources"]["command"], &summary["guidance"]["rejects"]), (&3.into(), &0.into()));
    assert_eq!(summary["errors_m"]["windows"], 3);
    assert_eq!(summary["passes_per_chunk"], 14);
    assert_eq!(summary["latency_ms"]["total"]["count"], 3);
    assert_eq!(summary["verdicts"].as_object().unwrap().values().map(|v| v.as_u64().unwrap()).sum::<u64>(), 3);
    assert!(summary["memory_bytes"]["arena"].as_u64().unwrap() <= summary["memory_bytes"]["capacity"].as_u64().unwrap());
    let lines = lines(&out);
    assert_eq!(lines.len(), 3);
    for (i, line) in lines.iter().enumerate() {
        assert_eq!((&line["schema"], &line["chunk"]), (&2.into(), &(i + 1).into()));
        assert_eq!((&line["guidance"]["source"], &line["guidance"]["generate_ms"]), (&"command".into(), &Value::Null));
        assert_eq!(line["t0_ns"], 1_000_000_000 + 4_000_000_000i64 * i as i64);
        let poses = line["poses"].as_array().unwrap();
        assert!(poses.len() == 40 && poses.iter().all(|p| p.as_array().unwrap().iter().all(|v| v.as_f64().is_some())));
        assert!(
            line["errors_m"]["policy"]["ade_4s"].as_f64().is_some()
                && line["errors_m"]["constant_velocity_and_yaw_rate"]["fde_3s"].as_f64().is_some()
        );
    }
    for folder in ["overlay", "future"] {
        assert_eq!(count(&out.join(folder)), 3, "{folder}");
    }
    for file in ["path.png", "latency.png", "memory.png", "overlay/000002.png", "future/000002.png"] {
        let image = image::open(out.join(file)).unwrap().into_rgb8();
        let first = image.get_pixel(0, 0);
        assert!(image.pixels().filter(|p| *p != first).count() > 1000, "{file} is not empty");
    }
    let alike = resemblance(&out.join("future/000002.png"));
    assert!(alike > 0.25, "imagined and recorded frames correlate by {alike:.2}");
    let again = dir.path().join("b");
    drive_world(&again, &["--seconds", "12", "--seed", "3", "--overlays", "0", "--expert"]);
    let poses = |lines: &[Value]| lines.iter().map(|l| l["poses"].clone()).collect::<Vec<_>>();
    assert_eq!(poses(&lines), poses(&self::lines(&again)));
    assert_eq!(count(&again.join("overlay")), 0);
    let other = drive_world(&again, &["--seconds", "12", "--seed", "4", "--overlays", "0", "--expert"]);
    assert_eq!(other["chunks"], 3, "a former drive is replaced");
    assert_ne!(poses(&lines), poses(&self::lines(&again)));
    assert_eq!(count(dir.path()), 2, "no other file is left");
}

/// Breaks when the closed loop drives as the expert does, or compares a plan with itself.
#[test]
fn in_the_closed_loop_the_plan_moves_the_car_and_violations_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (open, closed) = (dir.path().join("open"), dir.path().join("closed"));
    drive_world(&open, &["--seconds", "12", "--overlays", "0", "--expert"]);
    let summary = drive_world(&closed, &["--seconds", "12", "--overlays", "0"]);
    assert_eq!((&summary["errors_m"]["windows"], &summary["driver"]), (&0.into(), &"policy".into()));
    assert!(summary["closed_loop"]["collisions"].as_u64().is_some(), "{summary}");
    assert_ne!(lines(&open)[2]["pose"], lines(&closed)[2]["pose"]);
    assert!(lines(&closed)[1]["continuity_error_m"].as_f64().unwrap() < 3.0, "the car is where the plan ended: {}", lines(&closed)[1]);
}

#[test]
fn in_real_time_a_plan_is_published_after_its_frame_and_the_drive_takes_as_long_as_its_stamps() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("drive");
    let begun = std::time::Instant::now();
    let summary = drive_world(&out, &["--seconds", "5", "--overlays", "0", "--realtime", "--expert"]);
    assert!(begun.elapsed().as_secs_f64() > 4.9);
    // On a busy machine an answer to a silence may come between two chunks.
    let chunks: Vec<_> = lines(&out).into_iter().filter(|line| !line["policy_t0_ns"].is_null()).collect();
    assert!(chunks.len() == 2 && summary["chunks"].as_u64().unwrap() >= 2, "{summary}");
    for line in chunks {
        assert!(line["published_ns"].as_i64().unwrap() > line["policy_t0_ns"].as_i64().unwrap(), "{line}");
    }
}

/// Breaks when a recording reaches the lanes otherwise than the world that it was recorded from.
#[test]
fn a_recorded_world_gives_the_plans_of_the_same_world_drawn_on_the_way() {
    let lab = Lab::new();
    let lanes = ["--set", "lanes.count=4", "--quiet"];
    let done = lab.drive(&lanes);
    assert!(done.status.success() && done.stdout.is_empty(), "{done:?}");
    let drawn = lab.path("drawn");
    let config = lab.path("config.yaml");
    let args = ["drive", config.to_str().unwrap(), "--seed", "5", "--seconds", "6", "--expert", "--out", drawn.to_str().unwrap()];
    assert!(drivewam(&[&args[..], &lanes[..]].concat()).status.success());
    let (recorded, drawn) = (lines(&lab.path("out")), lines(&drawn));
    assert_eq!((recorded.len(), drawn.len()), (7, 6), "a plan a second; a recording has a frame at its end");
    for (i, (a, b)) in recorded.iter().zip(&drawn).enumerate() {
        assert_eq!(a["lane"], i % 4);
        assert_eq!((&a["t0_ns"], &a["poses"]), (&b["t0_ns"], &b["poses"]));
    }
}

#[test]
fn a_limit_of_chunks_ends_the_drive_once_they_are_measured() {
    let dir = tempfile::tempdir().unwrap();
    let summary = drive_world(&dir.path().join("drive"), &["--seconds", "60", "--chunks", "2", "--overlays", "1", "--expert"]);
    assert_eq!((&summary["chunks"], &summary["errors_m"]["windows"]), (&Value::from(2), &Value::from(2)));
}

/// A real front camera. The small policy was never trained on real streets; its error is printed
/// beside that of constant velocity and yaw rate.
#[test]
fn every_window_of_the_real_clip_is_driven_and_measured() {
    let clip = workspace().join("../shared/data/pandaset_002");
    if !clip.is_dir() {
        println!("skipped: {clip:?} does not exist");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("drive");
    let summary = drive_world(&out, &["--input", clip.to_str().unwrap(), "--phases", "--overlays", "2"]);
    let errors = &summary["errors_m"];
    println!(
        "n = {}, policy {}, constant velocity and yaw rate {}",
        errors["windows"], errors["policy"], errors["constant_velocity_and_yaw_rate"]
    );
    assert_eq!((&errors["windows"], &summary["rollouts"]), (&Value::from(39), &Value::from(39)));
    assert_eq!(summary["degraded_chunks"]["fov_share"], 39, "52 degrees against the model's 90 are reported as a degradation");
    let untrained: Vec<_> =
        summary["degraded_chunks"].as_object().unwrap().iter().filter(|(name, _)| name.ends_with("_untrained")).collect();
    println!("unlike the training: {untrained:?} of 39 chunks");
    assert!(untrained.iter().any(|(name, _)| !name.starts_with("camera_")), "its pictures are unlike drawn ones");
    let baseline = errors["constant_velocity_and_yaw_rate"]["ade_4s"].as_f64().unwrap();
    assert!((0.5..4.0).contains(&baseline), "the car speeds up to 5.6 m/s, so constant motion is metres off: {baseline}");
    assert!(errors["policy"]["ade_4s"].as_f64().unwrap().is_finite());
    let overlay = image::open(out.join("overlay/000001.png")).unwrap();
    assert_eq!(overlay.width(), 1280);
}

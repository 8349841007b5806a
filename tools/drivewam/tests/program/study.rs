//! `study`: a few worlds of each part. docs/studies has the results of the full study.

use super::lab::{drivewam, stderr};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn study(part: &str, options: &[&str]) -> (Value, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("study");
    let mut args = vec!["study", part, "--json", "--out", out.to_str().unwrap()];
    args.extend(options);
    let done = drivewam(&args);
    assert!(done.status.success(), "{}", stderr(&done));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let text = std::fs::read(out.join(format!("{part}.json"))).unwrap();
    assert_eq!(report, serde_json::from_slice::<Value>(&text).unwrap());
    assert!(std::fs::read_to_string(out.join(format!("{part}.md"))).unwrap().contains("| "));
    assert_eq!(report["schema"], 2);
    (report["results"].clone(), dir)
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Breaks when the shipped policy gets worse, or ignores the camera. Seeds 0 to 9999 are held out.
#[test]
fn the_shipped_policy_sees_on_worlds_that_it_was_not_trained_on() {
    let (results, _dir) = study("sight", &["--worlds", "8"]);
    let ade = |who: &str| results["policies"][who]["ADE@4s"]["value"].as_f64().unwrap();
    let (own, constant) = (ade("policy"), ade("constant velocity and yaw rate"));
    println!("{own:.3} m of {constant:.3} m: {:.1} % below", 100.0 * (1.0 - own / constant));
    // Its labels know no future, and what the expert then drove does.
    assert!(own <= 0.55 * constant, "ADE@4s {own:.3} m against {constant:.3} m");
    assert!(ade("policy, another world's camera") >= 1.25 * own && ade("policy, camera black") >= 1.25 * own);
}

/// Breaks when a memory variant overwrites other tokens than it should: which ones keep those of
/// the sign follows without any policy. Fifteen variants: a minute and more.
#[cfg(feature = "long")]
#[test]
fn each_memory_keeps_what_it_says() {
    let (results, dir) = study("memory", &["--worlds", "2", "--chunks", "24"]);
    let of = |variant: &str| results["memory"][variant].clone();
    let retention = |variant: &str| of(variant)["sign_retention"]["value"].as_f64().unwrap();
    assert!(results["needed_chunks"].as_u64().unwrap() >= 2, "{results}");
    assert!((retention("full") - 1.0).abs() < 1e-9 && (retention("oracle") - 1.0).abs() < 1e-9);
    assert!(retention("fifo") < 1e-9 && retention("random") > 0.0 && retention("random") < 0.9);
    assert!(retention("selective, literal") > retention("fifo"));
    let bytes = |variant: &str| of(variant)["bytes"].as_u64().unwrap();
    assert_eq!(bytes("full"), bytes("fifo") / 4 * 25, "slots for 25 chunks against four");
    assert_eq!(of("random")["ade_4s_m_by_chunk"].as_array().unwrap().len(), 24, "the chart over time is drawn from these");
    assert_eq!(files(&dir.path().join("study")), ["memory-over-time.png", "memory-retention.png", "memory.json", "memory.md"]);
}

/// The policy as it drives: seven of these eight held-out routes of a kilometre are clean. Breaks
/// when it leaves its road, hits someone, runs a light or is stopped by a monitor on more than one,
/// or does not arrive for another reason.
///
/// Breaks also when the closed loop does not follow the plan: the expert has no violation, its
/// plans nearly none, and constant velocity cannot drive a kilometre.
#[test]
fn the_shipped_policy_drives_routes_by_itself() {
    let (results, dir) = study("routes", &["--worlds", "8", "--first-world", "700", "--lanes", "4"]);
    let of = |who: &str, what: &str| results["drivers"][who][what].clone();
    let clean = |who: &str| of(who, "clean")["value"].as_f64().unwrap() * 8.0;
    println!("{}", results["drivers"]["policy, 4 lanes"]);
    let stopped: u64 = of("policy, 4 lanes", "stopped_by").as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    let finished = of("policy, 4 lanes", "finished")["value"].as_f64().unwrap() * 8.0;
    assert!(clean("policy, 4 lanes") >= 7.0 && finished + stopped as f64 == 8.0, "{results}");
    assert!(clean("expert") == 8.0 && clean("expert's plan") >= 7.0 && clean("constant velocity and yaw rate") == 0.0, "{results}");
    // A route with violations has a first one.
    for who in results["drivers"].as_object().unwrap().keys() {
        let kinds = of(who, "first_violation");
        let first: u64 = ["lead", "pedestrian", "off road", "red light"].map(|kind| kinds[kind].as_u64().unwrap()).iter().sum();
        assert!((first == 0) == (of(who, "violations_per_km")["value"] == 0.0) && first as f64 <= 8.0, "{who}: {results}");
    }
    assert_eq!((results["first_world"].as_u64(), results["worlds"].as_u64()), (Some(700), Some(8)));
    assert_eq!(files(&dir.path().join("study")), ["routes-tracks.png", "routes.json", "routes.md"]);
}

/// Breaks when a limit lies below what one of 200 ordinary chunks exceeds, or has no margin above
/// what stops an ordinary drive; or when the file is not one that the exporter reads.
#[test]
fn the_monitors_are_calibrated_on_ordinary_worlds() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("monitors.yaml").display().to_string();
    let (results, _out) = study("monitors", &["--worlds", "1", "--first-world", "720", "--set", "lanes.count=2", "--calibrate", &file]);
    let written: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((written.as_object().unwrap().len(), &written), (3, &results["constants"]));
    for (monitor, found) in results["found"].as_object().unwrap() {
        let number = |key: &str| found[key].as_f64().unwrap();
        let (least, threshold) = (number("by_chunks").max(number("by_stops")), written[monitor]["threshold"].as_f64().unwrap());
        assert!(threshold >= least && threshold - least <= 1e-4 + 1e-12, "{monitor}: {threshold}, {found}");
        // The expert's drive and the policy's.
        let stopping: Vec<f64> = found["stopping"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        assert_eq!((stopping.len(), number("by_stops")), (2, f64::midpoint(stopping[0].max(stopping[1]), 1.0)), "{monitor}: {found}");
    }
}

/// Breaks when a wrong camera does not reach the ride, or is not noticed; or when a car whose
/// camera fails drives on.
#[cfg(feature = "long")]
#[test]
fn wrong_cameras_are_noticed_and_stop_the_car() {
    let (results, dir) = study("monitors", &["--worlds", "2", "--first-world", "730", "--set", "lanes.count=4"]);
    let noticed = |camera: &str| results["cameras"][camera]["noticed"]["value"].as_f64().unwrap();
    assert!(noticed("own") < 0.1, "{results}");
    let route = |camera: &str, what: &str| results["routes"]["cameras"][camera][what]["value"].as_f64().unwrap();
    for camera in ["grey", "black", "white", "mirrored", "90° aside"] {
        assert!(noticed(camera) > 0.9 && route(camera, "stopped") == 1.0, "{camera}: {results}");
    }
    assert!(route("grey", "stopped_on_the_road") == 1.0 && route("own", "finished") == 1.0, "{results}");
    assert_eq!(files(&dir.path().join("study")), ["monitors.json", "monitors.md"]);
}

/// Breaks when conditions do not reach the drive: each gives another drive than the plain one.
#[cfg(feature = "long")]
#[test]
fn harder_worlds_are_driven_otherwise() {
    let (results, dir) = study("harder", &["--worlds", "1", "--first-world", "2"]);
    let metres = |name: &str| results["conditions"][name]["km"].as_f64().unwrap();
    let names: Vec<&String> = results["conditions"].as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 8);
    assert!(names.iter().filter(|name| metres(name).to_bits() == metres("as in training").to_bits()).count() == 1, "{results}");
    assert_eq!(files(&dir.path().join("study")), ["harder.json", "harder.md"]);
}

/// Breaks when a long ride needs more memory than a short one.
#[test]
fn a_long_ride_stays_finite_in_the_memory_that_it_began_with() {
    let (results, _dir) = study("hours", &["--chunks", "120"]);
    assert_eq!(results["chunks"], 120);
    assert_eq!(results["memory_slots_held"], 144);
    // After 20 chunks all memory is in use. 100 more chunks may add their few results, and nothing
    // that grows with images, poses or plans.
    let sizes: Vec<Option<f64>> = results["resident"].as_array().unwrap().iter().map(|s| s["bytes"].as_f64()).collect();
    if let [Some(settled), Some(after)] = sizes[..] {
        assert!(after - settled < 1e6, "{settled} to {after} bytes resident");
    }
}

/// Breaks when a ride holds other tokens or bytes than the formulas of Table 5 (the command itself
/// compares), or the formulas change. Eight chunks fill the pools of fifo and selective, and give
/// full a pool of another size.
#[test]
fn table_5_is_confirmed_by_a_ride_with_the_paper_s_tokens() {
    let config = super::lab::workspace().join("configs/drivewam-5b.yaml").display().to_string();
    let (results, dir) = study("table5", &[&config, "--chunks", "8"]);
    let of = |i: usize, key: &str| results["memory"][i]["ride"][key].as_u64().unwrap();
    assert_eq!(results["bytes_per_token"], 368_640);
    assert_eq!([0, 1, 2].map(|i| of(i, "pool_tokens")), [8 * 152, 608, 608]);
    assert_eq!([0, 1, 2].map(|i| of(i, "in_flight_tokens")), [112; 3]);
    assert_eq!([0, 1, 2].map(|i| of(i, "passes_per_chunk")), [14; 3]);
    assert_eq!([0, 1, 2].map(|i| of(i, "region_bytes")), [8 * 152 + 112, 720, 720].map(|slots| slots * 2 * 2 * 32 * 4));
    assert_eq!(files(&dir.path().join("study")), ["table5.json", "table5.md"]);
}

#[test]
fn wrong_options_are_refused_with_what_was_got_and_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let pipes = tempfile::tempdir().unwrap();
    assert!(Command::new("mkfifo").arg(pipes.path().join("0.png")).status().unwrap().success());
    let pipe = format!("pipe={}", pipes.path().display());
    for (args, words) in [
        (vec!["study", "sight", "--worlds", "0"], vec!["--worlds", "got 0", "1 to 5000"]),
        (vec!["study", "memory", "--chunks", "0"], vec!["--chunks", "got 0"]),
        (vec!["study", "sight", "--worlds", "1", "--out", "/proc/nowhere"], vec!["--out", "/proc/nowhere"]),
        (vec!["study", "sight", "--worlds", "1", "--compare", "without images=/nowhere", "--out", out], vec!["/nowhere"]),
        // The former name of the option.
        (vec!["study", "sight", "--worlds", "1", "--beside", "without images=/nowhere", "--out", out], vec!["/nowhere"]),
        (vec!["study", "hours", "--compare", "a=b", "--out", out], vec!["--compare", "got \"hours\"", "wanted sight"]),
        (
            vec!["study", "hours", "--worlds", "1", "--out", out],
            vec!["--worlds", "got \"hours\"", "sight or guidance or memory or routes or harder or monitors"],
        ),
        (vec!["study", "routes", "--calibrate", "a", "--out", out], vec!["--calibrate", "got \"routes\"", "wanted monitors"]),
        (vec!["study", "monitors", "--pictures", "a=/nowhere", "--out", out], vec!["/nowhere"]),
        // Reading a pipe would wait for ever.
        (vec!["study", "monitors", "--pictures", &pipe, "--out", out], vec!["0.png", "pipe", "wanted a plain file"]),
        (vec!["study", "dreams"], vec!["dreams", "sight, guidance, memory, routes, harder, monitors, hours, table5"]),
    ] {
        let done = drivewam(&args);
        let text = stderr(&done);
        assert!(!done.status.success(), "{args:?} must fail");
        for word in words {
            assert!(text.contains(word), "{word:?} is missing in {text}");
        }
    }
}

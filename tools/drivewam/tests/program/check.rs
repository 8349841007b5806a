//! `drivewam check`, and files that are no files.

use super::lab::{Lab, drivewam, stderr};
use serde_json::Value;
use std::fs;
use std::process::{Command, Output};

fn check(lab: &Lab, more: &[&str]) -> Output {
    let (input, config) = (lab.path("input"), lab.path("config.yaml"));
    let mut args = vec!["check", input.to_str().unwrap(), config.to_str().unwrap()];
    args.extend_from_slice(more);
    drivewam(&args)
}

fn rows(done: &Output) -> Vec<Value> {
    let json: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(json["schema"], 1);
    json["checks"].as_array().unwrap().clone()
}

fn row<'a>(rows: &'a [Value], check: &str) -> &'a Value {
    rows.iter().find(|row| row["check"] == check).unwrap_or_else(|| panic!("{check}: {rows:#?}"))
}

/// Breaks when a check is missing, or when one that refuses does not end with exit code 1.
#[test]
fn a_recording_is_checked_row_by_row_and_every_picture_is_decoded() {
    let lab = Lab::new();
    let done = check(&lab, &["--json"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let all = rows(&done);
    assert!(all.iter().all(|row| row["result"] == "ok" && row["error"].is_null()), "{all:#?}");
    for (name, figure) in [
        ("gap in the poses", "100 ms"),
        ("length of the drive", "6.000 s"),
        ("frame grid", "7 used, 0 missing, at most 0.00 ms off"),
        ("pictures", "13 of 13 decoded"),
    ] {
        assert_eq!(row(&all, name)["figure"], figure, "{name}");
    }
    for name in ["camera", "curvature_1pm", "median time between rows", "end of the ego states", "speed_mismatch", "field of view"] {
        row(&all, name);
    }
    let table = String::from_utf8(check(&lab, &[]).stdout).unwrap();
    assert!(table.contains("| gap in the poses") && table.contains("| ok"), "{table}");

    fs::write(lab.path("input/frames/000004.png"), b"\x89PNG no more").unwrap();
    let frames = lab.read("input/frames.csv").replace("2500000000,", "2530000000,");
    lab.write("input/frames.csv", frames.replace("\n3000000000,", "\n3060000000,"));
    let done = check(&lab, &["--json"]);
    let all = rows(&done);
    assert_eq!(done.status.code(), Some(1));
    assert!(stderr(&done).contains("000004.png") && stderr(&done).contains("corrupt"), "{}", stderr(&done));
    assert_eq!((&row(&all, "picture")["result"], &row(&all, "pictures")["figure"]), (&"refused".into(), &"12 of 13 decoded".into()));
    assert_eq!(row(&all, "frame grid")["result"], "noted", "a frame is 60 ms off its place");
    assert_eq!(row(&all, "gap in the poses")["result"], "ok", "the other checks are made all the same");
}

#[test]
fn a_drive_shorter_than_a_chunk_is_refused_and_no_exit_code_0_comes_without_a_plan() {
    let lab = Lab::new();
    for file in ["poses.csv", "ego.csv", "frames.csv"] {
        let text = lab.read(&format!("input/{file}"));
        let kept = text.lines().filter(|line| line.split(',').next().unwrap().parse::<u64>().is_ok_and(|ns| ns < 4_000_000_000));
        let kept = std::iter::once(text.lines().next().unwrap()).chain(kept).collect::<Vec<_>>().join("\n");
        lab.write(&format!("input/{file}"), kept);
    }
    for more in [&[][..], &["--phases"]] {
        let done = lab.drive(more);
        let said = stderr(&done);
        assert!(done.status.code() == Some(1) && said.contains("poses.csv") && said.contains("shorter than a chunk"), "{said}");
    }
}

/// Breaks when the program waits for the other end of a pipe: the test then never ends.
#[test]
fn a_pipe_in_place_of_a_file_is_refused_at_once() {
    let lab = Lab::new();
    let pipe = lab.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pipe = pipe.to_str().unwrap();
    fs::remove_file(lab.path("engines/manifest.yaml")).unwrap();
    assert!(Command::new("mkfifo").arg(lab.path("engines/manifest.yaml")).status().unwrap().success());
    lab.write("extends.yaml", "extends: [pipe]\n");
    let (config, extends, engines) = (lab.path("config.yaml"), lab.path("extends.yaml"), lab.path("engines"));
    let (config, extends, engines) = (config.to_str().unwrap(), extends.to_str().unwrap(), engines.to_str().unwrap());
    for (args, words) in [
        (vec!["plan", pipe], ["pipe", "a pipe"]),
        (vec!["drive", extends], ["pipe", "a pipe"]),
        (vec!["plan", "/dev/zero"], ["/dev/zero", "a device"]),
        (vec!["plan", engines], ["engines", "a folder"]),
        (vec!["plan", "--target", "thor", "--boards", pipe], ["--boards", "a pipe"]),
        (vec!["plan", config], ["manifest.yaml", "a pipe"]),
        (vec!["inspect", engines], ["manifest.yaml", "pipe"]),
        (vec!["check", pipe], ["pipe", "not an input folder"]),
    ] {
        let done = drivewam(&args);
        let said = stderr(&done);
        assert!(done.status.code() == Some(1) && words.iter().all(|word| said.contains(word)), "{args:?}: {said}");
    }
}

//! `plan`, `inspect` and `--help`.

use super::lab::{Lab, drivewam, stderr};
use serde_json::Value;

/// Breaks when the regions, of which a large model has hundreds, come before the summary or without
/// being asked for.
#[test]
fn the_plan_is_a_summary_with_regions_on_demand_and_the_same_as_json() {
    let print = |args: &[&str]| {
        let done = drivewam(args);
        assert!(done.status.success(), "{}", stderr(&done));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let (text, listed) = (print(&["plan"]), print(&["plan", "--regions"]));
    assert!(text.lines().count() < 20 && text.contains("precision") && !text.contains("mem_k.0"), "{text}");
    assert!(listed.starts_with(&text) && listed.contains("mem_k.0") && listed.contains("total"), "{listed}");
    let json: Value = serde_json::from_slice(&drivewam(&["plan", "--json"]).stdout).unwrap();
    let owners: u64 = json["by_owner"].as_object().unwrap().values().map(|v| v.as_u64().unwrap()).sum();
    assert_eq!(owners, json["bytes"].as_u64().unwrap(), "every byte has an owner");
    assert!(text.contains(&json["bytes"].to_string()));
}

#[test]
fn a_plan_that_does_not_fit_is_refused_with_need_capacity_and_keys() {
    let done = drivewam(&["plan", "--set", "target.arena_bytes=4096"]);
    let text = stderr(&done);
    assert_eq!(done.status.code(), Some(1));
    for word in ["capacity error", "a need of", "4096", "target.arena_bytes", "memory.video_slots", "memory.max_chunks"] {
        assert!(text.contains(word), "{word:?} is missing in {text}");
    }
}

#[test]
fn a_plan_without_engines_lacks_the_monitor_and_the_codecs_cache() {
    let bytes = |args: &[&str]| -> Value { serde_json::from_slice(&drivewam(args).stdout).unwrap() };
    let (whole, without) = (bytes(&["plan", "--json"]), bytes(&["plan", "--json", "--no-engines", "--precision", "f32"]));
    let mut owners = whole["by_owner"].as_object().unwrap().clone();
    owners.insert("codec".into(), without["by_owner"]["codec"].clone());
    assert!(owners.remove("monitor").is_some());
    assert_eq!(&owners, without["by_owner"].as_object().unwrap());
    assert!(whole["bytes"].as_u64() >= without["bytes"].as_u64());
}

#[test]
fn inspect_shows_the_manifest_and_every_file_and_fails_when_one_is_not_what_it_was() {
    let lab = Lab::new();
    let dir = lab.path("engines");
    let done = drivewam(&["inspect", dir.to_str().unwrap(), "--tensors"]);
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{}", stderr(&done));
    for word in ["vae_encode_first", "context_ego", "velocity f32", "dit.onnx", " ok ", "video, 8 action"] {
        assert!(text.contains(word), "{word:?} is missing in {text}");
    }
    let mut bytes = std::fs::read(lab.path("engines/dit.onnx")).unwrap();
    bytes[100] ^= 4;
    lab.write("engines/dit.onnx", bytes);
    std::fs::remove_file(lab.path("engines/context_ego.onnx")).unwrap();
    lab.write("engines/note.txt", "not in the manifest");
    let done = drivewam(&["inspect", dir.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(1));
    assert!(text.contains("unlisted") && text.matches("FAULT").count() == 2, "{text}");
    assert!(stderr(&done).contains("context_ego.onnx") && stderr(&done).contains("1 more"), "{}", stderr(&done));
    let json: Value = serde_json::from_slice(&drivewam(&["inspect", dir.to_str().unwrap(), "--json"]).stdout).unwrap();
    assert_eq!(json["whole"], false);
    let states: Vec<&str> = json["files"].as_array().unwrap().iter().map(|f| f["status"].as_str().unwrap()).collect();
    assert_eq!(states.iter().filter(|s| **s == "fault").count(), 2);
    assert_eq!(drivewam(&["inspect", lab.path("nowhere").to_str().unwrap()]).status.code(), Some(1));
}

/// Breaks when a bad graph is called whole because its hash is right, or when what a folder says
/// reaches the terminal as an order to it.
#[test]
fn inspect_checks_graphs_and_nothing_foreign_is_obeyed_by_the_terminal() {
    let lab = Lab::new();
    let dir = lab.path("engines");
    lab.write("engines/stray\u{1b}[2J\u{202e}", "x");
    lab.forge("context_ego.onnx", |bytes| {
        // The operator of a node in protobuf encoding: names contain the word too.
        let at = bytes.windows(9).position(|part| part == b"\"\x07Sigmoid").unwrap();
        bytes[at + 2..at + 9].copy_from_slice(b"NonZero");
    });
    let done = drivewam(&["inspect", dir.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(1), "{text}");
    for word in ["context_ego.onnx", "operator", "\"NonZero\""] {
        assert!(text.contains(word) && stderr(&done).contains(word), "{word}: {text}{}", stderr(&done));
    }
    assert!(text.contains("stray\\u{1b}[2J"), "{text}");
    let json = String::from_utf8_lossy(&drivewam(&["inspect", dir.to_str().unwrap(), "--json"]).stdout).into_owned();
    assert!(serde_json::from_str::<Value>(&json).unwrap()["manifest"].is_object(), "{json}");
    for shown in [text, stderr(&done), json] {
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n') && !shown.contains('\u{202e}'), "{shown:?}");
    }
}

/// Breaks when a protocol between programs is offered to a person, or the version does not name the
/// product.
#[test]
fn the_help_lists_verbs_for_people_and_the_version_names_the_product() {
    let print = |args: &[&str]| String::from_utf8_lossy(&drivewam(args).stdout).into_owned();
    let help = print(&["--help"]);
    assert!(help.contains("drive ") && !help.contains("bench"), "{help}");
    assert!(print(&["bench", "--help"]).contains("standard input"));
    for version in [print(&["--version"]), print(&["drive", "--version"])] {
        assert!(
            version.starts_with("drivewam")
                && !version.contains("tools")
                && version.contains("DriveWAM Edge")
                && version.contains(env!("CARGO_PKG_VERSION")),
            "{version}"
        );
    }
}

#[test]
fn every_verb_explains_itself() {
    for verb in ["drive", "plan", "inspect", "world", "study"] {
        let done = drivewam(&[verb, "--help"]);
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success() && text.contains("Usage: drivewam") && text.contains("--json"), "{text}");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        // clap prints long help below its option, short help beside it.
        let bare = |pair: &&[&str]| pair[0].starts_with("--") && pair[0].split_whitespace().count() < 3 && pair[1].is_empty();
        let undocumented: Vec<&[&str]> = lines.windows(2).filter(bare).collect();
        assert!(undocumented.is_empty(), "{verb}: {undocumented:?}");
    }
}

/// Breaks when a line is printed with `println!`, which panics when the reader is gone.
#[test]
fn a_reader_that_goes_away_ends_nothing() {
    for args in [vec!["plan"], vec!["inspect"]] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_drivewam"))
            .args(&args)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{args:?}: {}", stderr(&done));
    }
}

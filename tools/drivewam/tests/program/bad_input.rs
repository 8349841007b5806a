//! Invalid engines, configuration, input or output: the program reports what, where, got and
//! wanted, exits with code 1, and leaves no partial output.

use super::lab::{Lab, stderr};
use std::fs;

/// A fault, the options of the call, and what the message must contain.
struct Case {
    name: &'static str,
    spoil: fn(&Lab),
    more: &'static [&'static str],
    words: &'static [&'static str],
}

const NOTHING: fn(&Lab) = |_| {};

fn check(cases: &[Case]) {
    let mut failures = Vec::new();
    for Case { name, spoil, more, words } in cases {
        let lab = Lab::new();
        spoil(&lab);
        let before = lab.names();
        let done = lab.drive(more);
        let text = stderr(&done);
        if done.status.code() != Some(1) {
            failures.push(format!("{name}: exit code {:?}: {text}", done.status.code()));
        }
        failures.extend(words.iter().filter(|w| !text.contains(**w)).map(|w| format!("{name}: {w:?} is missing in: {text}")));
        if lab.names() != before {
            failures.push(format!("{name}: {:?} became {:?}", before, lab.names()));
        }
        if text.contains("panicked") {
            failures.push(format!("{name}: {text}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn engines_that_are_not_what_the_manifest_says_are_refused() {
    check(&[
        Case {
            name: "missing ONNX",
            spoil: |lab| fs::remove_file(lab.path("engines/dit.onnx")).unwrap(),
            more: &[],
            words: &["manifest error", "dit.onnx", "missing"],
        },
        Case {
            name: "truncated ONNX",
            spoil: |lab| {
                let bytes = fs::read(lab.path("engines/dit.onnx")).unwrap();
                lab.write("engines/dit.onnx", &bytes[..bytes.len() / 2]);
            },
            more: &[],
            words: &["manifest error", "dit.onnx", "got", "wanted", "bytes"],
        },
        Case {
            name: "truncated ONNX whose manifest entry matches",
            spoil: |lab| {
                let before = fs::metadata(lab.path("engines/dit.onnx")).unwrap().len();
                lab.forge("dit.onnx", |bytes| bytes.truncate(bytes.len() / 2));
                let after = fs::metadata(lab.path("engines/dit.onnx")).unwrap().len();
                lab.replace("engines/manifest.yaml", &format!("bytes: {before}"), &format!("bytes: {after}"));
            },
            more: &[],
            words: &["dit"],
        },
        Case {
            name: "hash mismatch",
            spoil: |lab| {
                let mut bytes = fs::read(lab.path("engines/dit.onnx")).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                lab.write("engines/dit.onnx", bytes);
            },
            more: &[],
            words: &["manifest error", "dit.onnx", "got SHA-256", "wanted SHA-256"],
        },
        Case {
            name: "wrong tensor name",
            spoil: |lab| lab.replace("engines/manifest.yaml", "mem_bias", "mem_bais"),
            more: &[],
            words: &["manifest error", "dit", "mem_bias", "missing"],
        },
        Case {
            name: "no engine folder",
            spoil: |lab| fs::remove_dir_all(lab.path("engines")).unwrap(),
            more: &[],
            words: &["engines", "manifest", "build_engines", "make fixtures", "plan --no-engines"],
        },
        Case {
            name: "engines of another model",
            spoil: NOTHING,
            more: &["--set", "model.ffn_dim=512"],
            words: &["manifest error", "model.ffn_dim", "384", "512"],
        },
        Case {
            name: "ONNX Runtime asked for but absent",
            spoil: NOTHING,
            more: &["--set", "engine.kind=ort", "--set", "engine.onnxruntime=/nowhere/libonnxruntime.so"],
            words: &["engine error", "/nowhere/libonnxruntime.so"],
        },
        Case {
            name: "a library that is not ONNX Runtime",
            spoil: NOTHING,
            more: &["--set", "engine.kind=ort", "--set", "engine.onnxruntime=/lib/x86_64-linux-gnu/libm.so.6"],
            words: &["engine error", "libm.so.6"],
        },
        Case {
            name: "NaN from an engine: its self-test fails",
            spoil: |lab| {
                let manifest = lab.read("engines/manifest.yaml");
                let weights = ["policy.safetensors", "weights.safetensors", "dit.safetensors"].into_iter().find(|n| manifest.contains(n));
                lab.forge(weights.unwrap(), |bytes| {
                    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize + 8;
                    bytes[header..].chunks_exact_mut(4).for_each(|number| number.copy_from_slice(&f32::NAN.to_le_bytes()));
                });
            },
            more: &[],
            words: &["engine error", "self-test of graph dit", "NaN"],
        },
    ]);
}

#[test]
fn a_wrong_tensor_type_or_shape_in_the_manifest_is_refused_by_name() {
    let lab = Lab::new();
    let manifest = lab.read("engines/manifest.yaml");
    for (from, to, words) in
        [("f32", "f16", ["wrong element type", "got f16, wanted f32"]), ("[1, 3, 64, 112]", "[1, 3, 64, 113]", ["113", "112"])]
    {
        lab.write("engines/manifest.yaml", manifest.replace(from, to));
        let done = lab.drive(&[]);
        let text = stderr(&done);
        assert!(!done.status.success() && words.iter().all(|w| text.contains(w)), "{from} to {to}: {text}");
        assert!(!lab.path("out").exists());
    }
}

#[test]
fn a_configuration_that_is_wrong_is_refused_by_key() {
    check(&[
        Case {
            name: "unknown key",
            spoil: |lab| lab.write("config.yaml", lab.read("config.yaml") + "memory: {video_slot: 3}\n"),
            more: &[],
            words: &["config error", "config.yaml", "video_slot"],
        },
        Case {
            name: "wrong unit",
            spoil: |lab| lab.write("config.yaml", lab.read("config.yaml") + "target: {arena_bytes: 256 MB}\n"),
            more: &[],
            words: &["config error", "target.arena_bytes", "256 MB"],
        },
        Case {
            name: "out of range",
            spoil: NOTHING,
            more: &["--set", "flow.action.steps=0"],
            words: &["config error", "flow.action.steps", "got 0", "1 to 1000"],
        },
        Case { name: "not KEY=VALUE", spoil: NOTHING, more: &["--set", "flow.seed"], words: &["--set", "KEY=VALUE"] },
        Case {
            name: "budget above capacity",
            spoil: NOTHING,
            more: &["--set", "target.arena_bytes=1000000"],
            words: &["capacity error", "1000000", "target.arena_bytes", "memory.video_slots"],
        },
        Case { name: "recording moved", spoil: NOTHING, more: &["--closed-loop"], words: &["--closed-loop", "wanted world"] },
        Case { name: "a recording has no seed", spoil: NOTHING, more: &["--seed", "0"], words: &["--seed", "wanted world"] },
        Case { name: "a recording has its length", spoil: NOTHING, more: &["--seconds", "60"], words: &["--seconds", "wanted world"] },
        Case { name: "a recording has its roads", spoil: NOTHING, more: &["--kind", "mixed"], words: &["--kind", "wanted world"] },
        Case {
            name: "controls take their time",
            spoil: NOTHING,
            more: &["--controls", "--realtime"],
            words: &["--controls", "--realtime"],
        },
    ]);
}

#[test]
fn input_that_is_wrong_is_refused_by_file_and_line() {
    check(&[
        Case {
            name: "missing image",
            spoil: |lab| fs::remove_file(lab.path("input/frames/000002.png")).unwrap(),
            more: &[],
            words: &["input error", "frames.csv", "line 4", "missing", "000002.png"],
        },
        Case {
            name: "stamps that go back",
            spoil: |lab| lab.replace("input/frames.csv", "2000000000,", "1200000000,"),
            more: &[],
            words: &["input error", "frames.csv", "line 4", "goes back", "got 1200000000"],
        },
        Case {
            name: "a stamp that is missing",
            spoil: |lab| lab.replace("input/frames.csv", "2000000000,", ","),
            more: &[],
            words: &["input error", "frames.csv", "line 4", "stamp_ns"],
        },
        Case {
            name: "a stamp twice",
            spoil: |lab| lab.replace("input/poses.csv", "\n1200000000,", "\n1100000000,"),
            more: &[],
            words: &["input error", "poses.csv", "line 4", "repeats"],
        },
        Case {
            name: "a gap in the poses",
            spoil: |lab| {
                let text = lab.read("input/poses.csv");
                let remaining: Vec<&str> = text.lines().filter(|line| !line.starts_with("3500000000,")).collect();
                lab.write("input/poses.csv", remaining.join("\n"));
            },
            more: &[],
            words: &["input error", "gap in the poses", "3400000000 to 3600000000", "0.200 s", "0.150 s"],
        },
        Case {
            name: "NaN in an ego state",
            spoil: |lab| {
                let text = lab.read("input/ego.csv");
                let line = text.lines().find(|line| line.starts_with("3500000000,")).unwrap();
                lab.replace("input/ego.csv", line, "3500000000,NaN,0,0");
            },
            more: &[],
            words: &["input error", "ego.csv", "line 27", "speed_mps", "NaN"],
        },
        Case {
            name: "no input folder",
            spoil: |lab| fs::remove_dir_all(lab.path("input")).unwrap(),
            more: &[],
            words: &["input error", "not an input folder", "input.yaml"],
        },
    ]);
}

/// Breaks when a fault after some plans removes them, or the drive that was there before.
#[test]
fn an_image_that_is_wrong_in_mid_drive_keeps_the_plans_before_it_marked_as_partial() {
    let cases = [
        Case {
            name: "corrupt image in the middle of the drive",
            spoil: |lab| {
                let bytes = fs::read(lab.path("input/frames/000004.png")).unwrap();
                lab.write("input/frames/000004.png", &bytes[..bytes.len() / 2]);
            },
            more: &[],
            words: &["input error", "000004.png", "corrupt"],
        },
        Case {
            name: "huge image",
            spoil: |lab| {
                let mut bytes = fs::read(lab.path("input/frames/000002.png")).unwrap();
                // Width and height of the header, and its checksum.
                bytes[16..24].copy_from_slice(&[0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50]);
                let crc = crc(&bytes[12..29]);
                bytes[29..33].copy_from_slice(&crc);
                lab.write("input/frames/000002.png", bytes);
            },
            more: &[],
            words: &["input error", "000002.png", "50000x50000", "ingest.max_image_pixels"],
        },
        Case {
            name: "wrongly sized image",
            spoil: |lab| {
                image::save_buffer(lab.path("input/frames/000002.png"), &[0; 12], 2, 2, image::ColorType::Rgb8).unwrap();
            },
            more: &[],
            words: &["input error", "000002.png", "got 2x2", "wanted 112x64"],
        },
    ];
    for Case { name, spoil, more, words } in cases {
        let lab = Lab::new();
        spoil(&lab);
        let done = lab.drive(&[more, &["--json"]].concat());
        let text = stderr(&done);
        assert!(done.status.code() == Some(1) && words.iter().all(|word| text.contains(word)), "{name}: {text}");
        let summary: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!((&summary["partial"], &summary["interrupted"], &summary["chunks"]), (&true.into(), &false.into(), &1.into()));
        assert!(summary["error"].as_str().is_some_and(|error| words.iter().all(|word| error.contains(word))), "{name}: {summary}");
        assert_eq!(lab.read("out/trajectories.jsonl").lines().count(), 1, "{name}");
        assert!(text.contains("marked as partial") && lab.path("out/path.png").exists(), "{name}: {text}");
        // What this drive left is a drive: the next one that fails leaves it alone.
        let before = lab.read("out/summary.json");
        let text = stderr(&lab.drive(&[]));
        assert!(text.contains("out.partial-"), "{name}: {text}");
        assert_eq!(lab.read("out/summary.json"), before);
    }
}

/// The CRC of a PNG chunk.
fn crc(bytes: &[u8]) -> [u8; 4] {
    let crc = bytes
        .iter()
        .fold(!0u32, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 }));
    (!crc).to_be_bytes()
}

#[test]
fn an_output_folder_that_cannot_be_written_is_refused_before_the_drive_and_nothing_of_it_is_touched() {
    let lab = Lab::new();
    lab.write("out", "a file");
    let done = lab.drive(&[]);
    assert!(done.status.code() == Some(1) && stderr(&done).contains("not a folder"), "{done:?}");
    assert_eq!(lab.read("out"), "a file");
    fs::remove_file(lab.path("out")).unwrap();
    fs::create_dir(lab.path("out")).unwrap();
    lab.write("out/letter", "dear");
    let done = lab.drive(&[]);
    assert!(done.status.code() == Some(1) && stderr(&done).contains("--force"), "{done:?}");
    assert_eq!(lab.read("out/letter"), "dear");
    for (out, words) in [
        ("input", "is the input"),
        ("input/out", "lies in the input"),
        ("engines", "is the folder of engines"),
        (".", "contains"),
        ("config.yaml", "is the configuration"),
    ] {
        let before = lab.names();
        let done = lab.drive_to(out, &["--force"]);
        assert!(done.status.code() == Some(1) && stderr(&done).contains(words), "{out}: {done:?}");
        assert_eq!(lab.names(), before, "{out}");
        assert!(lab.path("input/poses.csv").exists() && lab.path("engines/manifest.yaml").exists(), "{out}");
    }
    let config = lab.path("config.yaml");
    let done = super::lab::drivewam(&["drive", config.to_str().unwrap(), "--out", "/proc/nowhere/drive"]);
    assert!(done.status.code() == Some(1) && stderr(&done).contains("/proc/nowhere/drive"), "{done:?}");
    assert!(!lab.names().iter().any(|name| name.contains("partial")), "{:?}", lab.names());
}

/// Breaks when a key under its old name is taken in silence, or warned of more than once.
#[test]
fn a_key_under_its_old_name_is_named_once_on_standard_error() {
    let lab = Lab::new();
    let config = lab.path("config.yaml").display().to_string();
    let world = ["world", "--seeds", "5..6", "--seconds", "2", "--policy", &config, "--plans", "--out"];
    for args in [vec!["plan", &config], vec!["study", "sight", &config, "--worlds", "1", "--out"], world.to_vec()] {
        let out = lab.path(args[0]).display().to_string();
        let mut args = args;
        if args.last() == Some(&"--out") {
            args.push(&out);
        }
        args.extend(["--set", "guard.max_held=3"]);
        let done = super::lab::drivewam(&args);
        let said = stderr(&done);
        assert!(done.status.success(), "{args:?}: {said}");
        assert_eq!(said.matches("warning").count(), 1, "{args:?}: {said}");
        assert!(said.contains("`guard.max_held` is now called `guard.max_hold_chunks`"), "{args:?}: {said}");
    }
}

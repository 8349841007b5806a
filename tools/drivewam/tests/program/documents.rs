//! The commands of the README and of docs/*.md, line by line.

use super::lab::workspace;
use documented::assert_parsed;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

#[path = "../../../../tests/src/documented.rs"]
mod documented;

/// How a documented command is run here.
enum Run {
    /// As it stands, with more options that make it short, and with a line of standard input.
    With(&'static [&'static str], &'static str),
    /// It is only parsed, for this reason.
    Parsed(&'static str),
}

/// Every command, as the documents write it.
const COMMANDS: [(&str, Run); 35] = [
    ("drive", Run::With(&[], "")),
    ("drive --seed 7 --expert", Run::With(&["--seconds", "9"], "")),
    ("drive --input DIR --out out/mine", Run::With(&[], "")),
    ("drive --input DIR --phases --controls", Run::With(&["--overlays", "0"], "")),
    ("drive --input DIR --phases", Run::With(&["--overlays", "0"], "")),
    ("drive --future --overlays 12", Run::With(&["--seconds", "9"], "")),
    ("drive --realtime", Run::With(&["--seconds", "2"], "")),
    ("drive configs/tiny-vlm.yaml --seed 5200 --seconds 60 --realtime", Run::Parsed("a minute")),
    ("drive configs/tiny-rtx-pc.yaml", Run::Parsed("needs a GPU")),
    ("plan", Run::With(&[], "")),
    ("plan --regions", Run::With(&[], "")),
    ("plan configs/drivewam-5b.yaml --no-engines --target orin-64", Run::With(&[], "")),
    ("inspect", Run::With(&[], "")),
    ("inspect DIR --tensors --trust KEY", Run::Parsed("has a key of its reader")),
    ("inspect engines/rtx-pc", Run::Parsed("needs engines that a GPU's owner builds")),
    ("world --seeds 0..4 --out out/worlds", Run::With(&["--seconds", "1"], "")),
    ("world --seeds 0..4 --plans --captions --out out/train", Run::With(&["--seconds", "1"], "")),
    (
        "world --seeds 0..4 --plans --no-foresight --policy configs/tiny.yaml --set lanes.count=4 --out out/driven",
        Run::With(&["--seconds", "1"], ""),
    ),
    ("study sight", Run::Parsed(HOURS)),
    ("study sight --worlds 50", Run::Parsed(HOURS)),
    ("study sight --compare no images=DIR", Run::Parsed(HOURS)),
    ("study guidance configs/tiny-vlm.yaml", Run::Parsed(HOURS)),
    ("study memory", Run::Parsed(HOURS)),
    ("study routes", Run::Parsed(HOURS)),
    ("study routes --lanes 4,2,1", Run::Parsed(HOURS)),
    ("study routes --worlds 24 --first-world 400 --lanes 4", Run::Parsed(HOURS)),
    ("study harder --set lanes.count=4", Run::Parsed(HOURS)),
    ("study monitors --set lanes.count=4 --pictures street=DIR", Run::Parsed(HOURS)),
    ("study hours", Run::Parsed(HOURS)),
    ("study table5 configs/drivewam-5b.yaml", Run::Parsed(HOURS)),
    ("bench", Run::With(&["--warmup", "0"], "1")),
    ("bench --selection", Run::With(&["--warmup", "0"], "1")),
    ("bench CONFIG --guidance 32", Run::Parsed("needs fixtures")),
    ("check DIR", Run::With(&[], "")),
    ("check DIR --json --set ingest.max_pose_gap_ms=250", Run::With(&[], "")),
];

/// The suite of `study` runs each part for a few worlds.
const HOURS: &str = "takes long";

/// Breaks when a document shows a command that the program does not have, that fails on a fresh
/// clone, or that nobody has looked at. They run in one folder and in the documents' order, as a
/// new user would type them; DIR is a folder that `world` wrote.
#[test]
fn the_documented_commands_run_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path).display().to_string();
    let program = env!("CARGO_BIN_EXE_drivewam");
    let recorded = ["world", "--seeds", "9..10", "--seconds", "8", "--camera-hz", "2", "--out", &at("recorded")];
    assert!(Command::new(program).args(recorded).output().unwrap().status.success());
    let mut seen = Vec::new();
    for command in assert_parsed(&workspace(), "drivewam-tools", program) {
        let text = command.text();
        let Some((_, run)) = COMMANDS.iter().find(|(known, _)| *known == text) else {
            panic!("{}: {text:?} is not in the table of this test", command.place);
        };
        if seen.contains(&text) {
            continue;
        }
        seen.push(text.clone());
        let (more, stdin) = match run {
            Run::With(more, stdin) => (more, stdin),
            Run::Parsed(why) => {
                println!("{text}: only parsed: {why}");
                continue;
            }
        };
        let real = |word: &String| match word.as_str() {
            "DIR" => at("recorded/000009"),
            word if word.starts_with("configs/") => workspace().join(word).display().to_string(),
            word => word.to_owned(),
        };
        let since = Instant::now();
        let mut child = Command::new(program)
            .args(command.words.iter().map(real))
            .args(*more)
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{stdin}").unwrap_or_default();
        let done = child.wait_with_output().unwrap();
        println!("{text}: {:.1} s", since.elapsed().as_secs_f64());
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && !done.stdout.is_empty(), "{}: {text}: {stderr}", command.place);
    }
    assert!(fs::exists(at("out/drive/path.png")).unwrap() && fs::exists(at("out/train/000003/captions.jsonl")).unwrap());
}

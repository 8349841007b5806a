//! `plan --target`: whether a plan fits a board.

use super::lab::{Lab, drivewam, stderr, workspace};
use serde_json::Value;

const PAPER: &str = "configs/drivewam-5b.yaml";

fn plan(args: &[&str]) -> Value {
    let mut all = vec!["plan", "--json"];
    all.extend(args);
    let done = drivewam(&all);
    assert!(done.status.success(), "{args:?}: {}", stderr(&done));
    serde_json::from_slice::<Value>(&done.stdout).unwrap()["target"].clone()
}

fn paper() -> String {
    workspace().join(PAPER).display().to_string()
}

fn bytes(held: &Value, owner: &str) -> u64 {
    let items = held["policy"].as_array().unwrap();
    items.iter().find(|item| item["owner"].as_str().unwrap().contains(owner)).unwrap()["bytes"].as_u64().unwrap()
}

/// Breaks when the parameter counts differ from the shipped files by a byte. A safetensors file is
/// eight bytes, a header, and the numbers.
#[test]
fn the_weights_of_the_shipped_policy_are_those_of_its_files() {
    let held = plan(&["--target", "thor"])["held"].clone();
    let numbers = |file: &str| {
        let content = std::fs::read(workspace().join("engines/tiny").join(file)).unwrap();
        let header = u64::from_le_bytes(content[..8].try_into().unwrap());
        content.len() as u64 - 8 - header
    };
    assert_eq!(bytes(&held, "dit"), numbers("dit.safetensors"));
    assert_eq!(bytes(&held, "context_text") + bytes(&held, "context_ego"), numbers("context.safetensors"));
}

/// Breaks when the board, the precision or the arena does not enter the lower bound or the sum.
#[test]
fn the_paper_s_size_on_a_board_by_hand() {
    let paper = paper();
    let target = plan(&[&paper, "--no-engines", "--target", "orin-64"]);
    assert_eq!((target["fits"].as_bool(), target["precision"].as_str()), (Some(true), Some("f16")));
    let weights = 2 * 5_063_885_022 + 2 * 21_755_904;
    assert_eq!(bytes(&target["held"], "dit"), weights);
    assert_eq!(bytes(&target["held"], "arena: memory") / 1000, 265_423, "the arena is planned in f16 too");
    let passes = target["floors"]["chunk"].as_array().unwrap();
    let step = passes.iter().find(|p| p["pass"].as_str().unwrap().starts_with("video step")).unwrap();
    let cache = 30 * 3072 * 2 * (2 * (720 + 129 + 1) + 3 * 112);
    assert_eq!(step["cache_bytes"].as_u64(), Some(cache));
    let near = |got: &Value, wanted: f64| assert!((got.as_f64().unwrap() / wanted - 1.0).abs() < 1e-12, "{got} {wanted}");
    near(&step["memory_s"], (weights + cache) as f64 / 204.8e9);
    near(&step["compute_s"], 1_143_762_714_624.0 / 42.5e12);
    assert_eq!(step["bound"], "memory");
    let sum: f64 = passes.iter().map(|p| p["floor_s"].as_f64().unwrap() * p["count"].as_f64().unwrap()).sum();
    near(&target["floors"]["chunk_floor_s"], sum);
    let transformer = passes.iter().filter(|p| p["pass"].as_str().unwrap().contains("tokens"));
    assert_eq!(transformer.map(|p| p["count"].as_u64().unwrap()).sum::<u64>(), 14);
    let half = plan(&[&paper, "--no-engines", "--target", "orin-64", "--precision", "int8"]);
    assert!(bytes(&half["held"], "dit") * 2 < weights + 100_000_000 && half["need_bytes"].as_u64() < target["need_bytes"].as_u64());
}

/// Breaks when a plan that does not fit the board exits with 0, or without its table, need and
/// limit.
#[test]
fn a_plan_that_a_board_cannot_hold_is_said_and_fails() {
    let paper = paper();
    let done = drivewam(&["plan", &paper, "--no-engines", "--target", "orin-32", "--set", "guidance.mode=vlm"]);
    let (text, error) = (String::from_utf8_lossy(&done.stdout).into_owned(), stderr(&done));
    assert_eq!(done.status.code(), Some(1), "{error}");
    assert!(text.contains("does NOT fit") && text.contains("lower bound of a chunk"), "the table is printed all the same: {text}");
    for word in ["orin-32", "got a need of", "wanted at most 24000000000", "guidance.mode"] {
        assert!(error.contains(word), "{word:?} is missing in {error}");
    }
    let json = drivewam(&["plan", &paper, "--no-engines", "--target", "orin-32", "--set", "guidance.mode=vlm", "--json"]);
    assert_eq!(json.status.code(), Some(1));
    assert_eq!(serde_json::from_slice::<Value>(&json.stdout).unwrap()["target"]["fits"], false);
}

/// Breaks when `--target` changes what a plan without it prints, or a wrong target is accepted.
#[test]
fn wrong_targets_are_refused_with_what_there_is() {
    let lab = Lab::new();
    lab.write(
        "boards.yaml",
        "boards: {mine: {product: Mine, memory_bytes: 8000000, shared: true, reserve_bytes: 1, bandwidth_bytes_per_s: 1e9, \
         peak_flops: {f32: 1e12, f16: 2e12, bf16: 2e12}}}",
    );
    lab.write("odd.yaml", "boards: {mine: {memory: 3}}");
    let (mine, odd) = (lab.path("boards.yaml").display().to_string(), lab.path("odd.yaml").display().to_string());
    for (args, words) in [
        (vec!["--target", "orin"], vec!["got \"orin\"", "orin-32, orin-64", "thor"]),
        (vec!["--target", "orin-64", "--precision", "fp8"], vec!["got fp8", "f32, f16, bf16, int8"]),
        (vec!["--target", "thor", "--precision", "half"], vec!["half", "f32, f16, bf16, fp8, int8"]),
        (vec!["--guidance-precision", "f16"], vec!["--target"]),
        (vec!["--target", "mine", "--boards", "/nowhere.yaml"], vec!["--boards", "/nowhere.yaml"]),
        (vec!["--target", "mine", "--boards", &odd], vec!["odd.yaml", "memory"]),
        (vec!["--target", "mine", "--boards", &mine], vec!["does not fit \"mine\"", "7999999"]),
    ] {
        let done = drivewam(&[vec!["plan"], args.clone()].concat());
        assert!(!done.status.success(), "{args:?} must fail");
        words.iter().for_each(|word| assert!(stderr(&done).contains(word), "{args:?}: {word:?} is missing in {}", stderr(&done)));
    }
    let plain = drivewam(&["plan"]);
    let with = drivewam(&["plan", "--target", "thor"]);
    assert!(String::from_utf8_lossy(&with.stdout).starts_with(&*String::from_utf8_lossy(&plain.stdout)), "the summary is the same");
}

/// Breaks when `--target` changes the precision that the arena is planned in, or `--precision`
/// needs a board.
#[test]
fn a_plan_counts_with_the_same_precision_with_and_without_a_target() {
    let paper = paper();
    let json = |args: &[&str]| -> Value { serde_json::from_slice(&drivewam(&[&["plan", "--json"], args].concat()).stdout).unwrap() };
    for (args, wanted) in [
        (&[paper.as_str(), "--no-engines"][..], "f16"),
        (&[paper.as_str(), "--no-engines", "--precision", "f32"], "f32"),
        (&[], "f32"),
        (&["--precision", "bf16"], "bf16"),
    ] {
        let (without, with) = (json(args), json(&[args, &["--target", "thor"]].concat()));
        assert_eq!((&without["schema"], &without["precision"]), (&1.into(), &wanted.into()), "{args:?}");
        for key in ["precision", "bytes", "by_owner", "regions"] {
            assert_eq!(without[key], with[key], "{args:?}: {key}");
        }
        assert_eq!(with["target"]["precision"], wanted, "{args:?}");
    }
}

/// Breaks when the help does not name a board of configs/target/boards.yaml.
#[test]
fn the_help_names_every_shipped_board() {
    let help = String::from_utf8_lossy(&drivewam(&["plan", "--help"]).stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    let wrong = stderr(&drivewam(&["plan", "--target", "?"]));
    let names = wrong.split("wanted one of ").nth(1).unwrap().trim_end().trim_end_matches(')');
    for name in names.split(", ") {
        assert!(help.contains(name), "{name} is missing in {help}");
    }
}

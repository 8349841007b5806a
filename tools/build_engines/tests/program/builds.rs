//! Builds: new, kept, resumed, replaced and signed engines.

use super::support::{build, fails, program, root, text};
use drivewam::guidance::prompt_tokens::decoder_shapes;
use drivewam::guidance::vlm::DecoderShapes;
use drivewam::{Plan, RideOptions, SourceCamera, load_config};
use drivewam_core::bindings::Graph;
use drivewam_core::config::{EngineKind, Layer};
use drivewam_core::manifest::{Dotted, FILE_NAME, Family, Fusion};
use drivewam_device::cuda::driver_version;
use drivewam_engine::tensorrt::{Header, Library, header};
use drivewam_engine::{EngineBundle, Trust};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn open(folder: &Path) -> EngineBundle {
    EngineBundle::open(folder, &Trust::default()).unwrap()
}

/// Breaks if a graph of the tiny policy is not accepted or built for one of three GPU generations,
/// the manifest does not say what was built, or engines are loaded without a driver.
#[test]
fn all_graphs_of_the_small_policy_become_engines_that_the_manifest_attests() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("rtx-pc");
    let done = build(&out, &[]);
    assert!(done.status.success(), "{}", text(&done));
    println!("{}", String::from_utf8_lossy(&done.stdout));
    let folder = open(&out);
    let manifest = folder.manifest();
    let built = manifest.built.as_ref().unwrap();
    assert_eq!((built.family, built.library), (Family::TensorrtRtx, Dotted([1, 7, 1])));
    assert_eq!(built.compatible.compute_capabilities, [Dotted([8, 6]), Dotted([8, 9]), Dotted([12, 0])]);
    assert_eq!(manifest.graphs.len(), Graph::POLICY.len() + Graph::GUIDANCE.len());
    let engine = manifest.graphs[&Graph::Dit].engine.as_ref().unwrap();
    let lengths: Vec<_> = engine.profiles.iter().map(|p| (p.n[1], p.s[1])).collect();
    assert_eq!(lengths, [(28, 172), (8, 172), (36, 172)]);
    // The engine holds its weights once: three profiles add only their code.
    let bytes = manifest.files["dit.engine"].bytes;
    assert!(bytes < engine.weight_bytes + 3 * (10 << 20), "{bytes} for {} of weights", engine.weight_bytes);
    let library = Library::open(Family::TensorrtRtx, Some(super::support::rtx().to_str().unwrap())).unwrap();
    for (name, entry) in folder.files().filter(|(name, _)| name.ends_with(".engine")) {
        let found = header(&library, folder.content(name).unwrap().as_slice()).unwrap();
        assert!(matches!(found, Header::NotHere(_) | Header::Valid), "{name}, {} bytes: {found}", entry.bytes);
    }
    // An identical build reuses everything.
    let began = Instant::now();
    let again = build(&out, &["--json"]);
    assert!(again.status.success() && began.elapsed() < Duration::from_secs(5), "{:?}: {}", began.elapsed(), text(&again));
    let json: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(json["manifest_sha256"], folder.manifest_sha256(), "the same engines, and another manifest");
    refused_without_a_driver(&out);
}

/// Warms a ride on these engines on this machine.
fn refused_without_a_driver(out: &Path) {
    let layer = serde_json::json!({"engine": {"kind": "tensorrt_rtx", "folder": out, "tensorrt": {"library": super::support::rtx(), "scratch_bytes": 1 << 26}}});
    let layer = Layer { name: "test".into(), text: layer.to_string() };
    let config = load_config(&root().join("configs/tiny.yaml"), &[layer]).unwrap();
    assert_eq!(config.engine.kind, EngineKind::TensorrtRtx);
    let folder = open(out);
    let camera = SourceCamera::of_model(&config.model);
    let warmed = Plan::new(config, folder.manifest(), camera, RideOptions::EVALUATION).unwrap().warm(folder);
    match (driver_version(), warmed) {
        (Err(_), Err(error)) => assert!(error.to_string().contains("no NVIDIA driver is installed"), "{error}"),
        (Err(_), Ok(_)) => panic!("a ride warmed up without a GPU"),
        (Ok(_), warmed) => println!("this machine has a driver: {:?}", warmed.map(|ride| ride.engines())),
    }
}

/// Precisions whose graphs `make fixtures` writes beside those in f32.
const HALVES: &[&str] = if cfg!(feature = "long") { &["f16", "bf16"] } else { &["f16"] };

/// Every graph in f32 and in half precision. Breaks if a graph is exported that TensorRT does not
/// accept.
#[test]
fn the_parser_takes_every_graph_in_every_precision() {
    let halves = HALVES.iter().map(|half| root().join(format!("target/tiny-{half}")));
    for graphs in std::iter::once(root().join("engines/tiny")).chain(halves) {
        // As in the README: the program finds the library that `make setup` installed.
        let default = super::support::arguments(Path::new("target/nothing"));
        let arguments: Vec<&str> =
            default.iter().map(String::as_str).chain(["--graphs", graphs.to_str().unwrap(), "--parse-only"]).collect();
        let done = program(&arguments).env_remove("DRIVEWAM_TENSORRT").output().unwrap();
        assert!(done.status.success(), "{graphs:?}: {}", text(&done));
        let wanted = open(&graphs).manifest().graphs.len();
        assert!(wanted >= Graph::POLICY.len(), "{graphs:?}: {wanted} graphs");
        assert_eq!(String::from_utf8_lossy(&done.stdout).matches("accepted by").count(), wanted, "{}", text(&done));
    }
    assert!(!root().join("target/nothing").exists());
}

/// Breaks if a graph of the guidance is not accepted or built, in either precision, if a pass of
/// the ride's language model has no profile, or if the tokenizers are not copied.
#[test]
fn the_language_model_is_built_for_its_prompts_and_keeps_its_tokenizers() {
    let config = load_config(&root().join("configs/tiny-vlm.yaml"), &[]).unwrap();
    for name in if cfg!(feature = "long") { &["engines/tiny", "target/tiny-vlm-f16"][..] } else { &["engines/tiny"] } {
        let temp = tempfile::tempdir().unwrap();
        let (out, graphs) = (temp.path().join("out"), root().join(name));
        let asked = Graph::GUIDANCE.map(|graph| ["--graph", graph.as_str()]);
        let mut arguments = vec!["configs/tiny-vlm.yaml", "--target", "rtx-pc"];
        arguments.extend(["--graphs", graphs.to_str().unwrap(), "--out", out.to_str().unwrap()]);
        arguments.extend(asked.as_flattened());
        let done = super::support::run(&arguments);
        assert!(done.status.success(), "{name}: {}", text(&done));
        let folder = open(&out);
        let (manifest, guidance) = (folder.manifest(), folder.manifest().guidance().unwrap());
        let [vlm, _text] = [&guidance.vlm.tokenizer, &guidance.text.tokenizer].map(|name| folder.content(name).unwrap());
        let DecoderShapes { prompts, slots } = decoder_shapes(&config, manifest, vlm.as_slice()).unwrap();
        let profiles = &manifest.graphs[&Graph::VlmDecoder].engine.as_ref().unwrap().profiles;
        for n in prompts.into_iter().chain([1]) {
            assert!(profiles.iter().any(|profile| profile.holds(n, slots)), "{n} over {slots}: {profiles:?}");
        }
    }
}

/// Two layers of the paper's width in f16, with external weights. Breaks if the engine holds the
/// weights more than once, or the build needs more memory than estimated.
#[cfg(feature = "long")]
#[test]
fn a_wide_transformer_is_built_from_external_data_within_the_estimate() {
    let temp = tempfile::tempdir_in(root().join("target")).unwrap();
    let out = temp.path().join("wide");
    let graphs = root().join("target/wide");
    let arguments = ["configs/drivewam-5b.yaml", "--set", "model.layers=2", "--target", "rtx-pc", "--graphs", graphs.to_str().unwrap()];
    let run = |more: &[&str]| {
        let arguments: Vec<_> =
            arguments.iter().chain(&["--out", out.to_str().unwrap(), "--graph", "dit", "--json"]).chain(more).copied().collect();
        let done = super::support::run(&arguments);
        assert!(done.status.success(), "{}", text(&done));
        serde_json::from_slice::<Value>(&done.stdout).unwrap()
    };
    let planned = run(&["--dry-run"]);
    let (weights, estimate) =
        (planned["graphs"][0]["weight_bytes"].as_u64().unwrap(), planned["graphs"][0]["estimate_bytes"].as_u64().unwrap());
    assert!(weights > 900 << 20, "{weights}");
    let built = run(&[]);
    let (bytes, peak) = (built["graphs"][0]["file"]["bytes"].as_u64().unwrap(), built["graphs"][0]["peak_bytes"].as_u64().unwrap());
    println!("weights {weights}, engine {bytes}, peak {peak}, estimate {estimate}, {} s", built["graphs"][0]["seconds"]);
    assert!(bytes < weights + weights / 20, "{bytes}");
    assert!(peak < estimate, "{peak} of {estimate}");
    let fusion = open(&out).manifest().graphs[&Graph::Dit].engine.as_ref().unwrap().fusion;
    assert!(
        matches!(fusion, Fusion::Named(count) if count >= 12),
        "two layers, two of three attentions at least, three profiles: {fusion}"
    );
}

/// Six layers, three attentions each, three profiles. Breaks if the exported attention is not the
/// pattern that the builder fuses.
#[test]
fn attention_in_half_precision_becomes_one_kernel() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out");
    let graphs = root().join("target/tiny-f16");
    let arguments = ["--graphs", graphs.to_str().unwrap(), "--graph", "dit"];
    let done = build(&out, &arguments);
    assert!(done.status.success(), "{}", text(&done));
    assert_eq!(open(&out).manifest().graphs[&Graph::Dit].engine.as_ref().unwrap().fusion, Fusion::Named(54));
    // Attention in f32 is never fused, and that is no error.
    let done = build(&out, &["--graph", "dit", "--set", "build.flags.optimization_level=0"]);
    assert!(done.status.success(), "{}", text(&done));
    assert_eq!(open(&out).manifest().graphs[&Graph::Dit].engine.as_ref().unwrap().fusion, Fusion::Named(0));
}

/// Breaks if a killed build leaves a folder that does not load, loses the old engines, or loses the
/// engines that it finished.
#[test]
fn a_build_that_is_killed_leaves_the_old_engines_and_is_resumed() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("rtx-pc");
    let small = ["--graph", "context_ego", "--graph", "vae_decode"];
    assert!(build(&out, &small).status.success());
    let before = open(&out);
    // With other flags nothing of the old folder can be reused. Killed after the first of two.
    let others = [small.as_slice(), &["--graph", "dit", "--set", "build.flags.optimization_level=2"]].concat();
    let default = super::support::arguments(&out);
    let arguments: Vec<&str> = default.iter().map(String::as_str).chain(others.iter().copied()).collect();
    let mut child = program(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let partial = temp.path().join(".rtx-pc.partial");
    let began = Instant::now();
    while !partial.join("context_ego.json").exists() {
        assert!(
            began.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(),
            "the build ended before it could be killed"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let kept = std::fs::read_to_string(partial.join("context_ego.json")).unwrap();
    let worker = worker_of(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    let after = open(&out);
    assert_eq!(before.manifest_sha256(), after.manifest_sha256());
    // The parent held the lock, so its worker must not outlive it.
    ends(worker);
    let done = build(&out, &[others.as_slice(), &["--json"]].concat());
    assert!(done.status.success(), "{}", text(&done));
    let json: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(json["graphs"].as_array().unwrap().len(), 3);
    // Reused as it was: a second build would take another time.
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let ego = json["graphs"].as_array().unwrap().iter().find(|g| g["graph"] == "context_ego").unwrap();
    assert_eq!(ego["seconds"], kept[1]["seconds"], "an engine was built twice");
    let now = open(&out);
    assert_eq!(now.manifest().built.as_ref().unwrap().flags.optimization_level, 2);
    assert_ne!(now.manifest_sha256(), before.manifest_sha256());
    assert!(!partial.exists(), "the partial folder remained");
}

/// Breaks if Ctrl-C leaves a half-written folder or a running worker.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_worker_too() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("rtx-pc");
    let default = super::support::arguments(&out);
    let mut child =
        program(&default.iter().map(String::as_str).chain(["--graph", "dit"]).collect::<Vec<_>>()).stderr(Stdio::piped()).spawn().unwrap();
    let worker = worker_of(child.id());
    std::thread::sleep(Duration::from_secs(2));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(5), "the program ignores Ctrl-C");
        std::thread::sleep(Duration::from_millis(20));
    }
    fails(&child.wait_with_output().unwrap(), &["interrupted", "untouched"]);
    assert!(!out.exists());
    ends(worker);
}

/// The worker process of `parent`.
fn worker_of(parent: u32) -> u32 {
    let began = Instant::now();
    loop {
        let found = Command::new("pgrep").args(["-P", &parent.to_string()]).output().unwrap();
        if let Some(child) = String::from_utf8_lossy(&found.stdout).lines().next() {
            return child.parse().unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "no worker was started");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for a process to end.
fn ends(process: u32) {
    let began = Instant::now();
    let lives = || std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while lives() {
        assert!(began.elapsed() < Duration::from_secs(5), "a worker still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Breaks if a build of one graph drops the engines of others, or keeps unverified ones.
#[test]
fn engines_of_other_graphs_stay() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("rtx-pc");
    assert!(build(&out, &["--graph", "context_ego"]).status.success());
    assert!(build(&out, &["--graph", "vae_decode"]).status.success());
    let names: Vec<Graph> = open(&out).manifest().graphs.keys().copied().collect();
    assert_eq!(names, [Graph::VaeDecode, Graph::ContextEgo]);
    // Engines with other settings cannot stay, and dropping them silently would be wrong.
    let done = build(&out, &["--graph", "vae_decode", "--set", "build.flags.optimization_level=1"]);
    fails(&done, &["other build settings", "would drop context_ego"]);
    assert_eq!(open(&out).manifest().graphs.len(), 2);
}

/// Breaks if an unsigned folder counts as signed, or the signature does not match the manifest.
#[test]
fn a_signed_folder_is_trusted_by_its_key_alone() {
    let temp = tempfile::tempdir().unwrap();
    let (out, key) = (temp.path().join("rtx-pc"), temp.path().join("key.pem"));
    // As `openssl genpkey -algorithm ed25519` writes it.
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\n-----END PRIVATE KEY-----\n";
    std::fs::write(&key, pem).unwrap();
    let done = build(&out, &["--graph", "context_ego", "--sign", key.to_str().unwrap()]);
    assert!(done.status.success(), "{}", text(&done));
    let public = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    assert!(text(&done).contains(public), "{}", text(&done));
    let vehicle = |keys: &str| {
        let layer = Layer { name: "test".into(), text: format!("{{vehicle: {{trusted_keys: [{keys}]}}}}") };
        load_config(&root().join("configs/tiny.yaml"), &[layer]).unwrap().vehicle
    };
    EngineBundle::open(&out, &Trust::of(&vehicle(public)).unwrap()).unwrap();
    let stranger = "ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1";
    let error = EngineBundle::open(&out, &Trust::of(&vehicle(stranger)).unwrap()).unwrap_err().to_string();
    assert!(error.contains("no trusted key") && error.contains(stranger), "{error}");
    // A build without a key removes the old signature.
    assert!(build(&out, &["--graph", "context_ego"]).status.success());
    let error = EngineBundle::open(&out, &Trust::of(&vehicle(public)).unwrap()).unwrap_err().to_string();
    assert!(error.contains("not signed"), "{error}");
    assert!(out.join(FILE_NAME).exists());
}

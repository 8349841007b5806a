//! Invalid guidance input: tokenizers of other models, invalid prompt templates and texts, empty
//! images.

use super::{FakeModel, good, warm};
use drivewam::guidance::model::{GenerateError, GuidanceAnswer, GuidanceRequest};
use drivewam::guidance::status::{GuidanceSource, RejectReason};
use drivewam::{Plan, Progress, RideOptions, SourceCamera, load_config};
use drivewam_core::ErrorKind;
use drivewam_core::bindings::Graph;
use drivewam_core::config::Layer;
use drivewam_core::ego::EgoState;
use drivewam_core::manifest::{FILE_NAME, FileRole, Manifest};
use drivewam_engine::bundle::attest;
use drivewam_engine::{EngineBundle, Trust};
use drivewam_world::{Canvas, Options, World};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Breaks when a folder without the models, a text that cannot be encoded or a template without its
/// placeholders is accepted.
#[test]
fn a_model_that_cannot_generate_is_refused_in_warm() {
    let say = |guidance: &str| warm(guidance, |_, engine| engine).unwrap_err().to_string();
    let long = ["ba"; 70].join(" ");
    for (guidance, words) in [
        (format!("{{mode: fixed, text: {long}}}"), &["guidance.text", "more words"][..]),
        ("{mode: fixed}".to_owned(), &["guidance.text", "has no text"]),
        ("{mode: vlm, prompt_template: \"look {camera} and {plot}\"}".to_owned(), &["guidance.prompt_template", "{command}"]),
        ("{mode: vlm, max_new_tokens: 0}".to_owned(), &["guidance.max_new_tokens", "got 0"]),
        ("{mode: loud}".to_owned(), &["guidance", "loud"]),
        ("{wait_ms: never}".to_owned(), &["guidance"]),
    ] {
        let text = say(&guidance);
        assert!(words.iter().all(|word| text.contains(word)), "{guidance}: {text}");
    }
    let config = load_config(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml"),
        &[Layer { name: "the test".into(), text: "guidance: {mode: vlm}".into() }],
    )
    .unwrap();
    let without = without_language_model(config.engine.folder.as_ref());
    let bundle = EngineBundle::open(without.path(), &Trust::default()).unwrap();
    let camera = SourceCamera::of_model(&config.model);
    let error = Plan::new(config, bundle.manifest(), camera, RideOptions::EVALUATION).unwrap().warm(bundle).unwrap_err().to_string();
    assert!(error.contains("no language model"), "{error}");
}

/// A copy of the bundle `from` that has the policy alone.
fn without_language_model(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let mut manifest = Manifest::parse(&std::fs::read_to_string(from.join(FILE_NAME)).unwrap()).unwrap();
    manifest.guidance = None;
    manifest.graphs.retain(|graph, _| Graph::POLICY.contains(graph));
    manifest.files.retain(|name, _| !["vlm_", "text_"].iter().any(|start| name.starts_with(start)));
    for name in manifest.files.keys() {
        std::fs::copy(from.join(name), to.path().join(name)).unwrap();
    }
    std::fs::write(to.path().join(FILE_NAME), serde_saphyr::to_string(&manifest).unwrap()).unwrap();
    to
}

/// A copy of the folder with a tokenizer changed by `corrupt`, and its new hash in the manifest.
fn with_tokenizer(name: &str, corrupt: impl Fn(&mut serde_json::Value)) -> tempfile::TempDir {
    let (from, to) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guided"), tempfile::tempdir().unwrap());
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&std::fs::read(to.path().join(name)).unwrap()).unwrap();
    corrupt(&mut tokenizer);
    let bytes = serde_json::to_vec(&tokenizer).unwrap();
    std::fs::write(to.path().join(name), &bytes).unwrap();
    let path = to.path().join(FILE_NAME);
    let mut manifest = Manifest::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
    manifest.files.insert(name.into(), attest(&bytes, FileRole::Tokenizer));
    std::fs::write(path, serde_saphyr::to_string(&manifest).unwrap()).unwrap();
    to
}

/// Breaks when a tokenizer of another model is accepted: with more entries than the graph, or
/// without the special tokens.
#[test]
fn a_tokenizer_of_another_model_is_refused_in_warm() {
    let more = |json: &mut serde_json::Value| json["model"]["vocab"]["one more"] = 97.into();
    let others = |json: &mut serde_json::Value| json["added_tokens"] = serde_json::json!([]);
    let load_all = |folder: &Path| {
        let layers = [
            "model: {text: {max_rows: 64, padded_rows: 128}}\nguidance: {mode: vlm}".to_owned(),
            serde_json::json!({"engine": {"folder": folder}}).to_string(),
        ];
        let layers = layers.map(|text| Layer { name: "the test".into(), text });
        let config = load_config(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml"), &layers).unwrap();
        let bundle = EngineBundle::open(folder, &Trust::default()).unwrap();
        let camera = SourceCamera::of_model(&config.model);
        Plan::new(config, bundle.manifest(), camera, RideOptions::EVALUATION).unwrap().warm(bundle).map(drop)
    };
    load_all(with_tokenizer("vlm_tokenizer.json", |_| ()).path()).unwrap();
    for name in ["vlm_tokenizer.json", "text_tokenizer.json"] {
        for (i, corrupt) in [&more as &dyn Fn(&mut serde_json::Value), &others].into_iter().enumerate() {
            let error = load_all(with_tokenizer(name, corrupt).path()).unwrap_err();
            let text = error.to_string();
            assert!(error.kind() == ErrorKind::Manifest && text.contains(name) && text.contains("another model's"), "{i}: {text}");
        }
    }
}

/// Breaks when an empty image ends the ride, reaches the model, or discards the last good guidance.
#[test]
fn an_empty_picture_is_refused_and_the_last_good_guidance_is_still_used() {
    let mut ride = warm("{mode: off, wait_ms: inf}", |_, engine| engine).unwrap();
    let asked: Arc<Mutex<Vec<(i64, usize, usize)>>> = Arc::default();
    // Answers only the first request.
    let say = |request: &GuidanceRequest, answer: &mut GuidanceAnswer| {
        if request.number > 1 { Err(GenerateError::Rejected(RejectReason::Endless)) } else { good(request, answer) }
    };
    ride.set_guidance_model(Box::new(FakeModel { delay: Duration::ZERO, say: Box::new(say), asked: Arc::clone(&asked) })).unwrap();
    let (mut status, mut world, mut stamp, mut refused) = (Vec::new(), World::new(5, Options::default()), 0, 0);
    let mut canvas = Canvas::new(112, 64, ride.config().model.camera);
    for tick in 0..=120 {
        let ego = world.ego();
        ride.push_ego(
            stamp,
            EgoState { speed_mps: ego.speed_mps, acceleration_mps2: ego.acceleration_mps2, curvature_1pm: ego.curvature_1pm },
        )
        .unwrap();
        ride.push_pose(stamp, ego.pose).unwrap();
        if tick % 10 == 0 {
            let error = ride.push_frame(stamp, &[]).unwrap_err();
            assert!(error.kind() == ErrorKind::Input && error.to_string().contains("0 bytes"), "{error}");
            refused += 1;
            world.render(&mut canvas);
            ride.push_frame(stamp, &canvas.rgb).unwrap();
            if let Progress::Outcome(outcome) = ride.step(stamp).unwrap() {
                status.push((outcome.guidance.source, outcome.guidance.age_ms));
            }
        }
        world.step(world.expert());
        stamp += 100_000_000;
    }
    assert_eq!(
        status,
        [
            (GuidanceSource::Vlm, Some(0.0)),
            (GuidanceSource::Vlm, Some(4000.0)),
            (GuidanceSource::Vlm, Some(8000.0)),
            (GuidanceSource::Vlm, Some(12000.0))
        ]
    );
    assert!(refused == 13 && asked.lock().unwrap().iter().all(|(_, _, sum)| *sum > 0), "the model got an empty image");
}

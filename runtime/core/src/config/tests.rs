//! Tests: the shipped configuration loads, and a wrong key is refused with its name, its layer, the
//! value and what was wanted.

use super::{Config, Layer, MemoryPolicy};
use crate::error::ErrorKind;
use crate::flow::schedule::VideoEnd;

fn shipped() -> Vec<Layer> {
    [
        ("model/tiny.yaml", include_str!("../../../../configs/model/tiny.yaml")),
        ("target/host-cpu.yaml", include_str!("../../../../configs/target/host-cpu.yaml")),
        ("vehicle/world.yaml", include_str!("../../../../configs/vehicle/world.yaml")),
        ("tiny.yaml", include_str!("../../../../configs/tiny.yaml")),
    ]
    .map(|(name, text)| Layer { name: name.into(), text: text.into() })
    .into()
}

#[test]
fn the_shipped_configuration_is_whole_and_survives_its_own_printing() {
    let config = Config::from_layers(&shipped()).unwrap();
    assert_eq!(config.slots(), (112, 32, 28));
    assert_eq!(config.memory.policy, MemoryPolicy::Selective);
    let printed = Layer { name: "printed".into(), text: config.to_yaml().unwrap() };
    assert_eq!(Config::from_layers(&[printed]).unwrap(), config);
}

#[test]
fn a_later_layer_overrides_an_earlier_one_key_by_key() {
    let mut layers = shipped();
    layers.push(Layer { name: "mine.yaml".into(), text: "memory: {policy: full, max_chunks: 10}".into() });
    let config = Config::from_layers(&layers).unwrap();
    assert_eq!(config.slots(), (280, 80, 28));
    layers.push(Layer { name: "end.yaml".into(), text: "flow: {video: {end: {exec_steps: {of: 5}}}, action: {start: {mean: 4}}}".into() });
    let config = Config::from_layers(&layers).unwrap();
    assert_eq!(config.flow.video.end, VideoEnd::ExecSteps { of: 5 }, "a choice is replaced whole");
    assert_eq!(config.memory.video_slots, 112, "keys that a layer does not name stay");
}

#[test]
fn a_wrong_key_is_refused_with_its_name_and_its_layer() {
    struct Case {
        text: &'static str,
        words: &'static [&'static str],
    }
    let cases = [
        Case { text: "engine: {tensorrt: {weight_budget_bytes: 1000}}", words: &["engine.tensorrt.cuda_graphs", "weights stream in"] },
        Case { text: "memory: {video_slot: 3}", words: &["mine.yaml", "memory", "video_slot"] },
        Case { text: "memory: {video_slots: 3}", words: &["mine.yaml", "memory.video_slots", "got 3", "28"] },
        Case { text: "memory: {policy: lru}", words: &["mine.yaml", "memory.policy", "lru", "selective"] },
        Case { text: "memory: {scoring: {max_pool: 4}}", words: &["mine.yaml", "memory.scoring", "4"] },
        Case { text: "flow: {video: {end: {tau: 1.5}}}", words: &["mine.yaml", "flow.video.end", "1.5"] },
        Case { text: "flow: {video: {end: {sigma: 0.5}}}", words: &["flow.video.end", "sigma"] },
        Case { text: "flow: {action: {steps: 0}}", words: &["mine.yaml", "flow.action.steps", "got 0"] },
        Case { text: "guard: {deadline: 5}", words: &["guard", "deadline"] },
        Case { text: "target: {arena_bytes: 256 MB}", words: &["target.arena_bytes", "256 MB"] },
        Case { text: "vehicle: {max_speed_mps: -1}", words: &["mine.yaml", "vehicle.max_speed_mps", "got -1"] },
        Case { text: "vehicle: {max_speed_mps: 360}", words: &["mine.yaml", "vehicle.max_speed_mps", "got 360", "1 to 100"] },
        Case { text: "vehicle: {max_acceleration_mps2: 0}", words: &["vehicle.max_acceleration_mps2", "got 0", "0.1 to 20"] },
        Case { text: "vehicle: {max_deceleration_mps2: 1.0e-3}", words: &["vehicle.max_deceleration_mps2", "0.001", "0.5 to 20"] },
        Case { text: "vehicle: {max_curvature_1pm: 0}", words: &["vehicle.max_curvature_1pm", "got 0", "0.001 to 1"] },
        Case { text: "vehicle: {max_lateral_acceleration_mps2: 98}", words: &["vehicle.max_lateral_acceleration_mps2", "got 98"] },
        Case { text: "model: {layers: 0}", words: &["mine.yaml", "model.layers", "got 0", "1 to 1024"] },
        Case { text: "model: {eps: 1}", words: &["mine.yaml", "model.eps", "got 1", "above 0, below 1"] },
        Case { text: "model: {rope: {theta: 1}}", words: &["mine.yaml", "model.rope.theta", "got 1", "above 1"] },
        Case { text: "model: {camera: {fx_px: 0.0036}}", words: &["mine.yaml", "model.camera.fx_px", "0.0036", "0.1 to 20"] },
        Case { text: "model: {camera: {cx_px: 960}}", words: &["mine.yaml", "model.camera.cx_px", "got 960", "112"] },
        Case { text: "engine: {manifest_sha256: abc}", words: &["mine.yaml", "engine.manifest_sha256", "abc", "64 lower-case"] },
        Case { text: "engines: {}", words: &["engines", "unknown field"] },
        Case { text: "memory: {policy: full, policy: fifo}", words: &["mine.yaml", "policy"] },
        Case { text: "- a list", words: &["mine.yaml", "a list"] },
    ];
    let mut failures = Vec::new();
    for Case { text, words } in cases {
        let mut layers = shipped();
        layers.push(Layer { name: "mine.yaml".into(), text: text.into() });
        match Config::from_layers(&layers) {
            Ok(_) => failures.push(format!("{text}: accepted")),
            Err(error) => {
                let said = error.to_string();
                if error.kind() != ErrorKind::Config || !words.iter().all(|w| said.contains(w)) {
                    failures.push(format!("{text}: {said}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Breaks if a configuration of the last release is refused, means something else, or loads without
/// a warning.
#[test]
fn a_renamed_key_is_taken_under_its_old_name_with_a_warning() {
    let old = "guidance: {most_tokens: 12, most_ms: 900, template: x}\ningest: {pose_hole_ms: 70}\nguard: {max_held: 3, continuity_m: 2.5}";
    let new = "guidance: {max_new_tokens: 12, timeout_ms: 900, prompt_template: x}\ningest: {max_pose_gap_ms: 70}\n\
               guard: {max_hold_chunks: 3, max_continuity_error_m: 2.5}";
    let load = |text: &str| {
        let mut layers = shipped();
        layers.push(Layer { name: "mine.yaml".into(), text: text.into() });
        Config::from_layers(&layers).unwrap()
    };
    let (old, new) = (load(old), load(new));
    assert_eq!(old.to_yaml().unwrap(), new.to_yaml().unwrap());
    assert_eq!(new.deprecated_keys(), []);
    let warnings: Vec<String> = old.deprecated_keys().iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 6);
    for (warning, words) in warnings.iter().zip([
        ["guidance.most_tokens", "guidance.max_new_tokens"],
        ["guidance.most_ms", "guidance.timeout_ms"],
        ["guidance.template", "guidance.prompt_template"],
        ["ingest.pose_hole_ms", "ingest.max_pose_gap_ms"],
        ["guard.max_held", "guard.max_hold_chunks"],
        ["guard.continuity_m", "guard.max_continuity_error_m"],
    ]) {
        assert!(warning.contains("mine.yaml") && words.iter().all(|word| warning.contains(word)), "{warning}");
    }
    // A later layer overrides a value, whichever of the two names an earlier layer used.
    let mut layers = shipped();
    layers.push(Layer { name: "mine.yaml".into(), text: "guard: {max_held: 3}".into() });
    layers.push(Layer::setting("guard.max_hold_chunks=5").unwrap());
    assert_eq!(Config::from_layers(&layers).unwrap().guard.max_hold_chunks, 5);
}

#[test]
fn a_key_under_both_names_is_refused_with_both() {
    let mut layers = shipped();
    layers.push(Layer { name: "mine.yaml".into(), text: "guard: {max_held: 3, max_hold_chunks: 3}".into() });
    let error = Config::from_layers(&layers).unwrap_err().to_string();
    assert!(["mine.yaml", "guard.max_held", "guard.max_hold_chunks"].iter().all(|word| error.contains(word)), "{error}");
}

#[test]
fn a_missing_section_is_named() {
    let error = Config::from_layers(&shipped()[..1]).unwrap_err().to_string();
    assert!(error.contains("missing field `target`"), "{error}");
}

#[test]
fn a_setting_becomes_a_layer_and_a_wrong_one_is_refused() {
    assert_eq!(Layer::setting("flow.video.steps=4").unwrap().text, "{flow: {video: {steps: 4}}}");
    assert!(Layer::setting("flow.seed").unwrap_err().to_string().contains("KEY=VALUE"));
    assert!(Layer::setting("flow..seed=1").is_err() && Layer::setting("a: {b=1").is_err());
}

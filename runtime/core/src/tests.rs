//! Shared by the tests of this crate: the shipped models. Also the tests of what a manifest must
//! not contain.

use crate::bindings::Graph;
use crate::dims::Model;
use crate::error::ErrorKind;
use crate::manifest::Manifest;

fn model_of(yaml: &str) -> Model {
    #[derive(serde::Deserialize)]
    struct File {
        model: Model,
    }
    let file: File = serde_saphyr::from_str(yaml).unwrap();
    file.model.check().unwrap();
    file.model
}

pub(crate) fn tiny() -> Model {
    model_of(include_str!("../../../configs/model/tiny.yaml"))
}

#[test]
fn both_shipped_models_check_and_have_the_paper_s_token_counts() {
    let paper = model_of(include_str!("../../../configs/model/drivewam-5b.yaml"));
    assert_eq!((paper.video_tokens(), paper.action_tokens(), paper.token_width(), paper.poses()), (112, 40, 192, 40));
    let tiny = tiny();
    assert_eq!((tiny.video_tokens(), tiny.action_tokens(), tiny.token_width(), tiny.poses()), (28, 8, 96, 40));
    assert_eq!(tiny.chunk_ns(), 4_000_000_000);
}

/// A manifest of the tiny model with all its graphs, as the exporter writes it, derived from the
/// contract.
fn manifest() -> serde_json::Value {
    let mut tree = serde_json::to_value(Manifest::by_contract(&tiny(), &[vec![1, 24, 8, 14]])).unwrap();
    for graph in tree["graphs"].as_object_mut().unwrap().values_mut() {
        graph["file"] = "g.onnx".into();
        graph["weights"] = serde_json::json!(["w.safetensors"]);
    }
    let file = |role: &str| serde_json::json!({"sha256": "0".repeat(64), "bytes": 1, "role": role});
    tree["commands"] = serde_json::json!({"file": "c.safetensors", "rows": {"left": 4, "straight": 4, "right": 4, "unknown": 4}});
    tree["trained_ranges"] = serde_json::json!({
        "speed_mps": [0.0, 12.0],
        "yaw_rate_radps": [-0.9, 0.9],
        "camera": {"yaw_rad": [0.0, 0.0], "pitch_rad": [0.0, 0.1], "roll_rad": [0.0, 0.0], "height_m": [1.5, 1.5], "distorted_lenses": false},
        "picture": {"brightness": [90, 160], "contrast": [20, 60], "saturation": [10, 50]},
    });
    tree["files"] = serde_json::json!({"g.onnx": file("graph"), "w.safetensors": file("weights"), "c.safetensors": file("commands")});
    tree
}

#[test]
fn a_manifest_made_from_the_contract_is_accepted() {
    let parsed = Manifest::parse(&manifest().to_string()).unwrap();
    assert_eq!(parsed.caches(Graph::VaeEncode), vec![vec![1, 24, 8, 14]]);
    assert!(parsed.caches(Graph::VaeDecode).is_empty());
    let said = parsed.trained_text();
    assert!(
        said.starts_with("trained ranges: 0 to 12 m/s, -0.9 to 0.9 rad/s; camera at yaw, pitch, roll of 0, 0 to 0.1, 0 rad, 1.5 m high"),
        "{said}"
    );
    assert_eq!(Manifest::by_contract(&tiny(), &[]).trained_text(), "trained ranges: not stated");
}

/// The exporter writes a plain `N`, which a YAML 1.1 reader takes for "no".
#[test]
fn the_axis_letter_n_is_no_boolean() {
    let text = manifest().to_string().replace("\"N\"", "N");
    assert!(text.contains("[N,"), "{text}");
    Manifest::parse(&text).unwrap();
}

#[test]
fn a_manifest_that_contradicts_itself_is_refused_with_the_key_got_and_wanted() {
    struct Case {
        pointer: &'static str,
        value: serde_json::Value,
        words: &'static [&'static str],
    }
    let cases = [
        Case { pointer: "/schema", value: 1.into(), words: &["schema", "got 1", "wanted 2"] },
        Case { pointer: "/flow_direction", value: "tau_0_is_noise".into(), words: &["tau_0_is_noise"] },
        Case { pointer: "/model/dim", value: 127.into(), words: &["model.dim", "127", "128"] },
        Case { pointer: "/graphs/dit/file", value: "other.onnx".into(), words: &["graphs.dit.file", "other.onnx"] },
        Case { pointer: "/graphs/dit/inputs/0/name", value: "token".into(), words: &["graphs.dit", "tokens", "missing"] },
        Case { pointer: "/graphs/dit/inputs/0/dtype", value: "f16".into(), words: &["tokens", "got f16", "wanted f32"] },
        Case { pointer: "/graphs/dit/inputs/0/shape/1", value: 95.into(), words: &["tokens", "[N, 95]", "[N, 96]"] },
        Case { pointer: "/graphs/vae_encode/inputs/1/shape/1", value: 23.into(), words: &["cache_in.0", "23", "24"] },
        Case { pointer: "/files/g.onnx/sha256", value: "ABC".into(), words: &["g.onnx", "SHA-256"] },
        Case { pointer: "/commands/rows/left", value: 65.into(), words: &["commands.rows.left", "65", "64"] },
        Case { pointer: "/schedule/video/shift", value: 0.into(), words: &["schedule.video.shift"] },
        Case { pointer: "/normalisation/action/q99/0", value: (-9).into(), words: &["normalisation.action"] },
        Case {
            pointer: "/trained_ranges/speed_mps/0",
            value: 13.into(),
            words: &["trained_ranges.speed_mps", "got [13, 12]", "least, most", "150"],
        },
        Case { pointer: "/trained_ranges/speed_mps/1", value: 300.into(), words: &["trained_ranges.speed_mps", "300"] },
        Case { pointer: "/trained_ranges/camera/yaw_rad/1", value: 90.into(), words: &["trained_ranges.camera.yaw_rad", "90", "3.142"] },
        Case { pointer: "/trained_ranges/camera/height_m/0", value: serde_json::Value::Null, words: &["null"] },
        Case { pointer: "/trained_ranges/picture/contrast/1", value: 200.into(), words: &["trained_ranges.picture.contrast", "200"] },
    ];
    let mut failures = Vec::new();
    for case in cases {
        let mut tree = manifest();
        *tree.pointer_mut(case.pointer).unwrap() = case.value;
        match Manifest::parse(&tree.to_string()) {
            Ok(_) => failures.push(format!("{}: accepted", case.pointer)),
            Err(error) => {
                let text = error.to_string();
                if !case.words.iter().all(|w| text.contains(w)) || !matches!(error.kind(), ErrorKind::Manifest | ErrorKind::Config) {
                    failures.push(format!("{}: {text}", case.pointer));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_file_name_that_leaves_the_folder_is_refused() {
    for name in ["../g.onnx", "/etc/passwd", "a/b", ".hidden", ""] {
        let mut tree = manifest();
        let file = tree["files"]["g.onnx"].clone();
        tree["files"][name] = file;
        let error = Manifest::parse(&tree.to_string()).unwrap_err().to_string();
        assert!(error.contains("not a plain file name"), "{name:?}: {error}");
    }
}

#[test]
fn an_unknown_key_of_a_manifest_is_refused() {
    let mut tree = manifest();
    tree["grahps"] = serde_json::json!({});
    assert!(Manifest::parse(&tree.to_string()).unwrap_err().to_string().contains("grahps"));
}

#[test]
fn a_configuration_of_another_model_is_refused_by_the_key_that_differs() {
    let parsed = Manifest::parse(&manifest().to_string()).unwrap();
    let mut other = tiny();
    other.ffn_dim = 512;
    let error = parsed.check_model(&other).unwrap_err().to_string();
    assert!(error.contains("model.ffn_dim") && error.contains("384") && error.contains("512"), "{error}");
}

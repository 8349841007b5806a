//! Faults of manifests.

use super::{Fault, NOTHING, edit, link, reword};
use drivewam_core::bindings::Graph;
use drivewam_core::dtype::DType;
use drivewam_core::manifest::{Dotted, FILE_NAME, Precision};
use drivewam_core::tensor::Axis;
use std::fs;

/// Faults of the manifest's text.
pub(super) fn of_manifests() -> Vec<Fault> {
    vec![
        Fault { name: "no manifest", corrupt: |d| fs::remove_file(d.join(FILE_NAME)).unwrap(), words: &["no manifest"], ..NOTHING },
        Fault { name: "an empty manifest", corrupt: |d| edit(d, FILE_NAME, Vec::clear), words: &[FILE_NAME], ..NOTHING },
        Fault { name: "half a manifest", corrupt: |d| edit(d, FILE_NAME, |c| c.truncate(c.len() / 2)), words: &[FILE_NAME], ..NOTHING },
        Fault { name: "not text", corrupt: |d| edit(d, FILE_NAME, |c| c[10] = 0xff), words: &[FILE_NAME, "UTF-8"], ..NOTHING },
        Fault {
            name: "too long",
            corrupt: |d| edit(d, FILE_NAME, |c| c.resize(5 << 20, b' ')),
            words: &[FILE_NAME, "too long"],
            ..NOTHING
        },
        #[cfg(unix)]
        Fault { name: "a manifest that is a link", corrupt: |d| link(d, FILE_NAME), words: &[FILE_NAME, "a symbolic link"], ..NOTHING },
        Fault {
            name: "an earlier schema",
            corrupt: |d| reword(d, "schema: 2", "schema: 1"),
            words: &["schema", "got 1, wanted 2"],
            ..NOTHING
        },
        Fault {
            name: "a later schema",
            corrupt: |d| reword(d, "schema: 2", "schema: 3"),
            words: &["schema", "got 3, wanted 2"],
            ..NOTHING
        },
        Fault { name: "an unknown key", corrupt: |d| reword(d, "schema: 2", "schema: 2\nchecks: off"), words: &["checks"], ..NOTHING },
        Fault { name: "a key twice", corrupt: |d| reword(d, "schema: 2", "schema: 2\nschema: 2"), words: &["schema"], ..NOTHING },
        Fault {
            name: "another flow direction",
            corrupt: |d| reword(d, "tau_1_is_noise", "tau_0_is_noise"),
            words: &["tau_0_is_noise"],
            ..NOTHING
        },
        Fault {
            name: "a path outside of the folder",
            corrupt: |d| reword(d, "dit.engine:", "\"../dit.engine\":"),
            words: &["../dit.engine", "plain file name"],
            ..NOTHING
        },
        Fault {
            name: "an absolute path",
            corrupt: |d| reword(d, "dit.engine:", "/etc/passwd:"),
            words: &["/etc/passwd", "plain file name"],
            ..NOTHING
        },
        Fault {
            name: "a hidden file",
            corrupt: |d| reword(d, "dit.engine:", ".dit.engine:"),
            words: &[".dit.engine", "plain file name"],
            ..NOTHING
        },
        Fault { name: "a hash in capitals", corrupt: |d| reword(d, "sha256: ", "sha256: A"), words: &["not a SHA-256"], ..NOTHING },
        Fault {
            name: "another family",
            corrupt: |d| {
                let text = fs::read_to_string(d.join(FILE_NAME)).unwrap();
                let rtx = text.contains("family: tensorrt_rtx");
                if rtx {
                    reword(d, "family: tensorrt_rtx", "family: tensorrt")
                } else {
                    reword(d, "family: tensorrt", "family: tensorrt_rtx")
                }
            },
            words: &["built.library", "not a version of the family"],
            ..NOTHING
        },
        Fault {
            name: "an unknown family",
            corrupt: |d| reword(d, "family: tensorrt", "family: openvino"),
            words: &["openvino"],
            ..NOTHING
        },
        Fault {
            name: "a version of two numbers",
            make: |_| {},
            corrupt: |d| reword(d, "library_from: \"", "library_from: \"1."),
            words: &["numbers with dots"],
            ..NOTHING
        },
    ]
}

/// Faults of the content of a well-formed manifest.
pub(super) fn of_words() -> Vec<Fault> {
    vec![
        Fault {
            name: "for other GPUs",
            make: |m| m.manifest.built.as_mut().unwrap().compatible.compute_capabilities = vec![Dotted([8, 7]), Dotted([8, 9])],
            words: &["built.compatible.compute_capabilities", "compute capability 9.0", "one of 8.7, 8.9"],
            ..NOTHING
        },
        Fault {
            name: "for no GPU",
            make: |m| m.manifest.built.as_mut().unwrap().compatible.compute_capabilities.clear(),
            words: &["no GPU may load"],
            ..NOTHING
        },
        Fault {
            name: "for later libraries",
            make: |m| {
                let built = m.manifest.built.as_mut().unwrap();
                let Dotted([major, minor, patch]) = built.library;
                built.library = Dotted([major, minor + 1, patch]);
                (built.compatible.library_from, built.compatible.library_to) = (built.library, built.library);
            },
            words: &["built.compatible.library", "build the engines on this machine"],
            ..NOTHING
        },
        Fault {
            name: "for two majors",
            make: |m| {
                let built = m.manifest.built.as_mut().unwrap();
                built.compatible.library_to = Dotted([built.library.0[0] + 1, 0, 0]);
            },
            words: &["built.compatible.library", "of one major"],
            ..NOTHING
        },
        Fault { name: "`built` is missing", make: |m| m.manifest.built = None, words: &["`built` does not say by what"], ..NOTHING },
        Fault {
            name: "an entry without an engine",
            make: |m| m.manifest.graphs.get_mut(&Graph::Dit).unwrap().engine = None,
            words: &["graphs.dit.engine", "missing"],
            ..NOTHING
        },
        Fault {
            name: "weights beside an engine",
            make: |m| m.manifest.graphs.get_mut(&Graph::Dit).unwrap().weights = vec!["commands.safetensors".into()],
            words: &["graphs.dit.weights", "holds its weights"],
            ..NOTHING
        },
        Fault {
            name: "no graph",
            make: |m| drop(m.manifest.graphs.remove(&Graph::Dit)),
            words: &["no such graph", "graphs.dit"],
            ..NOTHING
        },
        Fault {
            name: "a file that the manifest does not list",
            make: |m| m.manifest.graphs.get_mut(&Graph::Dit).unwrap().file = "other.engine".into(),
            words: &["other.engine", "not listed"],
            ..NOTHING
        },
        Fault {
            name: "a file of another role",
            make: |m| m.manifest.graphs.get_mut(&Graph::Dit).unwrap().file = "commands.safetensors".into(),
            words: &["another role", "got commands, wanted engine"],
            ..NOTHING
        },
        Fault {
            name: "another model",
            make: |m| m.manifest.model.name = "other".into(),
            words: &["model.name", "other", "tiny"],
            ..NOTHING
        },
        Fault {
            name: "another precision",
            make: |m| m.manifest.graphs.get_mut(&Graph::Dit).unwrap().precision = Precision::F16,
            words: &["graphs.dit", "element type", "got f32, wanted f16"],
            ..NOTHING
        },
        Fault {
            name: "another type",
            make: |m| m.manifest.graphs.get_mut(&Graph::Dit).unwrap().inputs[0].dtype = DType::F16,
            words: &["graphs.dit", "tokens", "got f16, wanted f32"],
            ..NOTHING
        },
        Fault {
            name: "another shape",
            make: |m| m.manifest.graphs.get_mut(&Graph::Dit).unwrap().inputs[0].shape[1] = Axis::Fixed(95),
            words: &["tokens", "[N, 95]"],
            ..NOTHING
        },
        Fault {
            name: "no profiles",
            make: |m| m.manifest.graphs.get_mut(&Graph::Dit).unwrap().engine.as_mut().unwrap().profiles.clear(),
            words: &["graphs.dit.engine", "profiles", "empty"],
            ..NOTHING
        },
        Fault {
            name: "a profile that is upside down",
            make: |m| m.manifest.graphs.get_mut(&Graph::Dit).unwrap().engine.as_mut().unwrap().profiles[0].n = [9, 8, 7],
            words: &["profiles", "least, most often, most"],
            ..NOTHING
        },
        Fault {
            name: "a tolerance that takes anything",
            make: |m| m.manifest.graphs.get_mut(&Graph::Dit).unwrap().tolerance = f64::INFINITY,
            words: &["graphs.dit.tolerance"],
            ..NOTHING
        },
        Fault { name: "no self-test at all", make: |m| m.manifest.self_test = None, words: &["self_test", "no self-test"], ..NOTHING },
        Fault {
            name: "a self-test of other graphs",
            make: |m| {
                let file = m.manifest.self_test.clone().unwrap().file;
                let content = m.files.get_mut(&file).unwrap();
                let at = |c: &[u8]| c.windows(13).position(|w| w == b"\"context_ego/");
                while let Some(at) = at(content) {
                    content[at + 9] = b'a';
                }
            },
            words: &["self_test.safetensors", "has no answers of the graph", "context_ego"],
            ..NOTHING
        },
        Fault {
            name: "a tolerance that takes much",
            make: |m| m.manifest.graphs.get_mut(&Graph::Dit).unwrap().tolerance = 0.5,
            words: &["graphs.dit.tolerance", "0.5", "0.001 in f32"],
            ..NOTHING
        },
        Fault {
            name: "a target that cannot be shown",
            make: |m| m.manifest.target = "a test\u{1b}[2J".into(),
            words: &["target", "not printable text", "\\u{1b}"],
            ..NOTHING
        },
        Fault {
            name: "several versions of a library, and not built for that",
            make: |m| {
                let built = m.manifest.built.as_mut().unwrap();
                built.compatible.library_to.0[2] += 1;
            },
            words: &["built.compatible.library", "version compatible"],
            ..NOTHING
        },
        Fault {
            name: "unsigned code for the host",
            make: |m| m.manifest.built.as_mut().unwrap().flags.version_compatible = true,
            words: &["built.flags.version_compatible", "code for the host"],
            ..NOTHING
        },
        Fault {
            name: "the work space is not known",
            make: |m| m.manifest.graphs.get_mut(&Graph::Dit).unwrap().engine.as_mut().unwrap().scratch_bytes = None,
            words: &["engine.tensorrt.scratch_bytes", "graph dit"],
            ..NOTHING
        },
    ]
}

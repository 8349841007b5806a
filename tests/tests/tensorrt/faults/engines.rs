//! Faults of engines whose hashes match the manifest.

use super::{Fault, NOTHING};
use drivewam_core::bindings::Graph;

/// Engines with a valid hash that differ from the manifest's description.
pub(super) fn of_engines() -> Vec<Fault> {
    vec![
        Fault {
            name: "garbage",
            make: |m| *m.plan(Graph::Dit) = b"\x7fELF and so on".to_vec(),
            words: &["graph dit", "refuses the engine"],
            ..NOTHING
        },
        Fault {
            name: "truncated before it was attested",
            make: |m| m.plan(Graph::Dit).truncate(500),
            words: &["graph dit", "refuses the engine"],
            ..NOTHING
        },
        Fault {
            name: "of another version",
            make: |m| m.replace(Graph::Dit, "version ", "version 1"),
            words: &["graph dit", "refuses the engine", "version"],
            ..NOTHING
        },
        Fault {
            name: "another graph's",
            make: |m| *m.plan(Graph::Dit) = m.plan(Graph::VaeEncode).clone(),
            words: &["graph dit", "does not have"],
            ..NOTHING
        },
        Fault {
            name: "another name",
            make: |m| m.replace(Graph::VaeDecode, "tensor latent", "tensor lateral"),
            words: &["graph vae_decode", "\"latent\"", "does not have"],
            ..NOTHING
        },
        Fault {
            name: "one tensor more",
            make: |m| m.replace(Graph::VaeDecode, "scratch", "tensor spare out f32 4\nscratch"),
            words: &["\"spare\"", "does not name"],
            ..NOTHING
        },
        Fault {
            name: "a type",
            make: |m| m.replace(Graph::VaeDecode, "latent in f32", "latent in f16"),
            words: &["\"latent\"", "got f16, wanted f32"],
            ..NOTHING
        },
        Fault {
            name: "an unknown type",
            make: |m| m.replace(Graph::VaeDecode, "latent in f32", "latent in f8"),
            words: &["\"latent\"", "TensorRT type"],
            ..NOTHING
        },
        Fault {
            name: "a shape",
            make: |m| m.replace(Graph::VaeDecode, "latent in f32 24", "latent in f32 25"),
            words: &["\"latent\"", "[25, 8, 14]"],
            ..NOTHING
        },
        Fault {
            name: "a tensor on the host",
            make: |m| m.replace(Graph::VaeDecode, "scratch", "host latent\nscratch"),
            words: &["expects on the host", "latent"],
            ..NOTHING
        },
        Fault {
            name: "one profile less",
            make: |m| m.manifest.graphs.get_mut(&Graph::Dit).unwrap().engine.as_mut().unwrap().profiles.truncate(2),
            words: &["number of optimization profiles", "got 3, wanted 2"],
            ..NOTHING
        },
        Fault {
            name: "a profile of another range",
            make: |m| m.manifest.graphs.get_mut(&Graph::Dit).unwrap().engine.as_mut().unwrap().profiles[1].n = [7, 8, 8],
            words: &["another range", "profile 1", "tokens"],
            ..NOTHING
        },
        Fault {
            name: "more work space",
            make: |m| m.replace(Graph::Dit, "scratch 4096", "scratch 8192"),
            words: &["more scratch memory", "got 4096 bytes, wanted at least 8192"],
            ..NOTHING
        },
        Fault {
            name: "profiles for another memory",
            set: "{memory: {video_slots: 140}}",
            words: &["no optimization profile", "S 200", "build the engines"],
            ..NOTHING
        },
        Fault {
            name: "weights that do not stream",
            set: "{engine: {tensorrt: {weight_budget_bytes: 1000, cuda_graphs: false}}}",
            words: &["not built for weight streaming"],
            ..NOTHING
        },
        Fault { name: "a missing GPU", set: "{engine: {tensorrt: {gpu: 3}}}", words: &["no such GPU", "got 3"], ..NOTHING },
    ]
}

//! How much host memory Warm takes for file contents, by arithmetic on the manifest.

use drivewam_core::bindings::Graph;
use drivewam_core::config::{EngineConfig, EngineKind};
use drivewam_core::manifest::Manifest;
use std::collections::BTreeSet;

/// The moment of Warm with the most bytes of file contents in host memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WarmPeak {
    /// The graph that is being loaded; `None` where no graph is read from a file.
    pub graph: Option<Graph>,
    /// Contents of files, each once: those of the graph, those that a later graph needs too, and
    /// those that an engine reads in place.
    pub file_bytes: u64,
    /// Copies that the engine library makes of contents, at most.
    pub library_bytes: u64,
}

impl WarmPeak {
    /// Bytes of both kinds.
    pub fn bytes(&self) -> u64 {
        self.file_bytes.saturating_add(self.library_bytes)
    }
}

/// What an engine library does with the contents that it is given.
struct Library {
    /// It reads weight files in place for as long as the engine lives.
    keeps_weights: bool,
    /// Bytes that it copies of a graph with a file of `file` bytes and weights of `weights` bytes.
    copies: fn(file: u64, weights: u64) -> u64,
}

impl Library {
    fn of(config: &EngineConfig) -> Option<Self> {
        match config.kind {
            // Computes without files.
            EngineKind::ClosedForm => None,
            // Gets a copy of the ONNX file, and keeps of it at most the constants.
            EngineKind::Rten => Some(Self { keeps_weights: true, copies: |file, _| file }),
            // A session owns its weights.
            EngineKind::Ort => Some(Self { keeps_weights: false, copies: |file, weights| file.saturating_add(weights) }),
            // Weights go to the GPU. Those beyond a budget stay on the host, to be streamed.
            EngineKind::Tensorrt | EngineKind::TensorrtRtx => Some(match config.tensorrt.weight_budget_bytes {
                None => Self { keeps_weights: false, copies: |_, _| 0 },
                Some(_) => Self { keeps_weights: false, copies: |file, _| file },
            }),
        }
    }
}

/// The peak of file contents in host memory while `graphs` are loaded, in this order, as
/// [`EngineBundle::plan_loads`](super::EngineBundle::plan_loads) announces them.
///
/// It follows from the lengths in `manifest`. Not counted: the small files (command texts,
/// self-test, tokenizers), and what a library allocates beyond copies of contents.
pub fn warm_peak(config: &EngineConfig, manifest: &Manifest, graphs: &[Graph]) -> WarmPeak {
    let Some(library) = Library::of(config) else { return WarmPeak::default() };
    let length = |name: &str| manifest.files.get(name).map_or(0, |file| file.bytes);
    let entries: Vec<_> = graphs.iter().filter_map(|graph| Some((*graph, manifest.graphs.get(graph)?))).collect();
    let mut alive: BTreeSet<&str> = BTreeSet::new();
    let mut in_place: BTreeSet<&str> = BTreeSet::new();
    let mut library_bytes = 0u64;
    let mut peak = WarmPeak::default();
    for (i, (graph, entry)) in entries.iter().enumerate() {
        alive.insert(&entry.file);
        alive.extend(entry.weights.iter().map(String::as_str));
        let weights = entry.weights.iter().fold(0u64, |sum, name| sum.saturating_add(length(name)));
        library_bytes = library_bytes.saturating_add((library.copies)(length(&entry.file), weights));
        let file_bytes = alive.union(&in_place).fold(0u64, |sum, name| sum.saturating_add(length(name)));
        let now = WarmPeak { graph: Some(*graph), file_bytes, library_bytes };
        if now.bytes() > peak.bytes() {
            peak = now;
        }
        if library.keeps_weights {
            in_place.extend(entry.weights.iter().map(String::as_str));
        }
        alive.retain(|name| entries.iter().skip(i + 1).any(|(_, later)| later.uses(name)));
    }
    peak
}

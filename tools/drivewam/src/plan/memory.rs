//! The memory that a board needs: weights by graph, the arena by owner, the guidance models.

use crate::table::Table;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::bindings::Graph;
use drivewam_core::config::Config;
use drivewam_core::cost::{Number, QWEN3_VL_8B, UMT5_XXL, WAN22, WanEncoder, context_ego, context_text, dit};
use drivewam_core::manifest::Manifest;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One use of memory.
#[derive(Debug)]
pub(super) struct Item {
    owner: String,
    /// Where the size comes from.
    from: String,
    pub(super) bytes: u64,
}

/// All known uses of memory, and descriptions of the unknown ones.
#[derive(Debug, Default)]
pub(super) struct MemoryNeed {
    pub(super) policy: Vec<Item>,
    pub(super) guidance: Vec<Item>,
    pub(super) unknown: Vec<String>,
    /// The part of one lane; `policy` has it once for each.
    pub(super) lane_bytes: u64,
}

/// What the plan is for.
pub(super) struct Request<'a> {
    pub(super) config: &'a Config,
    pub(super) manifest: &'a Manifest,
    /// Precision of the policy.
    pub(super) number: Number,
    /// Precision of the language model and the text encoder.
    pub(super) guidance: Number,
    /// Rows of the prompt of the language model.
    pub(super) prompt_rows: u64,
    /// Whether the plan has no engine folder.
    pub(super) no_engines: bool,
    /// Whether `number` differs from the precision of the folder's engines.
    pub(super) is_hypothetical: bool,
}

impl Request<'_> {
    /// Whether to assume Wan2.2's encoder: no folder was read, and the model's shapes fit it.
    pub(super) fn assumes_wan(&self) -> bool {
        self.no_engines && WAN22.fits(&self.config.model)
    }

    /// Whether to assume the paper's guidance models: the folder has none, and the model reads text
    /// rows of the width of umT5-XXL.
    pub(super) fn assumes_paper_guidance(&self) -> bool {
        self.manifest.guidance.is_none() && self.config.model.text.dim as u64 == UMT5_XXL.width
    }

    /// Total bytes of the weight files of graphs, each file counted once. `None` if there are none
    /// or one is unknown.
    fn file_bytes(&self, graphs: &[Graph]) -> Option<u64> {
        let mut names = BTreeSet::new();
        for graph in graphs {
            let entry = self.manifest.graphs.get(graph)?;
            names.extend(entry.weights.iter().chain(entry.engine.is_some().then_some(&entry.file)));
        }
        let bytes: Option<Vec<u64>> = names.iter().map(|name| Some(self.manifest.files.get(*name)?.bytes)).collect();
        bytes.filter(|bytes| !bytes.is_empty()).map(|bytes| bytes.iter().sum())
    }

    /// Collects all uses of memory.
    pub(super) fn memory(&self, arena: &ArenaPlan) -> MemoryNeed {
        let mut need = MemoryNeed { lane_bytes: arena.lane_and_shared_bytes().0 as u64, ..MemoryNeed::default() };
        let model = &self.config.model;
        for (graph, count) in [(Graph::Dit, dit(model)), (Graph::ContextText, context_text(model)), (Graph::ContextEgo, context_ego(model))]
        {
            let engine = self.manifest.graphs.get(&graph).and_then(|entry| entry.engine.as_ref()).filter(|_| !self.is_hypothetical);
            let (bytes, from) = match engine {
                Some(engine) => (engine.weight_bytes, "manifest".to_owned()),
                None if self.number == Number::F32 => (count.bytes(self.number), format!("{} numbers", count.all)),
                None => (count.bytes(self.number), format!("{} numbers, of which {} stay f32", count.all, count.single)),
            };
            need.policy.push(Item { owner: format!("weights: {graph}, {}", self.number), from, bytes });
        }
        self.codec(&mut need);
        for (owner, bytes) in arena.owners() {
            need.policy.push(Item { owner: format!("arena: {owner}"), from: "plan".to_owned(), bytes: bytes as u64 });
        }
        self.scratch(&mut need);
        self.guidance_models(&mut need);
        need
    }

    fn codec(&self, need: &mut MemoryNeed) {
        if let Some(bytes) = self.file_bytes(&[Graph::VaeEncodeFirst, Graph::VaeEncode]) {
            need.policy.push(Item { owner: "weights: vae_encode".to_owned(), from: "files of the folder".to_owned(), bytes });
        } else if self.assumes_wan() {
            let number = WanEncoder::number(self.number);
            let (owner, from) = (format!("weights: vae_encode, {number}"), format!("{} numbers of Wan2.2's encoder", WAN22.weights));
            need.policy.push(Item { owner, from, bytes: WAN22.weights * number.bytes() });
            let lanes = self.config.lanes.count as u64;
            let from = format!("two of {} numbers a lane, f32; not in the arena above", WAN22.cache);
            need.policy.push(Item { owner: "codec's causal cache".to_owned(), from, bytes: lanes * WAN22.cache_bytes() });
            need.lane_bytes += WAN22.cache_bytes();
        } else {
            need.unknown.push(
                "weights and causal cache of the codec: no engine folder was read, and the image shape is not the paper's".to_owned(),
            );
        }
    }

    fn scratch(&self, need: &mut MemoryNeed) {
        need.unknown.push("memory of the engine library, the driver and this program itself".to_owned());
        if self.config.engine.kind.on_gpu() && !self.no_engines {
            return; // part of the arena
        }
        match self.measured_scratch(&Graph::POLICY).or(self.config.engine.tensorrt.scratch_bytes) {
            Some(bytes) => {
                need.policy.push(Item { owner: "engine scratch".to_owned(), from: "manifest or configuration".to_owned(), bytes });
            }
            None => need.unknown.push("engine scratch: no engine was built for this board".to_owned()),
        }
    }

    /// The largest scratch of `graphs`. Graphs of one stream run one after another and share it.
    fn measured_scratch(&self, graphs: &[Graph]) -> Option<u64> {
        let engines = graphs.iter().filter_map(|graph| self.manifest.graphs.get(graph)?.engine.as_ref());
        engines.filter_map(|engine| engine.scratch_bytes).max()
    }

    fn guidance_models(&self, need: &mut MemoryNeed) {
        let mut add = |owner: String, from: String, bytes| need.guidance.push(Item { owner, from, bytes });
        let rows = self.prompt_rows + self.config.guidance.max_new_tokens as u64;
        if let Some(guidance) = &self.manifest.guidance {
            if let Some(bytes) = self.file_bytes(&Graph::GUIDANCE) {
                add("weights: vlm and text_encode".to_owned(), "files of the folder".to_owned(), bytes);
            }
            if let Some(bytes) = self.measured_scratch(&Graph::GUIDANCE) {
                add("engine scratch of the guidance".to_owned(), "manifest".to_owned(), bytes);
            }
            if let Some(decoder) = self.manifest.graphs.get(&Graph::VlmDecoder) {
                let numbers = 2 * (guidance.vlm.layers * guidance.vlm.kv_heads * guidance.vlm.head_dim) as u64 * rows;
                add("keys and values of the vlm".to_owned(), format!("{rows} rows"), numbers * decoder.precision.dtype().bytes() as u64);
            }
            return;
        }
        if !self.assumes_paper_guidance() {
            need.unknown.push("guidance models: the folder has none, and the text rows are not as wide as umT5-XXL's".to_owned());
            return;
        }
        let number = self.guidance;
        for (graph, count, of) in [
            (Graph::VlmVision, QWEN3_VL_8B.vision_parameters(), "Qwen3-VL-8B"),
            (Graph::VlmDecoder, QWEN3_VL_8B.decoder_parameters(), "Qwen3-VL-8B"),
            (Graph::TextEncode, UMT5_XXL.parameters(), "umT5-XXL's encoder"),
        ] {
            add(format!("weights: {graph}, {number}"), format!("{count} numbers of {of}"), count * number.bytes());
        }
        add("keys and values of the vlm".to_owned(), format!("{rows} rows"), QWEN3_VL_8B.pass(1, rows, number).cache_bytes);
    }
}

impl MemoryNeed {
    pub(super) fn policy_bytes(&self) -> u64 {
        self.policy.iter().map(|item| item.bytes).sum()
    }

    pub(super) fn guidance_bytes(&self) -> u64 {
        self.guidance.iter().map(|item| item.bytes).sum()
    }

    pub(super) fn table(&self) -> String {
        let mut table = Table::new(&["owner", "from", "bytes", "GB"]);
        let mut row = |owner: &str, from: &str, bytes: u64| {
            table.row(vec![owner.to_owned(), from.to_owned(), bytes.to_string(), format!("{:.3}", bytes as f64 / 1e9)]);
        };
        self.policy.iter().for_each(|item| row(&item.owner, &item.from, item.bytes));
        row("policy", "sum", self.policy_bytes());
        self.guidance.iter().for_each(|item| row(&item.owner, &item.from, item.bytes));
        if !self.guidance.is_empty() {
            row("guidance", "sum", self.guidance_bytes());
        }
        table.markdown()
    }

    pub(super) fn json(&self) -> Value {
        let items = |items: &[Item]| -> Vec<Value> {
            items.iter().map(|item| json!({"owner": item.owner, "from": item.from, "bytes": item.bytes})).collect()
        };
        json!({"policy": items(&self.policy), "policy_bytes": self.policy_bytes(), "guidance": items(&self.guidance),
            "guidance_bytes": self.guidance_bytes(), "unknown": self.unknown})
    }
}

//! `plan --target`: whether a plan fits a board, and how fast it could be at best. Arithmetic only.

use super::floors::Floors;
use super::memory::{MemoryNeed, Request};
use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use drivewam_core::ErrorKind;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{Config, GuidanceMode};
use drivewam_core::cost::{Board, Boards, Number};
use drivewam_core::manifest::Manifest;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The boards at build time.
const BOARDS: &str = include_str!("../../../../configs/target/boards.yaml");

/// Longest file of boards, bytes.
const MAX_BOARDS_BYTES: u64 = 1 << 20;

/// Options of the target.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Also report for a board: memory by owner, whether it fits, and a lower bound of the latency
    /// of every pass. Boards: h100, h200, orin-32, orin-64, orin-nx-16, orin-nx-16-super, rtx-4090,
    /// rtx-5090 or thor (configs/target/boards.yaml). Needs no device.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// File of boards. Default: configs/target/boards.yaml as of the build of this program.
    #[arg(long, value_name = "FILE", requires = "target")]
    boards: Option<PathBuf>,
    /// Precision of weights, matrix products and the memory: f32, f16, bf16, fp8 or int8. Default:
    /// that of the engines; with --no-engines f16. With fp8 and int8, keys and values stay f16; no
    /// engine of this project has these two.
    #[arg(long, value_name = "PRECISION", value_parser = number)]
    precision: Option<Number>,
    /// Precision of the language model and the text encoder. Default: that of the policy.
    #[arg(long, value_name = "PRECISION", requires = "target", value_parser = number)]
    guidance_precision: Option<Number>,
    /// Rows of the prompt of the language model: two images of 364 rows each, and text. The default
    /// is an assumption; the paper does not state the number.
    #[arg(long, value_name = "ROWS", default_value_t = 1024, requires = "target", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    guidance_rows: u64,
}

fn number(text: &str) -> Result<Number, String> {
    text.parse().map_err(|e: drivewam_core::Error| e.to_string())
}

/// The precision that a plan counts with, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Precision {
    pub(super) number: Number,
    pub(super) origin: &'static str,
    /// Whether it differs from that of the folder's engines.
    is_hypothetical: bool,
}

/// A board, and the precisions of the models.
pub(super) struct Target {
    name: String,
    board: Board,
    precision: Precision,
    guidance: Number,
    prompt_rows: u64,
}

impl Args {
    /// Sets the precision of the manifest's policy graphs, so that the arena is planned for it,
    /// with a target and without one.
    ///
    /// # Errors
    /// The manifest has no transformer.
    pub(super) fn precision(&self, manifest: &mut Manifest, no_engines: bool) -> Result<Precision> {
        let built = Number::from(manifest.graph(Graph::Dit)?.precision);
        let (number, origin) = match self.precision {
            Some(number) => (number, "as asked for with --precision"),
            None if no_engines => (Number::F16, "assumed: no engine folder was read"),
            None => return Ok(Precision { number: built, origin: "of the engines", is_hypothetical: false }),
        };
        for graph in [Graph::Dit, Graph::ContextText, Graph::ContextEgo] {
            if let Some(entry) = manifest.graphs.get_mut(&graph) {
                entry.precision = number.precision();
            }
        }
        Ok(Precision { number, origin, is_hypothetical: number != built })
    }

    /// Reads the board. `None` without --target.
    ///
    /// # Errors
    /// The boards cannot be read, or none has this name.
    pub(super) fn open(&self, precision: Precision) -> Result<Option<Target>> {
        let Some(name) = self.target.clone() else { return Ok(None) };
        let boards = match &self.boards {
            Some(path) => {
                let text = drivewam_files::read_text(path, MAX_BOARDS_BYTES, ErrorKind::Io).context("--boards")?;
                Boards::parse(&text).map_err(|e| e.at(format!("{path:?}")))?
            }
            None => Boards::parse(BOARDS)?,
        };
        let board = boards.get(&name)?.clone();
        let guidance = self.guidance_precision.unwrap_or(precision.number);
        Ok(Some(Target { name, board, precision, guidance, prompt_rows: self.guidance_rows }))
    }
}

impl Target {
    /// Compares the plan with the board.
    ///
    /// # Errors
    /// The board has no peak rate for the precision.
    pub(super) fn report(self, config: &Config, manifest: &Manifest, arena: &ArenaPlan, no_engines: bool) -> Result<Report> {
        let Self { name, board, precision: Precision { number, is_hypothetical, .. }, guidance, prompt_rows } = self;
        let request = Request { config, manifest, number, guidance, prompt_rows, no_engines, is_hypothetical };
        let (memory, floors) = (request.memory(arena), Floors::of(&request, &board)?);
        let has_vlm = config.guidance.mode == GuidanceMode::Vlm;
        Ok(Report { name, board, number, guidance, has_vlm, lanes: config.lanes.count as u64, memory, floors })
    }
}

/// The comparison of a plan with a board.
pub(super) struct Report {
    name: String,
    board: Board,
    number: Number,
    guidance: Number,
    /// Whether the configuration has guidance by a VLM.
    has_vlm: bool,
    lanes: u64,
    memory: MemoryNeed,
    floors: Floors,
}

impl Report {
    /// Bytes that the configuration needs.
    fn need(&self) -> u64 {
        self.memory.policy_bytes() + if self.has_vlm { self.memory.guidance_bytes() } else { 0 }
    }

    /// The most lanes that the board has memory for.
    fn lanes_by_memory(&self) -> u64 {
        let rest = self.need() - self.lanes * self.memory.lane_bytes;
        self.board.room_bytes().saturating_sub(rest) / self.memory.lane_bytes.max(1)
    }

    /// Why the plan does not fit; `None` if it does.
    pub(super) fn excess(&self) -> Option<String> {
        let (need, available) = (self.need(), self.board.room_bytes());
        let most = self.floors.most_lanes();
        if need <= available && self.lanes > most {
            return Some(format!(
                "{:?} cannot keep up (got {} lanes, wanted at most {most}: a chunk of each takes at least {:.0} ms): lower `lanes.count`, or try --precision",
                self.name,
                self.lanes,
                self.floors.chunk_s() * 1e3
            ));
        }
        (need > available).then(|| {
            format!(
                "the plan does not fit {:?} (got a need of {need} bytes, wanted at most {available}: {} without the reserve of {}): try --precision, lower `memory.video_slots`, `memory.action_slots`, `memory.max_chunks` or `lanes.count`{}",
                self.name,
                self.board.memory_bytes,
                self.board.reserve_bytes,
                if self.has_vlm { ", or `guidance.mode: off`" } else { "" }
            )
        })
    }

    /// The report as human-readable tables.
    pub(super) fn text(&self) -> String {
        let (board, memory) = (&self.board, &self.memory);
        let fit = |need: u64| {
            let (word, left) =
                if need <= board.room_bytes() { ("fits", board.room_bytes() - need) } else { ("does NOT fit", need - board.room_bytes()) };
            format!("{word}, {:.3} GB {}", left as f64 / 1e9, if need <= board.room_bytes() { "left" } else { "too much" })
        };
        let mut text = format!(
            "target {}: {}, {:.0} GB {}, {:.1} GB/s; reserve {:.0} GB, available {:.0} GB\nprecision {} (keys and values {}), guidance {}; GB are 10^9 bytes\n\n{}",
            self.name,
            board.product,
            board.memory_bytes as f64 / 1e9,
            if board.shared { "shared with the CPU" } else { "of GPU memory" },
            board.bandwidth_bytes_per_s / 1e9,
            board.reserve_bytes as f64 / 1e9,
            board.room_bytes() as f64 / 1e9,
            self.number,
            self.number.cached(),
            self.guidance,
            memory.table(),
        );
        text.push_str(&format!("\npolicy: {}\n", fit(memory.policy_bytes())));
        if !memory.guidance.is_empty() {
            let note = if self.has_vlm { "" } else { " (not configured: `guidance.mode` is not vlm)" };
            text.push_str(&format!("policy and guidance{note}: {}\n", fit(memory.policy_bytes() + memory.guidance_bytes())));
        }
        text.push_str(&format!(
            "lanes: {} configured; at most {} by memory ({:.3} GB each), {} by the lower bound of a chunk\n",
            self.lanes,
            self.lanes_by_memory(),
            memory.lane_bytes as f64 / 1e9,
            self.floors.most_lanes()
        ));
        memory.unknown.iter().for_each(|what| text.push_str(&format!("unknown, not counted: {what}\n")));
        format!("{text}\n{}", self.floors.text())
    }

    /// The report as JSON.
    pub(super) fn json(&self) -> Value {
        json!({"name": self.name, "board": self.board, "precision": self.number.as_str(), "guidance_precision": self.guidance.as_str(),
            "guidance_asked": self.has_vlm, "held": self.memory.json(), "need_bytes": self.need(), "room_bytes": self.board.room_bytes(),
            "fits": self.excess().is_none(), "lanes": {"count": self.lanes, "lane_bytes": self.memory.lane_bytes,
                "most_by_memory": self.lanes_by_memory(), "most_by_time": self.floors.most_lanes()}, "floors": self.floors.json()})
    }
}

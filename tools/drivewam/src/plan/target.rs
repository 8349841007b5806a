//! `plan --target`: a plan held against a board, by arithmetic alone.

use super::bytes::{Ask, Held};
use super::floors::Floors;
use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{Config, GuidanceMode};
use drivewam_core::cost::{Board, Boards, Number};
use drivewam_core::manifest::Manifest;
use serde_json::{Value, json};
use std::path::PathBuf;

const SHIPPED: &str = include_str!("../../../../configs/target/boards.yaml");

/// A board, and what is asked of it.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Hold the plan against a board: h100, h200, orin-32, orin-64, orin-nx-16, orin-nx-16-super, rtx-4090, rtx-5090 or thor (configs/target/boards.yaml). Bytes by owner,
    /// whether they fit, the least time of every pass; no device is needed.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// A file of boards in place of configs/target/boards.yaml as it was when this program was built.
    #[arg(long, value_name = "FILE", requires = "target")]
    boards: Option<PathBuf>,
    /// Weights and products in f32, f16, bf16, fp8 or int8. Without it the engines' own; f16 with --no-engines. Under fp8 and int8, which no engine of this
    /// project has, keys and values stay f16.
    #[arg(long, value_name = "PRECISION", requires = "target", value_parser = number)]
    precision: Option<Number>,
    /// The same for the language model and the text encoder. Without it the policy's.
    #[arg(long, value_name = "PRECISION", requires = "target", value_parser = number)]
    guidance_precision: Option<Number>,
    /// Rows of a prompt of the language model: two pictures of 364 rows each, and what is written. An assumption: the paper does not say.
    #[arg(long, value_name = "ROWS", default_value_t = 1024, requires = "target", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    guidance_rows: u64,
}

fn number(text: &str) -> Result<Number, String> {
    text.parse().map_err(|e: drivewam_core::Error| e.to_string())
}

/// A board, and in what the models are.
pub(super) struct Target {
    name: String,
    board: Board,
    number: Number,
    what_if: bool,
    guidance: Number,
    prompt_rows: u64,
}

impl Args {
    /// Reads the board. The manifest's policy graphs are made what was asked for, so that the arena is planned for it.
    ///
    /// # Errors
    /// The boards cannot be read, or none is called so.
    pub(super) fn open(&self, manifest: &mut Manifest, no_engines: bool) -> Result<Option<Target>> {
        let Some(name) = self.target.clone() else { return Ok(None) };
        let boards = match &self.boards {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("--boards {path:?} cannot be read"))?;
                Boards::parse(&text).map_err(|e| e.at(format!("{path:?}")))?
            }
            None => Boards::parse(SHIPPED)?,
        };
        let board = boards.get(&name)?.clone();
        let own = Number::from(manifest.graph(Graph::Dit)?.precision);
        let asked = self.precision.or(no_engines.then_some(Number::F16));
        let number = asked.unwrap_or(own);
        if asked.is_some() {
            for graph in [Graph::Dit, Graph::ContextText, Graph::ContextEgo] {
                if let Some(entry) = manifest.graphs.get_mut(&graph) {
                    entry.precision = number.precision();
                }
            }
        }
        let guidance = self.guidance_precision.unwrap_or(number);
        Ok(Some(Target { name, board, number, what_if: number != own, guidance, prompt_rows: self.guidance_rows }))
    }
}

impl Target {
    /// Holds the plan against the board.
    ///
    /// # Errors
    /// The board has no unit for the precision.
    pub(super) fn report(self, config: &Config, manifest: &Manifest, arena: &ArenaPlan, no_engines: bool) -> Result<Report> {
        let Self { name, board, number, what_if, guidance, prompt_rows } = self;
        let ask = Ask { config, manifest, number, guidance, prompt_rows, no_engines, what_if };
        let (held, floors) = (ask.held(arena), Floors::of(&ask, &board)?);
        let speaks = config.guidance.mode == GuidanceMode::Vlm;
        Ok(Report { name, board, number, guidance, speaks, held, floors })
    }
}

/// What came of it.
pub(super) struct Report {
    name: String,
    board: Board,
    number: Number,
    guidance: Number,
    /// Whether the configuration asks for guidance of a language model.
    speaks: bool,
    held: Held,
    floors: Floors,
}

impl Report {
    /// Bytes that the configuration asks for.
    fn need(&self) -> u64 {
        self.held.policy_bytes() + if self.speaks { self.held.guidance_bytes() } else { 0 }
    }

    /// Why the plan does not fit; none when it does.
    pub(super) fn excess(&self) -> Option<String> {
        let (need, room) = (self.need(), self.board.room_bytes());
        (need > room).then(|| {
            format!(
                "the plan does not fit {:?} (got a need of {need} bytes, wanted at most {room}: {} without the reserve of {}): try --precision, lower `memory.video_slots`, `memory.action_slots` or `memory.max_chunks`{}",
                self.name,
                self.board.memory_bytes,
                self.board.reserve_bytes,
                if self.speaks { ", or `guidance.mode: off`" } else { "" }
            )
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let (board, held) = (&self.board, &self.held);
        let fit = |need: u64| {
            let (word, left) =
                if need <= board.room_bytes() { ("fits", board.room_bytes() - need) } else { ("does NOT fit", need - board.room_bytes()) };
            format!("{word}, {:.3} GB {}", left as f64 / 1e9, if need <= board.room_bytes() { "left" } else { "too many" })
        };
        let mut text = format!(
            "target {}: {}, {:.0} GB {}, {:.1} GB/s; reserve {:.0} GB, so room for {:.0} GB\nprecision {} (keys and values {}), guidance {}; GB are 10^9 bytes\n\n{}",
            self.name,
            board.product,
            board.memory_bytes as f64 / 1e9,
            if board.shared { "shared with the CPU" } else { "of the GPU's own" },
            board.bandwidth_bytes_per_s / 1e9,
            board.reserve_bytes as f64 / 1e9,
            board.room_bytes() as f64 / 1e9,
            self.number,
            self.number.cached(),
            self.guidance,
            held.table(),
        );
        text.push_str(&format!("\npolicy: {}\n", fit(held.policy_bytes())));
        if !held.guidance.is_empty() {
            let asked = if self.speaks { "" } else { " (not asked for: `guidance.mode` is not vlm)" };
            text.push_str(&format!("policy and guidance{asked}: {}\n", fit(held.policy_bytes() + held.guidance_bytes())));
        }
        held.unknown.iter().for_each(|what| text.push_str(&format!("not known, not counted: {what}\n")));
        format!("{text}\n{}", self.floors.text())
    }

    /// For machines.
    pub(super) fn json(&self) -> Value {
        json!({"name": self.name, "board": self.board, "precision": self.number.as_str(), "guidance_precision": self.guidance.as_str(),
            "guidance_asked": self.speaks, "held": self.held.json(), "need_bytes": self.need(), "room_bytes": self.board.room_bytes(),
            "fits": self.excess().is_none(), "floors": self.floors.json()})
    }
}

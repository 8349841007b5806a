//! Lower bounds of latency on a board (roofline): for every pass the longer of bytes over bandwidth
//! and operations over peak rate.

use super::memory::Request;
use crate::table::Table;
use drivewam_core::Result;
use drivewam_core::config::GuidanceMode;
use drivewam_core::cost::{
    Board, Floor, Number, PassCost, QWEN3_VL_8B, RooflineBound, UMT5_XXL, WAN22, WanEncoder, chunk, ego_work, text_work,
};
use serde_json::{Value, json};

/// Patches of an image as docs/guidance.md exports the vision graph: 448 x 832 pixels in patches of
/// 16.
const PATCHES: u64 = 28 * 52;
/// Images of a prompt: the newest frame, and the bird's-eye plot of the path.
const IMAGES: u64 = 2;

/// A pass, its work and its lower bound.
#[derive(Debug)]
struct Row {
    name: String,
    count: u64,
    number: Number,
    work: PassCost,
    floor: Floor,
}

/// The passes of a chunk, and those that generate one guidance text beside it.
#[derive(Debug)]
pub(super) struct Floors {
    chunk: Vec<Row>,
    guidance: Vec<Row>,
    slots: u64,
    chunk_s: f64,
}

impl Floors {
    /// Computes the lower bounds.
    ///
    /// # Errors
    /// The board has no peak rate for a precision.
    pub(super) fn of(request: &Request<'_>, board: &Board) -> Result<Self> {
        let (config, number) = (request.config, request.number);
        let model = &config.model;
        let row = |name: String, count: u64, number: Number, work: PassCost| -> Result<Row> {
            Ok(Row { name, count, number, work, floor: board.floor(work, number)? })
        };
        let (video, action, tail) = config.slots();
        let slots = (video + action + tail) as u64;
        let mut rows = Vec::new();
        if request.assumes_wan() {
            rows.push(row("vae_encode, 4 frames".to_owned(), 1, WanEncoder::number(number), WAN22.work(number))?);
        }
        rows.push(row("context_ego".to_owned(), 1, number, ego_work(model, number))?);
        let has_vlm = config.guidance.mode == GuidanceMode::Vlm;
        rows.push(row("context_text, for a new text".to_owned(), u64::from(has_vlm), number, text_work(model, number))?);
        for pass in chunk(config) {
            rows.push(row(format!("{}, {} tokens", pass.name, pass.tokens), pass.count, number, pass.work(model, slots, number))?);
        }
        let mut guidance = Vec::new();
        if request.assumes_paper_guidance() {
            let (number, rows, tokens) = (request.guidance, request.prompt_rows, config.guidance.max_new_tokens as u64);
            guidance.push(row(format!("vlm_vision, {PATCHES} patches"), IMAGES, number, QWEN3_VL_8B.vision(PATCHES, number))?);
            guidance.push(row(format!("vlm_decoder, prompt of {rows} rows"), 1, number, QWEN3_VL_8B.pass(rows, rows, number))?);
            guidance.push(row("vlm_decoder, one token".to_owned(), tokens, number, QWEN3_VL_8B.pass(1, rows + tokens, number))?);
            let text = model.text.max_rows as u64;
            guidance.push(row(format!("text_encode, {text} rows"), 1, number, UMT5_XXL.work(text, number))?);
        }
        Ok(Self { chunk: rows, guidance, slots, chunk_s: model.chunk_ns() as f64 * 1e-9 })
    }

    /// Seconds of the passes of a chunk, one after another.
    pub(super) fn chunk_s(&self) -> f64 {
        seconds(&self.chunk)
    }

    /// The most lanes whose chunks could follow one another in the time of one chunk.
    pub(super) fn most_lanes(&self) -> u64 {
        (self.chunk_s / self.chunk_s()) as u64
    }

    pub(super) fn text(&self) -> String {
        let (chunk_s, guidance_s) = (self.chunk_s(), seconds(&self.guidance));
        let ms = |s: f64| format!("{:.3}", s * 1e3);
        let mut table = Table::new(&[
            "pass",
            "count",
            "precision",
            "GB",
            "GB / bandwidth, ms",
            "GFLOP",
            "GFLOP / peak, ms",
            "bound by",
            "bound, ms",
            "per chunk, ms",
        ]);
        let mut add = |rows: &[Row], sum: &str, sum_s: f64| {
            for row in rows {
                let Row { name, count, number, work, floor } = row;
                table.row(vec![
                    name.clone(),
                    count.to_string(),
                    number.to_string(),
                    format!("{:.3}", work.bytes() as f64 / 1e9),
                    ms(floor.memory_s),
                    format!("{:.1}", work.flops / 1e9),
                    ms(floor.compute_s),
                    bound(*floor).to_owned(),
                    ms(floor.seconds()),
                    ms(floor.seconds() * *count as f64),
                ]);
            }
            let mut cells = vec![String::new(); 10];
            (cells[0], cells[9]) = (sum.to_owned(), ms(sum_s));
            table.row(cells);
        };
        add(&self.chunk, "chunk", chunk_s);
        if !self.guidance.is_empty() {
            add(&self.guidance, "guidance, beside the chunk", guidance_s);
        }
        let mut text = format!(
            "lower bound of every pass over {} slots, without activations, norms, launches and copies\n\n{}\nlower bound of a chunk {} ms, {:.1} % of its {:.0} ms",
            self.slots,
            table.markdown(),
            ms(chunk_s),
            100.0 * chunk_s / self.chunk_s,
            self.chunk_s * 1e3,
        );
        if !self.guidance.is_empty() {
            text.push_str(&format!(
                "; with guidance on the same board {} ms, {:.1} %",
                ms(chunk_s + guidance_s),
                100.0 * (chunk_s + guidance_s) / self.chunk_s
            ));
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let rows = |rows: &[Row]| -> Vec<Value> {
            rows.iter()
                .map(|Row { name, count, number, work, floor }| {
                    json!({"pass": name, "count": count, "precision": number.as_str(), "flops": work.flops, "weight_bytes": work.weight_bytes,
                        "cache_bytes": work.cache_bytes, "memory_s": floor.memory_s, "compute_s": floor.compute_s, "bound": bound(*floor),
                        "floor_s": floor.seconds()})
                })
                .collect()
        };
        json!({"slots": self.slots, "chunk": rows(&self.chunk), "chunk_floor_s": self.chunk_s(), "chunk_s": self.chunk_s,
            "guidance": rows(&self.guidance), "guidance_floor_s": seconds(&self.guidance)})
    }
}

fn seconds(rows: &[Row]) -> f64 {
    rows.iter().map(|row| row.floor.seconds() * row.count as f64).sum()
}

fn bound(floor: Floor) -> &'static str {
    match floor.bound() {
        RooflineBound::Memory => "memory",
        RooflineBound::Compute => "compute",
    }
}

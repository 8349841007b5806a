//! `latency.png`: latency of each chunk by stage.

use super::row::Row;
use crate::figure::{Area, Axis, Figure, SUPERSAMPLE, TEXT, axes, drawing, fill, text, write};
use anyhow::Result;
use drivewam::stages::Stage;
use plotters::prelude::*;
use std::path::Path;

const WIDTH: usize = 1200;
const HEIGHT: usize = 760;
/// Size of labels, pixels.
const SMALL: usize = 13;
/// One colour per stage, distinguishable with colour blindness.
const STAGES: [RGBColor; Stage::ALL.len()] = [
    RGBColor(150, 156, 164),
    RGBColor(86, 180, 233),
    RGBColor(120, 94, 60),
    RGBColor(0, 158, 115),
    RGBColor(240, 228, 66),
    RGBColor(204, 121, 167),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(90, 60, 120),
    RGBColor(60, 64, 70),
    RGBColor(230, 159, 0),
];

/// Draws the stages of each chunk as stacked bars, and percentiles of their sum.
///
/// # Errors
/// The file cannot be written.
pub(super) fn latency(rows: &[Row], title: &str, file: &Path) -> Result<()> {
    let mut figure = Figure::new(WIDTH, HEIGHT);
    let ms = |ns: u64| ns as f64 * 1e-6;
    let mut totals: Vec<f64> = rows.iter().map(|r| ms(r.outcome.stages.total_ns())).collect();
    totals.sort_by(f64::total_cmp);
    let most = totals.last().copied().unwrap_or(1.0).max(1e-3) * 1.12;
    figure.draw(|area| {
        write(area, title, 16, &TEXT, 16, 12)?;
        let scale = SUPERSAMPLE as i32;
        let x = Axis { range: 0.0..rows.len().max(1) as f64, name: "chunk (line of trajectories.jsonl)", unit: "number", digits: 0 };
        let y = Axis { range: 0.0..most, name: "latency", unit: "ms", digits: if most < 10.0 { 2 } else { 0 } };
        let mut chart = axes(area, [58, 200], x, y, false)?;
        for (i, row) in rows.iter().enumerate() {
            let mut bottom = 0.0;
            for (stage, colour) in Stage::ALL.iter().zip(STAGES) {
                let top = bottom + ms(row.outcome.stages.ns(*stage));
                let (left, right) = (i as f64 + 0.1, i as f64 + 0.9);
                chart.draw_series(std::iter::once(Rectangle::new([(left, bottom), (right, top)], colour.filled()))).map_err(drawing)?;
                bottom = top;
            }
        }
        // Of fewer than 100 chunks, the p99 would be the maximum under another name.
        let tail = if rows.len() < 100 { (1.0, "max") } else { (0.99, "p99") };
        for (share, name) in [(0.5, "p50"), tail] {
            let Some(value) = super::report::percentile(&totals, share) else { continue };
            let line = PathElement::new(vec![(0.0, value), (rows.len() as f64, value)], TEXT.stroke_width(SUPERSAMPLE as u32));
            chart.draw_series(std::iter::once(line)).map_err(drawing)?;
            let label = EmptyElement::at((rows.len() as f64, value))
                + Text::new(format!("{name} {value:.1} ms"), (6 * scale, -8 * scale), text(SMALL, &TEXT));
            chart.draw_series(std::iter::once(label)).map_err(drawing)?;
        }
        let entries: Vec<(RGBColor, String)> = Stage::ALL
            .iter()
            .zip(STAGES)
            .rev()
            .filter(|(stage, _)| rows.iter().any(|r| r.outcome.stages.ns(**stage) * 200 > r.outcome.stages.total_ns()))
            .map(|(stage, colour)| (colour, stage.as_str().to_owned()))
            .collect();
        draw_legend(area, &entries, WIDTH as i32 - 92, 66)
    })?;
    figure.save(file)
}

fn draw_legend(area: &Area<'_>, entries: &[(RGBColor, String)], left: i32, top: i32) -> Result<()> {
    for (i, (colour, label)) in entries.iter().enumerate() {
        let y = top + 20 * i as i32;
        fill(area, (left, y + 2), (left + 14, y + 12), colour.to_rgba())?;
        write(area, label, 12, &TEXT, left + 22, y)?;
    }
    Ok(())
}

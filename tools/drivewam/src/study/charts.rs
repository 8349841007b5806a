//! Charts of the study: errors of each memory variant over a drive, and tracks of the closed loop.

use super::memory::OverTime;
use super::routes::Tracks;
use crate::figure::{Area, Axis, DRIVEN, Figure, POLICY, RISK, SUPERSAMPLE, TEXT, axes, drawing, fill, write};
use anyhow::Result;
use plotters::prelude::*;
use std::path::Path;

/// Chunks averaged into one point.
const BIN: usize = 5;
/// Length of the scale bar of a track, metres.
const BAR_M: f64 = 100.0;
/// Line colours, distinguishable with colour blindness.
const COLOURS: [RGBColor; 7] = [
    RGBColor(40, 44, 50),
    RGBColor(150, 156, 164),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
    RGBColor(0, 114, 178),
];
/// The variants drawn, of all in the table.
const DRAWN: [&str; 7] = ["full", "full, trained length", "fifo", "selective, literal", "selective, pre_rope", "random", "oracle"];

/// Draws ADE@4s of each variant over the chunks of a drive.
///
/// # Errors
/// The file cannot be written.
pub(super) fn over_time(variants: &OverTime, file: &Path) -> Result<()> {
    let (width, height) = (1200, 640);
    let mut figure = Figure::new(width, height);
    let lines: Vec<(&str, Vec<(f64, f64)>)> = variants
        .iter()
        .filter(|(name, _)| DRAWN.contains(name))
        .map(|(name, ade)| {
            let bins =
                ade.chunks(BIN).enumerate().map(|(i, b)| ((i * BIN) as f64 + 0.5 * b.len() as f64, b.iter().sum::<f64>() / b.len() as f64));
            (*name, bins.collect())
        })
        .collect();
    let points = || lines.iter().flat_map(|(_, l)| l).copied();
    let most = points().map(|p| p.1).fold(0.0, f64::max) * 1.08 + 1e-6;
    let last = points().map(|p| p.0).fold(1.0, f64::max) + 0.5 * BIN as f64;
    figure.draw(|area| {
        write(area, &format!("ADE@4s over a drive, mean of {BIN} chunks, all worlds"), 16, &TEXT, 16, 12)?;
        let x = Axis { range: 0.0..last, name: "chunk of 4 s", unit: "number", digits: 0 };
        let y = Axis { range: 0.0..most, name: "ADE@4s", unit: "m", digits: 2 };
        let mut chart = axes(area, [44, 230], x, y, true)?;
        for ((_, line), colour) in lines.iter().zip(&COLOURS) {
            chart.draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(3 * SUPERSAMPLE as u32))).map_err(drawing)?;
        }
        for (i, ((name, _), colour)) in lines.iter().zip(&COLOURS).enumerate() {
            let y = 54 + 22 * i as i32;
            fill(area, (width as i32 - 216, y + 3), (width as i32 - 196, y + 9), colour.to_rgba())?;
            write(area, name, 12, &TEXT, width as i32 - 188, y)?;
        }
        Ok(())
    })?;
    figure.save(file)
}

/// Draws a bar that is [`BAR_M`] long at `scale` pixels per metre, with its length beside it.
fn scale_bar(area: &Area<'_>, scale: f64, left: i32, middle: i32) -> Result<()> {
    let right = left + (BAR_M * scale).round() as i32;
    fill(area, (left, middle - 1), (right, middle + 1), TEXT.to_rgba())?;
    for end in [left, right] {
        fill(area, (end - 1, middle - 4), (end + 1, middle + 4), TEXT.to_rgba())?;
    }
    write(area, &format!("{BAR_M:.0} m"), 11, &TEXT, right + 6, middle - 5)
}

/// Draws the tracks of the policy over those of the expert, one panel per route.
///
/// # Errors
/// The file cannot be written.
pub(super) fn tracks(routes: &[Tracks], file: &Path) -> Result<()> {
    let (columns, panel) = (4usize, 300usize);
    let rows = routes.len().div_ceil(columns).max(1);
    let mut figure = Figure::new(columns * panel, rows * panel + 44);
    figure.draw(|area| {
        write(area, "closed loop: expert (wide line), policy (narrow line), violations (dots); bars of 100 m", 14, &TEXT, 12, 12)?;
        for (i, route) in routes.iter().enumerate() {
            let (left, top) = ((i % columns * panel) as f64, (i / columns * panel + 44) as f64);
            let places = || route.policy.iter().chain(&route.expert);
            let bound = |of: &dyn Fn(&(f64, f64, bool)) -> f64| {
                places().map(of).fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)))
            };
            let (x, y) = (bound(&|p| p.0), bound(&|p| p.1));
            let scale = (panel as f64 - 44.0) / (x.1 - x.0).max(y.1 - y.0).max(1.0);
            let supersample = SUPERSAMPLE as f64;
            let at = |p: &(f64, f64, bool)| {
                let px = left + 0.5 * panel as f64 + (p.0 - 0.5 * (x.0 + x.1)) * scale;
                let py = top + 0.5 * panel as f64 - (p.1 - 0.5 * (y.0 + y.1)) * scale;
                ((px * supersample) as i32, (py * supersample) as i32)
            };
            let line = |track: &[(f64, f64, bool)], style: ShapeStyle| -> Result<()> {
                area.draw(&PathElement::new(track.iter().map(at).collect::<Vec<_>>(), style)).map_err(drawing)
            };
            line(&route.expert, DRIVEN.mix(0.6).stroke_width(6 * SUPERSAMPLE as u32))?;
            line(&route.policy, POLICY.stroke_width(2 * SUPERSAMPLE as u32))?;
            for place in route.policy.iter().filter(|p| p.2) {
                area.draw(&Circle::new(at(place), 5 * SUPERSAMPLE as i32, RISK.filled())).map_err(drawing)?;
            }
            write(area, &format!("world {}", route.seed), 12, &TEXT, left as i32 + 10, top as i32 + 4)?;
            scale_bar(area, scale, left as i32 + 90, top as i32 + 10)?;
        }
        Ok(())
    })?;
    figure.save(file)
}

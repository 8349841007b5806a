//! `path.png`: the drive from above. `latency.png`: latency of each chunk by stage.

use super::overlay::colour_of;
use super::row::Row;
use crate::figure::{Area, Axis, DRIVEN, Figure, SUPERSAMPLE, TEXT, axes, drawing, fill, text, text_width, write};
use anyhow::Result;
use drivewam::stages::Stage;
use drivewam_core::pose::Pose2;
use plotters::prelude::*;
use std::path::Path;

const WIDTH: usize = 1200;
const HEIGHT: usize = 760;
/// Size of labels, pixels.
const SMALL: usize = 13;
/// Maximum number of chunks that the path labels.
const MOST_LABELS: usize = 24;
/// One colour per stage, distinguishable with colour blindness.
const STAGES: [RGBColor; Stage::ALL.len()] = [
    RGBColor(150, 156, 164),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(240, 228, 66),
    RGBColor(204, 121, 167),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(90, 60, 120),
    RGBColor(60, 64, 70),
    RGBColor(230, 159, 0),
];

/// Draws the drive from above: the car at each t0, the path driven after it, and each plan.
///
/// # Errors
/// The file cannot be written.
pub(super) fn path(rows: &[Row], title: &str, file: &Path) -> Result<()> {
    let mut figure = Figure::new(WIDTH, HEIGHT);
    let plans: Vec<Vec<(f64, f64)>> = rows.iter().map(|row| points(row, row.outcome.published.points().iter().map(|p| p.pose()))).collect();
    let truths: Vec<Vec<(f64, f64)>> =
        rows.iter().map(|row| row.truth.as_ref().map(|t| points(row, t.iter().copied())).unwrap_or_default()).collect();
    let all = plans.iter().chain(&truths).flatten().copied();
    let (x, y) = equal_axes(all, (WIDTH - 110) as f64 / (HEIGHT - 130) as f64);
    figure.draw(|area| {
        draw_title(area, title)?;
        let scale = SUPERSAMPLE as i32;
        let (x, y) = (Axis { range: x.0..x.1, name: "x, m", digits: 0 }, Axis { range: y.0..y.1, name: "y, m", digits: 0 });
        let mut chart = axes(area, [58, 24], x, y, true)?;
        for truth in truths.iter().filter(|t| t.len() > 1) {
            chart
                .draw_series(LineSeries::new(truth.iter().copied(), DRIVEN.mix(0.9).stroke_width(6 * SUPERSAMPLE as u32)))
                .map_err(drawing)?;
        }
        for (row, plan) in rows.iter().zip(&plans) {
            let colour = colour_of(row.outcome.verdict);
            chart.draw_series(LineSeries::new(plan.iter().copied(), colour.stroke_width(2 * SUPERSAMPLE as u32))).map_err(drawing)?;
        }
        let every = rows.len().div_ceil(MOST_LABELS).max(1);
        for (i, row) in rows.iter().enumerate() {
            let Some(at) = row.outcome.pose.map(|pose| (pose.x_m, pose.y_m)) else { continue };
            let colour = colour_of(row.outcome.verdict);
            chart.draw_series(std::iter::once(Circle::new(at, 4 * scale, colour.filled()))).map_err(drawing)?;
            chart.draw_series(std::iter::once(Circle::new(at, 4 * scale, TEXT.stroke_width(SUPERSAMPLE as u32)))).map_err(drawing)?;
            if i % every == 0 {
                let label = EmptyElement::at(at) + Text::new(row.outcome.chunk.to_string(), (7 * scale, -16 * scale), text(11, &TEXT));
                chart.draw_series(std::iter::once(label)).map_err(drawing)?;
            }
        }
        let mut entries = vec![(TEXT, "t0 of a chunk".to_owned())];
        for verdict in ["accepted", "held", "minimal_risk"] {
            let count = rows.iter().filter(|r| r.outcome.verdict.as_str() == verdict).count();
            if let Some(row) = rows.iter().find(|r| r.outcome.verdict.as_str() == verdict) {
                entries.push((colour_of(row.outcome.verdict), format!("plan, {} ({count})", verdict.replace('_', " "))));
            }
        }
        if truths.iter().any(|t| !t.is_empty()) {
            entries.push((DRIVEN, "driven".to_owned()));
        }
        draw_legend(area, &entries)
    })?;
    figure.save(file)
}

/// Poses given in the ego frame at t0, as points in the frame of the recorded poses; the car's
/// position at t0 comes first. Empty without a pose at t0.
fn points(row: &Row, poses: impl Iterator<Item = Pose2>) -> Vec<(f64, f64)> {
    let Some(origin) = row.outcome.pose else { return Vec::new() };
    std::iter::once(origin)
        .chain(poses.map(|p| origin.compose(&p)))
        .map(|p| (p.x_m, p.y_m))
        .filter(|p| p.0.is_finite() && p.1.is_finite())
        .collect()
}

/// Ranges of both axes that contain all points, with equal scale on both.
fn equal_axes(points: impl Iterator<Item = (f64, f64)>, aspect: f64) -> ((f64, f64), (f64, f64)) {
    let (mut low, mut high) = ((f64::MAX, f64::MAX), (f64::MIN, f64::MIN));
    for (x, y) in points {
        low = (low.0.min(x), low.1.min(y));
        high = (high.0.max(x), high.1.max(y));
    }
    if low.0 > high.0 {
        return ((-10.0 * aspect, 10.0 * aspect), (-10.0, 10.0));
    }
    let centre = (0.5 * (low.0 + high.0), 0.5 * (low.1 + high.1));
    let half_y = (0.5 * (high.1 - low.1)).max(0.5 * (high.0 - low.0) / aspect).max(3.0) * 1.08;
    ((centre.0 - half_y * aspect, centre.0 + half_y * aspect), (centre.1 - half_y, centre.1 + half_y))
}

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
        draw_title(area, title)?;
        let scale = SUPERSAMPLE as i32;
        let x = Axis { range: 0.0..rows.len().max(1) as f64, name: "chunk (line of trajectories.jsonl)", digits: 0 };
        let y = Axis { range: 0.0..most, name: "latency, ms", digits: if most < 10.0 { 2 } else { 0 } };
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
        for (share, name) in [(0.5, "p50"), (0.99, "p99")] {
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
        draw_legend_at(area, &entries, WIDTH as i32 - 92, 66)
    })?;
    figure.save(file)
}

fn draw_title(area: &Area<'_>, title: &str) -> Result<()> {
    write(area, title, 16, &TEXT, 16, 12)
}

fn draw_legend(area: &Area<'_>, entries: &[(RGBColor, String)]) -> Result<()> {
    let mut left = 16;
    for (colour, label) in entries {
        fill(area, (left, 40), (left + 18, 46), colour.to_rgba())?;
        write(area, label, 12, &TEXT, left + 24, 37)?;
        left += 24 + text_width(label, 12) + 24;
    }
    Ok(())
}

fn draw_legend_at(area: &Area<'_>, entries: &[(RGBColor, String)], left: i32, top: i32) -> Result<()> {
    for (i, (colour, label)) in entries.iter().enumerate() {
        let y = top + 20 * i as i32;
        fill(area, (left, y + 2), (left + 14, y + 12), colour.to_rgba())?;
        write(area, label, 12, &TEXT, left + 22, y)?;
    }
    Ok(())
}

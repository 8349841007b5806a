//! `path.png`: the drive from above. Of a simulated world also the road, the lights, the violations
//! by kind and where the car was off the road.

use super::clip::{Frame, Place};
use super::overlay::colour_of;
use super::route_trace::{RouteTrace, Violation};
use super::row::Row;
use crate::figure::{Area, Axis, Chart, DRIVEN, Figure, HELD, POLICY, RISK, SUPERSAMPLE, TEXT, axes, drawing, text, text_width, write};
use anyhow::Result;
use drivewam_core::pose::Pose2;
use drivewam_world::{HALF_LANE_M, Light};
use plotters::prelude::*;
use std::path::Path;

const WIDTH: usize = 1200;
const HEIGHT: usize = 760;
/// Rows of the legend, and pixels of a row.
const LEGEND_ROWS: usize = 2;
const LEGEND_ROW: usize = 18;
/// Free pixels above the axes.
const TOP: usize = 44 + LEGEND_ROWS * LEGEND_ROW;
/// Maximum number of chunks that the path labels.
const MOST_LABELS: usize = 24;
/// The lane.
const ROAD: RGBColor = RGBColor(226, 228, 232);
/// The car off the road.
const OFF_ROAD: RGBColor = RGBColor(200, 60, 170);

/// How the legend shows an entry, and the chart a place.
#[derive(Debug, Clone, Copy)]
enum Mark {
    Line,
    Dot,
    Square,
    Cross,
    Triangle,
    Ring,
}

/// An entry of the legend.
type Entry = (Mark, RGBColor, String);

/// Draws the drive from above: the car at each t0, the path driven after it, each plan, and what
/// `trace` has seen.
///
/// # Errors
/// The file cannot be written.
pub(super) fn draw(rows: &[Row], trace: Option<&RouteTrace>, title: &str, file: &Path) -> Result<()> {
    let mut figure = Figure::new(WIDTH, HEIGHT);
    let plans: Vec<Vec<Place>> = rows.iter().map(|row| points(row, row.outcome.published.points().iter().map(|p| p.pose()))).collect();
    let truths: Vec<Vec<Place>> =
        rows.iter().map(|row| row.truth.as_ref().map(|t| points(row, t.iter().copied())).unwrap_or_default()).collect();
    let track = trace.map(|trace| trace.track()).unwrap_or_default();
    let all = plans.iter().chain(&truths).flatten().copied().chain(track.iter().map(|p| (p.x_m, p.y_m)));
    let (x, y) = equal_axes(all, (WIDTH - 110) as f64 / (HEIGHT - TOP - 60) as f64);
    // In metres; what lies outside would be drawn over the axes.
    let frame = Frame { left: x.0, top: y.0, right: x.1, bottom: y.1 };
    figure.draw(|area| {
        write(area, title, 16, &TEXT, 16, 12)?;
        let axis = |name, (low, high): Place| Axis { range: low..high, name, unit: "m", digits: 0 };
        let mut chart = axes(area, [TOP as i32, 24], axis("x", x), axis("y", y), true)?;
        let mut entries = Vec::new();
        if let Some(trace) = trace {
            lane(&mut chart, frame, trace)?;
            entries.push((Mark::Line, ROAD, "lane".to_owned()));
        }
        for truth in truths.iter().filter(|t| t.len() > 1) {
            line(&mut chart, frame, truth, DRIVEN.mix(0.9).stroke_width(6 * SUPERSAMPLE as u32))?;
        }
        let has_truth = truths.iter().any(|t| !t.is_empty());
        if let Some(trace) = trace {
            driven(&mut chart, frame, trace)?;
        }
        for (row, plan) in rows.iter().zip(&plans) {
            line(&mut chart, frame, plan, colour_of(row.outcome.verdict).stroke_width(2 * SUPERSAMPLE as u32))?;
        }
        starts(&mut chart, rows)?;
        entries.push((Mark::Dot, TEXT, "t0 of a chunk, with its number".to_owned()));
        for verdict in ["accepted", "held", "minimal_risk"] {
            let count = rows.iter().filter(|r| r.outcome.verdict.as_str() == verdict).count();
            if let Some(row) = rows.iter().find(|r| r.outcome.verdict.as_str() == verdict) {
                entries.push((Mark::Line, colour_of(row.outcome.verdict), format!("plan of 4 s, {} ({count})", verdict.replace('_', " "))));
            }
        }
        if has_truth || !track.is_empty() {
            entries.push((Mark::Line, DRIVEN, "driven".to_owned()));
        }
        if let Some(trace) = trace {
            entries.extend(events(area, &chart, frame, trace)?);
        }
        legend(area, &entries)
    })?;
    figure.save(file)
}

/// The car at each t0, with the numbers of some chunks.
fn starts(chart: &mut Chart<'_, '_>, rows: &[Row]) -> Result<()> {
    let scale = SUPERSAMPLE as i32;
    let every = rows.len().div_ceil(MOST_LABELS).max(1);
    for (i, row) in rows.iter().enumerate() {
        let Some(at) = row.outcome.pose.map(|pose| (pose.x_m, pose.y_m)) else { continue };
        chart.draw_series(std::iter::once(Circle::new(at, 4 * scale, colour_of(row.outcome.verdict).filled()))).map_err(drawing)?;
        chart.draw_series(std::iter::once(Circle::new(at, 4 * scale, TEXT.stroke_width(SUPERSAMPLE as u32)))).map_err(drawing)?;
        if i % every == 0 {
            let label = EmptyElement::at(at) + Text::new(row.outcome.chunk.to_string(), (7 * scale, -16 * scale), text(11, &TEXT));
            chart.draw_series(std::iter::once(label)).map_err(drawing)?;
        }
    }
    Ok(())
}

/// Draws the part of a polyline inside `frame`.
fn line(chart: &mut Chart<'_, '_>, frame: Frame, points: &[Place], style: ShapeStyle) -> Result<()> {
    for part in frame.line(points) {
        chart.draw_series(LineSeries::new(part, style)).map_err(drawing)?;
    }
    Ok(())
}

/// The lane as a band of its own width.
fn lane(chart: &mut Chart<'_, '_>, frame: Frame, trace: &RouteTrace) -> Result<()> {
    let edge = |pose: &Pose2, side: f64| -> Place {
        let at = pose.compose(&Pose2::new(0.0, side * HALF_LANE_M, 0.0));
        (at.x_m, at.y_m)
    };
    let poses: Vec<&Pose2> = trace.lane().collect();
    for pair in poses.windows(2) {
        let &[from, to] = pair else { continue };
        let quad = frame.area(&[edge(from, 1.0), edge(to, 1.0), edge(to, -1.0), edge(from, -1.0)]);
        if quad.len() > 2 {
            chart.draw_series(std::iter::once(Polygon::new(quad, ROAD.filled()))).map_err(drawing)?;
        }
    }
    Ok(())
}

/// The driven path of a simulated drive, in another colour off the road.
fn driven(chart: &mut Chart<'_, '_>, frame: Frame, trace: &RouteTrace) -> Result<()> {
    for part in trace.track().chunk_by(|a, b| a.is_off_road == b.is_off_road) {
        let colour = if part.first().is_some_and(|p| p.is_off_road) { OFF_ROAD } else { DRIVEN };
        let points: Vec<Place> = part.iter().map(|p| (p.x_m, p.y_m)).collect();
        line(chart, frame, &points, colour.mix(0.9).stroke_width(6 * SUPERSAMPLE as u32))?;
    }
    Ok(())
}

/// Draws lights and violations, and returns their entries of the legend.
fn events(area: &Area<'_>, chart: &Chart<'_, '_>, frame: Frame, trace: &RouteTrace) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (state, colour, name) in [(Light::Green, POLICY, "green"), (Light::Amber, HELD, "amber"), (Light::Red, RISK, "red")] {
        // Beside the lane, on the right, as in the image.
        let beside = |stop: Pose2| stop.compose(&Pose2::new(0.0, -1.8 * HALF_LANE_M, 0.0));
        let places = trace.lights().filter(|(_, of)| *of == state).map(|(stop, _)| beside(stop));
        let count = marks(area, chart, frame, Mark::Square, colour, places)?;
        if count > 0 {
            entries.push((Mark::Square, colour, format!("light, {name} when passed or last seen ({count})")));
        }
    }
    if trace.off_road_s() > 0.0 {
        entries.push((Mark::Line, OFF_ROAD, format!("off the road, {:.1} s", trace.off_road_s())));
    }
    for (kind, mark, colour, name) in [
        (Violation::Collision, Mark::Cross, RISK, "collision"),
        (Violation::OffRoad, Mark::Triangle, OFF_ROAD, "left the road"),
        (Violation::RedLight, Mark::Ring, RISK, "crossed on red"),
    ] {
        let count = marks(area, chart, frame, mark, colour, trace.violations(kind))?;
        if count > 0 {
            entries.push((mark, colour, format!("{name} ({count})")));
        }
    }
    Ok(entries)
}

/// Draws a mark at each place inside `frame`, and returns their number.
fn marks(
    area: &Area<'_>,
    chart: &Chart<'_, '_>,
    frame: Frame,
    mark: Mark,
    colour: RGBColor,
    places: impl Iterator<Item = Pose2>,
) -> Result<usize> {
    let mut count = 0;
    for place in places.map(|pose| (pose.x_m, pose.y_m)).filter(|place| frame.contains(*place)) {
        draw_mark(area, mark, colour, chart.plotting_area().map_coordinate(&place))?;
        count += 1;
    }
    Ok(count)
}

/// Draws a mark around a canvas pixel.
fn draw_mark(area: &Area<'_>, mark: Mark, colour: RGBColor, (x, y): (i32, i32)) -> Result<()> {
    let scale = SUPERSAMPLE as i32;
    let (size, stroke) = (6 * scale, colour.stroke_width(2 * SUPERSAMPLE as u32));
    let edge = TEXT.stroke_width(SUPERSAMPLE as u32);
    let put = |points: Vec<(i32, i32)>, style: ShapeStyle| area.draw(&PathElement::new(points, style)).map_err(drawing);
    match mark {
        Mark::Line => {
            area.draw(&Rectangle::new([(x - 9 * scale, y - 3 * scale), (x + 9 * scale, y + 3 * scale)], colour.filled())).map_err(drawing)
        }
        Mark::Dot => area.draw(&Circle::new((x, y), 4 * scale, colour.filled())).map_err(drawing),
        Mark::Ring => area.draw(&Circle::new((x, y), size + 2 * scale, stroke)).map_err(drawing),
        Mark::Square => {
            let corners = [(x - 5 * scale, y - 5 * scale), (x + 5 * scale, y + 5 * scale)];
            area.draw(&Rectangle::new(corners, colour.filled())).map_err(drawing)?;
            area.draw(&Rectangle::new(corners, edge)).map_err(drawing)
        }
        Mark::Cross => {
            put(vec![(x - size, y - size), (x + size, y + size)], stroke)?;
            put(vec![(x - size, y + size), (x + size, y - size)], stroke)
        }
        Mark::Triangle => {
            let corners = vec![(x - size, y + size - scale), (x + size, y + size - scale), (x, y - size)];
            area.draw(&Polygon::new(corners.clone(), colour.filled())).map_err(drawing)?;
            put(corners.iter().chain(corners.first()).copied().collect(), edge)
        }
    }
}

/// The legend between title and axes, in rows.
fn legend(area: &Area<'_>, entries: &[Entry]) -> Result<()> {
    let (mut left, mut row) = (16, 0);
    let scale = SUPERSAMPLE as i32;
    for (mark, colour, label) in entries {
        let width = 24 + text_width(label, 12) + 22;
        if left > 16 && left + width > WIDTH as i32 - 8 {
            (left, row) = (16, row + 1);
        }
        let middle = 46 + row * LEGEND_ROW as i32;
        draw_mark(area, *mark, *colour, ((left + 9) * scale, middle * scale))?;
        write(area, label, 12, &TEXT, left + 24, middle - 6)?;
        left += width;
    }
    Ok(())
}

/// Poses given in the ego frame at t0, as points in the frame of the recorded poses; the car's
/// position at t0 comes first. Empty without a pose at t0.
fn points(row: &Row, poses: impl Iterator<Item = Pose2>) -> Vec<Place> {
    let Some(origin) = row.outcome.pose else { return Vec::new() };
    std::iter::once(origin)
        .chain(poses.map(|p| origin.compose(&p)))
        .map(|p| (p.x_m, p.y_m))
        .filter(|p| p.0.is_finite() && p.1.is_finite())
        .collect()
}

/// Ranges of both axes that contain all points, with equal scale on both.
fn equal_axes(points: impl Iterator<Item = Place>, aspect: f64) -> (Place, Place) {
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

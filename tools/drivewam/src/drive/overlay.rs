//! `overlay/*.png`: the published trajectory as a ribbon of the car's width on the camera image,
//! and the path driven after it.

use super::clip::{Frame, Place};
use super::row::Row;
use super::source::CameraImage;
use crate::figure::{Area, DRIVEN, Figure, HELD, POLICY, RISK, SUPERSAMPLE, drawing, fill, text_width, write};
use anyhow::{Context, Result};
use drivewam::SourceCamera;
use drivewam::guard::Verdict;
use drivewam::guidance::status::GuidanceStatus;
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::Trajectory;
use drivewam_recording::{CameraMount, Distortion};
use image::imageops::{FilterType, resize};
use image::{ImageBuffer, Rgb};
use ndarray::ArrayView3;
use plotters::prelude::*;
use std::path::Path;

/// Range of widths of the written image, pixels.
const MAX_WIDTH: usize = 1280;
const MIN_WIDTH: usize = 640;
/// Height of the status bar above the image, pixels.
const STATUS_BAR: usize = 44;
/// Half the width of the ribbon, metres.
const HALF_WIDTH_M: f64 = 0.9;
/// Points nearer to the camera are not drawn, metres.
const NEAR_M: f64 = 0.7;
/// A plan shorter than this stands still, metres.
const STANDS_M: f64 = 0.5;
/// Distance between two vertices of the ribbon, metres.
const VERTEX_M: f64 = 0.25;

/// A camera and its mount, for one size of figure.
struct View {
    mount: CameraMount,
    camera: SourceCamera,
    distortion: Option<Distortion>,
    scale: f64,
}

impl View {
    /// Projects a point on the road, given in the ego frame, to pixels of the figure. The pixel may
    /// lie outside the image. `None` behind the camera or nearer than [`NEAR_M`], and where the
    /// model of the lens does not reach.
    fn project(&self, x_m: f64, y_m: f64) -> Option<Place> {
        let [right, down, forward] = self.mount.to_camera([x_m, y_m, 0.0]);
        if forward < NEAR_M {
            return None;
        }
        let pinhole = [right / forward, down / forward];
        let [x, y] = self.distortion.map_or(Some(pinhole), |lens| lens.distort(pinhole[0], pinhole[1]))?;
        let camera = self.camera.intrinsics;
        let u = (camera.fx_px * x + camera.cx_px) * self.scale;
        let v = (camera.fy_px * y + camera.cy_px) * self.scale + STATUS_BAR as f64;
        Some((u, v))
    }

    /// The image below the status bar.
    fn frame(&self) -> Frame {
        let (right, bottom) = (self.camera.width as f64 * self.scale - 1.0, self.camera.height as f64 * self.scale - 1.0);
        Frame { left: 0.0, top: STATUS_BAR as f64, right, bottom: bottom + STATUS_BAR as f64 }
    }
}

/// Draws `row` on `image` and writes the figure to `path`.
///
/// # Errors
/// The file cannot be written.
pub(super) fn draw(row: &Row, elapsed_s: f64, image: &CameraImage, mount: &CameraMount, path: &Path) -> Result<()> {
    let camera = image.camera;
    let width = camera.width.clamp(MIN_WIDTH.max(camera.width.min(MAX_WIDTH)), MAX_WIDTH);
    let height = (camera.height * width).div_ceil(camera.width).max(1);
    let source: ImageBuffer<Rgb<u8>, &[u8]> = ImageBuffer::from_raw(camera.width as u32, camera.height as u32, image.rgb.as_slice())
        .context("the image does not have the size of its camera")?;
    let scaled = if width == camera.width {
        image.rgb.clone()
    } else {
        resize(&source, width as u32, height as u32, FilterType::Triangle).into_raw()
    };
    let mut figure = Figure::new(width, height + STATUS_BAR);
    figure.put(ArrayView3::from_shape((height, width, 3), &scaled)?, 0, STATUS_BAR);
    let view = View { mount: *mount, camera, distortion: image.distortion, scale: width as f64 / camera.width as f64 };
    figure.draw(|area| {
        let published = &row.outcome.published;
        let colour = colour_of(row.outcome.verdict);
        ribbon(area, &view, &densified(published), &colour)?;
        if let Some(truth) = &row.truth {
            line(area, &view, truth, &DRIVEN)?;
        }
        dots(area, &view, published, &colour)?;
        status_bar(area, row, elapsed_s, width)?;
        draw_guidance(area, &row.outcome.guidance, width)?;
        let assumed = (!mount.is_measured).then(|| "camera height and pitch are assumed".to_owned());
        let notes: Vec<String> = out_of_view(&view, published).into_iter().chain(assumed).collect();
        draw_legend(area, row, &notes, height)
    })?;
    figure.save(path)
}

/// The colour of a verdict in every figure.
pub(super) fn colour_of(verdict: Verdict) -> RGBColor {
    match verdict {
        Verdict::Accepted => POLICY,
        Verdict::Held => HELD,
        Verdict::MinimalRisk => RISK,
    }
}

/// The trajectory from the car itself on, with poses at most [`VERTEX_M`] apart.
fn densified(trajectory: &Trajectory) -> Vec<Pose2> {
    densify(std::iter::once(Pose2::default()).chain(trajectory.points().iter().map(|p| p.pose())))
}

/// Interpolates poses so that they are at most [`VERTEX_M`] apart.
fn densify(poses: impl Iterator<Item = Pose2>) -> Vec<Pose2> {
    let mut fine: Vec<Pose2> = Vec::new();
    for pose in poses {
        if let Some(&last) = fine.last() {
            let parts = (last.distance_m(&pose) / VERTEX_M).ceil().clamp(1.0, 100.0) as usize;
            fine.extend((1..=parts).map(|i| last.interpolate(&pose, i as f64 / parts as f64)));
        } else {
            fine.push(pose);
        }
    }
    fine
}

/// Draws the strip of road that the car would cover.
fn ribbon(area: &Area<'_>, view: &View, poses: &[Pose2], colour: &RGBColor) -> Result<()> {
    let edge = |side: f64| -> Vec<Place> {
        let vertex = |p: &Pose2| p.compose(&Pose2::new(0.0, side * HALF_WIDTH_M, 0.0));
        poses.iter().map(vertex).filter_map(|p| view.project(p.x_m, p.y_m)).collect()
    };
    let (left, right) = (edge(1.0), edge(-1.0));
    if left.len() < 2 || right.len() < 2 {
        return Ok(());
    }
    let outline: Vec<Place> = left.iter().copied().chain(right.iter().rev().copied()).collect();
    let outline = view.frame().area(&outline);
    if outline.len() > 2 {
        area.draw(&Polygon::new(to_canvas(&outline), colour.mix(0.38).filled())).map_err(drawing)?;
    }
    for edge in [left, right] {
        stroke(area, view, &edge, &colour.mix(0.95), 2)?;
    }
    Ok(())
}

/// Draws a polyline `width` pixels wide, clipped to the image.
fn stroke(area: &Area<'_>, view: &View, points: &[Place], colour: &RGBAColor, width: usize) -> Result<()> {
    for part in view.frame().line(points) {
        area.draw(&PathElement::new(to_canvas(&part), colour.stroke_width((width * SUPERSAMPLE) as u32))).map_err(drawing)?;
    }
    Ok(())
}

/// Pixels of the figure as canvas pixels.
fn to_canvas(places: &[Place]) -> Vec<(i32, i32)> {
    let scale = SUPERSAMPLE as f64;
    places.iter().map(|p| ((p.0 * scale).round() as i32, (p.1 * scale).round() as i32)).collect()
}

/// Draws a dot with a white rim.
fn dot(area: &Area<'_>, view: &View, at: Place, colour: &RGBColor) -> Result<()> {
    if !view.frame().contains(at) {
        return Ok(());
    }
    for centre in to_canvas(&[at]) {
        area.draw(&Circle::new(centre, 6 * SUPERSAMPLE as i32, WHITE.filled())).map_err(drawing)?;
        area.draw(&Circle::new(centre, 4 * SUPERSAMPLE as i32, colour.filled())).map_err(drawing)?;
    }
    Ok(())
}

/// Draws the driven path as a line with a white rim.
fn line(area: &Area<'_>, view: &View, truth: &[Pose2], colour: &RGBColor) -> Result<()> {
    let poses = densify(std::iter::once(Pose2::default()).chain(truth.iter().copied()));
    let points: Vec<Place> = poses.iter().filter_map(|p| view.project(p.x_m, p.y_m)).collect();
    stroke(area, view, &points, &WHITE.mix(0.85), 6)?;
    stroke(area, view, &points, &colour.to_rgba(), 3)?;
    match truth.last().and_then(|p| view.project(p.x_m, p.y_m)) {
        Some(end) => dot(area, view, end, colour),
        None => Ok(()),
    }
}

/// Draws a dot at each whole second of the trajectory.
fn dots(area: &Area<'_>, view: &View, trajectory: &Trajectory, colour: &RGBColor) -> Result<()> {
    for (i, point) in trajectory.points().iter().enumerate() {
        let due_s = trajectory.due_s(i);
        if (due_s - due_s.round()).abs() > 0.5 * trajectory.step_s() {
            continue;
        }
        if let Some(at) = view.project(point.x_m, point.y_m) {
            dot(area, view, at, colour)?;
        }
    }
    Ok(())
}

/// Draws the status bar: time, chunk, verdict, speed, command, and the error or the reason.
fn status_bar(area: &Area<'_>, row: &Row, elapsed_s: f64, width: usize) -> Result<()> {
    let outcome = &row.outcome;
    fill(area, (0, 0), (width as i32, STATUS_BAR as i32), RGBColor(24, 27, 32).to_rgba())?;
    let end = outcome.published.points().last().map_or(0.0, |p| p.v_mps);
    let first = format!("t0 {elapsed_s:6.1} s   chunk {}", outcome.chunk);
    write(area, &first, 15, &WHITE, 12, 7)?;
    let verdict = outcome.verdict.as_str().replace('_', " ");
    let mut left = 12 + text_width(&first, 15) + 28;
    write(area, &verdict, 15, &colour_of(outcome.verdict), left, 7)?;
    left += text_width(&verdict, 15) + 28;
    let speeds = format!("{:.1} m/s, in 4 s {end:.1} m/s   command {}", row.speed_mps, outcome.command.as_str());
    write(area, &speeds, 15, &WHITE, left, 7)?;
    let second = match (outcome.cause, row.errors()?) {
        (Some(reason), _) => reason.to_string(),
        (None, Some((policy, constant))) => {
            let [_, policy] = policy;
            let [_, constant] = constant;
            format!(
                "ADE@4s {:.2} m, FDE@4s {:.2} m   (constant velocity and yaw rate {:.2} m, {:.2} m)",
                policy.mean_m, policy.last_m, constant.mean_m, constant.last_m
            )
        }
        (None, None) => String::new(),
    };
    write(area, &second, 12, &RGBColor(190, 196, 204), 12, 26)
}

/// Draws the guidance text of the chunk below the status bar, if there is one.
fn draw_guidance(area: &Area<'_>, status: &GuidanceStatus, width: usize) -> Result<()> {
    if status.text.is_empty() {
        return Ok(());
    }
    let age = status.age_ms.map_or_else(String::new, |ms| format!(", {:.1} s old", ms * 1e-3));
    let lines = wrap(&format!("{}{age}: {}", status.source.as_str(), status.text), width as i32 - 24);
    let (top, line) = (STATUS_BAR as i32, 17);
    fill(area, (0, top), (width as i32, top + 8 + line * lines.len() as i32), RGBColor(24, 27, 32).mix(0.62))?;
    lines.iter().enumerate().try_for_each(|(i, text)| write(area, text, 13, &WHITE, 12, top + 4 + line * i as i32))
}

/// Wraps `text` to lines of at most `width` pixels.
fn wrap(text: &str, width: i32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), 13) <= width => *line = format!("{line} {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Why the plan, or a part of it, cannot be seen in the picture; `None` where its end is in view.
fn out_of_view(view: &View, trajectory: &Trajectory) -> Option<String> {
    let points = trajectory.points();
    let last = points.last()?;
    let end_s = trajectory.due_s(points.len() - 1);
    let origin = std::iter::once(Pose2::default());
    let poses: Vec<Pose2> = origin.chain(points.iter().map(|p| p.pose())).collect();
    let way_m: f64 = poses.windows(2).map(|pair| pair[0].distance_m(&pair[1])).sum();
    if way_m < STANDS_M {
        return Some(format!("the plan stands still: {way_m:.1} m in {end_s:.0} s"));
    }
    let is_seen = |x_m: f64, y_m: f64| view.project(x_m, y_m).is_some_and(|place| view.frame().contains(place));
    if is_seen(last.x_m, last.y_m) {
        return None;
    }
    // The road right ahead of the car lies below the picture.
    let is_below = view.project(last.x_m, last.y_m).is_none_or(|(u, v)| v > view.frame().bottom && u >= 0.0 && u <= view.frame().right);
    match points.iter().rposition(|p| is_seen(p.x_m, p.y_m)) {
        Some(i) => Some(format!("the plan leaves the picture after {:.1} s", trajectory.due_s(i))),
        None if is_below => Some(format!("the plan ends below the picture, after {way_m:.1} m in {end_s:.0} s")),
        None => Some("the plan is beside the picture from its beginning".to_owned()),
    }
}

/// Draws the legend and notes in the lower left corner.
fn draw_legend(area: &Area<'_>, row: &Row, notes: &[String], height: usize) -> Result<()> {
    let mut entries = vec![(colour_of(row.outcome.verdict), "published plan, a dot per second")];
    if row.truth.is_some() {
        entries.push((DRIVEN, "driven path"));
    }
    let lines = (entries.len() + notes.len()) as i32;
    let widest = entries.iter().map(|e| e.1).chain(notes.iter().map(String::as_str)).map(|label| text_width(label, 12)).max().unwrap_or(0);
    let bottom = (height + STATUS_BAR) as i32 - 10;
    let top = bottom - 20 * lines - 8;
    fill(area, (10, top), (52 + widest, bottom), RGBColor(24, 27, 32).mix(0.72))?;
    for (i, (colour, label)) in entries.iter().enumerate() {
        let y = top + 6 + 20 * i as i32;
        fill(area, (18, y + 4), (36, y + 10), colour.to_rgba())?;
        write(area, label, 12, &WHITE, 44, y)?;
    }
    for (i, text) in notes.iter().enumerate() {
        write(area, text, 12, &RGBColor(190, 196, 204), 18, top + 6 + 20 * (entries.len() + i) as i32)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use drivewam_core::dims::Intrinsics;

    /// Breaks when a reader takes an overlay without a ribbon for one without a plan: a plan that
    /// stands, creeps or turns away is described.
    #[test]
    fn a_plan_that_cannot_be_seen_is_described() {
        let intrinsics = Intrinsics { fx_px: 448.0, fy_px: 448.0, cx_px: 448.0, cy_px: 256.0 };
        let camera = SourceCamera::rgb8(896, 512, intrinsics);
        let view = View { mount: CameraMount::on_centre_line(1.5, 1.5, 0.0), camera, distortion: None, scale: 1.0 };
        for (speed_mps, yaw_rate, wanted) in [
            (8.0, 0.0, None),
            (8.0, 0.1, None),
            (0.0, 0.0, Some("stands still: 0.0 m in 4 s")),
            (0.1, 0.0, Some("stands still: 0.4 m in 4 s")),
            (0.5, 0.0, Some("ends below the picture, after 2.0 m")),
            (6.0, 0.6, Some("leaves the picture after ")),
            (6.0, -0.6, Some("leaves the picture after ")),
            (1.2, 0.3, Some("beside the picture")),
        ] {
            let mut trajectory = Trajectory::new(40, 100_000_000).unwrap();
            trajectory.set_constant(speed_mps, yaw_rate);
            let got = out_of_view(&view, &trajectory);
            assert!(
                got.is_some() == wanted.is_some() && got.iter().all(|got| got.contains(wanted.unwrap())),
                "{speed_mps} {yaw_rate}: {got:?}"
            );
        }
    }
}

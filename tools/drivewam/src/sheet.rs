//! A picture to draw on: drawn twice as large as it is written, so that every edge comes out smooth.

use anyhow::{Context, Result, anyhow};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::register_font;
use std::ops::Range;
use std::path::Path;
use std::sync::Once;

/// Drawn pixels along each side of a written one.
pub(crate) const SMOOTH: usize = 2;

/// Near black, for text.
pub(crate) const INK: RGBColor = RGBColor(28, 32, 38);
/// For what is secondary.
pub(crate) const GREY: RGBColor = RGBColor(120, 126, 134);
/// What the policy says, accepted.
pub(crate) const POLICY: RGBColor = RGBColor(0, 158, 115);
/// What went out in its place.
pub(crate) const HELD: RGBColor = RGBColor(230, 159, 0);
/// A request for minimal risk.
pub(crate) const RISK: RGBColor = RGBColor(213, 60, 40);
/// What was really driven.
pub(crate) const DRIVEN: RGBColor = RGBColor(30, 120, 220);

/// The area that closures draw on, in drawn pixels.
pub(crate) type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

/// Axes to draw on.
pub(crate) type Chart<'a, 'b> = ChartContext<'a, BitMapBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// One axis: its range, its name, and the digits of its labels after the point.
pub(crate) struct Axis<'a> {
    pub(crate) range: Range<f64>,
    pub(crate) name: &'a str,
    pub(crate) digits: usize,
}

/// Axes below a head of `top` written pixels, with `right` left free beside them; lines across for each label of y, and of x with `grid`.
pub(crate) fn axes<'a, 'b>(area: &'a Area<'b>, [top, right]: [i32; 2], x: Axis<'_>, y: Axis<'_>, grid: bool) -> Result<Chart<'a, 'b>> {
    let smooth = SMOOTH as i32;
    let mut chart = ChartBuilder::on(area)
        .margin_top(top * smooth)
        .margin_right(right * smooth)
        .margin_bottom(8 * smooth)
        .margin_left(8 * smooth)
        .x_label_area_size(44 * smooth)
        .y_label_area_size(64 * smooth)
        .build_cartesian_2d(x.range, y.range)
        .map_err(drawing)?;
    let (of_x, of_y) = (|v: &f64| format!("{v:.*}", x.digits), |v: &f64| format!("{v:.*}", y.digits));
    let mut mesh = chart.configure_mesh();
    if !grid {
        mesh.disable_x_mesh();
    }
    mesh.light_line_style(TRANSPARENT)
        .bold_line_style(GREY.mix(0.25))
        .axis_style(GREY)
        .label_style(text(13, &INK))
        .x_desc(x.name)
        .y_desc(y.name)
        .x_label_formatter(&of_x)
        .y_label_formatter(&of_y)
        .draw()
        .map_err(drawing)?;
    Ok(chart)
}

/// A picture under way.
pub(crate) struct Sheet {
    width: usize,
    height: usize,
    drawn: Vec<u8>,
}

impl Sheet {
    /// A white sheet of `width` x `height` written pixels.
    pub(crate) fn new(width: usize, height: usize) -> Self {
        static FONT: Once = Once::new();
        // The only failure is a broken font, which is a constant of a crate and covered by the tests.
        FONT.call_once(|| drop(register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::HACK_REGULAR)));
        Self { width, height, drawn: vec![255; width * height * 3 * SMOOTH * SMOOTH] }
    }

    /// Puts packed RGB of `width` x `height` written pixels at a place.
    pub(crate) fn put(&mut self, rgb: &[u8], width: usize, left: usize, top: usize) {
        let row_bytes = self.width * SMOOTH * 3;
        for (row, line) in rgb.chunks_exact(width * 3).enumerate() {
            for copy in 0..SMOOTH {
                let start = ((top + row) * SMOOTH + copy) * row_bytes + left * SMOOTH * 3;
                let Some(target) = self.drawn.get_mut(start..start + width * SMOOTH * 3) else { return };
                for (pixels, colour) in target.chunks_exact_mut(3 * SMOOTH).zip(line.chunks_exact(3)) {
                    pixels.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(colour));
                }
            }
        }
    }

    /// Lets `draw` draw.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<()> {
        let size = ((self.width * SMOOTH) as u32, (self.height * SMOOTH) as u32);
        let area = BitMapBackend::with_buffer(&mut self.drawn, size).into_drawing_area();
        draw(&area)?;
        area.present().map_err(drawing)
    }

    /// Writes it as a PNG.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let mut rgb = Vec::with_capacity(self.width * self.height * 3);
        let row_bytes = self.width * SMOOTH * 3;
        for rows in self.drawn.chunks_exact(row_bytes * SMOOTH) {
            for column in 0..self.width {
                for channel in 0..3 {
                    let mut sum = 0u32;
                    for row in rows.chunks_exact(row_bytes) {
                        let pixels = row.iter().skip(column * SMOOTH * 3 + channel).step_by(3).take(SMOOTH);
                        sum += pixels.map(|&v| u32::from(v)).sum::<u32>();
                    }
                    rgb.push((sum / (SMOOTH * SMOOTH) as u32) as u8);
                }
            }
        }
        image::save_buffer(path, &rgb, self.width as u32, self.height as u32, image::ColorType::Rgb8)
            .with_context(|| format!("{path:?} cannot be written"))
    }
}

/// A drawing error as this program's.
pub(crate) fn drawing<E: std::error::Error>(error: E) -> anyhow::Error {
    anyhow!("a picture cannot be drawn: {error}")
}

/// A text style, `size` in written pixels.
pub(crate) fn text(size: usize, colour: &RGBColor) -> TextStyle<'_> {
    ("sans-serif", (size * SMOOTH) as f64).into_font().color(colour)
}

/// Text with its upper left corner at a place in written pixels.
pub(crate) fn write(area: &Area<'_>, words: &str, size: usize, colour: &RGBColor, left: i32, top: i32) -> Result<()> {
    let smooth = SMOOTH as i32;
    // The font's box reaches above its letters: the letters themselves shall begin at `top`.
    let lower = (size / 4) as i32;
    area.draw(&Text::new(words.to_owned(), (left * smooth, (top + lower) * smooth), text(size, colour))).map_err(drawing)
}

/// Width of a text in written pixels.
pub(crate) fn width_of(words: &str, size: usize) -> i32 {
    let box_size = ("sans-serif", size as f64).into_font().box_size(words);
    box_size.map_or(words.len() as i32 * size as i32 / 2, |(width, _)| width as i32)
}

/// A filled box in written pixels.
pub(crate) fn fill(area: &Area<'_>, from: (i32, i32), to: (i32, i32), colour: RGBAColor) -> Result<()> {
    let smooth = SMOOTH as i32;
    area.draw(&Rectangle::new([(from.0 * smooth, from.1 * smooth), (to.0 * smooth, to.1 * smooth)], colour.filled())).map_err(drawing)
}

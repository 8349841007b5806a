//! A figure: a canvas with axes, shapes and text, saved as a PNG.
//!
//! Callers give places and sizes in pixels of the saved file. The canvas has [`SUPERSAMPLE`] times
//! as many along each side; [`Figure::save`] averages them, which smooths every edge.

use anyhow::{Context, Result, anyhow};
use ndarray::{Array3, ArrayView3, AxisDescription, Slice};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::register_font;
use std::ops::Range;
use std::path::Path;
use std::sync::Once;

/// Canvas pixels along each side of a pixel of the saved file.
pub(crate) const SUPERSAMPLE: usize = 2;
/// Row and column of each canvas pixel within a pixel of the saved file.
const OFFSETS: [[isize; 2]; SUPERSAMPLE * SUPERSAMPLE] = [[0, 0], [0, 1], [1, 0], [1, 1]];

/// Text, near black.
pub(crate) const TEXT: RGBColor = RGBColor(28, 32, 38);
/// Secondary text and grid lines.
pub(crate) const GREY: RGBColor = RGBColor(120, 126, 134);
/// A plan of the policy that the guard accepted.
pub(crate) const POLICY: RGBColor = RGBColor(0, 158, 115);
/// An earlier plan, published in place of the policy's.
pub(crate) const HELD: RGBColor = RGBColor(230, 159, 0);
/// A minimal-risk plan.
pub(crate) const RISK: RGBColor = RGBColor(213, 60, 40);
/// The path that was driven.
pub(crate) const DRIVEN: RGBColor = RGBColor(30, 120, 220);

/// The drawing area, in canvas pixels.
pub(crate) type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

/// A chart with two linear axes.
pub(crate) type Chart<'a, 'b> = ChartContext<'a, BitMapBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// One axis: its range, its name, its unit, and the decimals of its labels.
pub(crate) struct Axis<'a> {
    pub(crate) range: Range<f64>,
    pub(crate) name: &'a str,
    /// As it stands behind the name; "number" for counts.
    pub(crate) unit: &'a str,
    pub(crate) digits: usize,
}

impl Axis<'_> {
    fn title(&self) -> String {
        format!("{}, {}", self.name, self.unit)
    }
}

/// Draws axes, with `top` pixels free above them and `right` pixels free beside them.
///
/// Every label of y gets a grid line; those of x only with `grid`.
pub(crate) fn axes<'a, 'b>(area: &'a Area<'b>, [top, right]: [i32; 2], x: Axis<'_>, y: Axis<'_>, grid: bool) -> Result<Chart<'a, 'b>> {
    let scale = SUPERSAMPLE as i32;
    let (x_title, y_title) = (x.title(), y.title());
    let mut chart = ChartBuilder::on(area)
        .margin_top(top * scale)
        .margin_right(right * scale)
        .margin_bottom(8 * scale)
        .margin_left(8 * scale)
        .x_label_area_size(44 * scale)
        .y_label_area_size(64 * scale)
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
        .label_style(text(13, &TEXT))
        .x_desc(x_title)
        .y_desc(y_title)
        .x_label_formatter(&of_x)
        .y_label_formatter(&of_y)
        .draw()
        .map_err(drawing)?;
    Ok(chart)
}

/// A figure in progress.
pub(crate) struct Figure {
    /// `[height, width, 3]` in canvas pixels, always in standard layout.
    canvas: Array3<u8>,
}

impl Figure {
    /// A white figure of `width` x `height` pixels.
    pub(crate) fn new(width: usize, height: usize) -> Self {
        static FONT: Once = Once::new();
        // Registering fails only for a broken font. The font is a constant of a crate, which the
        // tests draw with.
        FONT.call_once(|| drop(register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::HACK_REGULAR)));
        Self { canvas: Array3::from_elem((height * SUPERSAMPLE, width * SUPERSAMPLE, 3), 255) }
    }

    /// Copies an RGB image `[height, width, 3]` to (`left`, `top`). What reaches beyond the figure
    /// is cut off.
    pub(crate) fn put(&mut self, image: ArrayView3<'_, u8>, left: usize, top: usize) {
        let (height, width, _) = self.canvas.dim();
        let (left, top) = ((left * SUPERSAMPLE).min(width), (top * SUPERSAMPLE).min(height));
        let rows = image.dim().0.min((height - top) / SUPERSAMPLE);
        let columns = image.dim().1.min((width - left) / SUPERSAMPLE);
        if rows == 0 || columns == 0 {
            return;
        }
        let image = image.slice_each_axis(|axis| Slice::from(..[rows, columns, 3][axis.axis.index()]));
        let (bottom, right) = (top + rows * SUPERSAMPLE, left + columns * SUPERSAMPLE);
        let ends = [top..bottom, left..right, 0..3];
        let mut target = self.canvas.slice_each_axis_mut(|axis| Slice::from(ends[axis.axis.index()].clone()));
        for offset in OFFSETS {
            target.slice_each_axis_mut(|axis| sample(axis, offset)).assign(&image);
        }
    }

    /// Calls `draw` with the drawing area.
    ///
    /// # Errors
    /// Those of `draw`; the drawing library fails.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<()> {
        let (height, width, _) = self.canvas.dim();
        let pixels = self.canvas.as_slice_mut().context("the canvas is not in standard layout")?;
        let area = BitMapBackend::with_buffer(pixels, (width as u32, height as u32)).into_drawing_area();
        draw(&area)?;
        area.present().map_err(drawing)
    }

    /// Averages the canvas pixels of each pixel and writes a PNG.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let (height, width, _) = self.canvas.dim();
        let pixels = self.canvas.as_slice().context("the canvas is not in standard layout")?.to_vec();
        let canvas = image::RgbImage::from_raw(width as u32, height as u32, pixels).context("the canvas has another size")?;
        // Of whole multiples of the size this is the mean of the canvas pixels.
        let [width, height] = [width, height].map(|side| (side / SUPERSAMPLE) as u32);
        let smooth = image::imageops::thumbnail(&canvas, width, height);
        smooth.save(path).with_context(|| format!("cannot write {path:?}"))
    }
}

/// Selects, along `axis` of `[height, width, 3]`, the canvas pixels at `offset` within their pixel
/// of the saved file.
fn sample(axis: AxisDescription, offset: [isize; 2]) -> Slice {
    match offset.get(axis.axis.index()) {
        Some(start) => Slice::new(*start, None, SUPERSAMPLE as isize),
        None => Slice::from(..),
    }
}

/// Converts an error of the drawing library.
pub(crate) fn drawing<E: std::error::Error>(error: E) -> anyhow::Error {
    anyhow!("cannot draw the figure: {error}")
}

/// A text style; `size` in pixels.
pub(crate) fn text(size: usize, colour: &RGBColor) -> TextStyle<'_> {
    ("sans-serif", (size * SUPERSAMPLE) as f64).into_font().color(colour)
}

/// Writes text whose upper left corner is at (`left`, `top`).
pub(crate) fn write(area: &Area<'_>, words: &str, size: usize, colour: &RGBColor, left: i32, top: i32) -> Result<()> {
    let scale = SUPERSAMPLE as i32;
    // The font's box reaches above its letters; `top` is where the letters begin.
    let lower = (size / 4) as i32;
    area.draw(&Text::new(words.to_owned(), (left * scale, (top + lower) * scale), text(size, colour))).map_err(drawing)
}

/// Width of a text, pixels.
pub(crate) fn text_width(words: &str, size: usize) -> i32 {
    let box_size = ("sans-serif", size as f64).into_font().box_size(words);
    box_size.map_or(words.len() as i32 * size as i32 / 2, |(width, _)| width as i32)
}

/// Fills a rectangle.
pub(crate) fn fill(area: &Area<'_>, from: (i32, i32), to: (i32, i32), colour: RGBAColor) -> Result<()> {
    let scale = SUPERSAMPLE as i32;
    area.draw(&Rectangle::new([(from.0 * scale, from.1 * scale), (to.0 * scale, to.1 * scale)], colour.filled())).map_err(drawing)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when an image lands at another place, or reaching beyond the border wraps or panics.
    #[test]
    fn an_image_is_saved_where_it_was_put_and_cut_off_at_the_border() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("figure.png");
        let image = Array3::from_shape_fn((3, 2, 3), |(y, x, c)| (100 + 10 * y + 5 * x + c) as u8);
        let mut figure = Figure::new(6, 5);
        figure.put(image.view(), 1, 1);
        figure.put(image.view(), 5, 3);
        figure.put(image.view(), 60, 50);
        figure.save(&file).unwrap();
        let saved = image::open(&file).unwrap().into_rgb8();
        let pixel = |x: u32, y: u32| saved.get_pixel(x, y).0;
        assert_eq!((saved.dimensions(), pixel(0, 0), pixel(1, 1), pixel(2, 3)), ((6, 5), [255; 3], [100, 101, 102], [125, 126, 127]));
        assert_eq!((pixel(5, 3), pixel(5, 4), pixel(0, 4)), ([100, 101, 102], [110, 111, 112], [255; 3]));
    }
}

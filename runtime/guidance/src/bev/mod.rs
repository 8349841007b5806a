//! The bird's-eye plot of the ego's past motion that the vision-language model is shown.
//!
//! Forward is up, the newest position is a marker that points up, and the path behind it is coloured by speed. The view is the smallest
//! of a fixed ladder that the path fits in, so that a plot says how far as well as which way. Same path, same bits, on every machine.

mod raster;

use drivewam_core::pose::Pose2;
use drivewam_core::{Error, ErrorKind, Result};
use raster::{Canvas, FULL_SCALE_MPS, GLYPH, pixels, speed_colour, text_width};

/// Pixels of a side that a plot may have.
const SIDES: std::ops::RangeInclusive<usize> = 32..=4096;
/// Where the ego stands, as a share of the height, from the top: nearly all that is drawn lies behind it.
const EGO_FROM_TOP: f64 = 0.22;
/// Shorter side per pixel of a dot of text. A side that is shorter than this has no text.
const SIDE_OF_A_TEXT_DOT: usize = 160;
/// Length of the scale bar where there is no text to say it, m: how long it is drawn then says the scale.
const BAR_WITHOUT_TEXT_M: f64 = 10.0;
/// A grid that is denser than this shows every other line, pixels.
const DENSE_GRID: f64 = 12.0;
/// Samples farther away than this are no past of a few seconds, m; they are skipped like those that are not finite.
const FARTHEST_M: f64 = 10_000.0;

const GROUND: [u8; 3] = [250, 250, 250];
const GRID: [u8; 3] = [214, 218, 222];
const CASING: [u8; 3] = [40, 40, 48];
const MARKER: [u8; 3] = [214, 30, 40];
const LETTERS: [u8; 3] = [50, 50, 56];

/// One step of the ladder of views.
struct View {
    /// From the ego to the lower edge, m.
    behind_m: f64,
    /// A cell of the grid, and the scale bar where there is text, m.
    cell_m: f64,
    label: &'static str,
}

const LADDER: [View; 7] = [
    View { behind_m: 10.0, cell_m: 2.0, label: "2 m" },
    View { behind_m: 20.0, cell_m: 5.0, label: "5 m" },
    View { behind_m: 30.0, cell_m: 5.0, label: "5 m" },
    View { behind_m: 50.0, cell_m: 10.0, label: "10 m" },
    View { behind_m: 100.0, cell_m: 20.0, label: "20 m" },
    View { behind_m: 200.0, cell_m: 50.0, label: "50 m" },
    View { behind_m: 500.0, cell_m: 100.0, label: "100 m" },
];
const LONGEST_LABEL: &str = "100 m";
const LEGEND_ENDS: [&str; 2] = ["0", "20 m/s"];

/// A place of the past, and how fast the ego was there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sample {
    /// Relative to the newest pose: x forward, y left.
    pub pose: Pose2,
    /// Metres per second; its colour is that of its magnitude, and ends at 20.
    pub speed_mps: f64,
}

impl Sample {
    fn is_drawable(&self) -> bool {
        let near = |way_m: f64| way_m.abs() <= FARTHEST_M;
        self.pose.is_finite() && self.speed_mps.is_finite() && near(self.pose.x_m) && near(self.pose.y_m)
    }
}

/// What of the path is nearest to a pixel.
#[derive(Debug, Clone, Copy)]
struct Near {
    way_px: f32,
    speed_mps: f32,
}

const NOTHING_NEAR: Near = Near { way_px: f32::INFINITY, speed_mps: 0.0 };

/// Sizes in pixels, settled by the size of the picture alone.
#[derive(Debug)]
struct Layout {
    /// Pixels of a dot of text; 0 where there is none.
    dot: usize,
    gap: f64,
    /// Height of what the path may use; below it lies the strip with the scale bar and the legend.
    ground: usize,
    /// Row of the ego; its column is half the width.
    ego_row: f64,
    /// Half the width of the line, and of the line with its dark edge.
    line: f64,
    casing: f64,
    /// Columns of the legend's bar, where there is room for it.
    legend: Option<[f64; 2]>,
}

/// Draws plots of one size.
#[derive(Debug)]
pub struct Plot {
    canvas: Canvas,
    layout: Layout,
    near: Vec<Near>,
}

impl Plot {
    /// Plots of `height` x `width` pixels; allocates all that [`Plot::draw`] will use. A shorter side under 160 pixels has no text.
    ///
    /// # Errors
    /// `Config` for a side that is not 32 to 4096 pixels.
    pub fn new(height: usize, width: usize) -> Result<Self> {
        if !SIDES.contains(&height) || !SIDES.contains(&width) {
            return Err(Error::new(ErrorKind::Config, "a plot of this size is refused")
                .at("plot")
                .got(format!("{height} x {width} pixels"))
                .wanted(format!("sides of {} to {} pixels", SIDES.start(), SIDES.end())));
        }
        let layout = Layout::of(height, width);
        let near = vec![NOTHING_NEAR; layout.ground * width];
        Ok(Self { canvas: Canvas::new(height, width), layout, near })
    }

    /// Pixels from top to bottom.
    pub fn height(&self) -> usize {
        self.canvas.height
    }

    /// Pixels from left to right.
    pub fn width(&self) -> usize {
        self.canvas.width
    }

    /// The plot of `path`, oldest first, the newest last and at the origin: packed RGB, rows from the top. It is overwritten by the next.
    ///
    /// Samples that are not finite, or farther away than 10 km, are skipped; without any there is the empty plot with its marker. What
    /// lies outside of the widest view (500 m behind) is cut off. Allocates nothing.
    pub fn draw(&mut self, path: &[Sample]) -> &[u8] {
        let view = self.view_of(path);
        let scale = self.layout.behind() / view.behind_m;
        self.canvas.fill(GROUND);
        self.grid(view.cell_m * scale);
        self.path(path, scale);
        self.marker();
        self.strip(view, scale);
        &self.canvas.pixels
    }

    /// The first view that all samples fit in, or the widest.
    fn view_of(&self, path: &[Sample]) -> &'static View {
        let layout = &self.layout;
        let (ahead, side) = (layout.ego_row - layout.edge(), self.canvas.width as f64 / 2.0 - layout.edge());
        let fits = |view: &View| {
            let scale = layout.behind() / view.behind_m;
            path.iter()
                .filter(|sample| sample.is_drawable())
                .all(|Sample { pose, .. }| -pose.x_m <= view.behind_m && pose.x_m * scale <= ahead && pose.y_m.abs() * scale <= side)
        };
        let [views @ .., widest] = &LADDER;
        views.iter().find(|view| fits(view)).unwrap_or(widest)
    }

    /// Faint lines through the ego and every cell from it, whole pixels apart, so that all look alike.
    fn grid(&mut self, cell: f64) {
        let (width, ground, row) = (self.canvas.width as f64, self.layout.ground as f64, self.layout.ego_row);
        let cell = if cell < DENSE_GRID { 2.0 * cell } else { cell };
        let most = ((width + ground) / cell) as usize;
        for step in 0..=most {
            let way = (step as f64 * cell).round();
            for sign in if step == 0 { &[1.0][..] } else { &[-1.0, 1.0] } {
                let (column, row) = (width / 2.0 + sign * way, row + sign * way);
                self.canvas.bar([column - 0.5, column + 0.5], [0.0, ground], GRID);
                if row + 0.5 <= ground {
                    self.canvas.bar([0.0, width], [row - 0.5, row + 0.5], GRID);
                }
            }
        }
    }

    /// The path with its dark edge. Each pixel takes the speed of the nearest piece, so that joints show no seam.
    fn path(&mut self, path: &[Sample], scale: f64) {
        self.near.fill(NOTHING_NEAR);
        // Columns to the right of the ego, and rows below it.
        let place = |sample: &Sample| (-sample.pose.y_m * scale, -sample.pose.x_m * scale);
        let mut before: Option<&Sample> = None;
        for sample in path.iter().filter(|sample| sample.is_drawable()) {
            let from = before.unwrap_or(sample);
            self.piece(place(from), place(sample), [from.speed_mps, sample.speed_mps]);
            before = Some(sample);
        }
        for (at, near) in self.near.iter().enumerate().filter(|(_, near)| near.way_px.is_finite()) {
            let (row, column, way) = (at / self.canvas.width, at % self.canvas.width, f64::from(near.way_px));
            self.canvas.lay(row, column, CASING, self.layout.casing + 0.5 - way);
            self.canvas.lay(row, column, speed_colour(f64::from(near.speed_mps)), self.layout.line + 0.5 - way);
        }
    }

    /// Tells the pixels near one straight piece of the path how near it is; of two equally near the later counts.
    fn piece(&mut self, from: (f64, f64), to: (f64, f64), speeds_mps: [f64; 2]) {
        let (layout, width) = (&self.layout, self.canvas.width);
        let (reach, centre) = (layout.edge(), width as f64 / 2.0);
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length2 = dx * dx + dy * dy;
        let (top, bottom) = (from.1.min(to.1) - reach, from.1.max(to.1) + reach);
        for row in pixels([top + layout.ego_row, bottom + layout.ego_row], layout.ground) {
            let y = row as f64 + 0.5 - layout.ego_row;
            // Only this part of the piece comes within reach of the row.
            let share_at = |y: f64| if dy == 0.0 { 0.0 } else { ((y - from.1) / dy).clamp(0.0, 1.0) };
            let ends = if dy == 0.0 { [0.0, 1.0] } else { [share_at(y - reach), share_at(y + reach)] };
            let [a, b] = ends.map(|share| from.0 + share * dx + centre);
            for column in pixels([a.min(b) - reach, a.max(b) + reach], width) {
                let x = column as f64 + 0.5 - centre;
                let along = (x - from.0) * dx + (y - from.1) * dy;
                let share = if length2 > 0.0 { (along / length2).clamp(0.0, 1.0) } else { 1.0 };
                let (off_x, off_y) = (x - from.0 - share * dx, y - from.1 - share * dy);
                let way_px = (off_x * off_x + off_y * off_y).sqrt() as f32;
                let near = &mut self.near[row * width + column];
                if f64::from(way_px) <= reach && way_px <= near.way_px {
                    let speed_mps = (speeds_mps[0] + share * (speeds_mps[1] - speeds_mps[0])) as f32;
                    *near = Near { way_px, speed_mps };
                }
            }
        }
    }

    /// The ego: a triangle that points up, around the origin, with a light edge.
    fn marker(&mut self) {
        let (centre, row) = (self.canvas.width as f64 / 2.0, self.layout.ego_row);
        let (half, edge) = (self.layout.casing * 1.7 + 0.5, self.layout.line * 0.4);
        let (tip, base) = (half * 1.7, half * 1.0);
        // Of a slanted side: across per length, and along per length.
        let slant = (half * half + (tip + base) * (tip + base)).sqrt();
        let (across, along) = ((tip + base) / slant, half / slant);
        let reach = tip + 3.0 * edge + 1.0;
        for y in pixels([row - reach, row + reach], self.layout.ground) {
            for x in pixels([centre - reach, centre + reach], self.canvas.width) {
                let (right, down) = (x as f64 + 0.5 - centre, y as f64 + 0.5 - row);
                let outside = (right.abs() * across - (down + tip) * along).max(down - base);
                self.canvas.lay(y, x, GROUND, edge + 0.5 - outside);
                self.canvas.lay(y, x, MARKER, 0.5 - outside);
            }
        }
    }

    /// Below the ground: the scale bar, and the legend where there is room.
    fn strip(&mut self, view: &View, scale: f64) {
        let Layout { dot, gap, ground, .. } = self.layout;
        let middle = (ground + self.canvas.height) as f64 / 2.0;
        let length = if dot > 0 { view.cell_m } else { BAR_WITHOUT_TEXT_M } * scale;
        let thick = (dot as f64 * 1.5).max(1.0);
        let rows = [(middle - thick).round(), (middle + thick).round()];
        self.canvas.bar([gap, gap + length], rows, LETTERS);
        let text_row = (middle - (GLYPH.1 * dot) as f64 / 2.0).round() as usize;
        if dot > 0 {
            for end in [gap, gap + length - dot as f64] {
                self.canvas.bar([end, end + dot as f64], [middle - 2.5 * thick, middle + 2.5 * thick], LETTERS);
            }
            self.canvas.text(text_row, (gap + length + gap) as usize, dot, view.label, LETTERS);
        }
        let Some([from, to]) = self.layout.legend else { return };
        let rows = if dot > 0 { [text_row as f64, (text_row + GLYPH.1 * dot) as f64] } else { rows };
        for column in pixels([from, to], self.canvas.width) {
            let share = (column as f64 + 0.5 - from) / (to - from);
            self.canvas.bar([column as f64, column as f64 + 1.0], rows, speed_colour(share * FULL_SCALE_MPS));
        }
        if dot > 0 {
            let left = from - gap / 2.0 - text_width(LEGEND_ENDS[0], dot) as f64;
            self.canvas.text(text_row, left as usize, dot, LEGEND_ENDS[0], LETTERS);
            self.canvas.text(text_row, (to + gap / 2.0) as usize, dot, LEGEND_ENDS[1], LETTERS);
        }
    }
}

impl Layout {
    fn of(height: usize, width: usize) -> Self {
        let side = height.min(width);
        let dot = side / SIDE_OF_A_TEXT_DOT;
        let gap = (side as f64 / 40.0).round().max(2.0);
        let strip = if dot > 0 { GLYPH.1 * dot + 2 * (gap as usize) } else { 2 + 2 * (gap as usize) };
        let ground = height - strip;
        let line = (side as f64 / 90.0).max(1.5);
        let mut layout = Self {
            dot,
            gap,
            ground,
            ego_row: (EGO_FROM_TOP * ground as f64).round(),
            line,
            casing: line + (side as f64 / 300.0).max(0.5),
            legend: None,
        };
        // What the scale bar may take in any view.
        let longest = LADDER.iter().map(|view| view.cell_m / view.behind_m).fold(0.0, f64::max) * layout.behind();
        let taken = if dot > 0 { longest + gap + text_width(LONGEST_LABEL, dot) as f64 } else { layout.behind() };
        let [low, high] = LEGEND_ENDS.map(|text| if dot > 0 { text_width(text, dot) as f64 + gap / 2.0 } else { 0.0 });
        let (from, to) = ((3.0 * gap + taken + low).ceil(), width as f64 - gap - high);
        layout.legend = (to - from >= side as f64 / 8.0).then_some([from, to]);
        layout
    }

    /// How far from the path its line reaches.
    fn edge(&self) -> f64 {
        self.casing + 0.5
    }

    /// Pixels from the ego to the lowest place of a path.
    fn behind(&self) -> f64 {
        self.ground as f64 - self.ego_row - self.edge()
    }
}

#[cfg(test)]
mod tests;

//! The bird's-eye plot of the ego's past motion, the second image that the VLM sees.
//!
//! Forward is up, a marker that points up shows the newest position, and the colour of the path is
//! the speed. The view is the smallest of a fixed list that contains the path; a scale bar shows
//! its scale. The same path gives the same bits on every machine.

mod raster;

use drivewam_core::pose::Pose2;
use drivewam_core::{Error, ErrorKind, Result};
use raster::{Canvas, FULL_SCALE_MPS, GLYPH, pixels, speed_colour, text_width};

/// Allowed length of a side, pixels.
const SIDES: std::ops::RangeInclusive<usize> = 32..=4096;
/// Position of the ego, as a share of the height from the top: nearly all of the path lies behind.
const EGO_FROM_TOP: f64 = 0.22;
/// Pixels of the shorter side per pixel of a text dot. A plot with a shorter side has no text.
const SIDE_PER_TEXT_DOT: usize = 160;
/// Length of the scale bar in a plot without text, m.
const BAR_WITHOUT_TEXT_M: f64 = 10.0;
/// A grid with a smaller cell than this, in pixels, shows every other line.
const DENSE_GRID: f64 = 12.0;
/// Samples farther away than this, m, cannot belong to the past few seconds; they are skipped.
const MAX_DISTANCE_M: f64 = 10_000.0;

const GROUND: [u8; 3] = [250, 250, 250];
const GRID: [u8; 3] = [214, 218, 222];
const CASING: [u8; 3] = [40, 40, 48];
const MARKER: [u8; 3] = [214, 30, 40];
const LETTERS: [u8; 3] = [50, 50, 56];

/// A view: the area that the plot shows.
struct View {
    /// Distance from the ego to the lower edge, m.
    behind_m: f64,
    /// Cell of the grid, and length of the scale bar in a plot with text, m.
    cell_m: f64,
    label: &'static str,
}

/// All views, smallest first.
const VIEWS: [View; 7] = [
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

/// A past pose of the ego and its speed there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PathSample {
    /// Relative to the newest pose: x forward, y left, m.
    pub pose: Pose2,
    /// Speed, m/s. Its magnitude gives the colour; the colour scale ends at 20 m/s.
    pub speed_mps: f64,
}

impl PathSample {
    fn is_drawable(&self) -> bool {
        let near = |distance_m: f64| distance_m.abs() <= MAX_DISTANCE_M;
        self.pose.is_finite() && self.speed_mps.is_finite() && near(self.pose.x_m) && near(self.pose.y_m)
    }
}

/// The point of the path nearest to a pixel.
#[derive(Debug, Clone, Copy)]
struct Near {
    distance_px: f32,
    speed_mps: f32,
}

const NOTHING_NEAR: Near = Near { distance_px: f32::INFINITY, speed_mps: 0.0 };

/// Sizes in pixels, given by the size of the image.
#[derive(Debug)]
struct Layout {
    /// Pixels of a text dot; 0 in a plot without text.
    dot: usize,
    gap: f64,
    /// Height of the ground, where the path is drawn; the strip below it holds the scale bar and
    /// the legend.
    ground: usize,
    /// Row of the ego; its column is half the width.
    ego_row: f64,
    /// Half the width of the path, and of the path with its dark edge.
    line: f64,
    casing: f64,
    /// First and last column of the legend's bar; `None` where it does not fit.
    legend: Option<[f64; 2]>,
}

/// Draws plots of one size.
#[derive(Debug)]
pub struct BevPlot {
    canvas: Canvas,
    layout: Layout,
    near: Vec<Near>,
}

impl BevPlot {
    /// Plots of `height` x `width` pixels; allocates everything that [`BevPlot::draw`] uses. A plot
    /// whose shorter side is below 160 pixels has no text.
    ///
    /// # Errors
    /// `Config` for a side outside 32 to 4096 pixels.
    pub fn new(height: usize, width: usize) -> Result<Self> {
        if !SIDES.contains(&height) || !SIDES.contains(&width) {
            return Err(Error::new(ErrorKind::Config, "a plot cannot have this size")
                .at("plot")
                .got(format!("{height} x {width} pixels"))
                .wanted(format!("sides of {} to {} pixels", SIDES.start(), SIDES.end())));
        }
        let layout = Layout::of(height, width);
        let near = vec![NOTHING_NEAR; layout.ground * width];
        Ok(Self { canvas: Canvas::new(height, width), layout, near })
    }

    /// Height, pixels.
    pub fn height(&self) -> usize {
        self.canvas.height
    }

    /// Width, pixels.
    pub fn width(&self) -> usize {
        self.canvas.width
    }

    /// Draws `path`, oldest sample first, newest at the origin. Returns packed RGB
    /// `[height, width, 3]`, rows from the top; the next call overwrites it.
    ///
    /// Samples that are not finite, or more than 10 km away, are skipped; an empty path gives the
    /// plot with its marker alone. What lies outside the widest view (500 m behind) is cut off.
    /// Does not allocate.
    pub fn draw(&mut self, path: &[PathSample]) -> &[u8] {
        let view = self.view_of(path);
        let scale = self.layout.behind() / view.behind_m;
        self.canvas.fill(GROUND);
        self.grid(view.cell_m * scale);
        self.path(path, scale);
        self.marker();
        self.strip(view, scale);
        &self.canvas.pixels
    }

    /// The smallest view that contains all samples, or the widest.
    fn view_of(&self, path: &[PathSample]) -> &'static View {
        let layout = &self.layout;
        let (ahead, side) = (layout.ego_row - layout.edge(), self.canvas.width as f64 / 2.0 - layout.edge());
        let fits = |view: &View| {
            let scale = layout.behind() / view.behind_m;
            path.iter()
                .filter(|sample| sample.is_drawable())
                .all(|PathSample { pose, .. }| -pose.x_m <= view.behind_m && pose.x_m * scale <= ahead && pose.y_m.abs() * scale <= side)
        };
        let [views @ .., widest] = &VIEWS;
        views.iter().find(|view| fits(view)).unwrap_or(widest)
    }

    /// Grid lines through the ego and every cell from it. They lie whole pixels apart, so that all
    /// look alike.
    fn grid(&mut self, cell: f64) {
        let (width, ground, row) = (self.canvas.width as f64, self.layout.ground as f64, self.layout.ego_row);
        let cell = if cell < DENSE_GRID { 2.0 * cell } else { cell };
        let most = ((width + ground) / cell) as usize;
        for step in 0..=most {
            let offset = (step as f64 * cell).round();
            for sign in if step == 0 { &[1.0][..] } else { &[-1.0, 1.0] } {
                let (column, row) = (width / 2.0 + sign * offset, row + sign * offset);
                self.canvas.bar([column - 0.5, column + 0.5], [0.0, ground], GRID);
                if row + 0.5 <= ground {
                    self.canvas.bar([0.0, width], [row - 0.5, row + 0.5], GRID);
                }
            }
        }
    }

    /// The path with its dark edge. Each pixel takes the speed of the nearest segment, so that
    /// joints show no seam.
    fn path(&mut self, path: &[PathSample], scale: f64) {
        self.near.fill(NOTHING_NEAR);
        // Columns to the right of the ego, and rows below it.
        let position = |sample: &PathSample| (-sample.pose.y_m * scale, -sample.pose.x_m * scale);
        let mut before: Option<&PathSample> = None;
        for sample in path.iter().filter(|sample| sample.is_drawable()) {
            let from = before.unwrap_or(sample);
            self.segment(position(from), position(sample), [from.speed_mps, sample.speed_mps]);
            before = Some(sample);
        }
        for (at, near) in self.near.iter().enumerate().filter(|(_, near)| near.distance_px.is_finite()) {
            let (row, column, distance) = (at / self.canvas.width, at % self.canvas.width, f64::from(near.distance_px));
            self.canvas.blend(row, column, CASING, self.layout.casing + 0.5 - distance);
            self.canvas.blend(row, column, speed_colour(f64::from(near.speed_mps)), self.layout.line + 0.5 - distance);
        }
    }

    /// Updates the pixels near one straight segment of the path; of two segments at equal distance
    /// the later one counts.
    fn segment(&mut self, from: (f64, f64), to: (f64, f64), speeds_mps: [f64; 2]) {
        let (layout, width) = (&self.layout, self.canvas.width);
        let (reach, centre) = (layout.edge(), width as f64 / 2.0);
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length2 = dx * dx + dy * dy;
        let (top, bottom) = (from.1.min(to.1) - reach, from.1.max(to.1) + reach);
        for row in pixels([top + layout.ego_row, bottom + layout.ego_row], layout.ground) {
            let y = row as f64 + 0.5 - layout.ego_row;
            // Only this part of the segment comes within reach of the row.
            let share_at = |y: f64| if dy == 0.0 { 0.0 } else { ((y - from.1) / dy).clamp(0.0, 1.0) };
            let ends = if dy == 0.0 { [0.0, 1.0] } else { [share_at(y - reach), share_at(y + reach)] };
            let [a, b] = ends.map(|share| from.0 + share * dx + centre);
            for column in pixels([a.min(b) - reach, a.max(b) + reach], width) {
                let x = column as f64 + 0.5 - centre;
                let along = (x - from.0) * dx + (y - from.1) * dy;
                let share = if length2 > 0.0 { (along / length2).clamp(0.0, 1.0) } else { 1.0 };
                let (off_x, off_y) = (x - from.0 - share * dx, y - from.1 - share * dy);
                let distance_px = (off_x * off_x + off_y * off_y).sqrt() as f32;
                let near = &mut self.near[row * width + column];
                if f64::from(distance_px) <= reach && distance_px <= near.distance_px {
                    let speed_mps = (speeds_mps[0] + share * (speeds_mps[1] - speeds_mps[0])) as f32;
                    *near = Near { distance_px, speed_mps };
                }
            }
        }
    }

    /// The marker of the ego: a triangle around the origin that points up, with a light edge.
    fn marker(&mut self) {
        let (centre, row) = (self.canvas.width as f64 / 2.0, self.layout.ego_row);
        let (half, edge) = (self.layout.casing * 1.7 + 0.5, self.layout.line * 0.4);
        let (tip, base) = (half * 1.7, half * 1.0);
        // Of a slanted side: width per length, and height per length.
        let slant = (half * half + (tip + base) * (tip + base)).sqrt();
        let (across, along) = ((tip + base) / slant, half / slant);
        let reach = tip + 3.0 * edge + 1.0;
        for y in pixels([row - reach, row + reach], self.layout.ground) {
            for x in pixels([centre - reach, centre + reach], self.canvas.width) {
                let (right, down) = (x as f64 + 0.5 - centre, y as f64 + 0.5 - row);
                let outside = (right.abs() * across - (down + tip) * along).max(down - base);
                self.canvas.blend(y, x, GROUND, edge + 0.5 - outside);
                self.canvas.blend(y, x, MARKER, 0.5 - outside);
            }
        }
    }

    /// The strip below the ground: the scale bar, and the legend where it fits.
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
        let dot = side / SIDE_PER_TEXT_DOT;
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
        // The space that the scale bar needs in any view.
        let longest = VIEWS.iter().map(|view| view.cell_m / view.behind_m).fold(0.0, f64::max) * layout.behind();
        let taken = if dot > 0 { longest + gap + text_width(LONGEST_LABEL, dot) as f64 } else { layout.behind() };
        let [low, high] = LEGEND_ENDS.map(|text| if dot > 0 { text_width(text, dot) as f64 + gap / 2.0 } else { 0.0 });
        let (from, to) = ((3.0 * gap + taken + low).ceil(), width as f64 - gap - high);
        layout.legend = (to - from >= side as f64 / 8.0).then_some([from, to]);
        layout
    }

    /// Distance from the middle of the path to the outer end of its edge.
    fn edge(&self) -> f64 {
        self.casing + 0.5
    }

    /// Pixels from the ego to the lowest point of a path.
    fn behind(&self) -> f64 {
        self.ground as f64 - self.ego_row - self.edge()
    }
}

#[cfg(test)]
mod tests;

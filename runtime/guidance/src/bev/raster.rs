//! Rasterisation of a plot: anti-aliased rectangles, small text, and the colour of a speed. Plain
//! arithmetic gives the same bits on every machine.

/// Speed at the end of the colour scale, m/s.
pub(super) const FULL_SCALE_MPS: f64 = 20.0;
/// The colour scale in equal steps from 0 to [`FULL_SCALE_MPS`]. Lightness rises all the way, as in
/// viridis.
const COLOUR_SCALE: [[u8; 3]; 9] = [
    [68, 1, 84],
    [71, 44, 122],
    [59, 81, 139],
    [44, 113, 142],
    [33, 144, 141],
    [39, 173, 129],
    [92, 200, 99],
    [170, 220, 50],
    [253, 231, 37],
];
/// Columns and rows of a glyph at scale 1; an empty column separates it from the next.
pub(super) const GLYPH: (usize, usize) = (5, 7);

/// The colour of the magnitude of a speed; speeds beyond the scale have its last colour.
pub(super) fn speed_colour(speed_mps: f64) -> [u8; 3] {
    let last = COLOUR_SCALE.len() - 1;
    let position = speed_mps.abs().min(FULL_SCALE_MPS) / FULL_SCALE_MPS * last as f64;
    let below = (position as usize).min(last - 1);
    let share = position - below as f64;
    let mut out = [0; 3];
    for (channel, value) in out.iter_mut().enumerate() {
        *value = mix(COLOUR_SCALE[below][channel], COLOUR_SCALE[below + 1][channel], share);
    }
    out
}

/// Linear interpolation, rounded to the nearest; `share` is 0 to 1.
fn mix(from: u8, to: u8, share: f64) -> u8 {
    (f64::from(from) + (f64::from(to) - f64::from(from)) * share + 0.5) as u8
}

/// Width of a text, pixels.
pub(super) fn text_width(text: &str, scale: usize) -> usize {
    (text.len() * (GLYPH.0 + 1)).saturating_sub(1) * scale
}

/// An image: packed RGB, rows from the top.
#[derive(Debug)]
pub(super) struct Canvas {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) pixels: Vec<u8>,
}

impl Canvas {
    pub(super) fn new(height: usize, width: usize) -> Self {
        Self { height, width, pixels: vec![0; height * width * 3] }
    }

    pub(super) fn fill(&mut self, colour: [u8; 3]) {
        for pixel in self.pixels.as_chunks_mut::<3>().0 {
            *pixel = colour;
        }
    }

    /// Blends a colour over a pixel; `cover` is 0 (nothing) to 1 (all). Pixels outside the image
    /// are ignored.
    pub(super) fn blend(&mut self, row: usize, column: usize, colour: [u8; 3], cover: f64) {
        if row >= self.height || column >= self.width || cover <= 0.0 {
            return;
        }
        let at = (row * self.width + column) * 3;
        for (value, colour) in self.pixels[at..at + 3].iter_mut().zip(colour) {
            *value = mix(*value, colour, cover.min(1.0));
        }
    }

    /// Fills a rectangle with anti-aliased edges; `columns` and `rows` are in pixels from the top
    /// left corner.
    pub(super) fn bar(&mut self, columns: [f64; 2], rows: [f64; 2], colour: [u8; 3]) {
        for row in pixels(rows, self.height) {
            for column in pixels(columns, self.width) {
                self.blend(row, column, colour, overlap(rows, row) * overlap(columns, column));
            }
        }
    }

    /// Draws text with its top left corner at `row`, `column`; a character without a glyph leaves a
    /// gap.
    pub(super) fn text(&mut self, row: usize, column: usize, scale: usize, text: &str, colour: [u8; 3]) {
        for (index, character) in text.chars().enumerate() {
            let left = column + index * (GLYPH.0 + 1) * scale;
            for (line, bits) in glyph(character).into_iter().enumerate() {
                for across in (0..GLYPH.0).filter(|across| bits >> (GLYPH.0 - 1 - across) & 1 == 1) {
                    for dot in 0..scale * scale {
                        self.blend(row + line * scale + dot / scale, left + across * scale + dot % scale, colour, 1.0);
                    }
                }
            }
        }
    }
}

/// The pixels of an axis of `size` pixels that an interval touches.
pub(super) fn pixels(interval: [f64; 2], size: usize) -> std::ops::Range<usize> {
    // A cast from float to integer saturates at the integer's bounds.
    (interval[0].floor() as usize).min(size)..(interval[1].ceil() as usize).min(size)
}

/// Share of a pixel that lies within an interval.
fn overlap(interval: [f64; 2], pixel: usize) -> f64 {
    let from = pixel as f64;
    (interval[1].min(from + 1.0) - interval[0].max(from)).max(0.0)
}

/// The rows of a glyph from the top; the leftmost column is the highest of five bits.
fn glyph(character: char) -> [u8; 7] {
    match character {
        '0' => [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110],
        '1' => [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
        '2' => [0b01110, 0b10001, 0b00001, 0b00010, 0b00100, 0b01000, 0b11111],
        '5' => [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110],
        'm' => [0b00000, 0b00000, 0b11010, 0b10101, 0b10101, 0b10101, 0b10101],
        's' => [0b00000, 0b00000, 0b01111, 0b10000, 0b01110, 0b00001, 0b11110],
        '/' => [0b00001, 0b00010, 0b00010, 0b00100, 0b01000, 0b01000, 0b10000],
        _ => [0; 7],
    }
}

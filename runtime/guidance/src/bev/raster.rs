//! What a plot is drawn with: soft-edged bars, small text, and the colour of a speed. Plain arithmetic, so the same bits on every machine.

/// Speed at which the colour scale ends, m/s.
pub(super) const FULL_SCALE_MPS: f64 = 20.0;
/// The colour scale at even distances, from standing to [`FULL_SCALE_MPS`]: lightness rises all the way, as in viridis.
const SCALE: [[u8; 3]; 9] = [
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
/// Columns and rows of a glyph at scale 1; one more column parts it from the next.
pub(super) const GLYPH: (usize, usize) = (5, 7);

/// The colour of a speed; backwards counts as forwards, and what is faster than the scale has its last colour.
pub(super) fn speed_colour(speed_mps: f64) -> [u8; 3] {
    let last = SCALE.len() - 1;
    let place = speed_mps.abs().min(FULL_SCALE_MPS) / FULL_SCALE_MPS * last as f64;
    let below = (place as usize).min(last - 1);
    let share = place - below as f64;
    let mut out = [0; 3];
    for (channel, value) in out.iter_mut().enumerate() {
        *value = mix(SCALE[below][channel], SCALE[below + 1][channel], share);
    }
    out
}

/// `share` (0 to 1) of the way from one value to another, to the nearest.
fn mix(from: u8, to: u8, share: f64) -> u8 {
    (f64::from(from) + (f64::from(to) - f64::from(from)) * share + 0.5) as u8
}

/// Pixels that one text takes across.
pub(super) fn text_width(text: &str, scale: usize) -> usize {
    (text.len() * (GLYPH.0 + 1)).saturating_sub(1) * scale
}

/// A picture: packed RGB, rows from the top.
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

    /// Lays a colour over a pixel; `cover` is 0 (nothing) to 1 (all). What lies outside of the picture is left out.
    pub(super) fn lay(&mut self, row: usize, column: usize, colour: [u8; 3], cover: f64) {
        if row >= self.height || column >= self.width || cover <= 0.0 {
            return;
        }
        let at = (row * self.width + column) * 3;
        for (value, colour) in self.pixels[at..at + 3].iter_mut().zip(colour) {
            *value = mix(*value, colour, cover.min(1.0));
        }
    }

    /// An upright rectangle; edges between pixels are soft. Columns, then rows, in pixels from the top left corner.
    pub(super) fn bar(&mut self, columns: [f64; 2], rows: [f64; 2], colour: [u8; 3]) {
        for row in pixels(rows, self.height) {
            for column in pixels(columns, self.width) {
                self.lay(row, column, colour, overlap(rows, row) * overlap(columns, column));
            }
        }
    }

    /// Text whose top left corner is at `row`, `column`; a character without a glyph leaves a gap.
    pub(super) fn text(&mut self, row: usize, column: usize, scale: usize, text: &str, colour: [u8; 3]) {
        for (place, character) in text.chars().enumerate() {
            let left = column + place * (GLYPH.0 + 1) * scale;
            for (line, bits) in glyph(character).into_iter().enumerate() {
                for across in (0..GLYPH.0).filter(|across| bits >> (GLYPH.0 - 1 - across) & 1 == 1) {
                    for dot in 0..scale * scale {
                        self.lay(row + line * scale + dot / scale, left + across * scale + dot % scale, colour, 1.0);
                    }
                }
            }
        }
    }
}

/// The pixels of an axis of `size` that a stretch touches.
pub(super) fn pixels(stretch: [f64; 2], size: usize) -> std::ops::Range<usize> {
    // A cast of a float to an integer stops at the integer's ends.
    (stretch[0].floor() as usize).min(size)..(stretch[1].ceil() as usize).min(size)
}

/// Share of a pixel that lies within a stretch.
fn overlap(stretch: [f64; 2], pixel: usize) -> f64 {
    let from = pixel as f64;
    (stretch[1].min(from + 1.0) - stretch[0].max(from)).max(0.0)
}

/// Rows from the top; the leftmost column is the highest of five bits.
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

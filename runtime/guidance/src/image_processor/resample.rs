//! Bicubic resize of packed RGB bytes, equal to the bit to Pillow 13 (`Image.resize(.., BICUBIC)`):
//! two passes in integers, planned once.
//!
//! The filter is Keys' cubic with a = -0.5, stretched by the scale where a side shrinks
//! (antialias). Weights are computed in f64 and rounded to 22 fractional bits; each pass rounds to
//! a byte, so the order of the passes changes the bits. Source: `src/libImaging/Resample.c` of
//! Pillow 13.0.0.
//!
//! No library gives these bits: `fast_image_resize` 6 has 16-bit weights and another order of the
//! passes, and differs by up to 31 of 255. Other depths and alpha are not supported.

/// Bytes of a pixel.
const RGB: usize = 3;
/// Fractional bits of a weight: of 32 bits, 8 hold the result and 2 hold sums below 0 and above 1.
const FRACTION_BITS: u32 = 32 - 8 - 2;
/// Radius of the filter at full scale, pixels.
const SUPPORT: f64 = 2.0;

/// Weights of one axis: output pixel i is the weighted sum of the input pixels from `first` on.
#[derive(Debug)]
struct Axis {
    input: usize,
    /// Per output pixel: its first input pixel, and the range of its weights in `weights`.
    windows: Vec<(usize, std::ops::Range<usize>)>,
    weights: Vec<i32>,
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

impl Axis {
    fn plan(input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let stretch = scale.max(1.0);
        let (reach, shrink) = (SUPPORT * stretch, 1.0 / stretch);
        let (mut windows, mut weights) = (Vec::with_capacity(output), Vec::new());
        let mut window = Vec::new();
        for i in 0..output {
            let centre = (i as f64 + 0.5) * scale;
            // The cast truncates towards zero and turns a negative number into 0.
            let first = (centre - reach + 0.5) as usize;
            let end = ((centre + reach + 0.5) as usize).min(input);
            window.clear();
            window.extend((first..end).map(|x| cubic((x as f64 - centre + 0.5) * shrink)));
            let sum: f64 = window.iter().sum();
            let start = weights.len();
            weights.extend(window.iter().map(|weight| {
                let weight = if sum == 0.0 { *weight } else { weight / sum };
                // The cast truncates towards zero, so this rounds halves away from zero.
                (weight * f64::from(1 << FRACTION_BITS) + 0.5f64.copysign(weight)) as i32
            }));
            windows.push((first, start..weights.len()));
        }
        Self { input, windows, weights }
    }

    fn output(&self) -> usize {
        self.windows.len()
    }

    /// First input pixel and weights of every output pixel.
    fn pixels(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.windows.iter().map(|(first, range)| (*first, &self.weights[range.clone()]))
    }

    /// Resizes each row of `from`, an image of any height and this axis' input width.
    fn columns(&self, from: &[u8], to: &mut [u8]) {
        for (from, to) in from.chunks_exact(self.input * RGB).zip(to.chunks_exact_mut(self.output() * RGB)) {
            for ((first, weights), pixel) in self.pixels().zip(to.chunks_exact_mut(RGB)) {
                let mut sums = [1 << (FRACTION_BITS - 1); RGB];
                for (weight, values) in weights.iter().zip(from[first * RGB..].chunks_exact(RGB)) {
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum += weight * i32::from(*value);
                    }
                }
                for (value, sum) in pixel.iter_mut().zip(sums) {
                    *value = byte(sum);
                }
            }
        }
    }

    /// Resizes the columns of `from`, whose rows have the length of `sums`.
    fn rows(&self, from: &[u8], to: &mut [u8], sums: &mut [i32]) {
        let stride = sums.len();
        for ((first, weights), row) in self.pixels().zip(to.chunks_exact_mut(stride)) {
            sums.fill(1 << (FRACTION_BITS - 1));
            for (weight, values) in weights.iter().zip(from[first * stride..].chunks_exact(stride)) {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += weight * i32::from(*value);
                }
            }
            for (value, sum) in row.iter_mut().zip(sums.iter()) {
                *value = byte(*sum);
            }
        }
    }
}

fn byte(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

/// A planned resize of packed RGB images `[H, W, 3]` between two sizes.
#[derive(Debug)]
pub(super) struct Bicubic {
    /// `None` where the side keeps its length.
    columns: Option<Axis>,
    rows: Option<Axis>,
    rows_first: bool,
    /// The image between the passes.
    between: Vec<u8>,
    sums: Vec<i32>,
    out: Vec<u8>,
}

impl Bicubic {
    /// Plans a resize; `from` and `to` are height and width, not zero.
    pub(super) fn plan(from: (usize, usize), to: (usize, usize)) -> Self {
        let axis = |from, to| (from != to).then(|| Axis::plan(from, to));
        let (columns, rows) = (axis(from.1, to.1), axis(from.0, to.0));
        // The rows are resized first where they shrink by more than twice as many pixels as the
        // columns. Pillow before 13 always resizes the columns first.
        let (down, across) = (from.0 as i64 - to.0 as i64, from.1 as i64 - to.1 as i64);
        let rows_first = down > 0 && down > 2 * across;
        let between = match (&columns, &rows) {
            (Some(_), Some(_)) if rows_first => to.0 * from.1,
            (Some(_), Some(_)) => from.0 * to.1,
            _ => 0,
        };
        let row = if rows_first { from.1 } else { to.1 };
        Self { columns, rows, rows_first, between: vec![0; between * RGB], sums: vec![0; row * RGB], out: vec![0; to.0 * to.1 * RGB] }
    }

    /// Resizes `image`, which has the planned length. Does not allocate.
    pub(super) fn run(&mut self, image: &[u8]) {
        match (&self.columns, &self.rows) {
            (None, None) => self.out.copy_from_slice(image),
            (Some(columns), None) => columns.columns(image, &mut self.out),
            (None, Some(rows)) => rows.rows(image, &mut self.out, &mut self.sums),
            (Some(columns), Some(rows)) if self.rows_first => {
                rows.rows(image, &mut self.between, &mut self.sums);
                columns.columns(&self.between, &mut self.out);
            }
            (Some(columns), Some(rows)) => {
                columns.columns(image, &mut self.between);
                rows.rows(&self.between, &mut self.out, &mut self.sums);
            }
        }
    }

    /// The image of the last run.
    pub(super) fn image(&self) -> &[u8] {
        &self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when the weights of a pixel do not add up to one, or lie outside the image, on any
    /// axis of these sizes.
    #[test]
    fn weights_add_up_to_one_and_stay_inside() {
        for (input, output) in [(1, 32), (2, 1), (7, 7 * 32), (720, 448), (1920, 832), (517, 512), (4096, 32)] {
            let axis = Axis::plan(input, output);
            for (first, weights) in axis.pixels() {
                let sum: i64 = weights.iter().map(|w| i64::from(*w)).sum();
                assert!((sum - (1 << FRACTION_BITS)).unsigned_abs() <= weights.len() as u64, "{input} to {output}: {sum}");
                assert!(!weights.is_empty() && first + weights.len() <= input, "{input} to {output}: {first} and {}", weights.len());
                let worst: i64 = weights.iter().map(|w| i64::from(*w).abs() * 255).sum::<i64>() + (1 << FRACTION_BITS);
                assert!(worst < i64::from(i32::MAX), "{input} to {output}: a sum of {worst}");
            }
        }
    }

    /// Breaks when a flat image changes, whichever pass comes first.
    #[test]
    fn a_flat_image_stays_flat() {
        for (from, to) in [
            ((9, 40), (32, 64)),
            ((300, 40), (32, 64)),
            ((40, 300), (32, 64)),
            ((32, 64), (32, 64)),
            ((32, 9), (32, 64)),
            ((9, 64), (32, 64)),
        ] {
            let mut resize = Bicubic::plan(from, to);
            resize.run(&vec![173; from.0 * from.1 * RGB]);
            assert!(resize.image().iter().all(|v| *v == 173), "{from:?} to {to:?}");
        }
    }
}

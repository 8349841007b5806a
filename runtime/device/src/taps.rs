//! How one axis of a picture is resampled: planned once, in f64, for a pair of cameras.
//!
//! The filter is a triangle (bilinear interpolation), widened by the scale where the picture shrinks, so that no input pixel is skipped; its weights
//! sum to 1 also at the border. An output whose centre lies outside of the picture has no taps: it stays black.

/// Output i is the sum over `j < count[i]` of `weight[i * most + j]` times input `first[i] + j`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Taps {
    /// First input of each output.
    pub first: Vec<u32>,
    /// Inputs of each output.
    pub count: Vec<u32>,
    /// Weights, `most` to an output.
    pub weight: Vec<f32>,
    /// Room for inputs of one output.
    pub most: usize,
}

impl Taps {
    /// The whole of `input` pixels onto `output` pixels, as Pillow's `BILINEAR` resize without its rounding; the identity where both are equal.
    pub fn triangle(input: usize, output: usize) -> Self {
        Self::linear(input, output, input as f64 / output.max(1) as f64, 0.0)
    }

    /// Output i looks at `scale * (i + 0.5) + shift` of the input, in pixels from the picture's edge; pixel j has its centre at j + 0.5.
    /// The scale is positive: `camera: reproject` has the ratio of the focal lengths here.
    pub fn linear(input: usize, output: usize, scale: f64, shift: f64) -> Self {
        let reach = scale.max(1.0);
        let taps = |i: usize| -> (usize, Vec<f64>) {
            let centre = scale * (i as f64 + 0.5) + shift;
            if !(0.0..input as f64).contains(&centre) {
                return (0, Vec::new());
            }
            // Casts of floats saturate, so the picture's edge needs no case of its own.
            let (from, to) = ((centre - reach - 0.5).ceil() as usize, ((centre + reach - 0.5).floor() as usize + 1).min(input));
            let weights = (from..to).map(|j| (1.0 - ((j as f64 + 0.5 - centre) / reach).abs()).max(0.0));
            let weights: Vec<f64> = weights.collect();
            // A tap of no weight at either end would only widen the reads.
            let idle = weights.iter().take_while(|w| **w == 0.0).count();
            let last = weights.iter().rposition(|w| *w > 0.0).map_or(0, |last| last + 1);
            let used = weights.get(idle..last).unwrap_or_default();
            let sum: f64 = used.iter().sum();
            (from + idle, used.iter().map(|w| w / sum).collect())
        };
        let all: Vec<(usize, Vec<f64>)> = (0..output).map(taps).collect();
        let most = all.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut plan = Self { most, weight: vec![0.0; most * output], ..Self::default() };
        for (i, (first, weights)) in all.iter().enumerate() {
            plan.first.push(narrow(*first));
            plan.count.push(narrow(weights.len()));
            for (place, weight) in plan.weight.iter_mut().skip(i * most).zip(weights) {
                *place = *weight as f32;
            }
        }
        plan
    }

    /// Outputs.
    pub fn outputs(&self) -> usize {
        self.first.len()
    }

    /// The inputs that are read are all below this.
    pub fn inputs(&self) -> usize {
        self.first.iter().zip(&self.count).map(|(first, count)| *first as usize + *count as usize).max().unwrap_or(0)
    }

    /// Whether the fields fit each other; only taps that were put together by hand do not.
    pub fn fit(&self) -> bool {
        self.count.len() == self.first.len()
            && self.weight.len() == self.first.len() * self.most
            && self.count.iter().all(|count| *count as usize <= self.most)
    }

    /// The first input of output `i` and the weights from there on.
    pub fn of(&self, i: usize) -> (usize, &[f32]) {
        let first = self.first.get(i).map_or(0, |first| *first as usize);
        let count = self.count.get(i).map_or(0, |count| *count as usize);
        (first, self.weight.get(i * self.most..i * self.most + count).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sizes_are_the_identity() {
        let taps = Taps::triangle(7, 7);
        assert!((0..7).all(|i| taps.of(i) == (i, &[1.0])));
    }

    #[test]
    fn a_picture_of_half_the_size_is_weighted_as_pillow_weights_it() {
        // Pillow's BILINEAR from 8 to 4: a triangle of reach 2 around 2i + 1, cut off and renormalised at the border.
        let taps = Taps::triangle(8, 4);
        let close = |got: (usize, &[f32]), first: usize, wanted: &[f32]| {
            got.0 == first && got.1.len() == wanted.len() && got.1.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6)
        };
        assert!(close(taps.of(0), 0, &[3.0 / 7.0, 3.0 / 7.0, 1.0 / 7.0]), "{:?}", taps.of(0));
        assert!(close(taps.of(1), 1, &[0.125, 0.375, 0.375, 0.125]), "{:?}", taps.of(1));
        assert!(close(taps.of(3), 5, &[1.0 / 7.0, 3.0 / 7.0, 3.0 / 7.0]), "{:?}", taps.of(3));
        assert_eq!((taps.outputs(), taps.inputs(), taps.most), (4, 8, 4));
    }

    #[test]
    fn every_output_inside_of_the_picture_has_weights_that_sum_to_one_and_read_inside() {
        for (input, output, scale, shift) in
            [(1920, 112, 17.142857, 0.0), (64, 112, 0.571, 0.0), (100, 40, 3.0, -11.3), (3, 9, 1.0, -3.0), (1, 5, 0.2, 0.0)]
        {
            let taps = Taps::linear(input, output, scale, shift);
            assert!(taps.fit() && taps.inputs() <= input);
            for i in 0..output {
                let centre = scale * (i as f64 + 0.5) + shift;
                let sum: f32 = taps.of(i).1.iter().sum();
                let wanted = if (0.0..input as f64).contains(&centre) { 1.0 } else { 0.0 };
                assert!((sum - wanted).abs() < 1e-6, "output {i} of {input} to {output}: {sum}");
            }
        }
    }

    #[test]
    fn a_shift_by_whole_pixels_moves_the_picture_and_leaves_the_rest_without_taps() {
        let taps = Taps::linear(5, 5, 1.0, -2.0);
        let found: Vec<(usize, usize)> = (0..5).map(|i| taps.of(i)).map(|(first, weights)| (first, weights.len())).collect();
        assert_eq!(found, [(0, 0), (0, 0), (0, 1), (1, 1), (2, 1)]);
    }
}

//! Weights that resample one axis of a picture, computed once, in f64, for a pair of cameras.
//!
//! The filter is a triangle (bilinear interpolation). Where the picture shrinks, the scale widens
//! it, so that no input pixel is skipped. Its weights sum to 1, also at the border. An output whose
//! centre lies outside the picture has no weights and stays black.

/// Weights of one axis: output i is the sum over `j < count[i]` of `weight[i * max_count + j]`
/// times input `first[i] + j`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ResampleWeights {
    /// First input of each output.
    pub first: Vec<u32>,
    /// Inputs of each output.
    pub count: Vec<u32>,
    /// Weights, `max_count` for each output.
    pub weight: Vec<f32>,
    /// Largest number of inputs of one output.
    pub max_count: usize,
}

impl ResampleWeights {
    /// Maps all `input` pixels to `output` pixels, as Pillow's `BILINEAR` resize without its
    /// rounding; the identity where both are equal.
    pub fn triangle(input: usize, output: usize) -> Self {
        Self::linear(input, output, input as f64 / output.max(1) as f64, 0.0)
    }

    /// Output i samples the input at `scale * (i + 0.5) + shift`, in pixels from the picture's
    /// edge; pixel j has its centre at j + 0.5. The scale is positive: `camera: reproject` passes
    /// the ratio of the focal lengths.
    pub fn linear(input: usize, output: usize, scale: f64, shift: f64) -> Self {
        let radius = scale.max(1.0);
        let weights_of = |i: usize| -> (usize, Vec<f64>) {
            let centre = scale * (i as f64 + 0.5) + shift;
            if !(0.0..input as f64).contains(&centre) {
                return (0, Vec::new());
            }
            // Casts of floats saturate, so the edge of the picture needs no special case.
            let (from, to) = ((centre - radius - 0.5).ceil() as usize, ((centre + radius - 0.5).floor() as usize + 1).min(input));
            let weights = (from..to).map(|j| (1.0 - ((j as f64 + 0.5 - centre) / radius).abs()).max(0.0));
            let weights: Vec<f64> = weights.collect();
            // Zero weights at either end would only widen the reads.
            let idle = weights.iter().take_while(|w| **w == 0.0).count();
            let last = weights.iter().rposition(|w| *w > 0.0).map_or(0, |last| last + 1);
            let used = weights.get(idle..last).unwrap_or_default();
            let sum: f64 = used.iter().sum();
            (from + idle, used.iter().map(|w| w / sum).collect())
        };
        let all: Vec<(usize, Vec<f64>)> = (0..output).map(weights_of).collect();
        let max_count = all.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut plan = Self { max_count, weight: vec![0.0; max_count * output], ..Self::default() };
        for (i, (first, weights)) in all.iter().enumerate() {
            plan.first.push(narrow(*first));
            plan.count.push(narrow(weights.len()));
            for (place, weight) in plan.weight.iter_mut().skip(i * max_count).zip(weights) {
                *place = *weight as f32;
            }
        }
        plan
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.first.len()
    }

    /// One more than the highest input that any output reads.
    pub fn inputs(&self) -> usize {
        self.first.iter().zip(&self.count).map(|(first, count)| *first as usize + *count as usize).max().unwrap_or(0)
    }

    /// Whether the fields agree. Only weights that a caller assembled itself can fail this.
    pub fn is_consistent(&self) -> bool {
        self.count.len() == self.first.len()
            && self.weight.len() == self.first.len() * self.max_count
            && self.count.iter().all(|count| *count as usize <= self.max_count)
    }

    /// The first input of output `i`, and the weights from there on.
    pub fn of(&self, i: usize) -> (usize, &[f32]) {
        let first = self.first.get(i).map_or(0, |first| *first as usize);
        let count = self.count.get(i).map_or(0, |count| *count as usize);
        (first, self.weight.get(i * self.max_count..i * self.max_count + count).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sizes_are_the_identity() {
        let weights = ResampleWeights::triangle(7, 7);
        assert!((0..7).all(|i| weights.of(i) == (i, &[1.0])));
    }

    #[test]
    fn a_picture_of_half_the_size_is_weighted_as_pillow_weights_it() {
        // Pillow's BILINEAR from 8 to 4: a triangle of radius 2 around 2i + 1, cut off and
        // renormalised at the border.
        let weights = ResampleWeights::triangle(8, 4);
        let close = |got: (usize, &[f32]), first: usize, wanted: &[f32]| {
            got.0 == first && got.1.len() == wanted.len() && got.1.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6)
        };
        assert!(close(weights.of(0), 0, &[3.0 / 7.0, 3.0 / 7.0, 1.0 / 7.0]), "{:?}", weights.of(0));
        assert!(close(weights.of(1), 1, &[0.125, 0.375, 0.375, 0.125]), "{:?}", weights.of(1));
        assert!(close(weights.of(3), 5, &[1.0 / 7.0, 3.0 / 7.0, 3.0 / 7.0]), "{:?}", weights.of(3));
        assert_eq!((weights.outputs(), weights.inputs(), weights.max_count), (4, 8, 4));
    }

    #[test]
    fn every_output_inside_of_the_picture_has_weights_that_sum_to_one_and_read_inside() {
        for (input, output, scale, shift) in
            [(1920, 112, 17.142857, 0.0), (64, 112, 0.571, 0.0), (100, 40, 3.0, -11.3), (3, 9, 1.0, -3.0), (1, 5, 0.2, 0.0)]
        {
            let weights = ResampleWeights::linear(input, output, scale, shift);
            assert!(weights.is_consistent() && weights.inputs() <= input);
            for i in 0..output {
                let centre = scale * (i as f64 + 0.5) + shift;
                let sum: f32 = weights.of(i).1.iter().sum();
                let wanted = if (0.0..input as f64).contains(&centre) { 1.0 } else { 0.0 };
                assert!((sum - wanted).abs() < 1e-6, "output {i} of {input} to {output}: {sum}");
            }
        }
    }

    #[test]
    fn a_shift_by_whole_pixels_moves_the_picture_and_leaves_the_rest_without_weights() {
        let weights = ResampleWeights::linear(5, 5, 1.0, -2.0);
        let found: Vec<(usize, usize)> = (0..5).map(|i| weights.of(i)).map(|(first, of_output)| (first, of_output.len())).collect();
        assert_eq!(found, [(0, 0), (0, 0), (0, 1), (1, 1), (2, 1)]);
    }
}

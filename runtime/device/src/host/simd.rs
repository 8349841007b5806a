//! The inner loops of the selection, written once: eight sums side by side, which a compiler turns into vectors.
//!
//! Each loop is compiled twice: portably, and for AVX2 with fused multiplication and addition, which is chosen once where the machine has it. The two
//! round differently, so they agree closely but not in every bit; one path gives the same bits for the same input, on every thread.

#![expect(unsafe_code, reason = "code for AVX2 and FMA may be called only where they were detected")]

mod products;

/// Scratch for [`Simd::add_products`], a row for each component of a key.
pub(crate) type Panel = Vec<[f32; PANEL]>;
const PANEL: usize = products::KEYS;

/// Sums kept side by side.
const LANES: usize = 8;

/// Which of the two compilations runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Simd(Path);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Portable,
    /// Made by [`Simd::detect`] alone, once both features were seen.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Simd {
    /// The portable twin.
    pub(crate) const PORTABLE: Self = Self(Path::Portable);

    /// The fastest path of this machine.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Self(Path::Avx2);
        }
        Self::PORTABLE
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            Path::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => "AVX2",
        }
    }
}

macro_rules! twins {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)?;)*) => {
        impl Simd {
            $($(#[$doc])*
            pub(crate) fn $name(self, $($arg: $type),*) $(-> $out)? {
                match self.0 {
                    Path::Portable => body::$name::<false>($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: the machine has AVX2 and FMA, or this path would not have been made.
                    Path::Avx2 => unsafe { avx2::$name($($arg),*) },
                }
            })*
        }

        #[cfg(target_arch = "x86_64")]
        mod avx2 {
            use super::PANEL;
            $(#[target_feature(enable = "avx2,fma")]
            pub(super) fn $name($($arg: $type),*) $(-> $out)? {
                super::body::$name::<true>($($arg),*)
            })*
        }
    };
}

twins! {
    /// `Σ x²` in f64, so that no finite key overflows and only a zero key is zero.
    fn square(x: &[f32]) -> f64;
    /// `to += x·scale`, over the shorter.
    fn add_scaled(to: &mut [f32], x: &[f32], scale: f32);
    /// `to += Σ_j row_j·weight_j`: `rows` `[J, to]`.
    fn add_weighted(to: &mut [f32], rows: &[f32], weights: &[f32]);
    /// `to_j += query·row_j`: `rows` `[to, query]`.
    fn add_dots(to: &mut [f32], query: &[f32], rows: &[f32]);
    /// `to[q, j] += query_q·key_j` ([`products`]).
    fn add_products(to: &mut [f32], stride: usize, queries: &[f32], keys: &[f32], panel: &mut [[f32; PANEL]]);
    /// `to += weight·softmax(scale·x)`; `x` is used up. -∞ takes no part; `scale` is positive; nothing is NaN or +∞.
    fn add_softmax(to: &mut [f32], x: &mut [f32], scale: f32, weight: f32);
    /// Whether all numbers are finite.
    fn are_finite(x: &[f32]) -> bool;
}

/// The loops. Everything is inlined into its two callers, so that it is compiled for the features of each.
mod body {
    use super::LANES;
    pub(super) use super::products::add_products;

    #[inline(always)]
    pub(super) fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
        // Without the instruction, `f32::mul_add` is a slow call.
        if FUSED { a.mul_add(b, c) } else { a * b + c }
    }

    /// The eight sums as one, as a tree.
    #[inline(always)]
    pub(super) fn total(sums: [f32; LANES]) -> f32 {
        let [a, b, c, d, e, f, g, h] = sums;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }

    #[inline(always)]
    pub(super) fn square<const FUSED: bool>(x: &[f32]) -> f64 {
        let mut sums = [0.0f64; LANES];
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
        sums.iter().sum::<f64>() + rest.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>()
    }

    #[inline(always)]
    pub(super) fn add_scaled<const FUSED: bool>(to: &mut [f32], x: &[f32], scale: f32) {
        for (to, x) in to.iter_mut().zip(x) {
            *to = mul_add::<FUSED>(*x, scale, *to);
        }
    }

    #[inline(always)]
    pub(super) fn add_dots<const FUSED: bool>(to: &mut [f32], query: &[f32], rows: &[f32]) {
        for (to, row) in to.iter_mut().zip(rows.chunks_exact(query.len().max(1))) {
            let ((chunks, rest), (row_chunks, row_rest)) = (query.as_chunks::<LANES>(), row.as_chunks::<LANES>());
            let mut sums = [0.0f32; LANES];
            for (q, row) in chunks.iter().zip(row_chunks) {
                for lane in 0..LANES {
                    sums[lane] = mul_add::<FUSED>(q[lane], row[lane], sums[lane]);
                }
            }
            *to += rest.iter().zip(row_rest).fold(total(sums), |sum, (a, b)| mul_add::<FUSED>(*a, *b, sum));
        }
    }

    #[inline(always)]
    pub(super) fn add_weighted<const FUSED: bool>(to: &mut [f32], rows: &[f32], weights: &[f32]) {
        let width = to.len().max(1);
        let (fours, rest) = weights.as_chunks::<4>();
        let mut tiles = rows.chunks_exact(4 * width);
        for (tile, w) in tiles.by_ref().zip(fours) {
            let (a, b) = tile.split_at(2 * width);
            let ((a, b), (c, d)) = (a.split_at(width), b.split_at(width));
            for ((((to, a), b), c), d) in to.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *to = mul_add::<FUSED>(*d, w[3], mul_add::<FUSED>(*c, w[2], mul_add::<FUSED>(*b, w[1], mul_add::<FUSED>(*a, w[0], *to))));
            }
        }
        for (row, weight) in tiles.remainder().chunks_exact(width).zip(rest) {
            add_scaled::<FUSED>(to, row, *weight);
        }
    }

    #[inline(always)]
    pub(super) fn add_softmax<const FUSED: bool>(to: &mut [f32], x: &mut [f32], scale: f32, weight: f32) {
        let mut most = [f32::NEG_INFINITY; LANES];
        let (chunks, rest) = x.as_chunks_mut::<LANES>();
        for chunk in &*chunks {
            for (most, x) in most.iter_mut().zip(chunk) {
                *most = if *x > *most { *x } else { *most };
            }
        }
        let largest = most.iter().chain(&*rest).fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
        if largest == f32::NEG_INFINITY {
            return;
        }
        let mut sums = [0.0f32; LANES];
        for chunk in chunks {
            *chunk = exp::<FUSED, LANES>(chunk.map(|x| (x - largest) * scale));
            for (sum, x) in sums.iter_mut().zip(&*chunk) {
                *sum += x;
            }
        }
        let mut sum = total(sums);
        for x in rest {
            [*x] = exp::<FUSED, 1>([(*x - largest) * scale]);
            sum += *x;
        }
        add_scaled::<FUSED>(to, x, weight / sum);
    }

    #[inline(always)]
    pub(super) fn are_finite<const FUSED: bool>(x: &[f32]) -> bool {
        x.chunks(64).all(|chunk| chunk.iter().fold(true, |finite, x| finite & x.is_finite()))
    }

    /// e^x for x ≤ 0, within 2e-7 of itself: 2^n·e^r with |r| ≤ ln 2 / 2 and e^r by its series; 0 where the result would not be normal. A step at a
    /// time for all, without a branch: so it becomes vectors.
    #[inline(always)]
    pub(super) fn exp<const FUSED: bool, const N: usize>(x: [f32; N]) -> [f32; N] {
        /// Adding it leaves the nearest integer in the low bits of the sum.
        const ROUNDER: f32 = 12_582_912.0;
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        const LOWEST: f32 = -87.0;
        const SERIES: [f32; 7] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
        let (mut shifted, mut r, mut power) = ([0.0f32; N], [0.0f32; N], [1.0 / 5040.0f32; N]);
        for i in 0..N {
            shifted[i] = mul_add::<FUSED>(x[i].max(LOWEST), std::f32::consts::LOG2_E, ROUNDER);
        }
        for i in 0..N {
            let n = shifted[i] - ROUNDER;
            r[i] = mul_add::<FUSED>(n, -LN_2_LOW, mul_add::<FUSED>(n, -LN_2_HIGH, x[i].max(LOWEST)));
        }
        for c in SERIES {
            for i in 0..N {
                power[i] = mul_add::<FUSED>(power[i], r[i], c);
            }
        }
        for i in 0..N {
            let exponent = shifted[i].to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127) << 23;
            let kept = 0u32.wrapping_sub(u32::from(x[i] > LOWEST));
            power[i] = f32::from_bits((power[i] * f32::from_bits(exponent)).to_bits() & kept);
        }
        power
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both paths against f64 and each other: relative to the sum of the magnitudes, a few roundings.
    const CLOSE: f64 = 1e-6;

    pub(super) fn numbers(seed: u32, len: usize) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .take(len)
        .collect()
    }

    pub(super) fn paths() -> [Simd; 2] {
        [Simd::PORTABLE, Simd::detect()]
    }

    pub(super) fn dot_f64(a: &[f32], b: &[f32]) -> (f64, f64) {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).fold((0.0, 1e-9), |(sum, size), x| (sum + x, size + x.abs()))
    }

    #[test]
    fn both_paths_sum_as_f64_does_at_every_odd_length() {
        for len in [0, 1, 3, 7, 8, 9, 15, 17, 31, 64, 127, 129, 1001] {
            let (a, b) = (numbers(1, len), numbers(2, len));
            let (wanted, size) = dot_f64(&a, &b);
            for simd in paths() {
                let mut to = [0.5];
                simd.add_dots(&mut to, &a, &b);
                assert!((f64::from(to[0]) - 0.5 - wanted).abs() <= CLOSE * (size + 0.5) || len == 0, "{simd:?}: dot of {len}");
                assert!((simd.square(&a) - dot_f64(&a, &a).0).abs() <= 1e-12 * size, "{simd:?}: square of {len}");
                let mut to = b.clone();
                simd.add_scaled(&mut to, &a, 0.75);
                assert!(to.iter().zip(&a).zip(&b).all(|((to, a), b)| (to - (a * 0.75 + b)).abs() <= 1e-6), "{simd:?}: add_scaled of {len}");
                let (rows, weights, mut one_by_one) = (numbers(6, 6 * len), numbers(7, 6), to.clone());
                simd.add_weighted(&mut to, &rows, &weights);
                rows.chunks(len.max(1)).zip(&weights).for_each(|(row, w)| simd.add_scaled(&mut one_by_one, row, *w));
                assert_eq!(to, one_by_one, "{simd:?}: add_weighted of {len}");
                assert!(simd.are_finite(&a));
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut spoilt = a.clone();
                    if let Some(last) = spoilt.last_mut() {
                        *last = bad;
                        assert!(!simd.are_finite(&spoilt), "{simd:?}: {bad} at the end of {len}");
                    }
                }
            }
        }
    }

    #[test]
    fn both_paths_add_the_softmax_of_f64() {
        for len in [1, 2, 7, 8, 11, 40, 453] {
            let mut x: Vec<f32> = numbers(5, len).iter().map(|x| x * 40.0).collect();
            if len > 2 {
                x[1] = f32::NEG_INFINITY;
            }
            let scaled: Vec<f64> = x.iter().map(|x| 0.3 * f64::from(*x)).collect();
            let largest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scaled.iter().map(|x| (x - largest).exp()).sum();
            for simd in paths() {
                let (mut used, mut to) = (x.clone(), vec![1.0; len]);
                simd.add_softmax(&mut to, &mut used, 0.3, 0.5);
                for (got, x) in to.iter().zip(&scaled) {
                    let wanted = 1.0 + 0.5 * (x - largest).exp() / total;
                    assert!((f64::from(*got) - wanted).abs() <= 5e-7, "{simd:?}: {got} for {wanted} of {len}");
                }
            }
        }
        let mut to = [1.0];
        Simd::detect().add_softmax(&mut to, &mut [f32::NEG_INFINITY], 1.0, 1.0);
        assert_eq!(to, [1.0], "where nothing takes part nothing is added");
    }

    #[test]
    fn the_exponential_is_within_two_parts_in_ten_million_down_to_the_least_normal_number() {
        for i in 0..=8700 {
            let x = -(i as f32) / 100.0;
            let wanted = f64::from(x).exp();
            for [got] in [body::exp::<false, 1>([x]), body::exp::<true, 1>([x])] {
                assert!((f64::from(got) - wanted).abs() <= 2e-7 * wanted || x <= -87.0, "exp({x}) = {got}, not {wanted}");
            }
        }
        assert_eq!(body::exp::<false, 3>([0.0, -200.0, f32::NEG_INFINITY]), [1.0, 0.0, 0.0]);
    }
}

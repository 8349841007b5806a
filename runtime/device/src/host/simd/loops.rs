//! The loops, each generic over `FUSED`: with or without fused multiply-add. All are inlined into
//! the two compilations of [`super::Simd`], so that each is compiled for the features of its
//! caller.

/// Sums kept side by side.
const LANES: usize = 8;

#[inline(always)]
pub(super) fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction, `f32::mul_add` is a slow call.
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// The total of the eight sums, added as a tree.
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
    let mut largest = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in &*chunks {
        for (largest, x) in largest.iter_mut().zip(chunk) {
            *largest = if *x > *largest { *x } else { *largest };
        }
    }
    let largest = largest.iter().chain(&*rest).fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
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

/// e^x for x ≤ 0, with a relative error of 2e-7: 2^n·e^r with |r| ≤ ln 2 / 2 and e^r by its series;
/// 0 where the result would not be normal. Each step runs over all elements without a branch, so
/// that the compiler vectorises it.
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

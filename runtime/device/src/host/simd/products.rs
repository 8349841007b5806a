//! Products of queries and keys. Sixteen keys are laid side by side, component by component, and stay in the nearest cache while all queries pass by,
//! four at a time: what is loaded serves many sums, none of which has to be added up across a vector.
//!
//! Every sum runs over the components in their order: a product's bits do not depend on what stands beside it.

use super::body::mul_add;

/// Keys of a panel: two vectors of AVX2.
pub(super) const KEYS: usize = 16;
/// Queries of a tile: with a panel's two vectors, eight sums and what they are made of fit sixteen registers.
const QUERIES: usize = 4;

/// `to[q, j] += query_q·key_j`: `to` `[Q, stride]`, of which the first columns are meant; `queries` `[Q, width]`; `keys` `[K, width]`; `panel` is
/// scratch of `width` rows.
#[inline(always)]
pub(super) fn add_products<const FUSED: bool>(to: &mut [f32], stride: usize, queries: &[f32], keys: &[f32], panel: &mut [[f32; KEYS]]) {
    let width = panel.len();
    if width == 0 || stride == 0 {
        return;
    }
    for (block, keys) in keys.chunks(KEYS * width).enumerate() {
        for (j, key) in keys.chunks_exact(width).enumerate() {
            for (row, x) in panel.iter_mut().zip(key) {
                row[j] = *x;
            }
        }
        let count = keys.len() / width;
        for (tile, queries) in queries.chunks(QUERIES * width).enumerate() {
            let to = &mut to[QUERIES * tile * stride + block * KEYS..];
            let mut rows = queries.chunks_exact(width);
            match [rows.next(), rows.next(), rows.next(), rows.next()] {
                [Some(a), Some(b), Some(c), Some(d)] => add_tile::<FUSED, 4>(to, stride, count, [a, b, c, d], panel),
                [Some(a), Some(b), Some(c), None] => add_tile::<FUSED, 3>(to, stride, count, [a, b, c], panel),
                [Some(a), Some(b), ..] => add_tile::<FUSED, 2>(to, stride, count, [a, b], panel),
                [Some(a), ..] => add_tile::<FUSED, 1>(to, stride, count, [a], panel),
                _ => {}
            }
        }
    }
}

/// The products of a few queries with the first `count` keys of a panel.
#[inline(always)]
fn add_tile<const FUSED: bool, const Q: usize>(to: &mut [f32], stride: usize, count: usize, queries: [&[f32]; Q], panel: &[[f32; KEYS]]) {
    let queries = queries.map(|query| &query[..panel.len()]);
    let mut sums = [[0.0; KEYS]; Q];
    for (i, row) in panel.iter().enumerate() {
        for q in 0..Q {
            let x = queries[q][i];
            for j in 0..KEYS {
                sums[q][j] = mul_add::<FUSED>(x, row[j], sums[q][j]);
            }
        }
    }
    for (q, sums) in sums.iter().enumerate() {
        let to = &mut to[q * stride..q * stride + count];
        // Whole panels by themselves: a loop of known length, worth 5 % of a selection at the paper's shape.
        match <&mut [f32; KEYS]>::try_from(&mut *to) {
            Ok(to) => to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum),
            Err(_) => to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{dot_f64, numbers, paths};
    use super::KEYS;

    /// Also breaks when a product's bits depend on its place: each is compared with the same one alone.
    #[test]
    fn products_are_those_of_f64_wherever_they_stand() {
        for (width, queries, keys) in [(1, 1, 1), (5, 2, 3), (8, 3, 16), (12, 4, 17), (32, 7, 45), (20, 5, 9), (128, 6, 33)] {
            let (asked, stored) = (numbers(3, width * queries), numbers(4, width * keys));
            let stride = keys + 2;
            for simd in paths() {
                let mut panel = vec![[f32::NAN; KEYS]; width];
                let mut to = vec![0.5; queries * stride];
                simd.add_products(&mut to, stride, &asked, &stored, &mut panel);
                for (q, row) in to.chunks(stride).enumerate() {
                    for (j, key) in stored.chunks(width).enumerate() {
                        let query = &asked[q * width..(q + 1) * width];
                        let (wanted, size) = dot_f64(query, key);
                        assert!((f64::from(row[j]) - 0.5 - wanted).abs() <= 1e-6 * (size + 0.5), "{simd:?}: {width}, {q}, {j}");
                        let mut alone = [0.5];
                        simd.add_products(&mut alone, 1, query, key, &mut panel);
                        assert_eq!(row[j], alone[0], "{simd:?}: width {width}, query {q} of {queries}, key {j} of {keys}");
                    }
                    assert_eq!(row[keys..], [0.5, 0.5], "columns beyond the keys stay");
                }
            }
        }
    }
}

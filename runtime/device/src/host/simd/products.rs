//! Products of queries and keys. A panel holds sixteen keys side by side, component by component.
//! It stays in the first cache while all queries are multiplied with it, four at a time. So each
//! load serves many sums, and no sum has to be reduced across a vector.
//!
//! Every sum runs over the components in their order, so the bits of a product do not depend on its
//! neighbours.

use super::loops::mul_add;

/// Keys of a panel: two vectors of AVX2.
pub(super) const KEYS: usize = 16;
/// Queries of a tile. With the two vectors of a panel, eight sums and their operands fit sixteen
/// registers.
const QUERIES: usize = 4;

/// `to[q, j] += query_q·key_j`: `to` is `[Q, stride]`, of which the first K columns are updated;
/// `queries` `[Q, width]`; `keys` `[K, width]`; `panel` is scratch of `width` rows.
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
        // A whole panel gets a loop of known length: 5 % of a selection at the paper's shape.
        match <&mut [f32; KEYS]>::try_from(&mut *to) {
            Ok(to) => to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum),
            Err(_) => to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum),
        }
    }
}

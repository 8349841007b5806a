//! Both compilations of the loops against f64.

use super::Simd;
use super::loops::exp;
use super::products::KEYS;

/// Tolerance of a sum, relative to the sum of the magnitudes: a few roundings.
const CLOSE: f64 = 1e-6;

fn numbers(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    })
    .take(len)
    .collect()
}

fn paths() -> [Simd; 2] {
    [Simd::PORTABLE, Simd::detect()]
}

fn dot_f64(a: &[f32], b: &[f32]) -> (f64, f64) {
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
    assert_eq!(to, [1.0], "where every element is excluded nothing is added");
}

#[test]
fn the_exponential_is_within_two_parts_in_ten_million_down_to_the_least_normal_number() {
    for i in 0..=8700 {
        let x = -(i as f32) / 100.0;
        let wanted = f64::from(x).exp();
        for [got] in [exp::<false, 1>([x]), exp::<true, 1>([x])] {
            assert!((f64::from(got) - wanted).abs() <= 2e-7 * wanted || x <= -87.0, "exp({x}) = {got}, not {wanted}");
        }
    }
    assert_eq!(exp::<false, 3>([0.0, -200.0, f32::NEG_INFINITY]), [1.0, 0.0, 0.0]);
}

/// Also breaks when the bits of a product depend on its position: each is compared with the same
/// product computed alone.
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
                assert_eq!(row[keys..], [0.5, 0.5], "columns beyond the keys are unchanged");
            }
        }
    }
}

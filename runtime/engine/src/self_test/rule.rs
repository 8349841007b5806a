//! The rule that makes the inputs of the self-test, which
//! `export/drivewam_export/onnx_graphs/self_test.py` implements too.
//!
//! Element i of the tensor `name` is u = (x >> 8) · 2⁻²³ − 1, where x is the hash lowbias32 of
//! FNV-1a(name) + i. `is_action`, `flow_time`, `rope`, biases and `self_scale` get values that a
//! model can be given instead. Eight slots of the memory hold tokens, spread over all of it; the
//! others are zero and masked, so a larger memory must give the same outputs.

use drivewam_core::bindings::MASKED;
use drivewam_core::tensor::TensorRole;
use std::f64::consts::PI;

/// Memory slots that hold a token.
pub(super) const SLOTS: usize = 8;

/// FNV-1a of 32 bits.
pub(super) fn fnv1a(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |x, byte| (x ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Element `i` of the tensor whose name has the hash `seed`, within [-1, 1).
pub(super) fn uniform(seed: u32, i: usize) -> f32 {
    let mut x = seed.wrapping_add(i as u32);
    x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
    x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
    ((x ^ x >> 16) >> 8) as f32 / 8_388_608.0 - 1.0
}

/// Which of the eight tokens lies in slot `slot` of `slots`. They are spread over the memory,
/// because attention does not depend on the slot and the later tiles of a kernel must be tested
/// too.
fn token_of(slot: usize, slots: usize) -> Option<usize> {
    let token = (slot * SLOTS).div_ceil(slots.max(1));
    (token < SLOTS && token * slots / SLOTS == slot).then_some(token)
}

/// What the values of an input depend on, beside its name and shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// N of the pass.
    pub tokens: usize,
    /// Nv.
    pub n_video: usize,
    /// Na.
    pub n_action: usize,
    /// Entries of the vocabulary, for a graph that reads token ids.
    pub vocabulary: usize,
}

/// The values of the input `name` with this role and shape.
pub(super) fn input(name: &str, role: Option<TensorRole>, shape: &[usize], facts: Facts) -> Vec<f32> {
    let len: usize = shape.iter().product();
    let seed = fnv1a(name);
    match (role, shape) {
        (Some(TensorRole::IsAction), _) => {
            let Facts { tokens, n_video, n_action, .. } = facts;
            let video = if tokens == n_action && tokens != n_video { 0 } else { n_video };
            (0..len).map(|i| f32::from(u8::from(i >= video))).collect()
        }
        (Some(TensorRole::Ids), _) => {
            (0..len).map(|i| ((f64::from(uniform(seed, i)) + 1.0) / 2.0 * facts.vocabulary as f64).floor() as f32).collect()
        }
        (Some(TensorRole::IsImage), _) => (0..len).map(|i| f32::from(u8::from(i % 4 == 1))).collect(),
        (Some(TensorRole::PadBias), _) => (0..len).map(|i| if 4 * i >= 3 * len { MASKED } else { 0.0 }).collect(),
        (Some(TensorRole::FlowTime), _) => vec![0.75, 0.5],
        (Some(TensorRole::SelfScale), _) => vec![1.0; len],
        (Some(TensorRole::TextBias), _) => vec![0.0; len],
        (Some(TensorRole::MemBias), _) => (0..len).map(|i| if token_of(i, len).is_some() { 0.0 } else { MASKED }).collect(),
        (Some(TensorRole::Rope), _) => (0..len / 2)
            .flat_map(|pair| {
                let angle = PI * f64::from(uniform(seed, pair));
                [libm::cos(angle) as f32, libm::sin(angle) as f32]
            })
            .collect(),
        // Elements are numbered as if the memory had only the eight slots that hold a token.
        (Some(TensorRole::MemK(_) | TensorRole::MemV(_)), &[_, slots, width]) => {
            let place = |i: usize| (i / (slots * width), i / width % slots, i % width);
            (0..len)
                .map(place)
                .map(|(h, s, d)| token_of(s, slots).map_or(0.0, |token| uniform(seed, (h * SLOTS + token) * width + d)))
                .collect()
        }
        _ => (0..len).map(|i| uniform(seed, i)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that `export/tests/test_self_test.py` requires of its own rule. Breaks if one of
    /// the two changes.
    #[test]
    fn the_rule_is_the_exporters() {
        assert_eq!(fnv1a("tokens"), 0xfceb_c453);
        let first: Vec<f32> = (0..4).map(|i| uniform(fnv1a("tokens"), i) * 8_388_608.0).collect();
        assert_eq!(first, [5_467_626.0, -5_399_122.0, 358_302.0, 1_527_816.0]);
    }

    /// Breaks if a token is left out or put twice, or all lie in the first tile of a kernel.
    #[test]
    fn eight_tokens_lie_all_over_the_memory() {
        for slots in [8, 9, 13, 172, 720] {
            let places: Vec<usize> = (0..slots).filter_map(|slot| token_of(slot, slots)).collect();
            assert_eq!(places, [0, 1, 2, 3, 4, 5, 6, 7], "{slots}");
        }
        let last = (0..720).rev().find(|&slot| token_of(slot, 720).is_some());
        assert_eq!(last, Some(630));
    }
}

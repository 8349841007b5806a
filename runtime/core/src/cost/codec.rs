//! The encoder of Wan2.2's VAE, which the paper's model looks through: counted once, by PyTorch, at the paper's picture.

use super::{Number, PassCost};
use crate::dims::Model;

/// What is known of an encoder at one size of picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WanEncoder {
    /// Pixels, height and width.
    pub picture: [usize; 2],
    /// Numbers of a latent, `[Cz, Hz, Wz]`.
    pub latent: [usize; 3],
    /// Numbers of its weights, as `export/drivewam_export/wan_vae.py` writes them.
    pub weights: u64,
    /// Operations of the products and convolutions of a chunk's four frames.
    pub flops: f64,
    /// Numbers of the causal cache, f32 at the graph's border. Two caches take turns.
    pub cache: u64,
}

/// Wan2.2's `AutoencoderKLWan` (base width 160, z 48, stride 4·16·16) at 256 x 448. Source of the widths: its public configuration;
/// `export/tests/test_cost.py` builds the class and counts.
pub const WAN22: WanEncoder =
    WanEncoder { picture: [256, 448], latent: [48, 16, 28], weights: 149_632_528, flops: 1_601_911_062_528.0, cache: 67_493_888 };

impl WanEncoder {
    /// Whether `model` can be what looks through it: no configuration names its codec, so picture and latent speak.
    pub fn fits(&self, model: &Model) -> bool {
        let (image, latent) = (&model.image, &model.latent);
        [image.height, image.width] == self.picture
            && [latent.channels, latent.height, latent.width] == self.latent
            && image.frames_per_latent == 4
    }

    /// In what its weights are stored beside a policy of `number`: convolutions have no bf16 in the exports, and no eight bits.
    pub fn number(number: Number) -> Number {
        match number {
            Number::F32 | Number::Bf16 => Number::F32,
            _ => Number::F16,
        }
    }

    /// A chunk's four frames.
    pub fn work(&self, number: Number) -> PassCost {
        let weight_bytes = self.weights * Self::number(number).bytes();
        PassCost { flops: self.flops, weight_bytes, cache_bytes: 2 * self.cache * Number::F32.bytes() }
    }

    /// Bytes of both caches in the arena.
    pub fn cache_bytes(&self) -> u64 {
        2 * self.cache * Number::F32.bytes()
    }
}

//! The encoder of Wan2.2's VAE, which the paper's model uses, as PyTorch counts it at the paper's
//! image size.

use super::{Number, PassCost};
use crate::dims::Model;

/// The cost of an encoder at one image size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WanEncoder {
    /// Pixels, height and width.
    pub picture: [usize; 2],
    /// Shape of the latent, `[Cz, Hz, Wz]`.
    pub latent: [usize; 3],
    /// Number of weights, as `export/drivewam_export/wan_vae.py` writes them.
    pub weights: u64,
    /// Operations of products and convolutions for a chunk's four frames.
    pub flops: f64,
    /// Elements of the causal cache, f32. There are two caches, used alternately.
    pub cache: u64,
}

/// Wan2.2's `AutoencoderKLWan` (base width 160, z 48, stride 4·16·16) at 256 x 448. The widths are
/// those of its public configuration; `export/tests/test_cost.py` builds the class and counts.
pub const WAN22: WanEncoder =
    WanEncoder { picture: [256, 448], latent: [48, 16, 28], weights: 149_632_528, flops: 1_601_911_062_528.0, cache: 67_493_888 };

impl WanEncoder {
    /// Whether `model` can use this encoder. Configurations do not name their codec, so image and
    /// latent sizes decide.
    pub fn fits(&self, model: &Model) -> bool {
        let (image, latent) = (&model.image, &model.latent);
        [image.height, image.width] == self.picture
            && [latent.channels, latent.height, latent.width] == self.latent
            && image.frames_per_latent == 4
    }

    /// The number format of its weights beside a policy in `number`. Exported convolutions are
    /// never bf16 or eight-bit.
    pub fn number(number: Number) -> Number {
        match number {
            Number::F32 | Number::Bf16 => Number::F32,
            _ => Number::F16,
        }
    }

    /// The cost of a chunk's four frames.
    pub fn work(&self, number: Number) -> PassCost {
        let weight_bytes = self.weights * Self::number(number).bytes();
        PassCost { flops: self.flops, weight_bytes, cache_bytes: 2 * self.cache * Number::F32.bytes() }
    }

    /// Bytes of both caches in the arena.
    pub fn cache_bytes(&self) -> u64 {
        2 * self.cache * Number::F32.bytes()
    }
}

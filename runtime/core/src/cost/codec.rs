//! The encoder of Wan2.2's VAE, which encodes the images of the paper's model. PyTorch counted it
//! once, at the paper's image size.

use super::{Number, PassCost};
use crate::dims::Model;

/// The cost of an encoder at one image size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WanEncoder {
    /// The height and width of the image, pixels.
    pub picture: [usize; 2],
    /// The shape of a latent, `[Cz, Hz, Wz]`.
    pub latent: [usize; 3],
    /// The number of weights, as `export/drivewam_export/wan_vae.py` writes them.
    pub weights: u64,
    /// The operations of the products and convolutions for the four frames of a chunk.
    pub flops: f64,
    /// The number of values of the causal cache, which are f32 at the inputs and outputs of the
    /// graph. There are two caches: a pass reads one and writes the other.
    pub cache: u64,
}

/// Wan2.2's `AutoencoderKLWan` (base width 160, z 48, stride 4·16·16) at 256 x 448. The widths are
/// those of its public configuration; `export/tests/test_cost.py` builds the class and counts.
pub const WAN22: WanEncoder =
    WanEncoder { picture: [256, 448], latent: [48, 16, 28], weights: 149_632_528, flops: 1_601_911_062_528.0, cache: 67_493_888 };

impl WanEncoder {
    /// Whether `model` may use this encoder. A configuration does not name its codec, so the sizes
    /// of the image and of the latent decide.
    pub fn fits(&self, model: &Model) -> bool {
        let (image, latent) = (&model.image, &model.latent);
        [image.height, image.width] == self.picture
            && [latent.channels, latent.height, latent.width] == self.latent
            && image.frames_per_latent == 4
    }

    /// The type that the weights are stored in, beside a policy in `number`. In the exports,
    /// convolutions have neither bf16 nor eight-bit weights.
    pub fn number(number: Number) -> Number {
        match number {
            Number::F32 | Number::Bf16 => Number::F32,
            _ => Number::F16,
        }
    }

    /// The cost of the four frames of a chunk.
    pub fn work(&self, number: Number) -> PassCost {
        let weight_bytes = self.weights * Self::number(number).bytes();
        PassCost { flops: self.flops, weight_bytes, cache_bytes: 2 * self.cache * Number::F32.bytes() }
    }

    /// The size of both caches in the arena, bytes.
    pub fn cache_bytes(&self) -> u64 {
        2 * self.cache * Number::F32.bytes()
    }
}

//! The `guidance` section of a manifest: the vision-language model that describes the scene, and
//! the encoder of its text.
//!
//! The model is a `Qwen3VLForConditionalGeneration`, the encoder a `UMT5EncoderModel`, of any size.
//! Rotary positions are computed outside of the graphs, as Qwen2-VL's multimodal rotary positions
//! (M-RoPE): a row of text has (p, p, p), a row of an image (p, p + row, p + column), and the next
//! position after an image is p plus its longer side.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// Largest length that is accepted.
const MOST: usize = 1 << 20;

/// The `guidance` section of a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuidanceSpec {
    /// The vision-language model.
    pub vlm: VlmSpec,
    /// The encoder of its text.
    pub text: TextEncoderSpec,
}

/// The language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VlmSpec {
    /// Layers of the decoder.
    pub layers: usize,
    /// Hkv, the number of key and value heads.
    pub kv_heads: usize,
    /// Dh, the width of a head.
    pub head_dim: usize,
    /// D, the width of a row.
    pub width: usize,
    /// V, the size of the vocabulary.
    pub vocabulary: usize,
    /// Number of decoder levels at which image features are added (deepstack).
    pub deepstack: usize,
    /// Its images.
    pub image: VlmImage,
    /// The token of an image's row.
    pub image_token: u32,
    /// The token before an image.
    pub vision_start_token: u32,
    /// The token after an image.
    pub vision_end_token: u32,
    /// Each of these tokens ends an answer.
    pub end_tokens: Vec<u32>,
    /// Its rotary positions.
    pub rope: MRope,
    /// The name of its `tokenizer.json` in the bundle.
    pub tokenizer: String,
}

/// An image as the vision graph takes it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VlmImage {
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
    /// Side of a patch, pixels.
    pub patch: usize,
    /// Frames of a patch: an image is repeated this often.
    pub temporal_patch: usize,
    /// Patches per side of the block that becomes one row.
    pub merge: usize,
    /// Mean of red, green and blue, for values within [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation of the same.
    pub std: [f32; 3],
}

/// Interleaved rotary positions of three axes: pair j turns with height where j mod 3 = 1 and with
/// width where j mod 3 = 2, for j below three times the axis's section; with time otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MRope {
    /// Number of pairs of time, height and width.
    pub sections: [usize; 3],
    /// Angle of each pair for one step, radians, as the checkpoint's f32 values.
    pub inverse_frequencies: Vec<f32>,
    /// Factor of cosine and sine.
    pub scale: f32,
}

/// The encoder of the guidance text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEncoderSpec {
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// The token of padding.
    pub pad_token: u32,
    /// The token that ends a text.
    pub end_token: u32,
    /// The name of its `tokenizer.json` in the bundle.
    pub tokenizer: String,
}

impl VlmSpec {
    /// Tokens that the tokenizer must define as special.
    pub fn special(&self) -> Vec<u32> {
        let around = [self.image_token, self.vision_start_token, self.vision_end_token];
        around.into_iter().chain(self.end_tokens.iter().copied()).collect()
    }
}

impl VlmImage {
    /// Rows and columns of an image's embedding.
    pub fn grid(&self) -> [usize; 2] {
        [self.height, self.width].map(|side| side / (self.patch * self.merge))
    }

    /// Rows of an image's embedding, P/merge².
    pub fn rows(&self) -> usize {
        let [rows, columns] = self.grid();
        rows * columns
    }

    /// P, patches.
    pub fn patches(&self) -> usize {
        self.rows() * self.merge * self.merge
    }

    /// Values of a patch.
    pub fn patch_len(&self) -> usize {
        3 * self.temporal_patch * self.patch * self.patch
    }

    /// Proves that the values are consistent.
    ///
    /// # Errors
    /// `Manifest`: a length out of range, an image that is not whole blocks of patches, a standard
    /// deviation that is not positive.
    pub fn check(&self) -> Result<()> {
        let bad = |what: &str, got: String| Err(Error::new(ErrorKind::Manifest, what).at("guidance.vlm.image").got(got));
        let lengths = [self.height, self.width, self.patch, self.temporal_patch, self.merge];
        if lengths.iter().any(|len| !(1..=8192).contains(len)) {
            return bad("a length out of range", format!("{lengths:?}"));
        }
        let step = self.patch * self.merge;
        if !self.height.is_multiple_of(step) || !self.width.is_multiple_of(step) {
            return bad("not whole blocks of patches", format!("{} x {} in blocks of {step}", self.height, self.width));
        }
        if !self.mean.iter().all(|x| x.is_finite()) || !self.std.iter().all(|x| x.is_finite() && *x > 0.0) {
            return bad("not a mean and a deviation", format!("{:?}, {:?}", self.mean, self.std));
        }
        Ok(())
    }
}

impl MRope {
    /// Writes cosine and sine of each pair at position `place` (time, height, width) to the start
    /// of `out`. Angles are products in f32, as in training; cosine and sine are computed in f64.
    pub fn row(&self, place: [usize; 3], out: &mut [f32]) {
        for (pair, (turn, to)) in self.inverse_frequencies.iter().zip(out.as_chunks_mut::<2>().0).enumerate() {
            let axis = pair % 3;
            let at = place[if axis > 0 && pair < 3 * self.sections[axis] { axis } else { 0 }];
            let (sin, cos) = libm::sincos(f64::from(at as f32 * turn));
            let scale = f64::from(self.scale);
            *to = [(cos * scale) as f32, (sin * scale) as f32];
        }
    }
}

impl GuidanceSpec {
    /// Proves that the section is consistent.
    ///
    /// # Errors
    /// `Manifest`, with the key.
    pub fn check(&self) -> Result<()> {
        let bad = |key: &str, what: &str| Error::new(ErrorKind::Manifest, what).at(format!("guidance.{key}"));
        let VlmSpec { layers, kv_heads, head_dim, width, vocabulary, deepstack, rope, .. } = &self.vlm;
        for (key, len) in [("layers", layers), ("kv_heads", kv_heads), ("head_dim", head_dim), ("width", width), ("vocabulary", vocabulary)]
        {
            if !(1..=MOST).contains(len) {
                return Err(bad(&format!("vlm.{key}"), "out of range").got(len));
            }
        }
        if deepstack > layers {
            return Err(bad("vlm.deepstack", "more levels than layers").got(deepstack).wanted(format!("at most {layers}")));
        }
        self.vlm.image.check()?;
        if rope.inverse_frequencies.len() * 2 != *head_dim || rope.sections.iter().sum::<usize>() * 2 != *head_dim {
            return Err(bad("vlm.rope", "not the pairs of a head")
                .got(format!("{} frequencies, sections {:?}", rope.inverse_frequencies.len(), rope.sections))
                .wanted(head_dim / 2));
        }
        if !rope.scale.is_finite() || rope.inverse_frequencies.iter().any(|x| !x.is_finite()) {
            return Err(bad("vlm.rope", "not finite"));
        }
        if self.vlm.end_tokens.is_empty() {
            return Err(bad("vlm.end_tokens", "empty: an answer would never end"));
        }
        for token in self.vlm.special() {
            if token as usize >= *vocabulary {
                return Err(bad("vlm", "a token beyond the vocabulary").got(token).wanted(format!("below {vocabulary}")));
            }
        }
        let TextEncoderSpec { vocabulary, pad_token, end_token, .. } = &self.text;
        if !(1..=MOST).contains(vocabulary) || [pad_token, end_token].iter().any(|token| **token as usize >= *vocabulary) {
            return Err(bad("text", "a token beyond the vocabulary")
                .got(format!("{pad_token}, {end_token}"))
                .wanted(format!("below {vocabulary}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks if an axis turns another axis's pairs. The sections are uneven, as in the model of
    /// `export/tests/test_guidance.py`.
    #[test]
    fn pairs_turn_with_the_axis_that_the_sections_give_them() {
        let rope = MRope { sections: [5, 2, 1], inverse_frequencies: vec![1.0; 8], scale: 1.0 };
        let mut row = [0.0; 16];
        rope.row([0, 1, 2], &mut row);
        let axes: Vec<usize> = row
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[cos, _]| (0..3usize).find(|&at| (libm::cos(at as f64) as f32 - cos).abs() < 1e-6).unwrap())
            .collect();
        assert_eq!(axes, [0, 1, 2, 0, 1, 0, 0, 0]);
    }
}

//! The sizes and constants of the guidance models: the `guidance` section of a manifest.
//!
//! Two frozen models make the guidance: a language model (VLM), which looks at the images of a
//! chunk and writes text, and the encoder of that text. The VLM is a
//! `Qwen3VLForConditionalGeneration`, the encoder a `UMT5EncoderModel`, each of any size.
//!
//! Rotary positions (time, height, width) are computed here, outside of the graphs, as in Qwen2-VL.
//! A text row has position (p, p, p). An image row has (p, p + row, p + column). The first row
//! after an image has p plus the longer side of the image's grid.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// The largest length that is accepted. No known model exceeds it.
const MOST: usize = 1 << 20;

/// The `guidance` section of a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuidanceSpec {
    /// The language model.
    pub vlm: VlmSpec,
    /// The encoder of the generated text.
    pub text: TextEncoderSpec,
}

/// The language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VlmSpec {
    /// Number of decoder layers.
    pub layers: usize,
    /// Hkv, the number of key and value heads.
    pub kv_heads: usize,
    /// Dh, the width of a head.
    pub head_dim: usize,
    /// D, the width of an embedding row.
    pub width: usize,
    /// V, the number of vocabulary entries.
    pub vocabulary: usize,
    /// Number of deepstack levels: levels of the decoder at which image features are added again.
    pub deepstack: usize,
    /// The images that the model reads.
    pub image: VlmImage,
    /// The token in place of each row of an image.
    pub image_token: u32,
    /// The token before an image.
    pub vision_start_token: u32,
    /// The token after an image.
    pub vision_end_token: u32,
    /// The tokens that end an answer.
    pub end_tokens: Vec<u32>,
    /// The rotary position embedding.
    pub rope: MRope,
    /// Name of the model's `tokenizer.json` in the folder of the manifest.
    pub tokenizer: String,
}

/// An image as the vision graph reads it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VlmImage {
    /// Height, pixels.
    pub height: usize,
    /// Width, pixels.
    pub width: usize,
    /// Side of a patch, pixels.
    pub patch: usize,
    /// Number of frames in a patch. A still image is repeated this often.
    pub temporal_patch: usize,
    /// Side of a block of patches that becomes one embedding row, patches.
    pub merge: usize,
    /// Mean of red, green and blue, of values in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, of values in [0, 1].
    pub std: [f32; 3],
}

/// Multimodal rotary positions of three axes, interleaved. Pair j of a head turns with the height
/// if j mod 3 = 1 and j < 3·`sections[1]`, with the width if j mod 3 = 2 and j < 3·`sections[2]`,
/// and with the time otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MRope {
    /// Number of pairs for time, height and width.
    pub sections: [usize; 3],
    /// Rotation of each pair for one position step, radians: the f32 values of the checkpoint.
    pub inverse_frequencies: Vec<f32>,
    /// Factor of all cosines and sines.
    pub scale: f32,
}

/// The encoder of the guidance text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEncoderSpec {
    /// Number of vocabulary entries.
    pub vocabulary: usize,
    /// The token that fills the rows after a text.
    pub pad_token: u32,
    /// The token that ends a text.
    pub end_token: u32,
    /// Name of the encoder's `tokenizer.json` in the folder of the manifest.
    pub tokenizer: String,
}

impl VlmSpec {
    /// The tokens that the tokenizer must have as special tokens.
    pub fn special(&self) -> Vec<u32> {
        let around = [self.image_token, self.vision_start_token, self.vision_end_token];
        around.into_iter().chain(self.end_tokens.iter().copied()).collect()
    }
}

impl VlmImage {
    /// Number of rows and columns of an image's embedding.
    pub fn grid(&self) -> [usize; 2] {
        [self.height, self.width].map(|side| side / (self.patch * self.merge))
    }

    /// Number of embedding rows of an image, P/merge².
    pub fn rows(&self) -> usize {
        let [rows, columns] = self.grid();
        rows * columns
    }

    /// P, the number of patches of an image.
    pub fn patches(&self) -> usize {
        self.rows() * self.merge * self.merge
    }

    /// Numbers of a patch: three channels, `temporal_patch` frames, `patch`² pixels.
    pub fn patch_len(&self) -> usize {
        3 * self.temporal_patch * self.patch * self.patch
    }

    /// Checks that the values are consistent.
    ///
    /// # Errors
    /// `Manifest` when a length is out of range, the sides are no multiples of `patch` · `merge`, a
    /// mean is not finite, or a standard deviation is not positive.
    pub fn check(&self) -> Result<()> {
        let bad = |what: &str, got: String| Err(Error::new(ErrorKind::Manifest, what).at("guidance.vlm.image").got(got));
        let lengths = [self.height, self.width, self.patch, self.temporal_patch, self.merge];
        if lengths.iter().any(|len| !(1..=8192).contains(len)) {
            return bad("a length is out of range", format!("{lengths:?}"));
        }
        let step = self.patch * self.merge;
        if !self.height.is_multiple_of(step) || !self.width.is_multiple_of(step) {
            return bad("not a multiple of the block size", format!("{} x {} in blocks of {step}", self.height, self.width));
        }
        if !self.mean.iter().all(|x| x.is_finite()) || !self.std.iter().all(|x| x.is_finite() && *x > 0.0) {
            return bad("the means must be finite and the standard deviations positive", format!("{:?}, {:?}", self.mean, self.std));
        }
        Ok(())
    }
}

impl MRope {
    /// Writes the row of `place` (time, height, width) to `out`: cosine and sine of each pair. The
    /// angles are f32 products, as in the training of the model; cosine and sine are computed in
    /// f64. Elements of `out` beyond the pairs keep their values.
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
    /// Checks that the values of the section are consistent.
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
            return Err(bad("vlm.deepstack", "more deepstack levels than layers").got(deepstack).wanted(format!("at most {layers}")));
        }
        self.vlm.image.check()?;
        if rope.inverse_frequencies.len() * 2 != *head_dim || rope.sections.iter().sum::<usize>() * 2 != *head_dim {
            return Err(bad("vlm.rope", "the pairs do not match the head")
                .got(format!("{} frequencies, sections {:?}", rope.inverse_frequencies.len(), rope.sections))
                .wanted(head_dim / 2));
        }
        if !rope.scale.is_finite() || rope.inverse_frequencies.iter().any(|x| !x.is_finite()) {
            return Err(bad("vlm.rope", "not finite"));
        }
        if self.vlm.end_tokens.is_empty() {
            return Err(bad("vlm.end_tokens", "empty: no token would end an answer"));
        }
        for token in self.vlm.special() {
            if token as usize >= *vocabulary {
                return Err(bad("vlm", "a token is not in the vocabulary").got(token).wanted(format!("below {vocabulary}")));
            }
        }
        let TextEncoderSpec { vocabulary, pad_token, end_token, .. } = &self.text;
        if !(1..=MOST).contains(vocabulary) || [pad_token, end_token].iter().any(|token| **token as usize >= *vocabulary) {
            return Err(bad("text", "a token is not in the vocabulary")
                .got(format!("{pad_token}, {end_token}"))
                .wanted(format!("below {vocabulary}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks if an axis turns the pairs of another axis. The numbers are those of the model in
    /// `export/tests/test_guidance.py`, whose sections are uneven.
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

//! What a runtime has to know of the frozen language model that looks at a chunk, and of the encoder of its text: the `guidance` section of a manifest.
//!
//! The model is a `Qwen3VLForConditionalGeneration`, the encoder a `UMT5EncoderModel`, each of any size. Positions are computed here, outside of the
//! graphs: a row of text stands at (p, p, p), a row of an image at (p, p + row, p + column), and what follows an image goes on behind its longer
//! side (Qwen2-VL's multimodal rotary positions).

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// Lengths beyond this are nobody's model.
const MOST: usize = 1 << 20;

/// The `guidance` section of a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuidanceSpec {
    /// Who speaks.
    pub vlm: VlmSpec,
    /// Who encodes what was said.
    pub text: TextEncoderSpec,
}

/// The language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VlmSpec {
    /// Layers of the decoder.
    pub layers: usize,
    /// Hkv, heads of keys and values.
    pub kv_heads: usize,
    /// Dh, width of a head.
    pub head_dim: usize,
    /// D, width of a row.
    pub width: usize,
    /// V, entries of the vocabulary.
    pub vocabulary: usize,
    /// Levels at which image features are added once more.
    pub deepstack: usize,
    /// The pictures that it looks at.
    pub image: VlmImage,
    /// Stands for a row of an image.
    pub image_token: u32,
    /// Stands before an image.
    pub vision_start_token: u32,
    /// Stands behind one.
    pub vision_end_token: u32,
    /// Any of these ends an answer.
    pub end_tokens: Vec<u32>,
    /// Its rotary positions.
    pub rope: MRope,
    /// Its `tokenizer.json`, a file of the folder.
    pub tokenizer: String,
}

/// A picture as the vision graph takes it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VlmImage {
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
    /// Side of a patch, pixels.
    pub patch: usize,
    /// Frames of a patch: a picture is repeated so often.
    pub temporal_patch: usize,
    /// Side of a block of patches that becomes one row.
    pub merge: usize,
    /// Of red, green, blue, of values within [0, 1].
    pub mean: [f32; 3],
    /// The same.
    pub std: [f32; 3],
}

/// Rotary positions of three axes, interleaved: pair j turns with height where j mod 3 = 1, with width where j mod 3 = 2, both below three times
/// their section, and with time else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MRope {
    /// Pairs of time, height, width.
    pub sections: [usize; 3],
    /// Turn of each pair for one step, radians; the checkpoint's own f32 numbers.
    pub inverse_frequencies: Vec<f32>,
    /// Multiplies cosine and sine.
    pub scale: f32,
}

/// The encoder of the guidance text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEncoderSpec {
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// Fills the rows behind a text.
    pub pad_token: u32,
    /// Ends a text.
    pub end_token: u32,
    /// Its `tokenizer.json`, a file of the folder.
    pub tokenizer: String,
}

impl VlmSpec {
    /// Tokens that its tokenizer must have as special ones.
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

    /// Numbers of a patch.
    pub fn patch_len(&self) -> usize {
        3 * self.temporal_patch * self.patch * self.patch
    }

    /// Proves that it can be meant.
    ///
    /// # Errors
    /// `Manifest`: lengths out of range, a picture that is not whole blocks of patches, a deviation that nothing can be divided by.
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
    /// The row at position `place` (time, height, width): cosine and sine of each pair. Angles are products in f32, as in the model that was trained with
    /// them; cosine and sine are taken in f64. What `out` has beyond the pairs stays as it is.
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
    /// Proves that what the section says can be meant.
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

    /// Breaks if an axis turns another axis's pairs: the numbers are those of `export/tests/test_guidance.py`'s model, whose sections are uneven.
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

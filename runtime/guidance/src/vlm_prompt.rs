//! The decoder's inputs for a prompt: token ids, image mask and rotary positions of each row,
//! worked out in Warm.
//!
//! Positions are those of Qwen2-VL (`drivewam_core::guidance`): a text row stands at (p, p, p), an
//! image row at (p, p + row, p + column), and the row after an image continues at p plus the longer
//! side of the image's grid.

use drivewam_core::guidance::VlmSpec as Facts;
use drivewam_core::{Error, ErrorKind, Result};

/// The decoder's inputs for one prompt of N rows.
#[derive(Debug)]
pub(crate) struct EncodedPrompt {
    /// Token ids `[N]`; the image token in the rows of an image.
    pub(crate) ids: Vec<f32>,
    /// 1 in the rows of an image, 0 elsewhere, `[N]`.
    pub(crate) is_image: Vec<f32>,
    /// Rotary table `[N, Dh]`.
    pub(crate) rope: Vec<f32>,
    /// First row of each image.
    pub(crate) images: Vec<usize>,
    /// Position of the first row after the prompt.
    pub(crate) next_position: usize,
}

impl EncodedPrompt {
    /// The inputs of a prompt of `tokens`, with one image token for each image.
    ///
    /// # Errors
    /// `Manifest` for a token beyond the model's vocabulary.
    pub(crate) fn new(facts: &Facts, tokens: &[u32]) -> Result<Self> {
        if let Some(odd) = tokens.iter().find(|&&id| id as usize >= facts.vocabulary) {
            return Err(Error::new(
                ErrorKind::Manifest,
                "a token of the prompt is beyond the model's vocabulary: the tokenizer is another model's",
            )
            .at("guidance.vlm.tokenizer")
            .got(odd)
            .wanted(format!("below {}", facts.vocabulary)));
        }
        let n = row_count(facts, tokens);
        let [rows, columns] = facts.image.grid();
        let (mut ids, mut is_image, mut rope) = (Vec::new(), Vec::new(), vec![0.0; n * facts.head_dim]);
        let (mut images, mut position) = (Vec::new(), 0);
        let mut set_rope = |row: usize, position: [usize; 3]| {
            if let Some(row) = rope.chunks_exact_mut(facts.head_dim).nth(row) {
                facts.rope.row(position, row);
            }
        };
        for &id in tokens {
            if id != facts.image_token {
                set_rope(ids.len(), [position; 3]);
                ids.push(id as f32);
                is_image.push(0.0);
                position += 1;
                continue;
            }
            images.push(ids.len());
            for row in 0..rows {
                for column in 0..columns {
                    set_rope(ids.len(), [position, position + row, position + column]);
                    ids.push(id as f32);
                    is_image.push(1.0);
                }
            }
            position += rows.max(columns);
        }
        Ok(Self { ids, is_image, rope, images, next_position: position })
    }
}

/// Shapes of the decoder's passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoderShapes {
    /// N of the pass over each prompt; every later pass of an answer has one row.
    pub prompts: Vec<usize>,
    /// S, slots of the KV cache, of all passes.
    pub slots: usize,
}

impl DecoderShapes {
    /// The shapes for `prompts`, with one image token for each image, and answers of at most
    /// `max_new_tokens`.
    pub fn new(facts: &Facts, prompts: &[Vec<u32>], max_new_tokens: usize) -> Self {
        let prompts: Vec<usize> = prompts.iter().map(|ids| row_count(facts, ids)).collect();
        let longest = prompts.iter().copied().max().unwrap_or(0).max(1);
        Self { prompts, slots: longest + max_new_tokens }
    }
}

/// Rows of a prompt, where each image token stands for all rows of an image.
fn row_count(facts: &Facts, ids: &[u32]) -> usize {
    ids.iter().map(|&id| if id == facts.image_token { facts.image.rows() } else { 1 }).sum()
}

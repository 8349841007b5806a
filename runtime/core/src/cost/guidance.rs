//! The paper's guidance models by their public configurations: parameters, and the cost of a prompt
//! and its answer.

use super::pass::{attention, product};
use super::{Number, PassCost};

/// A `Qwen3VLForConditionalGeneration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QwenVl {
    /// Layers of the language model.
    pub layers: u64,
    /// Width of a row.
    pub width: u64,
    /// Inner width of the feed-forward layers, which have three matrices.
    pub ffn: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Size of the vocabulary; embedding and output are separate matrices.
    pub vocabulary: u64,
    /// Layers of the vision tower.
    pub vision_layers: u64,
    /// Width of the vision tower.
    pub vision_width: u64,
    /// Inner width of the vision tower.
    pub vision_ffn: u64,
    /// Values of a patch.
    pub patch: u64,
    /// Positions with an embedding.
    pub places: u64,
    /// Patches that become one row of the language model.
    pub merge: u64,
    /// Decoder levels at which image features are added (deepstack).
    pub deepstack: u64,
}

/// Qwen3-VL-8B, by its public `config.json`: 8.767 G parameters, as the class counts
/// (`export/tests/test_cost.py`).
pub const QWEN3_VL_8B: QwenVl = QwenVl {
    layers: 36,
    width: 4096,
    ffn: 12288,
    heads: 32,
    kv_heads: 8,
    head_dim: 128,
    vocabulary: 151_936,
    vision_layers: 27,
    vision_width: 1152,
    vision_ffn: 4304,
    patch: 3 * 2 * 16 * 16,
    places: 2304,
    merge: 4,
    deepstack: 3,
};

impl QwenVl {
    fn layer_products(&self) -> u64 {
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        2 * self.width * queries + 2 * self.width * keys + 3 * self.width * self.ffn
    }

    /// Parameters of the language model, both vocabulary matrices included.
    pub fn decoder_parameters(&self) -> u64 {
        let layer = self.layer_products() + 2 * self.head_dim + 2 * self.width;
        self.layers * layer + self.width + 2 * self.vocabulary * self.width
    }

    /// Parameters of the vision tower.
    pub fn vision_parameters(&self) -> u64 {
        let (w, ffn, wide) = (self.vision_width, self.vision_ffn, self.merge * self.vision_width);
        let layer = 4 * w + (3 * w * w + 3 * w) + (w * w + w) + (w * ffn + ffn) + (ffn * w + w);
        let merger = (wide * wide + wide) + (wide * self.width + self.width);
        self.patch * w + w + self.places * w + self.vision_layers * layer + (merger + 2 * w) + self.deepstack * (merger + 2 * wide)
    }

    /// The cost of one image of `patches` patches.
    pub fn vision(&self, patches: u64, number: Number) -> PassCost {
        let (w, wide) = (self.vision_width, self.merge * self.vision_width);
        let layer = product(patches, w, 4 * w + 2 * self.vision_ffn) + attention(patches, patches, w);
        let mergers = (1 + self.deepstack) as f64 * product(patches / self.merge, wide, wide + self.width);
        PassCost {
            flops: product(patches, self.patch, w) + self.vision_layers as f64 * layer + mergers,
            weight_bytes: self.vision_parameters() * number.bytes(),
            cache_bytes: 0,
        }
    }

    /// The cost of a pass of `rows` rows that attend to `keys` keys: a prompt (`keys` = `rows`), or
    /// one token of an answer. Only the last row is multiplied with the output matrix; embeddings
    /// are looked up.
    pub fn pass(&self, rows: u64, keys: u64, number: Number) -> PassCost {
        let layer = product(rows, 1, self.layer_products()) + attention(rows, keys, self.heads * self.head_dim);
        let table = self.vocabulary * self.width;
        PassCost {
            flops: self.layers as f64 * layer + product(1, 1, table),
            weight_bytes: (self.decoder_parameters() - table) * number.bytes(),
            cache_bytes: 2 * self.layers * keys * self.kv_heads * self.head_dim * number.cached().bytes() as u64,
        }
    }
}

/// A `UMT5EncoderModel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Umt5Encoder {
    /// Layers.
    pub layers: u64,
    /// Dt, width of a row.
    pub width: u64,
    /// Inner width of the feed-forward layers, which have three matrices.
    pub ffn: u64,
    /// Number of heads times their width.
    pub inner: u64,
    /// Heads.
    pub heads: u64,
    /// Relative position buckets; each layer has its own.
    pub buckets: u64,
    /// Size of the vocabulary.
    pub vocabulary: u64,
}

/// The encoder of umT5-XXL, by its public `config.json`: 5.681 G parameters, as the class counts
/// (`export/tests/test_cost.py`).
pub const UMT5_XXL: Umt5Encoder =
    Umt5Encoder { layers: 24, width: 4096, ffn: 10240, inner: 4096, heads: 64, buckets: 32, vocabulary: 256_384 };

impl Umt5Encoder {
    fn layer_products(&self) -> u64 {
        4 * self.width * self.inner + 3 * self.width * self.ffn
    }

    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        let layer = self.layer_products() + self.buckets * self.heads + 2 * self.width;
        self.layers * layer + self.width + self.vocabulary * self.width
    }

    /// The cost of a text of `rows` rows. Embeddings are looked up.
    pub fn work(&self, rows: u64, number: Number) -> PassCost {
        PassCost {
            flops: self.layers as f64 * (product(rows, 1, self.layer_products()) + attention(rows, rows, self.inner)),
            weight_bytes: (self.parameters() - self.vocabulary * self.width) * number.bytes(),
            cache_bytes: 0,
        }
    }
}

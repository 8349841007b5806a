//! The paper's guidance models, by their public configurations: their parameters, and the cost of a
//! prompt and its answer.

use super::pass::{attention, product};
use super::{Number, PassCost};

/// The sizes of a `Qwen3VLForConditionalGeneration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QwenVl {
    /// The number of layers of the language model.
    pub layers: u64,
    /// The hidden width of the language model.
    pub width: u64,
    /// The inner width of the feed-forward part, which has three matrices.
    pub ffn: u64,
    /// The number of query heads.
    pub heads: u64,
    /// The number of key and value heads.
    pub kv_heads: u64,
    /// The width of a head.
    pub head_dim: u64,
    /// The size of the vocabulary. The embedding and the output layer are two matrices.
    pub vocabulary: u64,
    /// The number of layers of the vision tower.
    pub vision_layers: u64,
    /// The hidden width of the vision tower.
    pub vision_width: u64,
    /// The inner width of the vision tower's feed-forward part.
    pub vision_ffn: u64,
    /// The number of values of a patch.
    pub patch: u64,
    /// The number of positions of the vision tower that have an embedding.
    pub places: u64,
    /// The number of patches that are merged into one row of the language model.
    pub merge: u64,
    /// The number of layers whose image features are added once more (DeepStack).
    pub deepstack: u64,
}

/// Qwen3-VL-8B, by its public `config.json`. It has 8.767 G parameters, as
/// `export/tests/test_cost.py` counts in the class.
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

    /// The number of parameters of the language model, with the embedding and the output layer.
    pub fn decoder_parameters(&self) -> u64 {
        let layer = self.layer_products() + 2 * self.head_dim + 2 * self.width;
        self.layers * layer + self.width + 2 * self.vocabulary * self.width
    }

    /// The number of parameters of the vision tower.
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

    /// The cost of a pass of `rows` rows that attend to `keys` keys in all: a prompt (`keys` =
    /// `rows`), or one token of an answer. The output layer computes the last row only. The
    /// embedding table is looked up, so its bytes are not counted.
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

/// The sizes of a `UMT5EncoderModel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Umt5Encoder {
    /// The number of layers.
    pub layers: u64,
    /// Dt, the hidden width.
    pub width: u64,
    /// The inner width of the feed-forward part, which has three matrices.
    pub ffn: u64,
    /// The number of heads times their width.
    pub inner: u64,
    /// The number of heads.
    pub heads: u64,
    /// The number of buckets of relative positions. Each layer has its own.
    pub buckets: u64,
    /// The size of the vocabulary.
    pub vocabulary: u64,
}

/// The encoder of umT5-XXL, by its public `config.json`. It has 5.681 G parameters, as
/// `export/tests/test_cost.py` counts in the class.
pub const UMT5_XXL: Umt5Encoder =
    Umt5Encoder { layers: 24, width: 4096, ffn: 10240, inner: 4096, heads: 64, buckets: 32, vocabulary: 256_384 };

impl Umt5Encoder {
    fn layer_products(&self) -> u64 {
        4 * self.width * self.inner + 3 * self.width * self.ffn
    }

    /// The number of parameters.
    pub fn parameters(&self) -> u64 {
        let layer = self.layer_products() + self.buckets * self.heads + 2 * self.width;
        self.layers * layer + self.width + self.vocabulary * self.width
    }

    /// The cost of a text of `rows` rows. The embedding table is looked up, so its bytes are not
    /// counted.
    pub fn work(&self, rows: u64, number: Number) -> PassCost {
        PassCost {
            flops: self.layers as f64 * (product(rows, 1, self.layer_products()) + attention(rows, rows, self.inner)),
            weight_bytes: (self.parameters() - self.vocabulary * self.width) * number.bytes(),
            cache_bytes: 0,
        }
    }
}

//! The graphs of this product and the tensors of each: the contract between export and runtime.
//!
//! `export` writes the same tables into `manifest.yaml`. The runtime compares the manifest with
//! [`Graph::signature`], and binds engines by it. Axis letters are those of [`crate::dims`].

pub use crate::tensor::{
    DEEPSTACK, EGO, FLOW_TIME, FRAMES, IDS, IMAGE, INCREMENTS, IS_ACTION, IS_IMAGE, LATENT, LOGITS, MASKED, MEM_BIAS, PAD_BIAS, PATCHES,
    ROPE, SELF_SCALE, TEXT, TEXT_BIAS, TOKENS, UNFAMILIAR, VELOCITY,
};

use crate::dims::{INCREMENT_CHANNELS, Model, SelfScale};
use crate::dtype::DType;
use crate::guidance::GuidanceSpec;
use crate::tensor::Axis::{self, Fixed};
use crate::tensor::{DynamicDim, Signature, TensorRole as R, TensorSpec};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::once;

/// N, the tokens of a pass.
const N: Axis = Axis::Dynamic(DynamicDim::N);
/// S, the memory slots.
const S: Axis = Axis::Dynamic(DynamicDim::S);

/// A graph of this product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Graph {
    /// Encodes the first frame of a rollout to its latent.
    VaeEncodeFirst,
    /// Encodes the frames of a chunk to their latent.
    VaeEncode,
    /// Decodes a latent to the frames of its chunk. Only used to view the predicted video.
    VaeDecode,
    /// Says how unlike the training a chunk of frames and the motion during it are. A folder may
    /// lack it.
    Monitor,
    /// Projects the guidance text to cross-attention keys and values.
    ContextText,
    /// Projects the ego state to cross-attention keys and values.
    ContextEgo,
    /// Runs one pass of the denoising transformer.
    Dit,
    /// Encodes an image to the embedding rows that the language model reads.
    VlmVision,
    /// Runs the language model over N rows of a prompt or one row of an answer.
    VlmDecoder,
    /// Encodes the guidance text to the embedding rows that `context_text` reads.
    TextEncode,
}

impl Graph {
    /// All graphs, in the order in which they first run.
    pub const ALL: [Self; 10] = [
        Self::VaeEncodeFirst,
        Self::VaeEncode,
        Self::Monitor,
        Self::VlmVision,
        Self::VlmDecoder,
        Self::TextEncode,
        Self::ContextText,
        Self::ContextEgo,
        Self::Dit,
        Self::VaeDecode,
    ];

    /// The graphs of the driving policy.
    pub const POLICY: [Self; 7] =
        [Self::VaeEncodeFirst, Self::VaeEncode, Self::Monitor, Self::ContextText, Self::ContextEgo, Self::Dit, Self::VaeDecode];

    /// The graphs of the language model and its text encoder.
    pub const GUIDANCE: [Self; 3] = [Self::VlmVision, Self::VlmDecoder, Self::TextEncode];

    /// The name in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VaeEncodeFirst => "vae_encode_first",
            Self::VaeEncode => "vae_encode",
            Self::VaeDecode => "vae_decode",
            Self::Monitor => "monitor",
            Self::ContextText => "context_text",
            Self::ContextEgo => "context_ego",
            Self::Dit => "dit",
            Self::VlmVision => "vlm_vision",
            Self::VlmDecoder => "vlm_decoder",
            Self::TextEncode => "text_encode",
        }
    }

    /// The tensors that this graph must have for `model`.
    ///
    /// `caches` are the shapes of the codec's causal caches. The contract does not fix their number
    /// and sizes, so they come from the manifest; graphs outside the codec ignore them. `cached` is
    /// the element type of keys, values and queries, including those of memory and context; all
    /// other tensors are f32. `guidance` describes the language model; without it, the graphs of
    /// [`Graph::GUIDANCE`] have no tensors.
    pub fn signature(self, model: &Model, guidance: Option<&GuidanceSpec>, caches: &[Vec<usize>], cached: DType) -> Signature {
        let text = TensorSpec::f32(R::Text, &[Fixed(model.text_rows()), Fixed(model.text.dim)]);
        let latent = TensorSpec::f32(R::Latent, &[model.latent.channels, model.latent.height, model.latent.width].map(Fixed));
        let frames = |count| TensorSpec::f32(R::Frames, &[count, 3, model.image.height, model.image.width].map(Fixed));
        let chunk = model.image.frames_per_latent;
        let context =
            |roles: [fn(usize) -> R; 2], rows| per_layer(model.layers, roles, cached, [Fixed(model.heads), rows, Fixed(model.head_dim)]);
        match self {
            Self::VaeEncodeFirst => {
                Signature { inputs: vec![frames(1)], outputs: once(latent).chain(of_caches(R::CacheOut, caches)).collect() }
            }
            Self::VaeEncode => Signature {
                inputs: once(frames(chunk)).chain(of_caches(R::CacheIn, caches)).collect(),
                outputs: once(latent).chain(of_caches(R::CacheOut, caches)).collect(),
            },
            Self::VaeDecode => Signature {
                inputs: once(latent).chain(of_caches(R::CacheIn, caches)).collect(),
                outputs: once(frames(chunk)).chain(of_caches(R::CacheOut, caches)).collect(),
            },
            Self::Monitor => Signature {
                inputs: vec![latent, TensorSpec::f32(R::Increments, &[model.poses(), INCREMENT_CHANNELS].map(Fixed))],
                outputs: vec![TensorSpec::f32(R::Unfamiliar, &[Fixed(1)])],
            },
            Self::ContextText => {
                Signature { inputs: vec![text], outputs: context([R::TextK, R::TextV], Fixed(model.text_rows())).collect() }
            }
            Self::ContextEgo => Signature {
                inputs: vec![TensorSpec::f32(R::Ego, &[Fixed(model.ego.features.len())])],
                outputs: context([R::EgoK, R::EgoV], Fixed(model.ego.tokens)).collect(),
            },
            Self::Dit => dit(model, cached),
            Self::VlmVision => guidance.map(vlm_vision).unwrap_or_default(),
            Self::VlmDecoder => guidance.map(|guidance| vlm_decoder(guidance, cached)).unwrap_or_default(),
            Self::TextEncode => text_encode(model),
        }
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The causal caches of the codec.
fn of_caches(role: fn(usize) -> R, caches: &[Vec<usize>]) -> impl Iterator<Item = TensorSpec> {
    let axes = |shape: &Vec<usize>| shape.iter().map(|&len| Fixed(len)).collect::<Vec<_>>();
    caches.iter().enumerate().map(move |(i, shape)| TensorSpec::f32(role(i), &axes(shape)))
}

/// The tensors of all `roles` for every layer, layer by layer.
fn per_layer<const COUNT: usize>(
    layers: usize,
    roles: [fn(usize) -> R; COUNT],
    dtype: DType,
    shape: [Axis; 3],
) -> impl Iterator<Item = TensorSpec> {
    (0..layers).flat_map(move |layer| roles.map(|role| TensorSpec::new(role(layer), dtype, &shape)))
}

/// The tensors of `dit`: N tokens over S memory slots.
fn dit(model: &Model, cached: DType) -> Signature {
    let tokens = [N, Fixed(model.token_width())];
    let cross =
        |roles: [fn(usize) -> R; 2], rows| per_layer(model.layers, roles, cached, [Fixed(model.heads), rows, Fixed(model.head_dim)]);
    let mut inputs = vec![
        TensorSpec::f32(R::Tokens, &tokens),
        TensorSpec::f32(R::IsAction, &[N]),
        TensorSpec::f32(R::FlowTime, &[Fixed(2)]),
        TensorSpec::f32(R::Rope, &[N, Fixed(model.head_dim / 2), Fixed(2)]),
        TensorSpec::f32(R::MemBias, &[S]),
        TensorSpec::f32(R::TextBias, &[Fixed(model.text_rows())]),
    ];
    if model.self_scale == SelfScale::Log {
        inputs.push(TensorSpec::f32(R::SelfScale, &[N]));
    }
    inputs.extend(cross([R::MemK, R::MemV], S));
    inputs.extend(cross([R::TextK, R::TextV], Fixed(model.text_rows())));
    inputs.extend(cross([R::EgoK, R::EgoV], Fixed(model.ego.tokens)));
    let pass = [Fixed(model.heads), N, Fixed(model.head_dim)];
    let outputs = once(TensorSpec::f32(R::Velocity, &tokens)).chain(per_layer(model.layers, [R::K, R::V, R::Q], cached, pass)).collect();
    Signature { inputs, outputs }
}

/// The tensors of `vlm_vision`: the patches of one image to its embedding rows, and to the features
/// that are added at each deepstack level.
fn vlm_vision(guidance: &GuidanceSpec) -> Signature {
    let vlm = &guidance.vlm;
    let rows = [vlm.image.rows(), vlm.width].map(Fixed);
    let levels = (0..vlm.deepstack).map(|level| TensorSpec::f32(R::Deepstack(level), &rows));
    Signature {
        inputs: vec![TensorSpec::f32(R::Patches, &[vlm.image.patches(), vlm.image.patch_len()].map(Fixed))],
        outputs: once(TensorSpec::f32(R::Image, &rows)).chain(levels).collect(),
    }
}

/// The tensors of `vlm_decoder`: N rows over S memory slots.
fn vlm_decoder(guidance: &GuidanceSpec, cached: DType) -> Signature {
    let vlm = &guidance.vlm;
    let row = [N, Fixed(vlm.width)];
    let cache = |roles: [fn(usize) -> R; 2], rows| per_layer(vlm.layers, roles, cached, [Fixed(vlm.kv_heads), rows, Fixed(vlm.head_dim)]);
    let mut inputs = vec![TensorSpec::f32(R::Ids, &[N]), TensorSpec::f32(R::Image, &row), TensorSpec::f32(R::IsImage, &[N])];
    inputs.extend((0..vlm.deepstack).map(|level| TensorSpec::f32(R::Deepstack(level), &row)));
    inputs.push(TensorSpec::f32(R::Rope, &[N, Fixed(vlm.head_dim / 2), Fixed(2)]));
    inputs.push(TensorSpec::f32(R::MemBias, &[S]));
    inputs.extend(cache([R::MemK, R::MemV], S));
    let logits = TensorSpec::f32(R::Logits, &[Fixed(vlm.vocabulary)]);
    Signature { inputs, outputs: once(logits).chain(cache([R::K, R::V], N)).collect() }
}

/// The tensors of `text_encode`, which always runs on `text.max_rows` rows.
fn text_encode(model: &Model) -> Signature {
    let rows = Fixed(model.text.max_rows);
    Signature {
        inputs: vec![TensorSpec::f32(R::Ids, &[rows]), TensorSpec::f32(R::PadBias, &[rows])],
        outputs: vec![TensorSpec::f32(R::Text, &[rows, Fixed(model.text.dim)])],
    }
}

//! Every tensor that crosses a graph's border: name, element type, axes. The one place where these names are written.
//!
//! `export` writes the same table into `manifest.yaml`; [`Graph::signature`] is what the runtime holds it against, and what the engines
//! are bound by. Axis letters are those of [`crate::dims`].

use crate::dims::{Model, SelfScale};
use crate::dtype::DType;
use crate::guidance::Guidance;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Patchified latent rows or action rows, `[N, W]`.
pub const TOKENS: &str = "tokens";
/// 1 for an action row, 0 for a video row, `[N]`.
pub const IS_ACTION: &str = "is_action";
/// Flow time of the video rows, of the action rows, `[2]`; 1 is noise, 0 is data.
pub const FLOW_TIME: &str = "flow_time";
/// Cosine and sine of each pair of channels, `[N, D/2, 2]`.
pub const ROPE: &str = "rope";
/// 0 for a filled memory slot, [`MASKED`] for an empty one, `[S]`.
pub const MEM_BIAS: &str = "mem_bias";
/// Bias of each text row, `[T]`.
pub const TEXT_BIAS: &str = "text_bias";
/// Scale of each row's self-attention logits, `[N]`; only where the model scales them.
pub const SELF_SCALE: &str = "self_scale";
/// Predicted velocity, noise minus data, `[N, W]`.
pub const VELOCITY: &str = "velocity";
/// Frames in `[-1, 1]`, RGB, `[F, 3, Hpx, Wpx]`.
pub const FRAMES: &str = "frames";
/// Normalised mean latent, `[Cz, Hz, Wz]`.
pub const LATENT: &str = "latent";
/// Text embedding, `[T, Dt]`.
pub const TEXT: &str = "text";
/// Ego state in physical units, one number per feature.
pub const EGO: &str = "ego";

/// Tokens by their number in the vocabulary, `[N]` or `[T]`: whole numbers in f32, which the graph casts.
pub const IDS: &str = "ids";
/// 1 for a row of an image, 0 for one of text, `[N]`.
pub const IS_IMAGE: &str = "is_image";
/// Rows of a picture, `[P/merge², D]`; of a prompt, `[N, D]`.
pub const IMAGE: &str = "image";
/// What is added to those rows at a level of the decoder.
pub const DEEPSTACK: &str = "deepstack";
/// Patches of a picture, normalised, `[P, 3·tp·ps·ps]`.
pub const PATCHES: &str = "patches";
/// Of the next token, `[V]`.
pub const LOGITS: &str = "logits";
/// 0 for a row of text, [`MASKED`] for one of padding, `[T]`.
pub const PAD_BIAS: &str = "pad_bias";

/// The additive bias of a key that must not be seen. Finite in half precision.
pub const MASKED: f32 = -30000.0;

/// A per-layer tensor name: `stem.layer`.
pub fn layered(stem: &str, layer: usize) -> String {
    format!("{stem}.{layer}")
}

/// One length of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Axis {
    /// Known when the graph is exported.
    Fixed(usize),
    /// Chosen when the graph is bound.
    Dynamic(Letter),
}

/// The letter of an axis that is chosen when a graph is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Letter {
    /// Tokens of the pass.
    N,
    /// Memory slots.
    S,
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(n) => write!(f, "{n}"),
            Self::Dynamic(letter) => write!(f, "{letter:?}"),
        }
    }
}

/// A tensor at a graph's border.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// The name inside the graph.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<Axis>,
}

impl TensorSpec {
    pub(crate) fn f32(name: impl Into<String>, shape: &[Axis]) -> Self {
        Self::of(name, DType::F32, shape)
    }

    pub(crate) fn of(name: impl Into<String>, dtype: DType, shape: &[Axis]) -> Self {
        Self { name: name.into(), dtype, shape: shape.to_vec() }
    }

    /// The shape with N and S filled in.
    pub fn resolve(&self, n: usize, s: usize) -> Vec<usize> {
        self.shape
            .iter()
            .map(|axis| match axis {
                Axis::Fixed(len) => *len,
                Axis::Dynamic(Letter::N) => n,
                Axis::Dynamic(Letter::S) => s,
            })
            .collect()
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} [", self.name, self.dtype)?;
        for (i, axis) in self.shape.iter().enumerate() {
            write!(f, "{}{axis}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

/// What goes into a graph and what comes out of it, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signature {
    /// Inputs.
    pub inputs: Vec<TensorSpec>,
    /// Outputs.
    pub outputs: Vec<TensorSpec>,
}

/// The graphs of this product that the runtime knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Graph {
    /// The first frame of a rollout to its latent.
    VaeEncodeFirst,
    /// The frames of a chunk to its latent.
    VaeEncode,
    /// A latent to the frames of its chunk; needed only when someone wants to look.
    VaeDecode,
    /// Guidance text to cross-attention keys and values.
    ContextText,
    /// Ego state to cross-attention keys and values.
    ContextEgo,
    /// One pass of the denoising transformer.
    Dit,
    /// A picture to rows that the language model reads.
    VlmVision,
    /// The language model: N rows of a prompt, or one of an answer.
    VlmDecoder,
    /// The guidance text to rows that `context_text` reads.
    TextEncode,
}

impl Graph {
    /// All graphs, in the order in which they first run.
    pub const ALL: [Self; 9] = [
        Self::VaeEncodeFirst,
        Self::VaeEncode,
        Self::VlmVision,
        Self::VlmDecoder,
        Self::TextEncode,
        Self::ContextText,
        Self::ContextEgo,
        Self::Dit,
        Self::VaeDecode,
    ];
    /// Those that every policy has.
    pub const POLICY: [Self; 6] = [Self::VaeEncodeFirst, Self::VaeEncode, Self::ContextText, Self::ContextEgo, Self::Dit, Self::VaeDecode];

    /// Those that speak beside it.
    pub const GUIDANCE: [Self; 3] = [Self::VlmVision, Self::VlmDecoder, Self::TextEncode];

    /// The name in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VaeEncodeFirst => "vae_encode_first",
            Self::VaeEncode => "vae_encode",
            Self::VaeDecode => "vae_decode",
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
    /// `caches` are the shapes of the codec's causal cache: how many there are and how large is the codec's own affair, so they come from
    /// the manifest; graphs without a codec ignore them. `cached` is the type of keys, values and queries, of the memory and of the context; all
    /// else crosses a border in f32. `guidance` are the facts of the graphs that speak; without them these have no tensors, and no engine.
    pub fn signature(self, model: &Model, guidance: Option<&Guidance>, caches: &[Vec<usize>], cached: DType) -> Signature {
        use Axis::{Dynamic, Fixed};
        let (n, s) = (Dynamic(Letter::N), Dynamic(Letter::S));
        let (h, d) = (Fixed(model.heads), Fixed(model.head_dim));
        let (t, e, w) = (Fixed(model.text_rows()), Fixed(model.ego.tokens), Fixed(model.token_width()));
        let frames = |count: usize| TensorSpec::f32(FRAMES, &[Fixed(count), Fixed(3), Fixed(model.image.height), Fixed(model.image.width)]);
        let latent = TensorSpec::f32(LATENT, &[Fixed(model.latent.channels), Fixed(model.latent.height), Fixed(model.latent.width)]);
        let cache = |stem: &'static str| {
            caches
                .iter()
                .enumerate()
                .map(move |(i, shape)| TensorSpec::f32(layered(stem, i), &shape.iter().map(|&len| Fixed(len)).collect::<Vec<_>>()))
        };
        let per_layer = |stems: [&'static str; 2], rows: Axis| {
            (0..model.layers).flat_map(move |l| stems.map(|stem| TensorSpec::of(layered(stem, l), cached, &[h, rows, d])))
        };
        match self {
            Self::VaeEncodeFirst => {
                Signature { inputs: vec![frames(1)], outputs: std::iter::once(latent).chain(cache("cache_out")).collect() }
            }
            Self::VaeEncode => Signature {
                inputs: std::iter::once(frames(model.image.frames_per_latent)).chain(cache("cache_in")).collect(),
                outputs: std::iter::once(latent).chain(cache("cache_out")).collect(),
            },
            Self::VaeDecode => Signature {
                inputs: std::iter::once(latent).chain(cache("cache_in")).collect(),
                outputs: std::iter::once(frames(model.image.frames_per_latent)).chain(cache("cache_out")).collect(),
            },
            Self::ContextText => Signature {
                inputs: vec![TensorSpec::f32(TEXT, &[t, Fixed(model.text.dim)])],
                outputs: per_layer(["text_k", "text_v"], t).collect(),
            },
            Self::ContextEgo => Signature {
                inputs: vec![TensorSpec::f32(EGO, &[Fixed(model.ego.features.len())])],
                outputs: per_layer(["ego_k", "ego_v"], e).collect(),
            },
            Self::VlmVision => guidance.map(Guidance::vision).unwrap_or_default(),
            Self::VlmDecoder => guidance.map(|guidance| guidance.decoder(cached)).unwrap_or_default(),
            Self::TextEncode => Guidance::encoder(model),
            Self::Dit => {
                let mut inputs = vec![
                    TensorSpec::f32(TOKENS, &[n, w]),
                    TensorSpec::f32(IS_ACTION, &[n]),
                    TensorSpec::f32(FLOW_TIME, &[Fixed(2)]),
                    TensorSpec::f32(ROPE, &[n, Fixed(model.head_dim / 2), Fixed(2)]),
                    TensorSpec::f32(MEM_BIAS, &[s]),
                    TensorSpec::f32(TEXT_BIAS, &[t]),
                ];
                if model.self_scale == SelfScale::Log {
                    inputs.push(TensorSpec::f32(SELF_SCALE, &[n]));
                }
                inputs.extend(per_layer(["mem_k", "mem_v"], s));
                inputs.extend(per_layer(["text_k", "text_v"], t));
                inputs.extend(per_layer(["ego_k", "ego_v"], e));
                let mut outputs = vec![TensorSpec::f32(VELOCITY, &[n, w])];
                outputs.extend(
                    (0..model.layers).flat_map(|l| ["k", "v", "q"].map(|stem| TensorSpec::of(layered(stem, l), cached, &[h, n, d]))),
                );
                Signature { inputs, outputs }
            }
        }
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

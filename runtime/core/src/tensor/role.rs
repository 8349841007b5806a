//! The role of a tensor. This file alone writes and reads tensor names.

use std::fmt;

/// Token rows, `[N, W]`: patchified latent rows or action rows.
pub const TOKENS: &str = "tokens";
/// 1 for an action row, 0 for a video row, `[N]`.
pub const IS_ACTION: &str = "is_action";
/// Flow time of the video rows and of the action rows, `[2]`; 1 is noise, 0 is data.
pub const FLOW_TIME: &str = "flow_time";
/// Cosine and sine of each pair of channels, `[N, D/2, 2]`.
pub const ROPE: &str = "rope";
/// 0 for a filled memory slot, [`MASKED`](super::MASKED) for an empty one, `[S]`.
pub const MEM_BIAS: &str = "mem_bias";
/// Attention bias of each text row, `[T]`.
pub const TEXT_BIAS: &str = "text_bias";
/// Scale of each row's self-attention logits, `[N]`. Only exists if the model scales them.
pub const SELF_SCALE: &str = "self_scale";
/// Predicted velocity, noise minus data, `[N, W]`.
pub const VELOCITY: &str = "velocity";
/// Frames in `[-1, 1]`, RGB, `[F, 3, Hpx, Wpx]`.
pub const FRAMES: &str = "frames";
/// Mean of the latent distribution, normalised, `[Cz, Hz, Wz]`.
pub const LATENT: &str = "latent";
/// Text embedding, `[T, Dt]`.
pub const TEXT: &str = "text";
/// Ego state in physical units, one value per feature.
pub const EGO: &str = "ego";
/// Token ids, `[N]` or `[T]`: whole numbers in f32, which the graph casts.
pub const IDS: &str = "ids";
/// 1 for a row of an image, 0 for a row of text, `[N]`.
pub const IS_IMAGE: &str = "is_image";
/// Embedding rows: `[P/merge², D]` for an image, `[N, D]` for a prompt.
pub const IMAGE: &str = "image";
/// Image features that are added to the embedding rows at one deepstack level.
pub const DEEPSTACK: &str = "deepstack";
/// Normalised patches of an image, `[P, 3·tp·ps·ps]`.
pub const PATCHES: &str = "patches";
/// Logits of the next token, `[V]`.
pub const LOGITS: &str = "logits";
/// Motion of the ego in each step of a chunk, `[steps, 3]`: dx m, dy m, dyaw rad, in the frame of
/// the chunk's first pose.
pub const INCREMENTS: &str = "increments";
/// How unlike the training a chunk is, `[1]`, from 0 to 1.
pub const UNFAMILIAR: &str = "unfamiliar";
/// 0 for a row of text, [`MASKED`](super::MASKED) for a row of padding, `[T]`.
pub const PAD_BIAS: &str = "pad_bias";

/// What a tensor at the boundary of a graph is. A number is the index of a layer, of a deepstack
/// level, or of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TensorRole {
    /// [`TOKENS`].
    Tokens,
    /// [`IS_ACTION`].
    IsAction,
    /// [`FLOW_TIME`].
    FlowTime,
    /// [`ROPE`].
    Rope,
    /// [`MEM_BIAS`].
    MemBias,
    /// [`TEXT_BIAS`].
    TextBias,
    /// [`SELF_SCALE`].
    SelfScale,
    /// [`VELOCITY`].
    Velocity,
    /// [`FRAMES`].
    Frames,
    /// [`LATENT`].
    Latent,
    /// [`TEXT`].
    Text,
    /// [`EGO`].
    Ego,
    /// [`IDS`].
    Ids,
    /// [`IS_IMAGE`].
    IsImage,
    /// [`IMAGE`].
    Image,
    /// [`DEEPSTACK`] of a level.
    Deepstack(usize),
    /// [`PATCHES`].
    Patches,
    /// [`LOGITS`].
    Logits,
    /// [`PAD_BIAS`].
    PadBias,
    /// [`INCREMENTS`].
    Increments,
    /// [`UNFAMILIAR`].
    Unfamiliar,
    /// A causal cache of the codec, read.
    CacheIn(usize),
    /// The same cache, written.
    CacheOut(usize),
    /// Keys of the memory, `[H, S, D]`.
    MemK(usize),
    /// Values of the memory, `[H, S, D]`.
    MemV(usize),
    /// Cross-attention keys of the text, `[H, T, D]`.
    TextK(usize),
    /// Cross-attention values of the text, `[H, T, D]`.
    TextV(usize),
    /// Cross-attention keys of the ego state, `[H, E, D]`.
    EgoK(usize),
    /// Cross-attention values of the ego state, `[H, E, D]`.
    EgoV(usize),
    /// Keys of the pass, after the rotation, `[H, N, D]`.
    K(usize),
    /// Values of the pass, `[H, N, D]`.
    V(usize),
    /// Queries of the pass, after the rotation, `[H, N, D]`.
    Q(usize),
}

use TensorRole as R;

/// Roles that a graph has once, and their names.
const SINGLE: [(&str, TensorRole); 20] = [
    (TOKENS, R::Tokens),
    (IS_ACTION, R::IsAction),
    (FLOW_TIME, R::FlowTime),
    (ROPE, R::Rope),
    (MEM_BIAS, R::MemBias),
    (TEXT_BIAS, R::TextBias),
    (SELF_SCALE, R::SelfScale),
    (VELOCITY, R::Velocity),
    (FRAMES, R::Frames),
    (LATENT, R::Latent),
    (TEXT, R::Text),
    (EGO, R::Ego),
    (IDS, R::Ids),
    (IS_IMAGE, R::IsImage),
    (IMAGE, R::Image),
    (PATCHES, R::Patches),
    (LOGITS, R::Logits),
    (PAD_BIAS, R::PadBias),
    (INCREMENTS, R::Increments),
    (UNFAMILIAR, R::Unfamiliar),
];

/// A stem of a name, and the role of the tensor `stem.index`.
type IndexedRole = (&'static str, fn(usize) -> TensorRole);

/// Roles with an index, and the stems of their names.
const INDEXED: [IndexedRole; 12] = [
    (DEEPSTACK, R::Deepstack),
    ("cache_in", R::CacheIn),
    ("cache_out", R::CacheOut),
    ("mem_k", R::MemK),
    ("mem_v", R::MemV),
    ("text_k", R::TextK),
    ("text_v", R::TextV),
    ("ego_k", R::EgoK),
    ("ego_v", R::EgoV),
    ("k", R::K),
    ("v", R::V),
    ("q", R::Q),
];

impl TensorRole {
    /// The role of the tensor with this name; `None` for a name that no graph of the contract has.
    pub fn of_name(name: &str) -> Option<Self> {
        let Some((stem, digits)) = name.split_once('.') else {
            return SINGLE.iter().find(|(known, _)| *known == name).map(|(_, role)| *role);
        };
        let index = digits.parse().ok().filter(|index: &usize| index.to_string() == digits)?;
        INDEXED.iter().find(|(known, _)| *known == stem).map(|(_, role)| role(index))
    }

    /// The index of a layer, level or cache; `None` for a role that a graph has once.
    pub fn index(self) -> Option<usize> {
        match self {
            R::Deepstack(i) | R::CacheIn(i) | R::CacheOut(i) => Some(i),
            R::MemK(l) | R::MemV(l) | R::TextK(l) | R::TextV(l) | R::EgoK(l) | R::EgoV(l) => Some(l),
            R::K(l) | R::V(l) | R::Q(l) => Some(l),
            _ => None,
        }
    }

    /// Every role, those with an index for the indices below `count`.
    #[cfg(test)]
    pub(super) fn all(count: usize) -> impl Iterator<Item = Self> {
        let indexed = INDEXED.iter().flat_map(move |(_, role)| (0..count).map(role));
        SINGLE.iter().map(|(_, role)| *role).chain(indexed)
    }
}

/// The name inside the graph.
impl fmt::Display for TensorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let single = SINGLE.iter().find(|(_, role)| role == self).map(|(name, _)| *name);
        match (single, self.index()) {
            (Some(name), _) => f.pad(name),
            (None, Some(index)) => {
                let stem = INDEXED.iter().find(|(_, role)| role(index) == *self).map_or("", |(stem, _)| *stem);
                f.pad(&format!("{stem}.{index}"))
            }
            (None, None) => Ok(()),
        }
    }
}

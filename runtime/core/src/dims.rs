//! The sizes of one model, and the shape letters that all other files use.
//!
//! L layers · H heads · D head width · S memory slots · N tokens of a pass · Nv, Na video and
//! action tokens of a chunk · T text rows · E ego rows · `[Cz, Hz, Wz]` a latent · A action
//! channels · W token width. The values come from the `model:` section of `configs/model/*.yaml`,
//! which the manifest repeats word for word. No size of the paper's model is hard-coded here.

use crate::error::{Error, ErrorKind, Result};
use crate::excerpt::quoted;
pub use crate::intrinsics::Intrinsics;
use crate::ranges::{above, inside, within};
use serde::{Deserialize, Serialize};

/// The `model:` section: everything about a model that its weights depend on. [`Model::check`] must
/// accept it before use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The name of the model, as reports show it. The manifest has the same name.
    pub name: String,
    /// The hidden width of the transformer, `heads` times `head_dim`.
    pub dim: usize,
    /// L, the number of transformer layers.
    pub layers: usize,
    /// H, the number of attention heads of a layer.
    pub heads: usize,
    /// D, the width of an attention head.
    pub head_dim: usize,
    /// The inner width of the feed-forward network of a layer.
    pub ffn_dim: usize,
    /// The width of the sinusoidal embedding of the flow time.
    pub freq_dim: usize,
    /// The epsilon of all normalisation layers.
    pub eps: f64,
    /// The hidden width of the action encoder and of the action decoder.
    pub action_hidden_dim: usize,
    /// The hidden width of the MLP that encodes the ego state.
    pub ego_hidden_dim: usize,
    /// How self-attention logits are scaled by n, the number of keys that a row sees.
    pub self_scale: SelfScale,
    /// The rotary position embedding.
    pub rope: Rope,
    /// The images that the VAE encoder reads.
    pub image: Image,
    /// The pinhole camera of the training data, for an image of [`Model::image`]'s size.
    pub camera: Intrinsics,
    /// The latent of one chunk.
    pub latent: Latent,
    /// The block of latent elements that becomes one video token: time (always 1), height, width.
    pub patch: [usize; 3],
    /// The action stream.
    pub action: Action,
    /// The ego state.
    pub ego: Ego,
    /// The rows of the guidance text.
    pub text: Text,
}

/// How self-attention logits are scaled by n, the number of keys that a row sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelfScale {
    /// No scaling; the graph has no `self_scale` input.
    None,
    /// Multiplied by ln(n + 8) / ln(200).
    Log,
}

/// Rotary position embedding over (time, height, width).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// The base of the rotary frequencies.
    pub theta: f64,
    /// The channels of a head for time, height and width: even numbers with the sum `head_dim`.
    pub split: [usize; 3],
}

/// The images that the VAE encoder reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The height of an image, pixels.
    pub height: usize,
    /// The width of an image, pixels.
    pub width: usize,
    /// The number of frames per second that the VAE encoder reads.
    pub frame_hz: u32,
    /// The number of frames of a chunk. The VAE encodes them to one latent.
    pub frames_per_latent: usize,
}

/// The latent of one chunk, `[Cz, Hz, Wz]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latent {
    /// Cz, the number of channels of a latent.
    pub channels: usize,
    /// Hz, the height of a latent, in latent elements.
    pub height: usize,
    /// Wz, the width of a latent, in latent elements.
    pub width: usize,
}

/// The action stream of a chunk: `tokens` times `steps_per_token` increments, each of three numbers
/// (dx in m, dy in m, dyaw in rad) over 1 / `rate_hz` s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Na, the number of action tokens of a chunk.
    pub tokens: usize,
    /// The number of consecutive pose increments in one action token.
    pub steps_per_token: usize,
    /// The number of pose increments per second.
    pub rate_hz: u32,
    /// A, the number of channels of an action token.
    pub channels: usize,
    /// The channels of an action token that carry increments, in rising order: dx, dy, dyaw of the
    /// first step, then of the next. The other channels are zero.
    pub used_channels: Vec<usize>,
}

/// The ego state that conditions a chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ego {
    /// The features of the ego state, in the order of the graph's `ego` input: `speed_mps`,
    /// `acceleration_mps2`, `curvature_1pm`.
    pub features: Vec<EgoFeature>,
    /// The divisor of each feature in the graph, in the unit of the feature.
    pub scale: Vec<f64>,
    /// E, the number of rows to which the ego state is encoded.
    pub tokens: usize,
}

/// A feature of the ego state, in physical units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EgoFeature {
    /// Forward speed, m/s.
    SpeedMps,
    /// Forward acceleration, m/s².
    #[serde(rename = "acceleration_mps2")]
    AccelerationMps2,
    /// Curvature of the path, 1/m, left positive.
    #[serde(rename = "curvature_1pm")]
    Curvature1pm,
}

/// The guidance text, as cross-attention reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Dt, the width of a text row.
    pub dim: usize,
    /// The largest number of rows of a text. The graphs read one more, T = `max_rows` + 1: the last
    /// row stands for all padding.
    pub max_rows: usize,
    /// The number of rows to which the text encoder pads a text. The padding row has the weight of
    /// all rows from the end of the text to this number.
    pub padded_rows: usize,
    /// The route commands that have an embedding, in the order of the manifest: `left`, `straight`,
    /// `right`, `unknown`.
    pub commands: Vec<Command>,
}

/// A route command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Turn left at the next junction.
    Left,
    /// Follow the road.
    Straight,
    /// Turn right at the next junction.
    Right,
    /// The route is not known.
    Unknown,
}

impl Command {
    /// The word for this command in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Straight => "straight",
            Self::Right => "right",
            Self::Unknown => "unknown",
        }
    }

    /// The command for a word of a file.
    ///
    /// # Errors
    /// `Input`, with the word, when it is none of the four.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "left" => Ok(Self::Left),
            "straight" => Ok(Self::Straight),
            "right" => Ok(Self::Right),
            "unknown" => Ok(Self::Unknown),
            _ => Err(Error::new(ErrorKind::Input, "unknown route command").got(quoted(word)).wanted("left, straight, right or unknown")),
        }
    }
}

/// Numbers of an increment: dx, dy, dyaw.
pub const INCREMENT_CHANNELS: usize = 3;

impl Model {
    /// Nv, the number of video tokens of a chunk.
    pub fn video_tokens(&self) -> usize {
        (self.latent.height / self.patch[1]) * (self.latent.width / self.patch[2])
    }

    /// Na, the number of action tokens of a chunk.
    pub fn action_tokens(&self) -> usize {
        self.action.tokens
    }

    /// Nv + Na, the number of tokens of a packed pass.
    pub fn packed_tokens(&self) -> usize {
        self.video_tokens() + self.action_tokens()
    }

    /// Numbers of a video token: Cz times the area of the patch.
    pub fn video_channels(&self) -> usize {
        self.latent.channels * self.patch[1] * self.patch[2]
    }

    /// W, the width of a token row.
    pub fn token_width(&self) -> usize {
        self.video_channels().max(self.action.channels)
    }

    /// T, the number of text rows that a graph reads.
    pub fn text_rows(&self) -> usize {
        self.text.max_rows + 1
    }

    /// Numbers of a latent, Cz·Hz·Wz.
    pub fn latent_len(&self) -> usize {
        self.latent.channels * self.latent.height * self.latent.width
    }

    /// Number of trajectory poses of a chunk.
    pub fn poses(&self) -> usize {
        self.action.tokens * self.action.steps_per_token
    }

    /// Length of a chunk in nanoseconds.
    pub fn chunk_ns(&self) -> i64 {
        self.frame_period_ns() * self.image.frames_per_latent as i64
    }

    /// Time between two frames of the encoder, in nanoseconds.
    pub fn frame_period_ns(&self) -> i64 {
        1_000_000_000 / i64::from(self.image.frame_hz)
    }

    /// Time between two poses of the trajectory, in nanoseconds.
    pub fn pose_period_ns(&self) -> i64 {
        1_000_000_000 / i64::from(self.action.rate_hz)
    }

    /// Checks that the sizes agree with each other and are too small to overflow when multiplied.
    ///
    /// # Errors
    /// `Config`, with the key, at the first contradiction.
    pub fn check(&self) -> Result<()> {
        let bad = |key: &str, what: &str, got: String, wanted: String| {
            Err(Error::new(ErrorKind::Config, what).at(format!("model.{key}")).got(got).wanted(wanted))
        };
        within("model.dim", self.dim, 1, 1 << 16)?;
        within("model.layers", self.layers, 1, 1 << 10)?;
        within("model.heads", self.heads, 1, 1 << 10)?;
        within("model.head_dim", self.head_dim, 1, 1 << 12)?;
        within("model.ffn_dim", self.ffn_dim, 1, 1 << 18)?;
        within("model.freq_dim", self.freq_dim, 1, 1 << 14)?;
        within("model.action_hidden_dim", self.action_hidden_dim, 1, 1 << 16)?;
        within("model.ego_hidden_dim", self.ego_hidden_dim, 1, 1 << 16)?;
        within("model.image.height", self.image.height, 1, 1 << 13)?;
        within("model.image.width", self.image.width, 1, 1 << 13)?;
        within("model.image.frame_hz", self.image.frame_hz as usize, 1, 100)?;
        within("model.image.frames_per_latent", self.image.frames_per_latent, 1, 64)?;
        within("model.latent.channels", self.latent.channels, 1, 1 << 12)?;
        within("model.latent.height", self.latent.height, 1, 1 << 12)?;
        within("model.latent.width", self.latent.width, 1, 1 << 12)?;
        within("model.patch[1]", self.patch[1], 1, 16)?;
        within("model.patch[2]", self.patch[2], 1, 16)?;
        within("model.action.tokens", self.action.tokens, 1, 1 << 12)?;
        within("model.action.steps_per_token", self.action.steps_per_token, 1, 1 << 8)?;
        within("model.action.rate_hz", self.action.rate_hz as usize, 1, 1000)?;
        within("model.action.channels", self.action.channels, 1, 1 << 12)?;
        within("model.ego.tokens", self.ego.tokens, 1, 1 << 10)?;
        within("model.text.dim", self.text.dim, 1, 1 << 16)?;
        within("model.text.max_rows", self.text.max_rows, 1, 1 << 14)?;
        if self.heads * self.head_dim != self.dim {
            return bad(
                "dim",
                "differs from the total width of the heads",
                self.dim.to_string(),
                format!("heads * head_dim = {}", self.heads * self.head_dim),
            );
        }
        let split: usize = self.rope.split.iter().sum();
        if split != self.head_dim || self.rope.split.iter().any(|s| s % 2 != 0) {
            return bad(
                "rope.split",
                "does not split the head into even parts",
                format!("{:?}", self.rope.split),
                format!("three even numbers with the sum {}", self.head_dim),
            );
        }
        above("model.rope.theta", self.rope.theta, 1.0)?;
        inside("model.eps", self.eps, 0.0, 1.0)?;
        if self.patch[0] != 1 || !self.latent.height.is_multiple_of(self.patch[1]) || !self.latent.width.is_multiple_of(self.patch[2]) {
            return bad(
                "patch",
                "does not tile the latent",
                format!("{:?}", self.patch),
                format!("[1, divisor of {}, divisor of {}]", self.latent.height, self.latent.width),
            );
        }
        self.camera.check([self.image.width, self.image.height], ErrorKind::Config, "model.camera")?;
        let used = &self.action.used_channels;
        let increasing = used.windows(2).all(|w| w[0] < w[1]);
        if used.len() != INCREMENT_CHANNELS * self.action.steps_per_token
            || !increasing
            || used.last().is_some_and(|&last| last >= self.action.channels)
        {
            return bad(
                "action.used_channels",
                "must name three channels for each step of a token, in rising order",
                format!("{used:?}"),
                format!("{} channels below {}", INCREMENT_CHANNELS * self.action.steps_per_token, self.action.channels),
            );
        }
        let chunk_ns = self.chunk_ns();
        if self.pose_period_ns() * self.poses() as i64 != chunk_ns {
            return bad(
                "action",
                "the actions do not span the frames of a chunk",
                format!("{} increments at {} Hz", self.poses(), self.action.rate_hz),
                format!("{} s", chunk_ns as f64 * 1e-9),
            );
        }
        if self.ego.features.is_empty()
            || self.ego.scale.len() != self.ego.features.len()
            || self.ego.scale.iter().any(|s| !(s.is_finite() && *s > 0.0))
        {
            return bad(
                "ego.scale",
                "must give a positive scale for each feature",
                format!("{:?}", self.ego.scale),
                format!("{} positive numbers", self.ego.features.len()),
            );
        }
        if self.text.padded_rows < self.text.max_rows {
            return bad(
                "text.padded_rows",
                "smaller than text.max_rows",
                self.text.padded_rows.to_string(),
                format!("at least {}", self.text.max_rows),
            );
        }
        if self.text.commands.is_empty() {
            return bad("text.commands", "no command", "[]".into(), "at least one of left, straight, right, unknown".into());
        }
        Ok(())
    }
}

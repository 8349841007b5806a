//! The dimensions of a model, and the letters for shapes that all other files use.
//!
//! L layers · H heads · D head width · S memory slots · N tokens of a pass · Nv, Na video and
//! action tokens of a chunk · T text rows · E ego rows · `[Cz, Hz, Wz]` a latent · A action
//! channels · W token width. Values come from the `model:` section of `configs/model/*.yaml`, which
//! the manifest repeats. Nothing here hard-codes the paper's values.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// The `model:` section: everything about a model that its weights depend on. [`Model::check`]
/// validates it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Human-readable name; also the name in the manifest.
    pub name: String,
    /// Hidden width, H·D.
    pub dim: usize,
    /// L.
    pub layers: usize,
    /// H.
    pub heads: usize,
    /// D.
    pub head_dim: usize,
    /// Inner width of the feed-forward layers.
    pub ffn_dim: usize,
    /// Width of the sinusoidal flow-time embedding.
    pub freq_dim: usize,
    /// Epsilon of every norm.
    pub eps: f64,
    /// Hidden width of the action encoder and decoder.
    pub action_hidden_dim: usize,
    /// Hidden width of the ego MLP.
    pub ego_hidden_dim: usize,
    /// How self-attention logits are scaled by the number of visible keys.
    pub self_scale: SelfScale,
    /// Rotary embedding.
    pub rope: Rope,
    /// The encoder's image.
    pub image: Image,
    /// The pinhole camera that the model was trained with, for an image of the size of
    /// [`Model::image`].
    pub camera: Intrinsics,
    /// The latent of one chunk.
    pub latent: Latent,
    /// Patch of the latent that one video token covers: time, height, width.
    pub patch: [usize; 3],
    /// The action stream.
    pub action: Action,
    /// The ego state.
    pub ego: Ego,
    /// The text rows.
    pub text: Text,
}

/// How self-attention logits are scaled by n, the number of keys that a row sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelfScale {
    /// Not scaled; the graph has no `self_scale` input.
    None,
    /// By ln(n + 8) / ln(200).
    Log,
}

/// Rotary position embedding over (time, height, width).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Channels of a head for time, height and width; each even, with the sum D.
    pub split: [usize; 3],
}

/// The encoder's image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
    /// Frames per second of the encoder's input.
    pub frame_hz: u32,
    /// Frames of a chunk, which become one latent.
    pub frames_per_latent: usize,
}

/// A pinhole camera without distortion: x right, y down, z forward. The centre of the first pixel
/// is at (0.5, 0.5).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intrinsics {
    /// Focal length in pixels, horizontal.
    pub fx_px: f64,
    /// Focal length in pixels, vertical.
    pub fy_px: f64,
    /// Principal point, pixels from the left edge.
    pub cx_px: f64,
    /// Principal point, pixels from the upper edge.
    pub cy_px: f64,
}

/// `[Cz, Hz, Wz]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latent {
    /// Cz.
    pub channels: usize,
    /// Hz.
    pub height: usize,
    /// Wz.
    pub width: usize,
}

/// The action stream: `tokens * steps_per_token` increments of 1 / `rate_hz` s, each three numbers
/// (dx m, dy m, dyaw rad).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Na.
    pub tokens: usize,
    /// Consecutive increments in one token.
    pub steps_per_token: usize,
    /// Increments per second.
    pub rate_hz: u32,
    /// A.
    pub channels: usize,
    /// The channels that carry the increments, step-major. The others are zero.
    pub used_channels: Vec<usize>,
}

/// The ego state that conditions a chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ego {
    /// The features, in the order of the `ego` input.
    pub features: Vec<EgoFeature>,
    /// The divisor of each feature inside the graph.
    pub scale: Vec<f64>,
    /// E.
    pub tokens: usize,
}

/// One ego feature, in physical units.
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

/// The text that the cross-attention reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Dt.
    pub dim: usize,
    /// Most rows of a text. T = `max_rows` + 1; the last row stands for all padding.
    pub max_rows: usize,
    /// Rows that the text encoder pads to. The padding row weighs as much as all rows that remain.
    pub padded_rows: usize,
    /// Route commands with an embedding, in the manifest's order.
    pub commands: Vec<Command>,
}

/// A route command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Turn left at the next junction.
    Left,
    /// Go on along the road.
    Straight,
    /// Turn right at the next junction.
    Right,
    /// The route is unknown.
    Unknown,
}

impl Command {
    /// The word for it in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Straight => "straight",
            Self::Right => "right",
            Self::Unknown => "unknown",
        }
    }

    /// Parses the word for a command.
    ///
    /// # Errors
    /// `Input`, with the word, for any other word.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "left" => Ok(Self::Left),
            "straight" => Ok(Self::Straight),
            "right" => Ok(Self::Right),
            "unknown" => Ok(Self::Unknown),
            _ => Err(Error::new(ErrorKind::Input, "unknown route command")
                .got(format!("{word:?}"))
                .wanted("left, straight, right or unknown")),
        }
    }
}

/// Values of one increment: dx, dy, dyaw.
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

    /// Values of one video token: Cz times the patch's area.
    pub fn video_channels(&self) -> usize {
        self.latent.channels * self.patch[1] * self.patch[2]
    }

    /// W, the width of a token row.
    pub fn token_width(&self) -> usize {
        self.video_channels().max(self.action.channels)
    }

    /// T, the text rows that a graph reads.
    pub fn text_rows(&self) -> usize {
        self.text.max_rows + 1
    }

    /// Elements of a latent, Cz·Hz·Wz.
    pub fn latent_len(&self) -> usize {
        self.latent.channels * self.latent.height * self.latent.width
    }

    /// Poses of a chunk's trajectory.
    pub fn poses(&self) -> usize {
        self.action.tokens * self.action.steps_per_token
    }

    /// Length of a chunk, ns.
    pub fn chunk_ns(&self) -> i64 {
        self.frame_period_ns() * self.image.frames_per_latent as i64
    }

    /// Time between two frames of the encoder's grid, ns.
    pub fn frame_period_ns(&self) -> i64 {
        1_000_000_000 / i64::from(self.image.frame_hz)
    }

    /// Time between two poses of the trajectory, ns.
    pub fn pose_period_ns(&self) -> i64 {
        1_000_000_000 / i64::from(self.action.rate_hz)
    }

    /// Proves that the values are consistent, and small enough to be multiplied without overflow.
    ///
    /// # Errors
    /// `Config`, with the key, for the first contradiction.
    pub fn check(&self) -> Result<()> {
        let bad = |key: &str, what: &str, got: String, wanted: String| {
            Err(Error::new(ErrorKind::Config, what).at(format!("model.{key}")).got(got).wanted(wanted))
        };
        for (key, value, max) in [
            ("dim", self.dim, 1 << 16),
            ("layers", self.layers, 1 << 10),
            ("heads", self.heads, 1 << 10),
            ("head_dim", self.head_dim, 1 << 12),
            ("ffn_dim", self.ffn_dim, 1 << 18),
            ("freq_dim", self.freq_dim, 1 << 14),
            ("action_hidden_dim", self.action_hidden_dim, 1 << 16),
            ("ego_hidden_dim", self.ego_hidden_dim, 1 << 16),
            ("image.height", self.image.height, 1 << 13),
            ("image.width", self.image.width, 1 << 13),
            ("image.frame_hz", self.image.frame_hz as usize, 100),
            ("image.frames_per_latent", self.image.frames_per_latent, 64),
            ("latent.channels", self.latent.channels, 1 << 12),
            ("latent.height", self.latent.height, 1 << 12),
            ("latent.width", self.latent.width, 1 << 12),
            ("patch[1]", self.patch[1], 16),
            ("patch[2]", self.patch[2], 16),
            ("action.tokens", self.action.tokens, 1 << 12),
            ("action.steps_per_token", self.action.steps_per_token, 1 << 8),
            ("action.rate_hz", self.action.rate_hz as usize, 1000),
            ("action.channels", self.action.channels, 1 << 12),
            ("ego.tokens", self.ego.tokens, 1 << 10),
            ("text.dim", self.text.dim, 1 << 16),
            ("text.max_rows", self.text.max_rows, 1 << 14),
        ] {
            if value == 0 || value > max {
                return bad(key, "out of range", value.to_string(), format!("1 to {max}"));
            }
        }
        if self.heads * self.head_dim != self.dim {
            return bad(
                "dim",
                "the heads do not fill the width",
                self.dim.to_string(),
                format!("heads * head_dim = {}", self.heads * self.head_dim),
            );
        }
        let split: usize = self.rope.split.iter().sum();
        if split != self.head_dim || self.rope.split.iter().any(|s| s % 2 != 0) {
            return bad(
                "rope.split",
                "not a split of the head into even parts",
                format!("{:?}", self.rope.split),
                format!("three even numbers with the sum {}", self.head_dim),
            );
        }
        if !(self.rope.theta.is_finite() && self.rope.theta > 1.0) {
            return bad("rope.theta", "out of range", self.rope.theta.to_string(), "a number above 1".into());
        }
        if !(self.eps > 0.0 && self.eps < 1.0) {
            return bad("eps", "out of range", self.eps.to_string(), "a number between 0 and 1".into());
        }
        if self.patch[0] != 1 || !self.latent.height.is_multiple_of(self.patch[1]) || !self.latent.width.is_multiple_of(self.patch[2]) {
            return bad(
                "patch",
                "does not tile the latent",
                format!("{:?}", self.patch),
                format!("[1, divisor of {}, divisor of {}]", self.latent.height, self.latent.width),
            );
        }
        for (key, value) in [("camera.fx_px", self.camera.fx_px), ("camera.fy_px", self.camera.fy_px)] {
            if !(value.is_finite() && value > 0.0) {
                return bad(key, "out of range", value.to_string(), "a positive number of pixels".into());
            }
        }
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

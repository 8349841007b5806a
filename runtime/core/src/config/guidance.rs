//! `guidance:` the text that describes the scene, for example from a frozen language model that
//! runs beside the ride.

use crate::error::{Error, ErrorKind, Result};
use crate::ranges::within;
use serde::{Deserialize, Serialize};

/// `guidance:` which text describes the scene to a chunk, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuidanceConfig {
    /// Where the text comes from.
    pub mode: GuidanceMode,
    /// The text under `fixed`, which requires it. Under `vlm`, the text that is used while there is
    /// no accepted answer younger than `max_age_ms`; when it is left out, the route command is used
    /// instead.
    pub text: Option<String>,
    /// How long a chunk waits for the answer about its own newest frame: a number, or `inf` for no
    /// limit. `0` is meant for a vehicle; `inf` is the paper's order, for evaluation.
    pub wait_ms: Wait,
    /// The greatest age of a frame at which an answer about it is still used. The default is three
    /// chunks.
    pub max_age_ms: u32,
    /// The most tokens that the language model may generate for an answer.
    pub max_new_tokens: usize,
    /// The longest time that an answer may take. The default is one chunk.
    pub timeout_ms: u32,
    /// The prompt, with the placeholders `{camera}`, `{plot}` and `{command}` and the special
    /// tokens of the model's chat format. When it is left out, a prompt of this project for Qwen
    /// models is used.
    pub prompt_template: Option<String>,
}

/// Where the text of the guidance comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuidanceMode {
    /// The route command, with its own text embedding.
    Off,
    /// The text of `guidance.text`.
    Fixed,
    /// The answers of the language model.
    Vlm,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Wait {
    /// At most this long, in ms.
    Ms(u32),
    /// Without limit.
    Word(Forever),
}

/// The word for a wait without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forever {
    /// No limit.
    #[serde(rename = "inf")]
    Inf,
}

impl Default for GuidanceConfig {
    fn default() -> Self {
        Self {
            mode: GuidanceMode::Off,
            text: None,
            wait_ms: Wait::Ms(0),
            max_age_ms: 12_000,
            max_new_tokens: 96,
            timeout_ms: 4000,
            prompt_template: None,
        }
    }
}

impl GuidanceConfig {
    pub(super) fn check(&self) -> Result<()> {
        within("guidance.max_new_tokens", self.max_new_tokens, 1, 4096)?;
        within("guidance.timeout_ms", self.timeout_ms as usize, 1, 600_000)?;
        within("guidance.max_age_ms", self.max_age_ms as usize, 1, 3_600_000)?;
        if self.mode == GuidanceMode::Fixed && self.text.as_ref().is_none_or(|text| text.trim().is_empty()) {
            return Err(Error::new(ErrorKind::Config, "the fixed guidance has no text")
                .at("guidance.text")
                .wanted("the text of the guidance"));
        }
        Ok(())
    }
}

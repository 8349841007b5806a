//! `guidance:` a language model beside the ride.

use super::sections::within;
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// `guidance:` the text that conditions a chunk, and its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuidanceConfig {
    /// Source of the text. Default `off`.
    pub mode: GuidanceMode,
    /// The text under `fixed`, and under `vlm` once the last good answer is older than
    /// `max_age_ms`. Without it the route command is used.
    pub text: Option<String>,
    /// How long a chunk waits for the answer about its own newest frame, ms. Default 0, as in a
    /// vehicle; `inf` is the paper's order, for evaluation.
    pub wait_ms: Wait,
    /// An answer about a frame older than this is not used, ms. Default 12000, three chunks.
    pub max_age_ms: u32,
    /// Most tokens of an answer. Default 96, 1 to 4096.
    pub max_new_tokens: usize,
    /// Longest time for an answer, ms. Default 4000, a chunk; 1 to 600000.
    pub timeout_ms: u32,
    /// The prompt, with the placeholders `{camera}`, `{plot}` and `{command}` and the special
    /// tokens of the model's chat format. Default: a prompt for Qwen.
    pub prompt_template: Option<String>,
}

/// Source of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuidanceMode {
    /// The embedding of the route command.
    Off,
    /// `guidance.text`.
    Fixed,
    /// The language model.
    Vlm,
}

/// A waiting time, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Wait {
    /// At most this long.
    Ms(u32),
    /// Without limit.
    Word(Forever),
}

/// The word for no limit.
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
            return Err(Error::new(ErrorKind::Config, "a fixed guidance without a text").at("guidance.text").wanted("a text"));
        }
        Ok(())
    }
}

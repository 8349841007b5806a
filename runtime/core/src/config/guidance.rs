//! `guidance:` a frozen language model beside the ride.

use super::sections::within;
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// `guidance:` what a chunk is told of the scene, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuidanceConfig {
    /// Default `off`.
    pub mode: GuidanceMode,
    /// What is said under `fixed`; under `vlm`, once the last good guidance is older than `max_age_ms`. Without it the route command speaks.
    pub text: Option<String>,
    /// How long a chunk waits for the guidance that its own newest frame asked for. Default 0, as in a vehicle; `inf` is the paper's order, for evaluation.
    pub wait_ms: Wait,
    /// Guidance about a frame older than this is not used any more, ms. Default 12000, three chunks.
    pub max_age_ms: u32,
    /// Most tokens of an answer. Default 96.
    pub max_new_tokens: usize,
    /// Most time that an answer may take, ms. Default 4000, a chunk.
    pub timeout_ms: u32,
    /// The prompt, with the places `{camera}`, `{plot}` and `{command}` and the special tokens of the model's chat; default in our own words, for Qwen.
    pub prompt_template: Option<String>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuidanceMode {
    /// The route command, by its own embedding.
    Off,
    /// `guidance.text`.
    Fixed,
    /// The language model.
    Vlm,
}

/// A time to wait, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Wait {
    /// So long.
    Ms(u32),
    /// Until it is there.
    Word(Forever),
}

/// The word for no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forever {
    /// No end.
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
            return Err(Error::new(ErrorKind::Config, "a fixed guidance without words").at("guidance.text").wanted("what is to be said"));
        }
        Ok(())
    }
}

//! Where the text of a chunk comes from, how old it is, and why the newest answer was rejected.

use crate::answer_check::FormatViolation;
use drivewam_core::ErrorKind;

/// Where the text that conditions a chunk comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GuidanceSource {
    /// The embedding of the route command; there is no text.
    #[default]
    Command,
    /// The configured text `guidance.text`.
    Fixed,
    /// An answer of the guidance model.
    Vlm,
}

impl GuidanceSource {
    /// The name that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Fixed => "fixed",
            Self::Vlm => "vlm",
        }
    }
}

/// Why an answer is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectReason {
    /// The text is not of the form that the prompt asks for.
    Format(FormatViolation),
    /// The model did not end the text within its token limit or its time limit.
    Endless,
    /// The text has more tokens than the text encoder reads.
    TooLong,
    /// The model failed with an error of this kind.
    Fault(ErrorKind),
    /// The model's thread ended; no answer will come.
    Dead,
}

impl RejectReason {
    /// The name that reports count by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Format(violation) => violation.as_str(),
            Self::Endless => "endless",
            Self::TooLong => "too_long",
            Self::Fault(kind) => kind.as_str(),
            Self::Dead => "dead",
        }
    }
}

/// The text that conditions a chunk.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GuidanceStatus {
    /// Where the text comes from.
    pub source: GuidanceSource,
    /// The text; empty for [`GuidanceSource::Command`].
    pub text: String,
    /// Age at t0 of the frame that the model saw, ms; `None` for other sources.
    pub age_ms: Option<f64>,
    /// Time that the model took for the answer, ms; `None` for other sources.
    pub generate_ms: Option<f64>,
    /// Why the newest answer was rejected; `None` where it was accepted.
    pub rejected: Option<RejectReason>,
    /// Answers rejected since the ride began or was restarted.
    pub reject_count: u32,
}

//! What a chunk was told, by whom, and how old that is.

use crate::answer_check;

/// Who told a chunk what the scene is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Voice {
    /// Nobody: the embedding of the route command.
    #[default]
    Command,
    /// `guidance.text`.
    Fixed,
    /// The language model.
    Vlm,
}

impl Voice {
    /// The word that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Fixed => "fixed",
            Self::Vlm => "vlm",
        }
    }
}

/// Why an answer of the language model is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has not the form that was asked for.
    Form(answer_check::Reason),
    /// It had not ended by the cap on tokens or on time.
    Endless,
    /// More tokens than the text encoder reads.
    TooLong,
    /// An error of this kind.
    Fault(drivewam_core::ErrorKind),
    /// The model's thread died; nothing will come any more.
    Dead,
}

impl Refusal {
    /// The word that reports count by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Form(reason) => reason.as_str(),
            Self::Endless => "endless",
            Self::TooLong => "too_long",
            Self::Fault(kind) => kind.as_str(),
            Self::Dead => "dead",
        }
    }
}

/// What a chunk was told, by whom, and how old that is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Told {
    /// By whom.
    pub voice: Voice,
    /// The words; none from the route command.
    pub text: String,
    /// At t0, since the frame that the language model looked at, ms.
    pub age_ms: Option<f64>,
    /// How long the language model took to say it, ms.
    pub took_ms: Option<f64>,
    /// Why the newest answer is not used, where it is not.
    pub refused: Option<Refusal>,
    /// Answers that were not used since the ride began.
    pub refusals: u32,
}

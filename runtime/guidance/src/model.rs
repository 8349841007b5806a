//! Who answers, what it is asked and what comes of it.

use crate::bev::Sample;
use crate::status::Refusal;
use drivewam_core::Error;
use std::time::Duration;

/// Room for the words of an answer, bytes: fifty words of the longest kind.
pub const MOST_TEXT: usize = 2048;
/// The past that a plot shows, ns: the paper's 4 s.
pub const PAST_NS: i64 = 4_000_000_000;
/// How far apart its samples are, ns.
pub const STEP_NS: i64 = 100_000_000;
/// Samples of it.
pub const PATH: usize = (PAST_NS / STEP_NS) as usize + 1;

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Grows with every request.
    pub number: u64,
    /// Capture time of the frame.
    pub t0_ns: i64,
    /// Which prompt.
    pub prompt: usize,
    /// The camera's picture, as it came in.
    pub frame: Vec<u8>,
    /// The past 4 s, oldest first, relative to the newest pose.
    pub path: Vec<Sample>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Of the request.
    pub number: u64,
    /// Of the request.
    pub t0_ns: i64,
    /// What was said.
    pub text: String,
    /// Its rows `[tokens, Dt]`, at the start of the buffer.
    pub rows: Vec<f32>,
    /// How many.
    pub tokens: usize,
    /// Why it is not used, where it is not.
    pub refused: Option<Refusal>,
    /// How long it took.
    pub took: Duration,
}

/// Who answers: the language model, or a test's double.
pub trait Speak: Send {
    /// Fills `answer`'s text, rows and tokens.
    ///
    /// # Errors
    /// What was said and is not used, and faults. A panic ends the thread.
    fn speak(&mut self, request: &Request, answer: &mut Answer) -> std::result::Result<(), Unsaid>;
}

/// Why nothing was said.
#[derive(Debug)]
pub enum Unsaid {
    /// It was, and is not used.
    Refused(Refusal),
    /// It could not be.
    Fault(Error),
}

impl From<Error> for Unsaid {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

//! The trait of a guidance model, what it is asked and what it answers.

use crate::bev::PathSample;
use crate::status::RejectReason;
use drivewam_core::Error;
use std::time::Duration;

/// Capacity of an answer's text, bytes: fifty words of the longest kind.
pub const MAX_TEXT_BYTES: usize = 2048;
/// The past that a request covers, ns: 4 s, as in the paper.
pub const PATH_NS: i64 = 4_000_000_000;
/// Time between two samples of it, ns.
pub const PATH_STEP_NS: i64 = 100_000_000;
/// Samples of a whole path, both ends included.
pub const PATH_SAMPLES: usize = (PATH_NS / PATH_STEP_NS) as usize + 1;

/// What a model is asked about.
#[derive(Debug, Clone, Default)]
pub struct GuidanceRequest {
    /// Grows by one with every request; the first is 1.
    pub number: u64,
    /// The lane that reads the answer; 0 where the lanes share it.
    pub lane: usize,
    /// Capture time of `frame`, ns.
    pub t0_ns: i64,
    /// Index of the prompt: the position of the route command in `model.text.commands`.
    pub prompt: usize,
    /// The camera's image, packed as the camera delivers it.
    pub frame: Vec<u8>,
    /// The ego's past 4 s, oldest first, relative to the pose at `t0_ns`; at most
    /// [`PATH_SAMPLES`], fewer where poses are missing.
    pub path: Vec<PathSample>,
}

/// What a model answers.
#[derive(Debug, Clone, Default)]
pub struct GuidanceAnswer {
    /// The number of the request.
    pub number: u64,
    /// The lane of the request.
    pub lane: usize,
    /// The capture time of the request, ns.
    pub t0_ns: i64,
    /// The generated text, also where it is rejected.
    pub text: String,
    /// Embeddings `[tokens, Dt]` of the text, at the start of the buffer.
    pub embeddings: Vec<f32>,
    /// Rows of `embeddings` that are valid.
    pub tokens: usize,
    /// Why the answer must not be used; `None` for an accepted answer.
    pub rejected: Option<RejectReason>,
    /// Time that the model took.
    pub generate_time: Duration,
}

/// A model that describes the scene: the VLM of this crate, one in another process, or a fake.
pub trait GuidanceModel: Send {
    /// Fills the text, the embeddings and the token count of `answer`; the caller fills the rest.
    /// Runs on the guidance thread. The buffers of `answer` must not grow.
    ///
    /// # Errors
    /// [`GenerateError`]. A panic ends the thread: no request is answered after it.
    fn generate(&mut self, request: &GuidanceRequest, answer: &mut GuidanceAnswer) -> Result<(), GenerateError>;
}

/// Why there is no usable answer.
#[derive(Debug)]
pub enum GenerateError {
    /// The model answered, and the answer is rejected.
    Rejected(RejectReason),
    /// The model could not answer.
    Fault(Error),
}

impl From<Error> for GenerateError {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

//! A frozen vision-language model (VLM) that describes the scene to the policy.
//!
//! **Enters:** the newest camera frame, the ego's past 4 s and the route command, once per chunk.
//! **Leaves:** a text of two short sentences, its embeddings `[tokens, Dt]` for the policy's text
//! graph, and a [`GuidanceStatus`](status::GuidanceStatus) that says where the text comes from, how
//! old it is and why an answer was rejected. **Never:** it never delays its caller beyond
//! `guidance.wait_ms`, never allocates after it is loaded (except on its own thread), and knows
//! nothing of the policy that reads the text.
//!
//! The model runs on a thread and a device of its own, at its own pace. A request that the model
//! has not begun is replaced by the next one. The last accepted answer stays in use until it is
//! older than `guidance.max_age_ms`; then the fixed text `guidance.text` is used, and without one
//! the caller falls back to the embedding of the route command.
//!
//! | module | content |
//! |---|---|
//! | [`client`] | what a caller holds: submit a request, poll the text in use |
//! | [`model`] | the trait [`GuidanceModel`](model::GuidanceModel), its request and its answer |
//! | [`mailbox`] | the model's thread and the latest-wins hand-over to it |
//! | [`status`] | source, age and rejection of a text |
//! | [`prompt_template`], [`prompt_tokens`] | the prompt: template, tokens, pass lengths |
//! | [`tokenizer`], [`text_encoder`], [`vlm`] | the models |
//! | [`image_processor`], [`bev`] | the images that the VLM sees |
//! | [`answer_check`] | which answers are accepted |
//!
//! Any model can answer in place of the VLM:
//!
//! ```
//! use drivewam_guidance::model::{GenerateError, GuidanceAnswer, GuidanceModel, GuidanceRequest};
//!
//! struct Constant;
//!
//! impl GuidanceModel for Constant {
//!     fn generate(
//!         &mut self,
//!         request: &GuidanceRequest,
//!         answer: &mut GuidanceAnswer,
//!     ) -> Result<(), GenerateError> {
//!         answer.text.push_str("The road is free. Keep going.");
//!         answer.tokens = 2;
//!         answer.embeddings[..2].fill(request.number as f32);
//!         Ok(())
//!     }
//! }
//!
//! let request = GuidanceRequest { number: 3, ..GuidanceRequest::default() };
//! let mut answer = GuidanceAnswer { embeddings: vec![0.0; 4], ..GuidanceAnswer::default() };
//! Constant.generate(&request, &mut answer).unwrap();
//! assert_eq!(answer.embeddings, [3.0, 3.0, 0.0, 0.0]);
//! ```

#![forbid(unsafe_code)]

pub mod answer_check;
pub mod bev;
pub mod client;
mod graph_regions;
pub mod image_processor;
pub mod mailbox;
pub mod model;
pub mod prompt_template;
pub mod prompt_tokens;
pub mod status;
mod text_embedder;
pub mod text_encoder;
pub mod tokenizer;
pub mod vlm;
mod vlm_guidance;
mod vlm_prompt;

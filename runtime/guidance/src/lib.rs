//! The second system: a frozen language model that looks at the scene once per chunk and says what matters.

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
pub mod text_encoder;
pub mod tokenizer;
pub mod vlm;
mod vlm_guidance;

//! What the guidance's graphs are fed with and what their answers become: pictures, tokens.

pub mod picture;
pub mod tokens;

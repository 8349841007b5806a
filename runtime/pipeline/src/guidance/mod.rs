//! What the guidance's graphs are fed with: pictures.

pub mod picture;

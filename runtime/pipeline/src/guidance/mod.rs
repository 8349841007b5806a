//! Room 3, the second system: a frozen language model that looks at the scene once per chunk and says what matters. It runs beside the ride, at its own
//! pace, and is never waited for.

mod bound;
pub mod text;
pub mod vlm;

//! The choices of a test: how much of the velocity depends on what a row sees, and a fault.

/// What a test can choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Weight of the part of the velocity that depends on what a row sees. 0: the exact flow.
    pub coupling: f32,
    /// A fault that the code around the engine must detect.
    pub fault: Option<Fault>,
}

impl Default for Options {
    /// Coupling 0.25, no fault.
    fn default() -> Self {
        Self { coupling: 0.25, fault: None }
    }
}

/// A fault of the engine. Runs count from 1, over all bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Video rows see the action rows of their pass.
    LeakyMask,
    /// One element of the first output is NaN in this run and in all later ones.
    NanAt(u64),
    /// This run alone returns an error and writes nothing.
    ErrorAt(u64),
    /// This run takes a minute.
    HangsAt(u64),
}

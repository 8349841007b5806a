//! The error type of this crate and of the crates above it: what failed, where, what was got and
//! what was wanted.
//!
//! The code that detects a fault creates the [`Error`] with everything that a reader of the message
//! needs. Callers branch on [`Error::kind`]; its `Display` is human-readable. An error holds no
//! open resources. Creating one allocates, so none is created unless something failed.

use std::fmt;

/// The kind of a failure. Callers branch on this, never on the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A configuration key is unknown, missing, in the wrong unit or out of range.
    Config,
    /// A manifest contradicts itself, its files, the configuration or [`crate::bindings`].
    Manifest,
    /// A plan does not fit an arena or a memory budget, or memory cannot be allocated.
    Capacity,
    /// Input from the vehicle (frame, stamp, pose, ego state, command) cannot be used.
    Input,
    /// Output of an engine, or a value computed from it, cannot be used.
    Output,
    /// A file or folder could not be read or written.
    Io,
    /// An engine library is missing, has the wrong version, or reported a fault.
    Engine,
    /// A device is missing, lost, or reported a fault.
    Device,
    /// A call broke the contract of a function: a shape, a length, an order of calls.
    Usage,
    /// A defect of this software: a computation panicked.
    Internal,
}

impl ErrorKind {
    /// The word for this kind in messages and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Manifest => "manifest",
            Self::Capacity => "capacity",
            Self::Input => "input",
            Self::Output => "output",
            Self::Io => "io",
            Self::Engine => "engine",
            Self::Device => "device",
            Self::Usage => "usage",
            Self::Internal => "internal",
        }
    }
}

/// A failure: what, where, got, wanted.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    what: String,
    place: Option<String>,
    got: Option<String>,
    wanted: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result type of this crate and of the crates above it.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind`. `what` is a short sentence without a full stop.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, what: what.into(), place: None, got: None, wanted: None, source: None }))
    }

    /// Adds where it happened: a file, a YAML key, a tensor, a stage. When called again, the outer
    /// place is put before the inner one, unless that begins with it.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        let place = place.to_string();
        self.0.place = Some(match self.0.place.take() {
            Some(inner) if inner.strip_prefix(&place).is_some_and(|rest| rest.is_empty() || rest.starts_with(": ")) => inner,
            Some(inner) => format!("{place}: {inner}"),
            None => place,
        });
        self
    }

    /// Adds what was found.
    #[must_use]
    pub fn got(mut self, got: impl fmt::Display) -> Self {
        self.0.got = Some(got.to_string());
        self
    }

    /// Adds what is accepted.
    #[must_use]
    pub fn wanted(mut self, wanted: impl fmt::Display) -> Self {
        self.0.wanted = Some(wanted.to_string());
        self
    }

    /// Adds the error that caused this one; the message ends with its text.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind to branch on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Where it happened, the outermost place first.
    pub fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, what, place, got, wanted, source } = &*self.0;
        write!(f, "{} error", kind.as_str())?;
        if let Some(place) = place {
            write!(f, " at {place}")?;
        }
        write!(f, ": {what}")?;
        match (got, wanted) {
            (Some(got), Some(wanted)) => write!(f, " (got {got}, wanted {wanted})")?,
            (Some(got), None) => write!(f, " (got {got})")?,
            (None, Some(wanted)) => write!(f, " (wanted {wanted})")?,
            (None, None) => {}
        }
        if let Some(source) = source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

// `source` stays `None`: the message contains the cause already, and code that prints a chain of
// errors would print it twice.
impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_kind_place_what_got_and_wanted_in_that_order() {
        let e = Error::new(ErrorKind::Manifest, "the shape is wrong")
            .at("tensor \"tokens\"")
            .at("graph \"dit\"")
            .got("[N, 95]")
            .wanted("[N, 96]");
        assert_eq!(e.to_string(), "manifest error at graph \"dit\": tensor \"tokens\": the shape is wrong (got [N, 95], wanted [N, 96])");
        assert_eq!(e.kind(), ErrorKind::Manifest);
    }

    /// Breaks if a file that caller and callee both name stands there twice.
    #[test]
    fn a_place_is_told_once() {
        let e = Error::new(ErrorKind::Manifest, "the file lacks a key").at("line 3").at("a.yaml").at("a.yaml").at("a");
        assert_eq!(e.place(), Some("a: a.yaml: line 3"));
    }

    /// Breaks if code that prints a chain of errors prints the cause twice.
    #[test]
    fn a_cause_is_told_once() {
        let e = Error::new(ErrorKind::Io, "cannot be read").caused_by(std::io::Error::other("the disk burns"));
        assert_eq!(e.to_string(), "io error: cannot be read: the disk burns");
        assert!(std::error::Error::source(&e).is_none());
    }
}

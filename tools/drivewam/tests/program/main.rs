//! Tests of the program as its user runs it. One binary, so that it is linked once.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bad_input;
mod check;
mod documents;
mod drive;
mod inspect;
mod lab;
mod outcome;
mod owners;
mod streams;
mod study;
mod target;
mod world;

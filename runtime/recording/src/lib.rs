//! Recorded drives: frames, poses, ego states and route commands with their stamps.
//!
//! [`Recording::open`] reads the documented folder (`docs/input.md`, [`mod@format`]) or one
//! sequence of PandaSet. It reads and checks everything except the images: it refuses stamps that
//! do not increase or have another unit, missing columns, numbers that no car has, gaps in the
//! poses and in the ego states, and a drive that is shorter than a chunk. [`Recording::check`]
//! makes the same checks and returns them all. [`Recording::decode`] decodes one image at a time,
//! after it has checked the image's size. [`Recording::events`] merges all inputs in order of
//! stamp. No stamp and no pose is invented.

#![forbid(unsafe_code)]

mod camera;
mod camera_header;
mod checks;
pub mod content;
mod ego_from_poses;
mod files;
mod folder;
pub mod format;
mod frames;
mod image_file;
mod jpeg_bits;
mod jpeg_scans;
mod open;
mod pandaset;
mod recording;
mod table;
mod track;

pub use camera::{CameraMount, Distortion, RecordedCamera};
pub use checks::InputCheck;
pub use recording::{Event, Events, Limits, Recording};
pub use track::PoseTrack;

#[cfg(test)]
mod tests;

//! Opens a recording in whichever format its folder has.

use crate::checks::InputCheck;
use crate::files::{KIND, bad};
use crate::format::HEADER_FILE;
use crate::recording::{Limits, Recording};
use crate::{folder, pandaset};
use drivewam_core::{Error, Result};
use std::path::Path;

impl Recording {
    /// Reads and checks the folder `dir`: the documented format or one sequence of PandaSet.
    ///
    /// # Errors
    /// `Input`, naming file and line: the first check of [`Recording::check`] that refuses it.
    pub fn open(dir: &Path, limits: Limits) -> Result<Self> {
        let (recording, checks) = Self::check(dir, limits);
        match checks.into_iter().find_map(|check| check.fault) {
            Some(fault) => Err(fault),
            None => recording.ok_or_else(|| not_an_input(dir)),
        }
    }

    /// Reads the folder `dir` as [`Recording::open`] does, and returns every check: a folder of
    /// neither format, a missing file or column, a stamp that does not increase or has another
    /// unit, a number that no car has, an unknown command, a gap in the poses or ego states, a
    /// missing image, a camera out of range, frames without poses, ego states that end early, a
    /// drive shorter than a chunk. The recording is there if every file could be read.
    pub fn check(dir: &Path, limits: Limits) -> (Option<Self>, Vec<InputCheck>) {
        let mut checks = Vec::new();
        let has = |name: &str| drivewam_files::exists(&dir.join(name), KIND);
        let read = match (has(HEADER_FILE), has(pandaset::CAMERA_DIR)) {
            (Ok(true), _) => folder::read(dir, limits, &mut checks),
            (Ok(false), Ok(true)) => pandaset::read(dir, limits, &mut checks),
            (Ok(false), Ok(false)) => {
                checks.push(InputCheck::new("folder", "", "-".to_owned(), "an input folder", Err(not_an_input(dir))));
                None
            }
            (Err(error), _) | (_, Err(error)) => {
                checks.push(InputCheck::new("folder", "", "-".to_owned(), "an input folder", Err(error)));
                None
            }
        };
        let recording = read.map(|read| {
            read.check(limits, &mut checks);
            read.recording
        });
        (recording, checks)
    }
}

fn not_an_input(dir: &Path) -> Error {
    let what = match dir.is_dir() {
        true => "not an input folder (docs/input.md describes the formats)",
        false => "not an input folder: there is no such folder (docs/input.md describes the formats)",
    };
    let wanted = format!("a folder with {HEADER_FILE:?}, or a sequence of PandaSet with {:?}", pandaset::CAMERA_DIR);
    bad(dir, what).wanted(wanted)
}

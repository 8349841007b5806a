//! Opens a recording in whichever format its folder has.

use crate::format::HEADER_FILE;
use crate::recording::{Limits, Recording};
use crate::{folder, pandaset};
use drivewam_core::{Error, ErrorKind, Result};
use std::path::Path;

impl Recording {
    /// Reads and checks the folder `dir`: the documented format or one sequence of PandaSet.
    ///
    /// # Errors
    /// `Input`, naming file and line: a folder of neither format, a missing file or column, a
    /// stamp that does not increase, a number that is not finite, an unknown command, a gap in the
    /// poses, a missing image, or a camera above the limit of pixels.
    pub fn open(dir: &Path, limits: Limits) -> Result<Self> {
        let recording = if dir.join(HEADER_FILE).is_file() {
            folder::open(dir, limits)?
        } else if dir.join(pandaset::CAMERA_DIR).is_dir() {
            pandaset::open(dir, limits)?
        } else {
            return Err(Error::new(ErrorKind::Input, "not an input folder")
                .at(format!("{dir:?}"))
                .wanted(format!("a folder with {HEADER_FILE:?}, or a sequence of PandaSet with {:?}", pandaset::CAMERA_DIR)));
        };
        recording.poses.check_gaps(limits.max_pose_gap_ns).map_err(|e| e.at(format!("{dir:?}")))?;
        recording.first_frame()?;
        Ok(recording)
    }
}

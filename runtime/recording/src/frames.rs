//! The images of a recording, one file each or all in one file of raw bytes.

use crate::camera::RecordedCamera;
use crate::files::{KIND, bad};
use crate::image_file;
use drivewam_core::{Error, ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where the images are stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FrameStore {
    /// One PNG or JPEG file per frame.
    Files(Vec<PathBuf>),
    /// One file of RGB bytes, and the index of each frame in it.
    Raw { path: PathBuf, indices: Vec<u64> },
}

impl FrameStore {
    /// Decodes frame `index` into `rgb`: packed rows, `width * height * 3` bytes.
    ///
    /// # Errors
    /// `Input`: no such frame, or a file that is missing, too large, of another size than the
    /// camera's images, corrupt or cut short.
    pub(crate) fn decode(&self, index: usize, camera: &RecordedCamera, max_pixels: u64, rgb: &mut Vec<u8>) -> Result<()> {
        let missing = |count: usize| Error::new(ErrorKind::Input, "no such frame").got(index).wanted(format!("below {count}"));
        match self {
            Self::Files(paths) => {
                let path = paths.get(index).ok_or_else(|| missing(paths.len()))?;
                let bytes = drivewam_files::read(path, image_file::max_file_bytes((camera.width * camera.height) as u64), KIND)?;
                *rgb = image_file::decode(path, &bytes, (camera.width, camera.height), max_pixels)?;
                Ok(())
            }
            Self::Raw { path, indices } => read_raw(path, *indices.get(index).ok_or_else(|| missing(indices.len()))?, camera, rgb),
        }
    }
}

/// Width and height of an image file.
///
/// # Errors
/// `Input`: the file is unreadable, no PNG or JPEG, or an image of more than `max_pixels`.
pub(crate) fn image_size(path: &Path, max_pixels: u64) -> Result<(usize, usize)> {
    image_file::size(path, &drivewam_files::read(path, image_file::max_file_bytes(max_pixels), KIND)?, max_pixels)
}

/// Reads frame `index` of a file of RGB bytes. A positional read reports a file that was truncated
/// meanwhile as an error; a memory mapping would end the process.
fn read_raw(path: &Path, index: u64, camera: &RecordedCamera, rgb: &mut Vec<u8>) -> Result<()> {
    let bytes = camera.width * camera.height * 3;
    rgb.resize(bytes, 0);
    let fail = |e: std::io::Error| bad(path, "cannot read the frame").got(format!("frame {index}")).caused_by(e);
    let file = drivewam_files::open(path, KIND)?;
    file.read_exact_at(rgb, index * bytes as u64).map_err(fail)
}

//! The cameras that the ride sees through: its own, wrong ones, and those of `--pictures`.

use super::super::setup::Study;
use anyhow::{Context, Result, ensure};
use drivewam_core::ErrorKind;
use drivewam_core::config::Config;
use drivewam_recording::content;
use drivewam_simulation::FaultKind;
use image::imageops::FilterType;
use image::{DynamicImage, RgbImage};
use std::path::Path;

/// The largest image file that is read, bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// A camera that the ride sees through.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) kind: Option<FaultKind>,
    pub(super) pictures: Vec<Vec<u8>>,
}

/// The cameras that are drawn.
pub(super) fn drawn() -> [(&'static str, Option<FaultKind>); 9] {
    [
        ("own", None),
        ("grey", Some(FaultKind::Level(128))),
        ("black", Some(FaultKind::Level(0))),
        ("white", Some(FaultKind::Level(255))),
        ("mirrored", Some(FaultKind::Mirrored)),
        ("frozen", Some(FaultKind::Frozen)),
        ("shuffled", Some(FaultKind::Shuffled)),
        ("30° aside", Some(FaultKind::Aside(30f64.to_radians()))),
        ("90° aside", Some(FaultKind::Aside(90f64.to_radians()))),
    ]
}

/// The cameras that are drawn, then the pictures of `--pictures`.
pub(super) fn cases(study: &Study<'_>) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = drawn().into_iter().map(|(name, kind)| Case { name: name.to_owned(), kind, pictures: Vec::new() }).collect();
    let config = study.config("")?;
    for (name, folder) in study.pictures() {
        let pictures = read_pictures(folder, &config)?;
        cases.push(Case { name: name.clone(), kind: Some(FaultKind::Foreign), pictures });
    }
    Ok(cases)
}

/// The pictures of a folder in order of name, cut to the camera's proportions and resized.
fn read_pictures(folder: &Path, config: &Config) -> Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {folder:?}"))? {
        paths.push(entry?.path());
    }
    paths.sort();
    ensure!(!paths.is_empty(), "{folder:?}: has no picture");
    let (image, most) = (&config.model.image, config.ingest.max_image_pixels);
    let (width, height) = (u32::try_from(image.width)?, u32::try_from(image.height)?);
    let read = |path: &Path| -> Result<Vec<u8>> {
        let bytes = drivewam_files::read(path, MAX_FILE_BYTES, ErrorKind::Input)?;
        let size = content::image_size(&bytes, most)?;
        let rgb = content::pixels(&bytes, size, most)?;
        let picture = RgbImage::from_raw(u32::try_from(size.0)?, u32::try_from(size.1)?, rgb).context("its pixels are not all there")?;
        Ok(DynamicImage::from(picture).resize_to_fill(width, height, FilterType::Triangle).to_rgb8().into_raw())
    };
    paths.iter().map(|path| read(path).with_context(|| format!("cannot read {path:?}"))).collect()
}

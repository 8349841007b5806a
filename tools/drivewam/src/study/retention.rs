//! `memory-retention.png`: the patches that the memory still holds after a drive, on the frames
//! that they come from.

use super::episode::Episode;
use super::setup::Study;
use super::steered_device::SharedSign;
use crate::figure::{Figure, TEXT, write};
use anyhow::Result;
use drivewam_simulation::CameraSource;
use drivewam_world::{Canvas, Kind, Options, World};
use ndarray::{Array3, ArrayView2, ArrayView3};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Pixels of the figure per pixel of a frame, along each side.
const ZOOM: usize = 2;
const COLUMNS: usize = 5;
/// Maximum number of frames shown: those with the most tokens in memory.
const MAX_FRAMES: usize = 30;
const LABEL: usize = 20;
const HEAD: usize = 44;
/// Brightness of a patch that no layer holds.
const FORGOTTEN: f64 = 0.22;

/// Drives world 0 with the configuration's selective memory, and draws what it holds at the end.
/// Draws nothing when `stop` was set meanwhile.
///
/// # Errors
/// The ride fails; the file cannot be written.
pub(super) fn draw(study: &Study<'_>, stop: &AtomicBool, file: &Path) -> Result<()> {
    let mut ride = study.ride(study.config("memory: {policy: selective}")?)?;
    let model = ride.config().model.clone();
    let options = Options { kind: Kind::Memory, ..Options::default() };
    let episode = Episode { seed: 0, options, chunks: study.chunks.min(40), camera: CameraSource::Own, reset_every: None, routed: true };
    if episode.drive(&mut ride, &SharedSign::default(), stop)?.is_none() {
        return Ok(());
    }
    // By chunk, for each token: the share of layers and head sets that hold it.
    let mut held: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    let video = 0..ride.config().slots().0;
    for layer in 0..model.layers {
        let table = ride.memory_table(layer)?;
        for set in 0..table.sets() {
            let share = 1.0 / (model.layers * table.sets()) as f64;
            for slot in table.pool(set, video.clone())?.iter().filter(|s| s.valid) {
                held.entry(slot.chunk).or_insert_with(|| vec![0.0; model.video_tokens()])[slot.token as usize] += share;
            }
        }
    }
    let newest = held.keys().next_back().copied().unwrap_or(0);
    let mut shown: Vec<u32> = held.keys().copied().collect();
    shown.sort_by(|a, b| held[b].iter().sum::<f64>().total_cmp(&held[a].iter().sum()));
    shown.truncate(MAX_FRAMES);
    shown.sort_unstable();
    let (width, height) = (model.image.width * ZOOM, model.image.height * ZOOM);
    let rows = shown.len().div_ceil(COLUMNS).max(1);
    let mut figure = Figure::new(COLUMNS * (width + 8) + 8, HEAD + rows * (height + LABEL + 8));
    // Render the frames again: a seed always gives the same world.
    let (mut world, mut canvas) = (World::new(0, options), Canvas::new(model.image.width, model.image.height, model.camera));
    let patch_columns = model.latent.width / model.patch[2];
    let mut tick = 0;
    let mut labels = Vec::new();
    for (i, chunk) in shown.iter().enumerate() {
        while tick < *chunk as usize * model.poses() {
            world.step(world.expert());
            tick += 1;
        }
        world.render(&mut canvas);
        let frame = ArrayView3::from_shape((canvas.height, canvas.width, 3), &canvas.rgb)?;
        let shares = ArrayView2::from_shape((held[chunk].len() / patch_columns, patch_columns), &held[chunk])?;
        let (left, top) = (8 + i % COLUMNS * (width + 8), HEAD + i / COLUMNS * (height + LABEL + 8));
        figure.put(shade(frame, shares).view(), left, top + LABEL);
        labels.push((format!("chunk {chunk}, {} s ago: {:.1} patches", (newest - chunk) * 4, shares.sum()), left as i32, top as i32));
    }
    figure.draw(|area| {
        write(
            area,
            "selective memory: newest frame of each chunk; brightness of a patch: share of layers that hold it",
            14,
            &TEXT,
            12,
            14,
        )?;
        labels.iter().try_for_each(|(label, left, top)| write(area, label, 11, &TEXT, *left, *top + 2))
    })?;
    figure.save(file)
}

/// Enlarges an RGB frame `[height, width, 3]` by [`ZOOM`] and scales each patch's brightness by its
/// share in `shares`, `[rows, columns]` of patches.
fn shade(frame: ArrayView3<'_, u8>, shares: ArrayView2<'_, f64>) -> Array3<u8> {
    let ((height, width, _), (rows, columns)) = (frame.dim(), shares.dim());
    Array3::from_shape_fn((height * ZOOM, width * ZOOM, 3), |(y, x, channel)| {
        let (y, x) = (y / ZOOM, x / ZOOM);
        let share = shares[[y * rows / height, x * columns / width]].min(1.0);
        (f64::from(frame[[y, x, channel]]) * (FORGOTTEN + (1.0 - FORGOTTEN) * share)) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_as_bright_as_its_share() {
        let frame = Array3::from_elem((2, 4, 3), 100);
        let shaded = shade(frame.view(), ArrayView2::from_shape((1, 2), &[1.0, 0.0]).unwrap());
        assert_eq!(
            (shaded.dim(), shaded[[0, 0, 0]], shaded[[3, 3, 2]], shaded[[0, 4, 0]], shaded[[3, 7, 1]]),
            ((4, 8, 3), 100, 100, 22, 22)
        );
    }
}

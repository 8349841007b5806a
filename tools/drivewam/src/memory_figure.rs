//! What a memory holds, drawn over the frames that it saw.

use crate::figure::{Figure, TEXT, write};
use anyhow::Result;
use drivewam::Ride;
use drivewam_core::dims::Model;
use ndarray::{Array3, ArrayView2, ArrayView3};
use std::collections::BTreeMap;
use std::path::Path;

/// Pixels of the figure per pixel of a frame, along each side.
const ZOOM: usize = 2;
const COLUMNS: usize = 5;
/// Maximum number of frames shown: those with the most tokens in memory.
const MAX_FRAMES: usize = 30;
const LABEL: usize = 20;
const HEAD: usize = 44;
/// Brightness of a patch that no layer holds.
const FORGOTTEN: f64 = 0.22;

/// By chunk, for each video token: the share of layers and head sets that hold it.
pub(crate) type Held = BTreeMap<u32, Vec<f64>>;

/// What the memory of the ride's newest lane holds.
///
/// # Errors
/// The device fails.
pub(crate) fn held(ride: &mut Ride) -> Result<Held> {
    let (layers, tokens, video) = (ride.config().model.layers, ride.config().model.video_tokens(), 0..ride.config().slots().0);
    let mut held = Held::new();
    for layer in 0..layers {
        let table = ride.memory_table(layer)?;
        for set in 0..table.sets() {
            let share = 1.0 / (layers * table.sets()) as f64;
            for slot in table.pool(set, video.clone())?.iter().filter(|slot| slot.valid) {
                held.entry(slot.chunk).or_insert_with(|| vec![0.0; tokens])[slot.token as usize] += share;
            }
        }
    }
    Ok(held)
}

/// Draws a frame of each chunk of `held`, each patch as bright as its share, and writes the figure
/// to `path`. `frame` returns the newest frame of a chunk, RGB of the model's size; it is asked in
/// the order of chunks, and a chunk without one is left out. Writes nothing without a frame.
///
/// # Errors
/// `frame` fails, or returns another size; the file cannot be written.
pub(crate) fn draw(
    title: &str,
    held: &Held,
    model: &Model,
    mut frame: impl FnMut(u32) -> Result<Option<Vec<u8>>>,
    path: &Path,
) -> Result<()> {
    let newest = held.keys().next_back().copied().unwrap_or(0);
    let mut shown: Vec<u32> = held.keys().copied().collect();
    shown.sort_by(|a, b| held[b].iter().sum::<f64>().total_cmp(&held[a].iter().sum()));
    shown.truncate(MAX_FRAMES);
    shown.sort_unstable();
    let patch_columns = model.latent.width / model.patch[2];
    let mut tiles = Vec::with_capacity(shown.len());
    for chunk in shown {
        let Some(rgb) = frame(chunk)? else { continue };
        let frame = ArrayView3::from_shape((model.image.height, model.image.width, 3), &rgb)?;
        let shares = ArrayView2::from_shape((held[&chunk].len() / patch_columns, patch_columns), &held[&chunk])?;
        let age_s = u64::from(newest - chunk) * model.chunk_ns().unsigned_abs() / 1_000_000_000;
        tiles.push((shade(frame, shares), format!("chunk {chunk}, {age_s} s ago: {:.1} patches", shares.sum())));
    }
    if tiles.is_empty() {
        return Ok(());
    }
    let (width, height) = (model.image.width * ZOOM, model.image.height * ZOOM);
    let place = |i: usize| (8 + i % COLUMNS * (width + 8), HEAD + i / COLUMNS * (height + LABEL + 8));
    let mut figure = Figure::new(COLUMNS * (width + 8) + 8, HEAD + tiles.len().div_ceil(COLUMNS) * (height + LABEL + 8));
    for (i, (tile, _)) in tiles.iter().enumerate() {
        let (left, top) = place(i);
        figure.put(tile.view(), left, top + LABEL);
    }
    figure.draw(|area| {
        write(area, title, 14, &TEXT, 12, 14)?;
        tiles.iter().enumerate().try_for_each(|(i, (_, label))| {
            let (left, top) = place(i);
            write(area, label, 11, &TEXT, left as i32, top as i32 + 2)
        })
    })?;
    figure.save(path)
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

//! The codec: a block average, and its inverse by nearest neighbour.
//!
//! Channel c of a latent is the block average of colour c mod 3 of the newest frame, times 1 − (c /
//! 3) / Cz. With a cache, it is three quarters of that and one quarter of the cache's element at
//! the same index, modulo the cache's length. The next value of each cache is the latent, indexed
//! likewise.

use super::slot::Slot;
use drivewam_core::dims::Model;

pub(super) fn encode(model: &Model, inputs: &[Slot], outputs: &mut [Slot]) {
    let (Some((frames, caches)), Some((latent, next))) = (inputs.split_first(), outputs.split_first_mut()) else { return };
    let (height, width) = (model.image.height, model.image.width);
    let (rows, columns) = (model.latent.height, model.latent.width);
    let newest = frames.data.chunks_exact(3 * height * width).last().unwrap_or_default();
    for (c, plane) in latent.data.chunks_exact_mut(rows * columns).enumerate() {
        let scale = 1.0 - (c / 3) as f32 / model.latent.channels as f32;
        let colour = newest.chunks_exact(height * width).nth(c % 3).unwrap_or_default();
        for (i, value) in plane.iter_mut().enumerate() {
            let (y, x) = (i / columns, i % columns);
            let (top, bottom) = (y * height / rows, ((y + 1) * height / rows).max(y * height / rows + 1));
            let (left, right) = (x * width / columns, ((x + 1) * width / columns).max(x * width / columns + 1));
            let lines = colour.chunks_exact(width).take(bottom).skip(top);
            let sum: f32 = lines.flat_map(|line| line.iter().take(right).skip(left)).sum();
            *value = scale * sum / ((bottom - top) * (right - left)) as f32;
        }
    }
    if let Some(cache) = caches.first() {
        for (value, held) in latent.data.iter_mut().zip(cache.data.iter().cycle()) {
            *value = 0.75 * *value + 0.25 * held;
        }
    }
    carry(&latent.data, next);
}

pub(super) fn decode(model: &Model, inputs: &[Slot], outputs: &mut [Slot]) {
    let (Some(latent), Some((frames, next))) = (inputs.first(), outputs.split_first_mut()) else { return };
    let (height, width) = (model.image.height, model.image.width);
    let (rows, columns) = (model.latent.height, model.latent.width);
    for (i, value) in frames.data.iter_mut().enumerate() {
        let (colour, y, x) = (i / (height * width) % 3, i / width % height, i % width);
        let at = (colour * rows + y * rows / height) * columns + x * columns / width;
        *value = latent.data.get(at).copied().unwrap_or(0.0).clamp(-1.0, 1.0);
    }
    carry(&latent.data, next);
}

fn carry(latent: &[f32], next: &mut [Slot]) {
    for cache in next {
        for (to, &from) in cache.data.iter_mut().zip(latent.iter().cycle()) {
            *to = from;
        }
    }
}

//! `memory-kept.png`: which patches the memory still holds after a drive, over the frames they come from.

use super::Study;
use super::chosen::Signs;
use super::course::Course;
use crate::sheet::{INK, Sheet, write};
use anyhow::Result;
use drivewam_simulation::CameraSource;
use drivewam_world::{Canvas, Kind, Options, World};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Pixels of the picture for each pixel of a frame.
const ZOOM: usize = 2;
const COLUMNS: usize = 5;
/// Most frames that are shown: those of which most is kept.
const MOST_FRAMES: usize = 30;
const LABEL: usize = 20;
const HEAD: usize = 44;
/// Brightness of a patch that no layer holds.
const FORGOTTEN: f64 = 0.22;

/// Drives world 0 with the configuration's memory, and draws what it holds at the end.
///
/// # Errors
/// Of the ride; the file cannot be written.
pub(super) fn draw(study: &Study<'_>, stop: &AtomicBool, file: &Path) -> Result<()> {
    let mut ride = study.ride(study.config("memory: {policy: selective}")?)?;
    let model = ride.config().model.clone();
    let options = Options { kind: Kind::Memory, disturb: false };
    let course = Course { seed: 0, options, chunks: study.chunks.min(40), camera: CameraSource::Own, anew_every: None, routed: true };
    if course.drive(&mut ride, &Signs::default(), stop)?.is_none() {
        return Ok(());
    }
    // How many layers and head sets hold each token.
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
    shown.truncate(MOST_FRAMES);
    shown.sort_unstable();
    let (width, height) = (model.image.width * ZOOM, model.image.height * ZOOM);
    let rows = shown.len().div_ceil(COLUMNS).max(1);
    let mut sheet = Sheet::new(COLUMNS * (width + 8) + 8, HEAD + rows * (height + LABEL + 8));
    // The frames once more: a seed draws the same world.
    let (mut world, mut canvas) = (World::new(0, options), Canvas::new(model.image.width, model.image.height, model.camera));
    let mut tick = 0;
    let mut labels = Vec::new();
    for (i, chunk) in shown.iter().enumerate() {
        while tick < *chunk as usize * model.poses() {
            world.step(world.expert());
            tick += 1;
        }
        world.render(&mut canvas);
        let (left, top) = (8 + i % COLUMNS * (width + 8), HEAD + i / COLUMNS * (height + LABEL + 8));
        sheet.put(&patches(&canvas, &held[chunk], model.latent.width / model.patch[2]), width, left, top + LABEL);
        let count: f64 = held[chunk].iter().sum();
        labels.push((format!("chunk {chunk}, {} s ago: {count:.1} patches", (newest - chunk) * 4), left as i32, top as i32));
    }
    sheet.draw(|area| {
        write(
            area,
            "what the selective memory holds: newest frame of each chunk, a patch as bright as the share of layers that hold it",
            14,
            &INK,
            12,
            14,
        )?;
        labels.iter().try_for_each(|(words, left, top)| write(area, words, 11, &INK, *left, *top + 2))
    })?;
    sheet.save(file)
}

/// The frame, enlarged, each patch as bright as its share.
fn patches(canvas: &Canvas, shares: &[f64], columns: usize) -> Vec<u8> {
    let rows = shares.len() / columns;
    let mut out = Vec::with_capacity(canvas.rgb.len() * ZOOM * ZOOM);
    for y in 0..canvas.height * ZOOM {
        for x in 0..canvas.width * ZOOM {
            let (row, column) = (y / ZOOM, x / ZOOM);
            let patch = row * rows / canvas.height * columns + column * columns / canvas.width;
            let light = FORGOTTEN + (1.0 - FORGOTTEN) * shares[patch].min(1.0);
            out.extend(canvas.rgb[(row * canvas.width + column) * 3..][..3].iter().map(|v| (f64::from(*v) * light) as u8));
        }
    }
    out
}

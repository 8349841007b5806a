//! `memory-retention.png`: the patches that the memory still holds after a drive, on the frames
//! that they come from.

use super::episode::Episode;
use super::setup::Study;
use super::steered_device::SharedSign;
use crate::memory_figure;
use anyhow::Result;
use drivewam_world::{Canvas, Kind, Options, World};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Drives world 0 with the configuration's selective memory, and draws what it holds at the end.
/// Draws nothing when `stop` was set meanwhile.
///
/// # Errors
/// The ride fails; the file cannot be written.
pub(super) fn draw(study: &Study<'_>, stop: &AtomicBool, file: &Path) -> Result<()> {
    let mut ride = study.ride(study.config("memory: {policy: selective}")?)?;
    let model = ride.config().model.clone();
    let options = Options { kind: Kind::Memory, ..Options::default() };
    let episode = Episode { seed: 0, options, chunks: study.chunks.min(40), fault: None, reset_every: None, routed: true };
    if episode.drive(&mut ride, &SharedSign::default(), stop)?.is_none() {
        return Ok(());
    }
    let held = memory_figure::held(&mut ride)?;
    // Render the frames again: a seed always gives the same world.
    let (mut world, mut canvas) = (World::new(0, options), Canvas::new(model.image.width, model.image.height, model.camera));
    let mut tick = 0;
    let frame = |chunk: u32| {
        while tick < chunk as usize * model.poses() {
            world.step(world.expert());
            tick += 1;
        }
        world.render(&mut canvas);
        Ok(Some(canvas.rgb.clone()))
    };
    let title = "selective memory: newest frame of each chunk; brightness of a patch: share of layers that hold it";
    memory_figure::draw(title, &held, &model, frame, file)
}

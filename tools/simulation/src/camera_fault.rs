//! Cameras that show something else than the road ahead.

use drivewam_core::config::Config;
use drivewam_world::{Canvas, World};

/// Exchanges left and right in packed RGB rows of `width` pixels.
pub fn mirror(rgb: &mut [u8], width: usize) {
    for row in rgb.chunks_exact_mut(3 * width.max(1)) {
        row.as_chunks_mut::<3>().0.reverse();
    }
}

/// What is wrong with the pictures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultKind {
    /// Every number of the picture is this.
    Level(u8),
    /// Left and right are exchanged.
    Mirrored,
    /// The picture at the beginning of the fault stays.
    Frozen,
    /// Pictures of the drive come in any order, as the expert would see them.
    Shuffled,
    /// The camera looks aside by this angle, radians, left positive.
    Aside(f64),
    /// Pictures of another camera, in order, there and back.
    Foreign,
}

/// A fault of the camera from a tick on.
#[derive(Debug, Clone)]
pub struct CameraFault {
    kind: FaultKind,
    pub(crate) from_tick: u64,
    /// What [`FaultKind::Shuffled`] and [`FaultKind::Foreign`] show.
    pictures: Vec<Vec<u8>>,
    /// Pictures drawn so far.
    frame: u64,
}

impl CameraFault {
    /// A fault from `from_tick` on. `pictures`, of the canvas's size, are those that
    /// [`FaultKind::Shuffled`] and [`FaultKind::Foreign`] show.
    pub fn new(kind: FaultKind, from_tick: u64, pictures: Vec<Vec<u8>>) -> Self {
        Self { kind, from_tick, pictures, frame: 0 }
    }

    /// Pictures of the world of `seed` while the expert drives it for `seconds`, at the model's
    /// frame rate.
    pub fn pictures_of(config: &Config, world: &World, seconds: u64) -> Vec<Vec<u8>> {
        let (model, mut world) = (&config.model, world.clone());
        let mut canvas = Canvas::new(model.image.width, model.image.height, model.camera);
        let every = u64::from(10 / model.image.frame_hz.max(1)).max(1);
        let mut pictures = Vec::new();
        for tick in 0..seconds * 10 {
            if tick % every == 0 {
                world.render(&mut canvas);
                pictures.push(canvas.rgb.clone());
            }
            world.step(world.expert());
        }
        pictures
    }

    /// Draws what the camera shows at `tick` of `world`.
    pub(crate) fn draw(&mut self, world: &mut World, tick: u64, canvas: &mut Canvas) {
        let is_first = self.frame == 0;
        self.frame += 1;
        match self.kind {
            FaultKind::Level(level) => canvas.rgb.fill(level),
            FaultKind::Mirrored => {
                world.render(canvas);
                mirror(&mut canvas.rgb, canvas.width);
            }
            FaultKind::Frozen if is_first => world.render(canvas),
            FaultKind::Frozen => {}
            FaultKind::Aside(yaw_rad) => {
                if is_first {
                    world.turn_camera(yaw_rad);
                }
                world.render(canvas);
            }
            FaultKind::Shuffled => self.show(tick.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33, canvas),
            FaultKind::Foreign => {
                let (at, last) = (self.frame - 1, (self.pictures.len() as u64).saturating_sub(1).max(1));
                let turn = at % (2 * last);
                self.show(turn.min(2 * last - turn), canvas);
            }
        }
    }

    fn show(&self, index: u64, canvas: &mut Canvas) {
        if let Some(picture) = self.pictures.get((index % self.pictures.len().max(1) as u64) as usize) {
            canvas.rgb.copy_from_slice(picture);
        }
    }
}

//! What the ride's camera shows, and which frame rates fit the world.

use super::{CameraSource, SimulationDriver, frame_every};
use drivewam_core::dims::Model;
use drivewam_world::{Canvas, Options, World};
use std::path::Path;

fn model() -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/tiny.yaml");
    drivewam::load_config(&path, &[]).unwrap().model
}

/// Breaks when the camera shows the wrong world, or when the other world stands still.
#[test]
fn the_camera_shows_its_own_world_black_or_another_one() {
    let model = model();
    for (camera, seed) in [(CameraSource::Own, Some(1)), (CameraSource::Black, None), (CameraSource::Other(2), Some(2))] {
        let mut driver = SimulationDriver::new(&model, 1, Options::default(), camera).unwrap();
        let mut canvas = Canvas::new(model.image.width, model.image.height, model.camera);
        let mut shown = seed.map(|seed| World::new(seed, Options::default()));
        for tick in 0..30 {
            if driver.is_frame() {
                driver.draw();
                if let Some(world) = &shown {
                    world.render(&mut canvas);
                }
                assert!(driver.canvas().rgb == canvas.rgb, "{camera:?}, tick {tick}");
            }
            driver.step(driver.world.expert());
            if let Some(world) = &mut shown {
                world.step(world.expert());
            }
        }
        assert_eq!(driver.tick(), 30);
    }
}

#[test]
fn a_frame_rate_that_does_not_divide_the_ticks_is_refused_by_its_key() {
    let mut model = model();
    assert_eq!(frame_every(&model).unwrap(), u64::from(10 / model.image.frame_hz));
    for rate in [0, 3, 20] {
        model.image.frame_hz = rate;
        let error = frame_every(&model).unwrap_err().to_string();
        assert!(error.contains("model.image.frame_hz") && error.contains(&format!("got {rate}")), "{error}");
    }
}

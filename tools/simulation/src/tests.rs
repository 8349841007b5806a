//! What the ride's camera shows, and which frame rates fit the world.

use super::{CameraFault, FaultKind, SimulationDriver, frame_every};
use drivewam_core::config::Config;
use drivewam_world::{Canvas, Options, World};
use std::path::Path;

fn config() -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/tiny.yaml");
    drivewam::load_config(&path, &[]).unwrap()
}

/// Breaks when the camera shows the wrong world, or when the other world stands still.
#[test]
fn the_camera_shows_its_own_world_black_or_another_one() {
    let config = config();
    let model = &config.model;
    let other = CameraFault::pictures_of(&config, &World::new(2, Options::default()), 3);
    let [black, foreign] = [(FaultKind::Level(0), Vec::new()), (FaultKind::Foreign, other)];
    for (fault, seed) in [(None, Some(1)), (Some(black), None), (Some(foreign), Some(2))] {
        let mut driver = SimulationDriver::new(&config, 1, Options::default()).unwrap();
        driver.fault = fault.map(|(kind, pictures)| CameraFault::new(kind, 0, pictures));
        let mut canvas = Canvas::new(model.image.width, model.image.height, model.camera);
        let mut shown = seed.map(|seed| World::new(seed, Options::default()));
        for tick in 0..30 {
            if driver.is_frame() {
                driver.draw();
                if let Some(world) = &shown {
                    world.render(&mut canvas);
                }
                assert!(driver.canvas().rgb == canvas.rgb, "world {seed:?}, tick {tick}");
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
    let mut config = config();
    assert_eq!(frame_every(&config).unwrap(), u64::from(10 / config.model.image.frame_hz));
    for rate in [0, 3, 20] {
        config.model.image.frame_hz = rate;
        let error = frame_every(&config).unwrap_err().to_string();
        assert!(error.contains("model.image.frame_hz") && error.contains(&format!("got {rate}")), "{error}");
    }
}

/// Breaks if lanes get no frames at their turns: eight of them need two a second.
#[test]
fn frames_come_as_often_as_the_lanes_need_them() {
    for (lanes, every) in [(1, 10), (2, 10), (4, 10), (5, 2), (8, 5)] {
        let mut config = config();
        config.lanes.count = lanes;
        assert_eq!(frame_every(&config).unwrap(), every, "{lanes} lanes");
    }
    let mut config = config();
    config.lanes.count = 16;
    assert!(frame_every(&config).unwrap_err().to_string().contains("lanes.count"));
}

//! A procedural driving world with an expert driver. Training, tests and `drive` share it.
//!
//! A seed names a world: a lane with curves and junctions, leading vehicles that brake, traffic
//! lights, pedestrians, and speed limit signs whose limit stays in force long after they left the
//! image. [`World::step`] advances the world by one tick, [`World::render`] draws the front camera,
//! [`World::expert`] returns what a good driver would do, [`World::labels`] the state of the world,
//! [`World::facts`] what the image shows, and [`Facts::caption`] a text about it.
//!
//! Nothing here reads a clock or asks the machine: a seed gives the same bits everywhere. Frame of
//! reference: one fixed plane, x and y in metres; the car's reference point lies between its rear
//! wheels.

#![forbid(unsafe_code)]

mod canvas;
mod caption;
mod car;
mod contact;
mod dimensions;
mod drift;
mod drive_files;
mod driver;
mod existing;
mod expert;
mod follow;
mod labels;
mod options;
mod output;
mod palette;
mod plan;
mod plots;
mod render;
mod rng;
mod road;
mod scene;
mod steering;
mod tick;
mod visibility;
mod world;
mod write;

pub use canvas::Canvas;
pub use caption::{Action, Because, Facts, LeadAhead};
pub use car::{Control, Ego};
pub use dimensions::{CAMERA_AHEAD_M, CAMERA_HEIGHT_M};
pub use drive_files::WriteOptions;
pub use driver::{Driver, ExpertDriver};
pub use drivewam_recording::format::FrameFormat;
pub use follow::Follower;
pub use labels::Labels;
pub use options::{Kind, Options};
pub use palette::Palette;
pub use plan::PlanLabels;
pub use render::SignView;
pub use road::{HALF_LANE_M, SPEED_LIMITS_MPS};
pub use scene::Light;
pub use tick::{TICK_NS, TICK_S};
pub use visibility::RoadAhead;
pub use world::{PlacedLight, Violations, WORLD_VERSION, World};
pub use write::{Written, write_seeds};

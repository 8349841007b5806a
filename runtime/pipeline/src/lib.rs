//! DriveWAM Edge: frame in, trajectory out.
//!
//! Enters: camera frames with capture stamps, ego poses, ego states, route commands. Leaves, per chunk of 4 s: an [`telemetry::Outcome`] with a
//! trajectory of 40 poses, the guard's verdict on it, ages and latencies. Never: a clock of its own, an allocation after
//! [`Plan::warm`], or a silent fallback.
//!
//! A vehicle sets [`RideOptions::realtime`] and [`RideOptions::closed_loop`]: only then are deadline, silence and continuity judged.
//!
//! ```no_run
//! use drivewam::{Plan, Progress, RideOptions, SourceCamera, load_config};
//! use drivewam::ingest::EgoState;
//! use drivewam_core::pose::Pose2;
//! use drivewam_engine::{Folder, Trust};
//! # fn main() -> drivewam_core::Result<()> {
//! let config = load_config("configs/tiny.yaml".as_ref(), &[])?;
//! let folder = Folder::open(config.engine.folder.as_ref(), &Trust::of(&config.vehicle)?, None)?;
//! let camera = SourceCamera::of_model(&config.model);
//! let mut ride = Plan::new(config, folder.manifest(), camera, RideOptions::default())?.warm(&folder)?;
//! let picture = vec![0u8; camera.width * camera.height * 3];
//! ride.push_ego(0, EgoState { speed_mps: 5.0, ..EgoState::default() })?;
//! ride.push_pose(0, Pose2::default())?;
//! ride.push_frame(0, &picture)?;
//! if let Progress::Outcome(outcome) = ride.step(0)? {
//!     println!("{:?}: {:?}", outcome.verdict, outcome.published.points().last());
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod camera;
mod codec;
mod context;
mod cores;
pub mod guard;
pub mod guidance;
pub mod ingest;
mod load;
mod memory;
mod plan;
pub mod probe;
mod regions;
mod ride;
mod sampler;
pub mod telemetry;
mod transformer;

pub use camera::SourceCamera;
pub use drivewam_device::PixelFormat;
pub use load::{config_sha256, load_config};
pub use plan::{Plan, RideOptions};
pub use ride::{Progress, Ride};

//! DriveWAM Edge: frame in, trajectory out.
//!
//! **Enters:** camera frames with capture stamps, ego poses, ego states and route commands.
//! **Leaves**, per chunk of 4 s: an [`Outcome`] with a trajectory of 40 poses, the guard's verdict
//! on it, ages and latencies. **Never:** it never reads a clock to decide, never allocates after
//! [`Plan::warm`], and never falls back silently.
//!
//! ```no_run
//! use drivewam::{EgoState, EngineBundle, Plan, Pose2, Progress, RideOptions, SourceCamera};
//! use drivewam::{Trust, load_config};
//!
//! # fn main() -> drivewam::Result<()> {
//! let config = load_config("configs/tiny.yaml".as_ref(), &[])?;
//! let bundle = EngineBundle::open(config.engine.folder.as_ref(), &Trust::of_config(&config)?)?;
//! let camera = SourceCamera::of_model(&config.model);
//! // The defaults are a vehicle's: the deadline, silent inputs (`realtime`) and the continuity of
//! // the plans (`closed_loop`) are judged.
//! let options = RideOptions { realtime: true, closed_loop: true, ..RideOptions::default() };
//! let mut ride = Plan::new(config, bundle.manifest(), camera, options)?.warm(bundle)?;
//! let image = vec![0u8; camera.width * camera.height * 3];
//! ride.push_ego(0, EgoState { speed_mps: 5.0, ..EgoState::default() })?;
//! ride.push_pose(0, Pose2::default())?;
//! ride.push_frame(0, &image)?;
//! if let Progress::Outcome(outcome) = ride.step(0)? {
//!     println!("{:?}: {:.2}", outcome.verdict, outcome.published_poses());
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod camera;
mod camera_health;
mod codec;
mod context;
pub mod guard;
mod ingest;
mod load;
mod memory;
pub mod monitors;
pub mod outcome;
mod plan;
pub mod probe;
mod regions;
mod ride;
mod sampler;
mod self_test;
pub mod stages;
mod trained;
mod transformer;

pub use drivewam_core::config::Config;
pub use drivewam_core::dims::Command;
pub use drivewam_core::ego::EgoState;
pub use drivewam_core::pose::Pose2;
pub use drivewam_core::{Error, ErrorKind, Result};
pub use drivewam_device::{PixelFormat, SourceCamera, SourceMount};
pub use drivewam_engine::{EngineBundle, Trust};
/// The language model that describes the scene.
pub use drivewam_guidance as guidance;
pub use load::{config_sha256, load_config};
/// Views of tensors at this crate's API.
pub use ndarray;
pub use outcome::Outcome;
pub use plan::Plan;
pub use ride::options::RideOptions;
pub use ride::{Progress, Ride};

//! Plan, Warm, Run as three types: [`Plan`] is arithmetic; [`Plan::warm`] allocates, loads, binds
//! and runs every graph once; the [`Ride`](crate::Ride) that it returns uses only what is there.

use crate::camera::Fit;
use crate::codec::{Decoder, Encoder};
use crate::context::Context;
use crate::memory::Memory;
use crate::outcome::Degraded;
use crate::regions::Regions;
use crate::ride::Ride;
use crate::ride::options::RideOptions;
use crate::ride::state::Models;
use crate::sampler::Sampler;
use crate::transformer::Transformer;
use drivewam_core::Result;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::bindings::Graph;
use drivewam_core::config::Config;
use drivewam_core::manifest::Manifest;
use drivewam_device::cuda::Priority;
use drivewam_device::{Affinity, Device, SourceCamera};
use drivewam_engine::{Engine, Folder, load, open_device};
use drivewam_guidance::client::GuidanceClient;

/// The arithmetic of a ride: everything that can be checked without a device has been.
#[derive(Debug)]
pub struct Plan {
    config: Config,
    options: RideOptions,
    regions: Regions,
    arena: ArenaPlan,
    fit: Fit,
}

impl Plan {
    /// Plans a ride of `config` with the engines of `manifest`, behind the vehicle's `camera`.
    ///
    /// # Errors
    /// `Manifest` when the engines were built for another model; `Input` for a camera that cannot
    /// be used; `Capacity`, naming the keys to raise, when the plan does not fit
    /// `target.arena_bytes`.
    pub fn new(config: Config, manifest: &Manifest, camera: SourceCamera, options: RideOptions) -> Result<Self> {
        manifest.check_model(&config.model)?;
        let fit = Fit::plan(&config.camera, &config.model, camera, config.ingest.max_image_pixels)?;
        let (regions, arena) = Regions::plan(&config, manifest, options.decoder)?;
        Ok(Self { config, options, regions, arena, fit })
    }

    /// The arena's plan; its `Display` is a table.
    pub fn arena(&self) -> &ArenaPlan {
        &self.arena
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Moves the calling thread to `target.cores.ride`, where it stays. Allocates the arena on the
    /// device that the engines compute on; loads the engines of `folder`, binds them, compares each
    /// with its self-test, and runs every graph once.
    ///
    /// # Errors
    /// `Device` when the engines need a GPU and there is none; `Capacity` when the memory cannot be
    /// allocated; `Manifest` when `folder` lacks a graph, or a graph differs from its manifest;
    /// `Engine` when the engine library is missing, of the wrong version, or fails.
    pub fn warm(self, folder: &Folder) -> Result<Ride> {
        let engine = self.config.engine.clone();
        self.warm_engines(folder, |graph| load(&engine, folder, graph))
    }

    /// As [`Plan::warm`], with engines from `open`, which is called once for each graph. They
    /// compute on the configured device.
    ///
    /// # Errors
    /// As [`Plan::warm`], and errors of `open`.
    pub fn warm_engines(self, folder: &Folder, open: impl Fn(Graph) -> Result<Box<dyn Engine>>) -> Result<Ride> {
        let (engine, threads) = (self.config.engine.clone(), self.config.target.threads);
        self.warm_with(folder, |arena| open_device(&engine, arena, threads, Priority::High), open)
    }

    /// As [`Plan::warm_engines`], on a device from `make_device`, which receives the arena's plan.
    /// `folder` still gives the manifest and the command texts.
    ///
    /// # Errors
    /// As [`Plan::warm`], and errors of `make_device` and `open`.
    pub fn warm_with(
        self,
        folder: &Folder,
        make_device: impl FnOnce(ArenaPlan) -> Result<Box<dyn Device>>,
        open: impl Fn(Graph) -> Result<Box<dyn Engine>>,
    ) -> Result<Ride> {
        let Self { config, options, regions, arena, fit } = self;
        let manifest = folder.manifest();
        manifest.check_model(&config.model)?;
        let affinity = Affinity::new(&config.target.cores)?;
        let moved = affinity.ride()?;
        let mut device = make_device(arena)?;
        let Fit { camera, columns, rows, fov, uncovered } = fit;
        device.open_camera(camera.pictures(), columns, rows)?;
        let camera_fit = Degraded { fov, uncovered_picture: uncovered, ..Degraded::default() };
        let on = device.as_mut();
        let models = Models {
            encoder: Encoder::new([open(Graph::VaeEncodeFirst)?, open(Graph::VaeEncode)?], &config, manifest, &regions, on)?,
            context: Context::new([open(Graph::ContextText)?, open(Graph::ContextEgo)?], &config, folder, &regions, on)?,
            guidance: GuidanceClient::new(&config, folder, camera, affinity, &open)?,
            transformer: Transformer::new(open(Graph::Dit)?, manifest, &regions, on)?,
            memory: Memory::new(&config, &regions, on)?,
            decoder: match options.decoder {
                true => Some(Decoder::new(open(Graph::VaeDecode)?, manifest, &regions, on)?),
                false => None,
            },
            sampler: Sampler::new(&config, &regions)?,
        };
        let ride = Ride::warm(config, options, (camera, camera_fit), device, models, manifest)?;
        if let Some(moved) = moved {
            moved.keep();
        }
        Ok(ride)
    }
}

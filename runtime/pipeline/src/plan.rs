//! Plan, Warm, Run as three steps: [`Plan`] is arithmetic, [`Plan::warm`] allocates, loads, binds and runs every graph once, and the
//! [`Ride`](crate::Ride) that comes out only uses what is there.

use crate::camera::Fit;
use crate::codec::{Decoder, Encoder};
use crate::context::Context;
use crate::guidance::Guidance;
use crate::memory::Memory;
use crate::regions::Regions;
use crate::ride::{Parts, Ride};
use crate::sampler::Sampler;
use crate::telemetry::Degraded;
use crate::transformer::Transformer;
use drivewam_core::Result;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{self, Config};
use drivewam_core::manifest::Manifest;
use drivewam_device::cuda::{Nvidia, StreamPriority};
use drivewam_device::{Affinity, CudaDevice, Device, HostDevice, SourceCamera};
use drivewam_engine::{Engine, Folder, load};
use std::path::{Path, PathBuf};

/// What differs between a vehicle, an evaluation and a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RideOptions {
    /// Stamps are those of a running clock: the deadline is judged.
    pub realtime: bool,
    /// The car follows the published plan: its continuity is judged.
    pub closed_loop: bool,
    /// The imagined video can be decoded ([`Ride::future`](crate::Ride::future)).
    pub decoder: bool,
}

/// A ride by arithmetic: everything that can be refused without a device has been.
#[derive(Debug)]
pub struct Plan {
    config: Config,
    options: RideOptions,
    regions: Regions,
    arena: ArenaPlan,
    fit: Fit,
}

impl Plan {
    /// Plans a ride of `config` with the engines that `manifest` speaks of, behind `camera`.
    ///
    /// # Errors
    /// `Manifest` when the engines were made for another model; `Input` for a camera that cannot be used; `Capacity`, naming the keys to raise,
    /// when the plan does not fit `target.arena_bytes`.
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

    /// Moves the calling thread to `target.cores.ride`, and leaves it there. Allocates the arena, on the host or on the GPU that the engines run on; loads the engines of `folder`, binds them, holds each against its
    /// self-test, runs every graph once.
    ///
    /// # Errors
    /// `Device` when the engines want a GPU and there is none; `Capacity` when the memory is not to be had; `Manifest` when `folder` lacks a graph or a graph is not what its manifest says; `Engine` when
    /// the engine library is missing, of the wrong version, or fails.
    pub fn warm(self, folder: &Folder) -> Result<Ride> {
        let engine = self.config.engine.clone();
        self.warm_engines(folder, |graph| load(&engine, folder, graph))
    }

    /// The same with engines of the caller's, one call for each graph, that compute where the configuration says.
    ///
    /// # Errors
    /// As [`Plan::warm`], and whatever `open` says.
    pub fn warm_engines(self, folder: &Folder, open: impl Fn(Graph) -> Result<Box<dyn Engine>>) -> Result<Ride> {
        let (engine, threads) = (self.config.engine.clone(), self.config.target.threads);
        self.warm_with(folder, |arena| open_device(&engine, arena, threads, StreamPriority::High), open)
    }

    /// The same on a device of the caller's, made for the plan's arena, with engines of the caller's; `folder` still gives
    /// the manifest and the command texts.
    ///
    /// # Errors
    /// As [`Plan::warm`], and whatever `make` and `open` say.
    pub fn warm_with(
        self,
        folder: &Folder,
        make: impl FnOnce(ArenaPlan) -> Result<Box<dyn Device>>,
        open: impl Fn(Graph) -> Result<Box<dyn Engine>>,
    ) -> Result<Ride> {
        let Self { config, options, regions, arena, fit } = self;
        let manifest = folder.manifest();
        manifest.check_model(&config.model)?;
        let cores = Affinity::new(&config.target.cores)?;
        let moved = cores.ride()?;
        let mut device = make(arena)?;
        let Fit { camera, columns, rows, fov, uncovered } = fit;
        device.open_camera(camera.pictures(), columns, rows)?;
        let fitted = Degraded { fov, uncovered_picture: uncovered, ..Degraded::default() };
        let device_ref = device.as_mut();
        let encoder = Encoder::new([open(Graph::VaeEncodeFirst)?, open(Graph::VaeEncode)?], &config, manifest, &regions, device_ref)?;
        let context = Context::new([open(Graph::ContextText)?, open(Graph::ContextEgo)?], &config, folder, &regions, device_ref)?;
        let guidance = Guidance::new(&config, folder, camera, cores, &open)?;
        let transformer = Transformer::new(open(Graph::Dit)?, manifest, &regions, device_ref)?;
        let memory = Memory::new(&config, &regions, device_ref)?;
        let decoder = if options.decoder {
            let engine: Box<dyn Engine> = open(Graph::VaeDecode)?;
            Some(Decoder::new(engine, manifest, &regions, device_ref)?)
        } else {
            None
        };
        let sampler = Sampler::new(&config, &regions)?;
        let ride = Ride::warm(
            Parts { config, options, camera, fitted, device, encoder, context, guidance, transformer, memory, sampler, decoder },
            manifest,
        )?;
        if let Some(moved) = moved {
            moved.keep();
        }
        Ok(ride)
    }
}

/// A device that engines of `config` work on, made for a plan's arena: with a stream of `priority` on a GPU, with `threads` for the memory's selection on the host.
///
/// # Errors
/// `Capacity` when the arena cannot be had; of the driver and its kernels where the engines work on a GPU.
pub(crate) fn open_device(config: &config::Engine, arena: ArenaPlan, threads: usize, priority: StreamPriority) -> Result<Box<dyn Device>> {
    if !config.kind.on_gpu() {
        return Ok(Box::new(HostDevice::new(arena, threads)?));
    }
    let options = &config.tensorrt;
    let kernels = match &options.kernels {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(&config.folder).with_file_name("kernels"),
    };
    let driver = Nvidia::open(i32::try_from(options.gpu).unwrap_or(i32::MAX), &kernels, priority)?;
    Ok(Box::new(CudaDevice::new(Box::new(driver), arena)?))
}

//! Plan, Warm, Run as three steps: [`Plan`] is arithmetic, [`Plan::warm`] allocates, loads, binds and runs every graph once, and the
//! [`Ride`](crate::Ride) that comes out only uses what is there.

use crate::camera::{Fit, SourceCamera};
use crate::codec::{Decoder, Encoder};
use crate::context::Context;
use crate::cores::Cores;
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
use drivewam_core::config::{Config, GuidanceMode};
use drivewam_core::manifest::Manifest;
use drivewam_device::Device;
use drivewam_device::cuda::Priority;
use drivewam_engine::bundle::{WarmPeak, warm_peak};
use drivewam_engine::{Engine, EngineBundle, load, open_device};

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
    warm_peak: WarmPeak,
}

/// The graphs that Warm loads, in order.
fn loaded(config: &Config, options: RideOptions) -> Vec<Graph> {
    let guidance: &[Graph] = match config.guidance.mode {
        GuidanceMode::Off => &[],
        GuidanceMode::Fixed => &[Graph::TextEncode],
        GuidanceMode::Vlm => &[Graph::TextEncode, Graph::VlmVision, Graph::VlmDecoder],
    };
    let context = [Graph::VaeEncodeFirst, Graph::VaeEncode, Graph::ContextText, Graph::ContextEgo];
    let decoder = options.decoder.then_some(Graph::VaeDecode);
    context.into_iter().chain(guidance.iter().copied()).chain([Graph::Dit]).chain(decoder).collect()
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
        let warm_peak = warm_peak(&config.engine, manifest, &loaded(&config, options));
        Ok(Self { config, options, regions, arena, fit, warm_peak })
    }

    /// The arena's plan; its `Display` is a table.
    pub fn arena(&self) -> &ArenaPlan {
        &self.arena
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The most host memory that file contents take while [`Plan::warm`] loads the engines. The ride
    /// itself keeps what the engine library keeps.
    pub fn warm_peak(&self) -> WarmPeak {
        self.warm_peak
    }

    /// Moves the calling thread to `target.cores.ride`, and leaves it there. Allocates the arena, on the
    /// host or on the GPU that the engines run on; loads the engines of `bundle` one after the other,
    /// binds them, runs the self-test of each, and runs every graph once. The content of a file is freed
    /// as soon as the last graph that needs it is loaded; files that no engine needs are hashed too, so a
    /// ride never starts from a bundle with a changed file.
    ///
    /// # Errors
    /// `Device` when the engines need a GPU and there is none; `Capacity` when memory cannot be
    /// allocated; `Manifest` when `bundle` lacks a graph, or a file or graph is not what the manifest
    /// says; `Engine` when the engine library is missing, of the wrong version, or fails.
    pub fn warm(self, bundle: EngineBundle) -> Result<Ride> {
        let engine = self.config.engine.clone();
        self.warm_engines(bundle, |bundle, graph| load(&engine, bundle, graph))
    }

    /// The same with engines of the caller's, one call for each graph, that compute where the configuration says.
    ///
    /// # Errors
    /// As [`Plan::warm`], and whatever `open` says.
    pub fn warm_engines(self, bundle: EngineBundle, open: impl Fn(&EngineBundle, Graph) -> Result<Box<dyn Engine>>) -> Result<Ride> {
        let (engine, threads) = (self.config.engine.clone(), self.config.target.threads);
        self.warm_with(bundle, |arena| open_device(&engine, arena, threads, Priority::High), open)
    }

    /// The same on a device of the caller's, made for the plan's arena, with engines of the caller's; `bundle` still
    /// gives the manifest and the command texts.
    ///
    /// # Errors
    /// As [`Plan::warm`], and whatever `make` and `open` say.
    pub fn warm_with(
        self,
        bundle: EngineBundle,
        make: impl FnOnce(ArenaPlan) -> Result<Box<dyn Device>>,
        open: impl Fn(&EngineBundle, Graph) -> Result<Box<dyn Engine>>,
    ) -> Result<Ride> {
        let Self { config, options, regions, arena, fit, .. } = self;
        let manifest = &bundle.manifest().clone();
        manifest.check_model(&config.model)?;
        bundle.plan_loads(&loaded(&config, options));
        let open = |graph| open(&bundle, graph);
        let cores = Cores::new(&config.target.cores)?;
        let moved = cores.ride()?;
        let mut device = make(arena)?;
        let Fit { camera, columns, rows, fov, uncovered } = fit;
        device.open_camera(camera.pictures(), columns, rows)?;
        let fitted = Degraded { fov, uncovered_picture: uncovered, ..Degraded::default() };
        let device_ref = device.as_mut();
        let encoder = Encoder::new([open(Graph::VaeEncodeFirst)?, open(Graph::VaeEncode)?], &config, manifest, &regions, device_ref)?;
        let context = Context::new([open(Graph::ContextText)?, open(Graph::ContextEgo)?], &config, &bundle, &regions, device_ref)?;
        let guidance = Guidance::new(&config, &bundle, camera, cores, &open)?;
        let transformer = Transformer::new(open(Graph::Dit)?, manifest, &regions, device_ref)?;
        let memory = Memory::new(&config, &regions, device_ref)?;
        let decoder = if options.decoder {
            let engine: Box<dyn Engine> = open(Graph::VaeDecode)?;
            Some(Decoder::new(engine, manifest, &regions, device_ref)?)
        } else {
            None
        };
        bundle.verify_unread()?;
        drop(bundle);
        let sampler = Sampler::new(&config, &regions)?;
        let ride = Ride::warm(
            Parts { config, options, camera, fitted, device, encoder, context, guidance, transformer, memory, sampler, decoder },
            manifest,
        )?;
        if let Some(moved) = moved {
            moved.stay();
        }
        Ok(ride)
    }
}

//! Plan, Warm, Run as three types: [`Plan`] is arithmetic; [`Plan::warm`] allocates, loads, binds
//! and runs every graph once; the [`Ride`](crate::Ride) that it returns uses only what is there.

use crate::camera::Fit;
use crate::codec::{Decoder, Encoder};
use crate::context::Context;
use crate::guard::{Cause, CauseKind, Causes};
use crate::memory::Memory;
use crate::monitors::Monitors;
use crate::regions::Regions;
use crate::ride::Ride;
use crate::ride::options::RideOptions;
use crate::ride::state::Models;
use crate::sampler::Sampler;
use crate::self_test;
use crate::trained;
use crate::transformer::Transformer;
use drivewam_core::Result;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{Config, GuidanceMode};
use drivewam_core::manifest::Manifest;
use drivewam_device::gpu::StreamPriority;
use drivewam_device::{Affinity, Device, SourceCamera};
use drivewam_engine::bundle::{WarmPeak, warm_peak};
use drivewam_engine::{Engine, EngineBundle, load, open_device, time_limit};
use drivewam_guidance::client::GuidanceClient;

/// The arithmetic of a ride: everything that can be checked without a device has been.
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
fn loaded(config: &Config, manifest: &Manifest, options: RideOptions) -> Vec<Graph> {
    let guidance: &[Graph] = match config.guidance.mode {
        GuidanceMode::Off => &[],
        GuidanceMode::Fixed => &[Graph::TextEncode],
        GuidanceMode::Vlm => &[Graph::TextEncode, Graph::VlmVision, Graph::VlmDecoder],
    };
    let codec = [Graph::VaeEncodeFirst, Graph::VaeEncode];
    let monitor = manifest.monitors.scene.map(|_| Graph::Monitor);
    let context = [Graph::ContextText, Graph::ContextEgo];
    let decoder = options.decoder.then_some(Graph::VaeDecode);
    codec.into_iter().chain(monitor).chain(context).chain(guidance.iter().copied()).chain([Graph::Dit]).chain(decoder).collect()
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
        let warm_peak = warm_peak(&config.engine, manifest, &loaded(&config, manifest, options));
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

    /// The most host memory that file contents take while [`Plan::warm`] loads the engines. The
    /// ride itself keeps what the engine library keeps.
    pub fn warm_peak(&self) -> WarmPeak {
        self.warm_peak
    }

    /// Moves the calling thread to `target.cores.ride`, where it stays. Allocates the arena on the
    /// device that the engines compute on; loads the engines of `bundle` one after the other, binds
    /// them, compares each with its self-test, and runs every graph once.
    ///
    /// The content of a file is freed as soon as the last graph that needs it is loaded. Files that
    /// no engine needs are hashed too, so a ride never starts from a bundle with a changed file.
    ///
    /// # Errors
    /// `Device` when the engines need a GPU and there is none; `Capacity` when the memory cannot be
    /// allocated; `Manifest` when `bundle` lacks a graph, or a file or graph differs from its
    /// manifest; `Engine` when the engine library is missing, of the wrong version, or fails.
    pub fn warm(self, bundle: EngineBundle) -> Result<Ride> {
        let engine = self.config.engine.clone();
        self.warm_engines(bundle, |bundle, graph| load(&engine, bundle, graph))
    }

    /// As [`Plan::warm`], with engines from `open`, which is called once for each graph. They
    /// compute on the configured device.
    ///
    /// # Errors
    /// As [`Plan::warm`], and errors of `open`.
    pub fn warm_engines(self, bundle: EngineBundle, open: impl Fn(&EngineBundle, Graph) -> Result<Box<dyn Engine>>) -> Result<Ride> {
        let (engine, threads) = (self.config.engine.clone(), self.config.target.threads);
        self.warm_with(bundle, |arena| open_device(&engine, arena, threads, StreamPriority::High), open)
    }

    /// As [`Plan::warm_engines`], on a device from `make_device`, which receives the arena's plan.
    /// `bundle` still gives the manifest and the command texts.
    ///
    /// # Errors
    /// As [`Plan::warm`], and errors of `make_device` and `open`.
    pub fn warm_with(
        self,
        bundle: EngineBundle,
        make_device: impl FnOnce(ArenaPlan) -> Result<Box<dyn Device>>,
        open: impl Fn(&EngineBundle, Graph) -> Result<Box<dyn Engine>>,
    ) -> Result<Ride> {
        let Self { config, options, regions, arena, fit, .. } = self;
        let manifest = &bundle.manifest().clone();
        manifest.check_model(&config.model)?;
        bundle.plan_loads(&loaded(&config, manifest, options));
        let open = |graph| open(&bundle, graph);
        let affinity = Affinity::new(&config.target.cores)?;
        let moved = affinity.ride()?;
        let mut device = make_device(arena)?;
        let Fit { camera, columns, rows, fov, uncovered } = fit;
        device.open_camera(camera.pictures(), columns, rows)?;
        let mut camera_fit = Causes::NONE;
        let found = [
            fov.map(|fov| Cause::new(CauseKind::FieldOfView, fov, config.camera.fov_tolerance)),
            uncovered.map(|share| Cause::new(CauseKind::UncoveredImage, share, 0.0)),
        ];
        found.into_iter().flatten().for_each(|cause| camera_fit.add(cause));
        if let Some(ranges) = &manifest.trained_ranges {
            trained::judge_camera(ranges, &camera, &mut camera_fit);
        }
        let on = device.as_mut();
        let mut models = Models {
            encoder: Encoder::new([open(Graph::VaeEncodeFirst)?, open(Graph::VaeEncode)?], &config, manifest, &regions, on)?,
            monitors: Monitors::new(manifest.monitors.scene.map(|_| open(Graph::Monitor)).transpose()?, &config, manifest, &regions, on)?,
            context: Context::new([open(Graph::ContextText)?, open(Graph::ContextEgo)?], &config, &bundle, &regions, on)?,
            guidance: GuidanceClient::new(&config, &bundle, camera, affinity, &open)?,
            transformer: Transformer::new(open(Graph::Dit)?, config.lanes.count, manifest, &regions, on)?,
            memory: Memory::new(&config, &regions, on)?,
            decoder: match options.decoder {
                true => Some(Decoder::new(open(Graph::VaeDecode)?, manifest, &regions, on)?),
                false => None,
            },
            sampler: Sampler::new(&config, &regions, options.decoder || manifest.monitors.imagination.is_some())?,
        };
        if let Some(test) = bundle.trajectory_test()? {
            let (models, device) = (&mut models, device.as_mut());
            let check = || self_test::check(&test, &config, manifest, &regions, models, device);
            time_limit::within("self-test", "the rollout", config.engine.warm_time_limit(), check).flatten()?;
        }
        bundle.verify_unread()?;
        drop(bundle);
        let ride = Ride::warm(config, options, (camera, camera_fit), device, models, manifest)?;
        if let Some(moved) = moved {
            moved.keep();
        }
        Ok(ride)
    }
}

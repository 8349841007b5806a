//! What the parts of the study share: configuration, engines, and the rides made of them.

use super::args::{Args, Sizes};
use super::steered_device::{Choice, SteeredDevice};
use crate::config_args::LoadedConfig;
use anyhow::Result;
use drivewam::{Plan, Ride, RideOptions, SourceCamera};
use drivewam_core::config::Config;
use drivewam_engine::{EngineBundle, Trust, load};
use std::path::{Path, PathBuf};

/// The monitors stop the car, whatever the configuration says.
pub(super) const JUDGING: &str = "guard: {monitors: judge}";
/// They stop nobody.
pub(super) const REPORTING: &str = "guard: {monitors: report}";

/// The setup of a part.
pub(super) struct Study<'a> {
    args: &'a Args,
    bundle: EngineBundle,
    /// The engines of `--compare`, by name.
    pub(super) compared: Vec<(String, EngineBundle)>,
    pub(super) worlds: usize,
    /// Chunks per drive.
    pub(super) chunks: usize,
}

impl<'a> Study<'a> {
    /// Opens and verifies all engine folders.
    ///
    /// # Errors
    /// A folder is not valid.
    pub(super) fn open(args: &'a Args, loaded: &LoadedConfig, sizes: Sizes) -> Result<Self> {
        let bundle = EngineBundle::open(loaded.config.engine.folder.as_ref(), &Trust::of_config(&loaded.config)?)?;
        let trust = Trust::of(&loaded.config.vehicle)?;
        let open = |(name, path): &(String, PathBuf)| Ok((name.clone(), EngineBundle::open(path, &trust)?));
        let compared = args.compare.iter().map(open).collect::<Result<_>>()?;
        let Sizes { worlds, chunks } = sizes;
        Ok(Self { args, bundle, compared, worlds, chunks })
    }

    /// The engine bundle of the configuration.
    pub(super) fn bundle(&self) -> &EngineBundle {
        &self.bundle
    }

    /// The configuration with `layer` on top. The rides of a process share the threads of an
    /// engine, so there are as many of them as rides.
    ///
    /// # Errors
    /// The layer is not valid.
    pub(super) fn config(&self, layer: &str) -> Result<Config> {
        let LoadedConfig { mut config, .. } = self.args.config.load_with(&[layer])?;
        (config.engine.threads, config.target.threads) = (self.args.threads.clamp(1, 64), 1);
        Ok(config)
    }

    /// The numbers of lanes with which `routes` drives.
    ///
    /// # Errors
    /// The configuration is not valid.
    pub(super) fn lanes(&self) -> Result<Vec<usize>> {
        Ok(if self.args.lanes.is_empty() { vec![self.config("")?.lanes.count] } else { self.args.lanes.clone() })
    }

    /// The first world of `routes`, `harder` and `monitors`.
    pub(super) fn first_world(&self) -> u64 {
        self.args.first_world
    }

    fn plan(&self, config: Config, bundle: &EngineBundle, closed_loop: bool) -> Result<Plan> {
        let camera = SourceCamera::of_model(&config.model);
        Ok(Plan::new(config, bundle.manifest(), camera, RideOptions { closed_loop, ..RideOptions::EVALUATION })?)
    }

    /// Folders of foreign pictures that `monitors` shows, by name.
    pub(super) fn pictures(&self) -> &[(String, PathBuf)] {
        &self.args.pictures
    }

    /// The file that `monitors` writes calibrated constants into.
    pub(super) fn calibration(&self) -> Option<&Path> {
        self.args.calibrate.as_deref()
    }

    /// A ride of the configured engines, whose plans the car does not follow.
    ///
    /// # Errors
    /// The plan does not fit; an engine cannot be loaded.
    pub(super) fn ride(&self, config: Config) -> Result<Ride> {
        Ok(self.plan(config, &self.bundle, false)?.warm(self.bundle.clone())?)
    }

    /// A ride of the configured engines, whose plans the car follows.
    ///
    /// # Errors
    /// As [`Study::ride`].
    pub(super) fn following_ride(&self, config: Config) -> Result<Ride> {
        Ok(self.plan(config, &self.bundle, true)?.warm(self.bundle.clone())?)
    }

    /// A ride in whose memory `choice` decides which tokens are overwritten.
    ///
    /// # Errors
    /// As [`Study::ride`].
    pub(super) fn steered_ride(&self, config: Config, choice: Choice) -> Result<Ride> {
        let (engine, threads) = (config.engine.clone(), config.target.threads);
        let plan = self.plan(config, &self.bundle, false)?;
        let device = |arena| Ok(Box::new(SteeredDevice::new(arena, threads, choice)?) as Box<_>);
        Ok(plan.warm_with(self.bundle.clone(), device, |bundle, graph| load(&engine, bundle, graph))?)
    }

    /// A ride of the engines in `bundle`.
    ///
    /// # Errors
    /// As [`Study::ride`].
    pub(super) fn ride_of(&self, bundle: &EngineBundle) -> Result<Ride> {
        let mut config = self.config("")?;
        config.engine.folder = bundle.path().display().to_string();
        Ok(self.plan(config, bundle, false)?.warm(bundle.clone())?)
    }
}

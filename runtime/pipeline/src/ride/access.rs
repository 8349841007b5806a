//! Access to a ride beside its chunks: the imagined video, noise, the guidance model, the probe,
//! and read-only views of the device.

use super::Ride;
use crate::codec::unpatchify;
use crate::guard::CauseKind;
use crate::probe::Probe;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::bindings::Graph;
use drivewam_core::config::Config;
use drivewam_core::selection::SlotTable;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Traffic;
use drivewam_guidance::model::GuidanceModel;
use ndarray::{ArrayView2, ArrayView4};

impl Ride {
    /// Decodes the video that the last chunk imagined: `[F, 3, H, W]` in [-1, 1]. For inspection;
    /// no part of a chunk's computation. Where the denoising ends early (`flow.video.end`), the
    /// video is the model's estimate of the data from there, so that there is something to see.
    ///
    /// # Errors
    /// `Usage` without [`RideOptions::decoder`](crate::RideOptions::decoder), and before the first
    /// chunk or after a fault; `Engine` when the decoder fails.
    pub fn future(&mut self) -> Result<ArrayView4<'_, f32>> {
        let is_fault = self.outcome.cause.is_some_and(|cause| matches!(cause.kind, CauseKind::Fault(_)));
        if !self.has_outcome || self.outcome.policy_t0_ns.is_none() || is_fault {
            return Err(
                Error::new(ErrorKind::Usage, "the last chunk imagined no video: there was none, or it ended in an error").at("future")
            );
        }
        let Some(decoder) = &mut self.models.decoder else {
            return Err(Error::new(ErrorKind::Usage, "the ride was warmed without a decoder")
                .at("future")
                .wanted("RideOptions { decoder: true, .. }"));
        };
        let model = &self.config.model;
        unpatchify(model, self.models.sampler.imagined(), &mut self.buffers.latent);
        let frames = decoder.decode(self.device.as_mut(), &self.buffers.latent)?;
        let shape = (model.image.frames_per_latent, 3, model.image.height, model.image.width);
        ArrayView4::from_shape(shape, frames).map_err(|e| {
            Error::new(ErrorKind::Output, "the decoder's frames have another shape than the model's").at("future").caused_by(e)
        })
    }

    /// Sets the noise of the next chunk, in place of the seed's: token rows `[Nv, W]` and `[Na,
    /// W]`. The second is not read where actions start from zero. Allocates.
    ///
    /// # Errors
    /// `Usage` for other shapes, and under `flow.action.start: {mean: n}`, which needs n samples.
    pub fn set_noise(&mut self, video: ArrayView2<'_, f32>, action: ArrayView2<'_, f32>) -> Result<()> {
        self.models.sampler.set_noise(video, action)
    }

    /// Lets `model` describe the scene, in place of the language model that the configuration asks
    /// for: one in another process, or a fake. Called in Warm.
    ///
    /// # Errors
    /// `Capacity` when its thread cannot be spawned.
    pub fn set_guidance_model(&mut self, model: Box<dyn GuidanceModel>) -> Result<()> {
        self.models.guidance.set_model(&self.config, self.camera, model)
    }

    /// Shows tensors to `probe` from now on, or to none. A ride with a probe allocates and copies.
    pub fn set_probe(&mut self, probe: Option<Box<dyn Probe>>) {
        self.probe = probe;
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The plan of the arena; its `Display` is a table.
    pub fn arena(&self) -> &ArenaPlan {
        self.device.plan()
    }

    /// The device, as a description for reports.
    pub fn describe_device(&self) -> String {
        self.device.describe()
    }

    /// Bytes moved between host and device, and tokens committed to memory, since Warm began.
    pub fn traffic(&self) -> Traffic {
        self.device.traffic()
    }

    /// The slot table of layer `layer` of the memory. Allocates, and waits for the device.
    ///
    /// # Errors
    /// `Usage` beyond the last layer.
    pub fn memory_table(&mut self, layer: usize) -> Result<SlotTable> {
        self.device.kv_table(layer)
    }

    /// Waits until the device has finished its work.
    ///
    /// # Errors
    /// The first fault of the device that was not reported yet.
    pub fn synchronize(&mut self) -> Result<()> {
        self.device.synchronize()
    }

    /// A description of the engine of each graph.
    pub fn engines(&self) -> Vec<(Graph, String)> {
        let models = &self.models;
        let [first, chunk] = models.encoder.describe();
        let [text, ego] = models.context.describe();
        let mut all = vec![
            (Graph::VaeEncodeFirst, first),
            (Graph::VaeEncode, chunk),
            (Graph::ContextText, text),
            (Graph::ContextEgo, ego),
            (Graph::Dit, models.transformer.describe()),
        ];
        all.extend(models.monitors.describe().map(|monitor| (Graph::Monitor, monitor)));
        all.extend_from_slice(models.guidance.engines());
        all
    }
}

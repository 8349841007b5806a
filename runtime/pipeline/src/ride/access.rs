//! What may be asked of a ride, or given to it, beside its chunks.

use super::Ride;
use crate::codec::unpatchify;
use crate::guard::Reason;
use crate::probe::Probe;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::bindings::Graph;
use drivewam_core::config::Config;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use drivewam_guidance::model::GuidanceModel;

impl Ride {
    /// The video that the last chunk imagined, decoded: `[F, 3, H, W]` in [-1, 1]. For people: not part of the ride.
    ///
    /// # Errors
    /// `Usage` without [`RideOptions::decoder`], and before the first chunk or after a fault; `Engine` when the decoder fails.
    pub fn future(&mut self) -> Result<&[f32]> {
        if !self.has_outcome || matches!(self.outcome.reason, Some(Reason::Fault(_) | Reason::Expired)) {
            return Err(
                Error::new(ErrorKind::Usage, "the last chunk imagined nothing: there was none, or it ended in an error").at("future")
            );
        }
        let Some(decoder) = &mut self.decoder else {
            return Err(Error::new(ErrorKind::Usage, "the ride was warmed without a decoder")
                .at("future")
                .wanted("RideOptions { decoder: true, .. }"));
        };
        unpatchify(&self.config.model, self.sampler.imagined(), &mut self.latent);
        decoder.decode(self.device.as_mut(), &self.latent)
    }

    /// Noise for the next chunk, in place of the seed's: token rows `[Nv, W]` and `[Na, W]`. Allocates.
    ///
    /// # Errors
    /// `Usage` for other lengths.
    pub fn give_noise(&mut self, video: &[f32], action: &[f32]) -> Result<()> {
        self.sampler.give_noise(video, action)
    }

    /// Lets `speaker` say what matters, in the place of the language model that the configuration asks for: one in another process, or a test's. Warm.
    ///
    /// # Errors
    /// `Capacity` when the host gives no thread for it.
    pub fn set_guidance_model(&mut self, model: Box<dyn GuidanceModel>) -> Result<()> {
        self.guidance.set_model(&self.config, self.camera, model)
    }

    /// Shows tensors to `probe` from now on, or to nobody. A ride with a probe allocates and copies.
    pub fn set_probe(&mut self, probe: Option<Box<dyn Probe>>) {
        self.probe = probe;
    }

    /// The plan of its memory.
    pub fn arena(&self) -> &ArenaPlan {
        self.device.plan()
    }

    /// The memory's slot tables and other state of the device, for people and tests.
    pub fn device(&mut self) -> &mut dyn Device {
        self.device.as_mut()
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Which engine runs each graph, in words.
    pub fn engines(&self) -> Vec<(Graph, String)> {
        let [first, chunk] = self.encoder.describe();
        let [text, ego] = self.context.describe();
        let mut all = vec![
            (Graph::VaeEncodeFirst, first),
            (Graph::VaeEncode, chunk),
            (Graph::ContextText, text),
            (Graph::ContextEgo, ego),
            (Graph::Dit, self.transformer.describe()),
        ];
        all.extend_from_slice(self.guidance.engines());
        all
    }
}

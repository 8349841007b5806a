//! What a caller holds of the guidance: it submits a request per chunk, and polls for the text that
//! conditions the chunk.

use crate::bev::PathSample;
use crate::mailbox::LatestMailbox;
use crate::model::{GuidanceAnswer, GuidanceModel, GuidanceRequest, MAX_TEXT_BYTES, PATH_SAMPLES};
use crate::status::{GuidanceSource, GuidanceStatus, RejectReason};
use crate::text_embedder::TextEmbedder;
use crate::text_encoder::TextEncoderPlan;
use crate::vlm_guidance::VlmGuidancePlan;
use drivewam_core::arena::Planner;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{Config, GuidanceConfig as Settings, GuidanceMode, LaneGuidance, Wait};
use drivewam_core::dims::Command;
use drivewam_core::dtype::DType;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::gpu::StreamPriority;
use drivewam_device::{Affinity, SourceCamera};
use drivewam_engine::{Engine, EngineBundle, open_device, scratch_bytes};
use std::time::Duration;

/// The embeddings of a text.
#[derive(Debug)]
pub struct TextEmbedding<'a> {
    /// Differs between texts: the number of the request that the text answers, 0 for the fixed
    /// text.
    pub number: u64,
    /// `[tokens, Dt]`, at the start of a buffer that may be longer.
    pub embeddings: &'a [f32],
    /// Rows of `embeddings` that are valid.
    pub tokens: usize,
}

/// The caller's side of the guidance. One thread owns it; the model runs on another.
#[derive(Debug)]
pub struct GuidanceClient {
    settings: Settings,
    commands: Vec<Command>,
    /// CPUs of the guidance thread and of its engines' threads.
    affinity: Affinity,
    mailbox: Option<LatestMailbox>,
    /// The next request; its frame is kept up to date.
    request: Box<GuidanceRequest>,
    /// Numbers of the newest submitted request and of the newest polled answer.
    submitted: u64,
    polled: u64,
    /// Answers up to this number belong to the time before [`GuidanceClient::forget`].
    forgotten: u64,
    newest: Box<GuidanceAnswer>,
    /// The answers of each lane; a single entry where the lanes share them.
    lanes: Vec<LaneAnswers>,
    /// Embeddings and token count of `guidance.text`.
    fixed: Option<(Vec<f32>, usize)>,
    /// Description of the engine of each graph.
    engines: Vec<(Graph, String)>,
}

/// The answers that a lane reads.
#[derive(Debug, Default)]
struct LaneAnswers {
    accepted: Box<GuidanceAnswer>,
    has_accepted: bool,
    rejected: Option<RejectReason>,
    reject_count: u32,
}

impl GuidanceClient {
    /// Loads the models that `config` asks for on a device of their own, and starts the guidance
    /// thread. `open` opens the engine of a graph. Called in Warm.
    ///
    /// # Errors
    /// `Manifest` for a bundle without the models; `Input` for a fixed text that is too long;
    /// `Config` for an invalid prompt template or a camera that is not RGB; errors of the device
    /// and the engines.
    pub fn new(
        config: &Config,
        bundle: &EngineBundle,
        camera: SourceCamera,
        affinity: Affinity,
        open: &dyn Fn(Graph) -> Result<Box<dyn Engine>>,
    ) -> Result<Self> {
        let (settings, manifest) = (&config.guidance, bundle.manifest());
        let mut client = Self::without_model(config, affinity);
        if settings.mode == GuidanceMode::Off {
            return Ok(client);
        }
        // Threads that the engines spawn inherit the CPUs of this thread.
        let _moved = client.affinity.guidance()?;
        let mut planner = Planner::new();
        let encoder = TextEncoderPlan::new(&mut planner, manifest)?;
        let vlm = match settings.mode {
            GuidanceMode::Vlm => Some(VlmGuidancePlan::new(&mut planner, settings, bundle, &config.model.text.commands)?),
            GuidanceMode::Off | GuidanceMode::Fixed => None,
        };
        let scratch = scratch_bytes(config, manifest, &Graph::GUIDANCE)?;
        let scratch = scratch.map(|bytes| planner.add("guidance", "scratch", DType::U8, &[bytes])).transpose()?;
        let mut device = open_device(&config.engine, planner.finish(usize::MAX)?, 1, StreamPriority::Low)?;
        let encoder = encoder.warm(open(Graph::TextEncode)?, device.as_mut(), scratch)?;
        client.engines.push((Graph::TextEncode, encoder.describe()));
        let mut embedder = TextEmbedder::new(bundle, encoder)?;
        if let Some(text) = &settings.text {
            if text.len() > MAX_TEXT_BYTES {
                let long = Error::new(ErrorKind::Input, "more words than an outcome can hold").at("guidance.text");
                return Err(long.got(format!("{} bytes", text.len())).wanted(format!("at most {MAX_TEXT_BYTES}")));
            }
            let mut embeddings = vec![0.0; embedder.max_tokens() * config.model.text.dim];
            let tokens = embedder
                .embed(device.as_mut(), text, &mut embeddings)?
                .ok_or_else(|| Error::new(ErrorKind::Input, "more words than the text encoder reads").at("guidance.text"))?;
            client.fixed = Some((embeddings, tokens));
        }
        if let Some(vlm) = vlm {
            let image = manifest.guidance()?.vlm.image;
            let vlm = vlm.warm(settings, image, camera, open, (device, scratch), embedder)?;
            let [vision, decoder] = vlm.describe();
            client.engines.extend([(Graph::VlmVision, vision), (Graph::VlmDecoder, decoder)]);
            client.set_model(config, camera, Box::new(vlm))?;
        }
        Ok(client)
    }

    /// Replaces the model: from now on `model` answers all requests. Called in Warm.
    ///
    /// # Errors
    /// `Capacity` when its thread cannot be spawned; `Device` when this thread cannot move to its
    /// CPUs.
    pub fn set_model(&mut self, config: &Config, camera: SourceCamera, model: Box<dyn GuidanceModel>) -> Result<()> {
        let frame = vec![0; camera.pictures().bytes()?];
        let request = GuidanceRequest { frame, path: vec![PathSample::default(); PATH_SAMPLES], ..GuidanceRequest::default() };
        let embeddings = vec![0.0; config.model.text.max_rows * config.model.text.dim];
        let new_answer =
            || GuidanceAnswer { text: String::with_capacity(MAX_TEXT_BYTES), embeddings: embeddings.clone(), ..GuidanceAnswer::default() };
        let _moved = self.affinity.guidance()?;
        self.mailbox = Some(LatestMailbox::open(model, &request, &new_answer())?);
        *self.newest = new_answer();
        self.lanes.iter_mut().for_each(|lane| *lane.accepted = new_answer());
        *self.request = request;
        self.forget();
        Ok(())
    }

    fn without_model(config: &Config, affinity: Affinity) -> Self {
        Self {
            settings: config.guidance.clone(),
            commands: config.model.text.commands.clone(),
            affinity,
            mailbox: None,
            request: Box::default(),
            submitted: 0,
            polled: 0,
            forgotten: 0,
            newest: Box::default(),
            lanes: (0..if config.lanes.guidance == LaneGuidance::PerLane { config.lanes.count } else { 1 })
                .map(|_| LaneAnswers::default())
                .collect(),
            fixed: None,
            engines: Vec::new(),
        }
    }

    /// Description of the engine of each loaded graph.
    pub fn engines(&self) -> &[(Graph, String)] {
        &self.engines
    }

    /// Keeps a copy of the camera's newest image for the next request.
    pub fn keep_frame(&mut self, frame: &[u8]) {
        if self.mailbox.is_some() && self.request.frame.len() == frame.len() {
            self.request.frame.copy_from_slice(frame);
        }
    }

    /// Whether each lane asks for itself.
    pub fn is_per_lane(&self) -> bool {
        self.lanes.len() > 1
    }

    /// Submits a request of lane `lane` about the newest frame, captured at `t0_ns`. `path`: the
    /// ego's past 4 s, oldest first, relative to the pose at `t0_ns`. Without a model, and under a
    /// command that has no prompt, it submits nothing.
    pub fn submit(&mut self, lane: usize, t0_ns: i64, command: Command, path: impl Iterator<Item = PathSample>) {
        let prompt = self.commands.iter().position(|known| *known == command);
        let (Some(mailbox), Some(prompt)) = (&self.mailbox, prompt) else { return };
        self.submitted += 1;
        let request = &mut self.request;
        (request.number, request.lane, request.t0_ns, request.prompt) = (self.submitted, lane.min(self.lanes.len() - 1), t0_ns, prompt);
        request.path.clear();
        request.path.extend(path.take(PATH_SAMPLES));
        mailbox.submit(request);
    }

    /// The text for the chunk of lane `lane` at `t0_ns`, and its description in `status`. Waits at
    /// most `guidance.wait_ms` for the answer to the newest request. `None`: the embedding of the
    /// route command is to be used.
    pub fn poll(&mut self, lane: usize, t0_ns: i64, status: &mut GuidanceStatus) -> Option<TextEmbedding<'_>> {
        self.receive();
        let lane = lane.min(self.lanes.len() - 1);
        let LaneAnswers { accepted, has_accepted, rejected, reject_count } = &self.lanes[lane];
        let age_ns = t0_ns.saturating_sub(accepted.t0_ns);
        let is_fresh = *has_accepted && age_ns <= i64::from(self.settings.max_age_ms) * 1_000_000;
        status.text.clear();
        (status.rejected, status.reject_count) = (*rejected, *reject_count);
        (status.age_ms, status.generate_ms) = (None, None);
        if is_fresh {
            let answer = accepted;
            status.source = GuidanceSource::Vlm;
            (status.age_ms, status.generate_ms) = (Some(age_ns as f64 * 1e-6), Some(answer.generate_time.as_secs_f64() * 1e3));
            status.text.push_str(&answer.text);
            return Some(TextEmbedding { number: answer.number, embeddings: &answer.embeddings, tokens: answer.tokens });
        }
        let Some((embeddings, tokens)) = &self.fixed else {
            status.source = GuidanceSource::Command;
            return None;
        };
        status.source = GuidanceSource::Fixed;
        status.text.push_str(self.settings.text.as_deref().unwrap_or_default());
        Some(TextEmbedding { number: 0, embeddings, tokens: *tokens })
    }

    /// Takes the newest answer out of the mailbox, and keeps it where it is accepted.
    fn receive(&mut self) {
        let Some(mailbox) = &self.mailbox else { return };
        let timeout = match self.settings.wait_ms {
            _ if self.polled == self.submitted => Some(Duration::ZERO),
            Wait::Ms(ms) => Some(Duration::from_millis(u64::from(ms))),
            Wait::Word(_) => None,
        };
        let is_new = mailbox.poll(&mut self.newest, self.submitted, timeout);
        if is_new {
            self.polled = self.newest.number;
        }
        if is_new && self.polled > self.forgotten {
            let lane = &mut self.lanes[self.newest.lane];
            lane.rejected = self.newest.rejected;
            match lane.rejected {
                None => {
                    std::mem::swap(&mut self.newest, &mut lane.accepted);
                    lane.has_accepted = true;
                }
                Some(_) => lane.reject_count = lane.reject_count.saturating_add(1),
            }
        } else if mailbox.is_dead() {
            self.lanes.iter_mut().for_each(|lane| lane.rejected = Some(RejectReason::Dead));
        }
    }

    /// Forgets all answers, also those under way: the clock of the stamps begins anew.
    pub fn forget(&mut self) {
        self.forgotten = self.submitted;
        for lane in &mut self.lanes {
            (lane.has_accepted, lane.rejected, lane.reject_count) = (false, None, 0);
        }
    }
}

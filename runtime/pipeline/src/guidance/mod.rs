//! Room 3, the second system: a frozen language model that looks at the scene once per chunk and says what matters. It runs beside the ride, on its own
//! thread and at its own pace.
//!
//! With every chunk the ride asks about its newest frame and goes on; a request that was not begun yet is forgotten. What was said is taken between two chunks,
//! after the observed commit of the one that still reads what was said before. The last good answer is used until `guidance.max_age_ms`; then `guidance.text`
//! speaks, or the route command. Every outcome says who spoke, what, and how old it is.

pub mod answer;
pub mod bev;
mod bound;
pub mod picture;
pub mod post;
pub mod prompt;
pub mod prompts;
mod speaker;
pub mod text;
pub mod tokens;
pub mod vlm;

use crate::plan::open_device;
use crate::regions::scratch_bytes;
use crate::telemetry::{Refusal, Told, Voice};
use bev::Sample;
use drivewam_core::arena::Planner;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{Config, Guidance as Settings, GuidanceMode, Wait};
use drivewam_core::dims::Command;
use drivewam_core::dtype::DType;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::cuda::StreamPriority;
use drivewam_device::{Affinity, SourceCamera};
use drivewam_engine::{Engine, Folder};
use post::{Answer, Post, Request, Speak};
use speaker::{Reader, SpeakerPlan};
use std::time::Duration;
use text::TextPlan;

/// Room for the words of an answer, bytes: fifty words of the longest kind.
pub(crate) const MOST_TEXT: usize = 2048;
/// The past that a plot shows, ns: the paper's 4 s.
pub(crate) const PAST_NS: i64 = 4_000_000_000;
/// How far apart its samples are, ns.
pub(crate) const STEP_NS: i64 = 100_000_000;
/// Samples of it.
pub const PATH: usize = (PAST_NS / STEP_NS) as usize + 1;

/// Text for a chunk.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    /// Changes with the words.
    pub(crate) number: u64,
    /// `[tokens, Dt]`.
    pub(crate) rows: &'a [f32],
    /// How many.
    pub(crate) tokens: usize,
}

/// What a ride has of it.
#[derive(Debug)]
pub(crate) struct Guidance {
    settings: Settings,
    commands: Vec<Command>,
    /// Where its threads run.
    cores: Affinity,
    post: Option<Post>,
    /// What is asked next.
    request: Box<Request>,
    asked: u64,
    /// The newest request that was answered.
    heard: u64,
    /// Answers to earlier requests are of another time.
    since: u64,
    newest: Box<Answer>,
    good: Box<Answer>,
    has_good: bool,
    /// `guidance.text` in rows.
    fixed: Option<(Vec<f32>, usize)>,
    refused: Option<Refusal>,
    refusals: u32,
    /// Which engine runs each graph, in words.
    engines: Vec<(Graph, String)>,
}

impl Guidance {
    /// Loads what the configuration asks for, on a device of its own, and starts the thread. Warm.
    ///
    /// # Errors
    /// `Manifest` for a folder without the models; of the device and the engines; `Input` for a fixed text that is too long.
    pub(crate) fn new(
        config: &Config,
        folder: &Folder,
        camera: SourceCamera,
        cores: Affinity,
        open: &dyn Fn(Graph) -> Result<Box<dyn Engine>>,
    ) -> Result<Self> {
        let (settings, manifest) = (&config.guidance, folder.manifest());
        let mut quiet = Self::silent(config, cores);
        if settings.mode == GuidanceMode::Off {
            return Ok(quiet);
        }
        // What is opened here has its threads made here.
        let _moved = quiet.cores.guidance()?;
        let mut planner = Planner::new();
        let text = TextPlan::new(&mut planner, manifest)?;
        let speaks = settings.mode == GuidanceMode::Vlm;
        let speaker = speaks.then(|| SpeakerPlan::new(&mut planner, settings, folder, &config.model.text.commands)).transpose()?;
        let scratch = scratch_bytes(config, manifest, &Graph::GUIDANCE)?;
        let scratch = scratch.map(|bytes| planner.add("guidance", "scratch", DType::U8, &[bytes])).transpose()?;
        let mut device = open_device(&config.engine, planner.finish(usize::MAX)?, 1, StreamPriority::Low)?;
        let encoder = text.warm(open(Graph::TextEncode)?, device.as_mut(), scratch)?;
        quiet.engines.push((Graph::TextEncode, encoder.describe()));
        let mut reader = Reader::new(folder, encoder)?;
        if let Some(text) = &settings.text {
            if text.len() > MOST_TEXT {
                let long = Error::new(ErrorKind::Input, "more words than an outcome has room for").at("guidance.text");
                return Err(long.got(format!("{} bytes", text.len())).wanted(format!("at most {MOST_TEXT}")));
            }
            let mut rows = vec![0.0; reader.most_tokens() * config.model.text.dim];
            let tokens = reader
                .read(device.as_mut(), text, &mut rows)?
                .ok_or_else(|| Error::new(ErrorKind::Input, "more words than the text encoder reads").at("guidance.text"))?;
            quiet.fixed = Some((rows, tokens));
        }
        if let Some(speaker) = speaker {
            let image = manifest.guidance()?.vlm.image;
            let speaker = speaker.warm(settings, image, camera, open, (device, scratch), reader)?;
            let [vision, decoder] = speaker.describe();
            quiet.engines.extend([(Graph::VlmVision, vision), (Graph::VlmDecoder, decoder)]);
            quiet.speak_by(config, camera, Box::new(speaker))?;
        }
        Ok(quiet)
    }

    /// From now on `speaker` is asked, and nobody else. Warm.
    pub(crate) fn speak_by(&mut self, config: &Config, camera: SourceCamera, speaker: Box<dyn Speak>) -> Result<()> {
        let frame = vec![0; camera.pictures().bytes()?];
        let like = Request { frame, path: vec![Sample::default(); PATH], ..Request::default() };
        let rows = vec![0.0; config.model.text.max_rows * config.model.text.dim];
        let answer = Answer { text: String::with_capacity(MOST_TEXT), rows, ..Answer::default() };
        let _moved = self.cores.guidance()?;
        self.post = Some(Post::open(speaker, &like, &answer)?);
        let blank = || Box::new(Answer { text: String::with_capacity(MOST_TEXT), rows: answer.rows.clone(), ..Answer::default() });
        (self.newest, self.good) = (blank(), blank());
        *self.request = like;
        self.forget();
        Ok(())
    }

    fn silent(config: &Config, cores: Affinity) -> Self {
        Self {
            settings: config.guidance.clone(),
            commands: config.model.text.commands.clone(),
            cores,
            post: None,
            request: Box::default(),
            asked: 0,
            heard: 0,
            since: 0,
            newest: Box::default(),
            good: Box::default(),
            has_good: false,
            fixed: None,
            refused: None,
            refusals: 0,
            engines: Vec::new(),
        }
    }

    /// Which engine runs each graph, in words.
    pub(crate) fn engines(&self) -> &[(Graph, String)] {
        &self.engines
    }

    /// Keeps a picture, in case it is the newest of a chunk.
    pub(crate) fn frame(&mut self, picture: &[u8]) {
        if self.post.is_some() && self.request.frame.len() == picture.len() {
            self.request.frame.copy_from_slice(picture);
        }
    }

    /// Asks about the newest picture; not under a command that the model was not made for, which ends the chunk in an error. `path`: the past 4 s, oldest first.
    pub(crate) fn ask(&mut self, t0_ns: i64, command: Command, path: impl Iterator<Item = Sample>) {
        let (Some(post), Some(prompt)) = (&self.post, self.commands.iter().position(|known| *known == command)) else { return };
        self.asked += 1;
        let request = &mut self.request;
        (request.number, request.t0_ns, request.prompt) = (self.asked, t0_ns, prompt);
        request.path.clear();
        request.path.extend(path.take(PATH));
        post.ask(request);
    }

    /// What the chunk at `t0_ns` is told, and by whom. None: the route command speaks.
    pub(crate) fn hear(&mut self, t0_ns: i64, told: &mut Told) -> Option<Words<'_>> {
        if let Some(post) = &self.post {
            let most = match self.settings.wait_ms {
                _ if self.heard == self.asked => Some(Duration::ZERO),
                Wait::Ms(ms) => Some(Duration::from_millis(u64::from(ms))),
                Wait::Word(_) => None,
            };
            let is_new = post.take(&mut self.newest, self.asked, most);
            if is_new {
                self.heard = self.newest.number;
            }
            if is_new && self.heard > self.since {
                self.refused = self.newest.refused;
                match self.refused {
                    None => {
                        std::mem::swap(&mut self.newest, &mut self.good);
                        self.has_good = true;
                    }
                    Some(_) => self.refusals = self.refusals.saturating_add(1),
                }
            } else if post.is_dead() {
                self.refused = Some(Refusal::Dead);
            }
        }
        let age_ns = t0_ns.saturating_sub(self.good.t0_ns);
        let is_young = self.has_good && age_ns <= i64::from(self.settings.max_age_ms) * 1_000_000;
        told.text.clear();
        (told.refused, told.refusals, told.age_ms, told.took_ms) = (self.refused, self.refusals, None, None);
        if is_young {
            (told.voice, told.age_ms, told.took_ms) = (Voice::Vlm, Some(age_ns as f64 * 1e-6), Some(self.good.took.as_secs_f64() * 1e3));
            told.text.push_str(&self.good.text);
            return Some(Words { number: self.good.number, rows: &self.good.rows, tokens: self.good.tokens });
        }
        let Some((rows, tokens)) = &self.fixed else {
            told.voice = Voice::Command;
            return None;
        };
        told.voice = Voice::Fixed;
        told.text.push_str(self.settings.text.as_deref().unwrap_or_default());
        Some(Words { number: 0, rows, tokens: *tokens })
    }

    /// Forgets what was said: stamps begin anew.
    pub(crate) fn forget(&mut self) {
        (self.since, self.has_good, self.refused, self.refusals) = (self.asked, false, None, 0);
    }
}

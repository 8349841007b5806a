//! The denoising transformer: one engine, three shapes bound for each lane, and the inputs that
//! change between passes.

use crate::regions::{PassTokens, Regions, key};
use drivewam_core::Result;
use drivewam_core::arena::Region;
use drivewam_core::bindings;
use drivewam_core::dims::SelfScale;
use drivewam_core::manifest::Manifest;
use drivewam_core::rope::RopeTable;
use drivewam_core::tensor::{TensorRole, TensorSpec};
use drivewam_device::{Device, PassKv};
use drivewam_engine::{Binding, Engine};

/// One bound shape.
#[derive(Debug)]
struct Pass {
    rows: PassTokens,
    /// One per lane: they differ in the memory and in the context.
    bindings: Vec<Binding>,
    /// Keys, values and queries that the pass outputs, `[H, N, D]` per layer.
    kv: PassKv,
    /// Velocities `[N, W]`.
    velocity: Region,
    self_scale: Option<Region>,
}

/// The `dit` graph with its memory.
#[derive(Debug)]
pub(crate) struct Transformer {
    engine: Box<dyn Engine>,
    passes: [Pass; 3],
    flow_time: Region,
    rope: Region,
    positions: RopeTable,
    n_video: usize,
    /// Host copies of the rotary table and of the scales.
    table: Vec<f32>,
    scale: Vec<f32>,
}

impl Transformer {
    /// Binds the three shapes for each of `lanes` lanes. Called in Warm.
    pub(crate) fn new(
        mut engine: Box<dyn Engine>,
        lanes: usize,
        manifest: &Manifest,
        regions: &Regions,
        device: &mut dyn Device,
    ) -> Result<Self> {
        let model = &manifest.model;
        let signature = manifest.signature(engine.graph())?;
        let mut bind = |rows: PassTokens| -> Result<Pass> {
            let n = regions.n(rows);
            let input = |lane: usize, spec: &TensorSpec| match spec.role {
                Some(TensorRole::IsAction | TensorRole::SelfScale) => regions.get(&key::of_pass(&spec.name, rows)),
                Some(TensorRole::Tokens | TensorRole::Rope) => regions.rows_of(regions.get(&spec.name)?, rows),
                _ => regions.of_lane(lane, &spec.name),
            };
            // A video pass and an action pass write to separate regions, so the outputs of one
            // outlive the other.
            let output = |region: Region| regions.rows_of(region, rows);
            let mut bind = |lane: usize| {
                let io = regions.io(&signature, n, |spec| input(lane, spec), |spec| output(regions.get(&spec.name)?))?;
                engine.bind(device, &io)
            };
            let bindings = (0..lanes).map(&mut bind).collect::<Result<_>>()?;
            let part = |role: fn(usize) -> TensorRole| -> Result<Vec<Region>> {
                (0..model.layers).map(|layer| output(regions.of_role(0, role(layer))?)).collect()
            };
            let velocity = output(regions.of_role(0, TensorRole::Velocity)?)?;
            let flags: Vec<f32> = (0..n)
                .map(|i| f32::from(u8::from(rows == PassTokens::Action || (rows == PassTokens::Both && i >= regions.n_video))))
                .collect();
            device.upload(regions.get(&key::of_pass(bindings::IS_ACTION, rows))?, &flags)?;
            let self_scale = match model.self_scale {
                SelfScale::Log => Some(regions.get(&key::of_pass(bindings::SELF_SCALE, rows))?),
                SelfScale::None => None,
            };
            let kv = PassKv { tokens: n, k: part(TensorRole::K)?, v: part(TensorRole::V)?, q: part(TensorRole::Q)? };
            Ok(Pass { rows, bindings, kv, velocity, self_scale })
        };
        let passes = [bind(PassTokens::Video)?, bind(PassTokens::Action)?, bind(PassTokens::Both)?];
        Ok(Self {
            passes,
            flow_time: regions.get(bindings::FLOW_TIME)?,
            rope: regions.get(bindings::ROPE)?,
            positions: RopeTable::new(model),
            n_video: regions.n_video,
            table: vec![0.0; regions.get(bindings::ROPE)?.len()],
            scale: vec![0.0; regions.n_video + regions.n_action],
            engine,
        })
    }

    /// Library and version of the engine.
    pub(crate) fn describe(&self) -> String {
        self.engine.describe()
    }

    /// Uploads the positions of chunk `chunk`, for all passes until the next call.
    pub(crate) fn at_chunk(&mut self, device: &mut dyn Device, chunk: u64) -> Result<()> {
        let (video, action) = self.table.split_at_mut(self.n_video * self.positions.row_len());
        self.positions.video_rows(chunk, video)?;
        self.positions.action_rows(chunk, action)?;
        device.upload(self.rope, &self.table)
    }

    /// Runs a pass of lane `lane` over `rows` at the flow times `[video, action]` of the rows. Its
    /// outputs are in [`Transformer::kv`] and [`Transformer::velocity`]. The device must use the
    /// memory of the same lane.
    pub(crate) fn run(&mut self, device: &mut dyn Device, lane: usize, rows: PassTokens, times: [f64; 2]) -> Result<()> {
        let pass = &self.passes[rows as usize];
        device.upload(self.flow_time, &times.map(|time| time as f32))?;
        if let Some(region) = pass.self_scale {
            let memory = device.kv_counts().total();
            let video = if rows == PassTokens::Action { 0 } else { self.n_video };
            let action = pass.kv.tokens - video;
            let scale = &mut self.scale[..video + action];
            scale[..video].fill(self_scale(memory + video));
            scale[video..].fill(self_scale(memory + video + action));
            device.upload(region, scale)?;
        }
        debug_assert_eq!(pass.rows, rows);
        self.engine.run(pass.bindings[lane], device)
    }

    /// Keys, values and queries of the last pass over `rows`. A pass over both overwrites those of
    /// the other two.
    pub(crate) fn kv(&self, rows: PassTokens) -> &PassKv {
        &self.passes[rows as usize].kv
    }

    /// Velocities of the last pass over `rows`.
    pub(crate) fn velocity(&self, rows: PassTokens) -> Region {
        self.passes[rows as usize].velocity
    }

    /// Number of tokens of a pass over `rows`.
    pub(crate) fn tokens(&self, rows: PassTokens) -> usize {
        self.passes[rows as usize].kv.tokens
    }
}

/// Scale of the self-attention logits of a row with `visible` keys: ln(n + 8) / ln(200), in f32 as
/// in training.
fn self_scale(visible: usize) -> f32 {
    (libm::log(visible as f64 + 8.0) / libm::log(200.0)) as f32
}

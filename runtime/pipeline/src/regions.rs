//! The region of every tensor of a ride: the arena's plan, computed from the signature of each
//! graph.

use drivewam_core::arena::{ArenaPlan, Planner, Region};
use drivewam_core::bindings::Graph;
use drivewam_core::config::{Config, SolverKind};
use drivewam_core::dtype::DType;
use drivewam_core::flow::solver::history_len;
use drivewam_core::manifest::Manifest;
use drivewam_core::tensor::{Signature, TensorRole, TensorSpec};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_engine::{BoundTensor, Io, scratch_bytes};

/// The regions of a ride. Shapes as in [`drivewam_core::bindings`].
#[derive(Debug, Clone)]
pub(crate) struct Regions {
    /// Regions by key: the tensor's name, or a key of [`key`] where several graphs share a name.
    named: Vec<(String, Place)>,
    /// The solver's history of the video and of the actions.
    pub(crate) video_history: Vec<Region>,
    pub(crate) action_history: Vec<Region>,
    /// Work space that engines on a GPU share.
    scratch: Option<Region>,
    pub(crate) n_video: usize,
    pub(crate) n_action: usize,
    pub(crate) slots: usize,
}

/// Where a tensor lies.
#[derive(Debug, Clone)]
enum Place {
    /// In a region that the lanes share.
    Shared(Region),
    /// In a region of each lane.
    PerLane(Vec<Region>),
}

impl Place {
    fn of_lane(&self, lane: usize) -> Option<Region> {
        match self {
            Self::Shared(region) => Some(*region),
            Self::PerLane(regions) => regions.get(lane).copied(),
        }
    }
}

/// The tokens that a transformer pass computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PassTokens {
    Video,
    Action,
    Both,
}

/// Keys of regions that are not the name of a tensor.
pub(crate) mod key {
    pub(crate) const FIRST_FRAME: &str = "first_frame";
    pub(crate) const DECODE_LATENT: &str = "decode_latent";
    pub(crate) const DECODED: &str = "decoded_frames";

    /// Causal cache `i`, of double buffer `turn`.
    pub(crate) fn cache(turn: usize, i: usize) -> String {
        format!("cache.{turn}.{i}")
    }

    /// A constant of a pass.
    pub(crate) fn of_pass(name: &str, rows: super::PassTokens) -> String {
        format!(
            "{name}.{}",
            match rows {
                super::PassTokens::Video => "video",
                super::PassTokens::Action => "action",
                super::PassTokens::Both => "both",
            }
        )
    }
}

/// Whether each lane has a region of its own for a tensor: one that is written in one chunk, or
/// between two, and read in the next.
fn is_of_lane(name: &str, role: Option<TensorRole>) -> bool {
    use TensorRole::{CacheIn, CacheOut, EgoK, EgoV, Frames, MemBias, MemK, MemV, TextBias, TextK, TextV};
    match role {
        Some(Frames) => name != key::DECODED,
        Some(MemBias | MemK(_) | MemV(_) | CacheIn(_) | CacheOut(_) | TextBias | TextK(_) | TextV(_) | EgoK(_) | EgoV(_)) => true,
        _ => false,
    }
}

impl Regions {
    /// Plans the arena of a ride.
    ///
    /// # Errors
    /// `Capacity`, naming the keys to raise, when the plan does not fit `target.arena_bytes`.
    pub(crate) fn plan(config: &Config, manifest: &Manifest, with_decoder: bool) -> Result<(Self, ArenaPlan)> {
        let model = &config.model;
        let (video_slots, action_slots, tail) = config.slots();
        let (n_video, n_action, slots) = (model.video_tokens(), model.action_tokens(), video_slots + action_slots + tail);
        let lanes = config.lanes.count;
        let mut planner = Planner::new();
        let mut named: Vec<(String, Place)> = Vec::new();
        let mut add = |planner: &mut Planner, owner: &'static str, name: String, spec: &TensorSpec, n: usize| -> Result<()> {
            // An output of one graph and an input of another share a region under their common
            // name.
            if named.iter().any(|(known, _)| *known == name) {
                return Ok(());
            }
            let shape = spec.resolve(n, slots);
            let place = if is_of_lane(&name, spec.role) {
                let of_lane = |lane: usize| {
                    let shown = if lanes == 1 { name.clone() } else { format!("{name}@{lane}") };
                    planner.add_of_lane(Some(lane), owner, shown, spec.dtype, &shape)
                };
                Place::PerLane((0..lanes).map(of_lane).collect::<Result<_>>()?)
            } else {
                Place::Shared(planner.add(owner, name.clone(), spec.dtype, &shape)?)
            };
            named.push((name, place));
            Ok(())
        };
        let signature = |graph: Graph| manifest.signature(graph);
        let first = signature(Graph::VaeEncodeFirst)?;
        let encode = signature(Graph::VaeEncode)?;
        for spec in &first.inputs {
            add(&mut planner, "codec", key::FIRST_FRAME.to_owned(), spec, 0)?;
        }
        for spec in encode.inputs.iter().filter(|s| s.role == Some(TensorRole::Frames)) {
            add(&mut planner, "codec", spec.name.clone(), spec, 0)?;
        }
        for spec in &encode.outputs {
            if let Some(TensorRole::CacheOut(i)) = spec.role {
                add(&mut planner, "codec", key::cache(0, i), spec, 0)?;
                add(&mut planner, "codec", key::cache(1, i), spec, 0)?;
            } else {
                add(&mut planner, "codec", spec.name.clone(), spec, 0)?;
            }
        }
        if with_decoder {
            let decode = signature(Graph::VaeDecode)?;
            for spec in decode.inputs.iter().filter(|s| s.role == Some(TensorRole::Latent)) {
                add(&mut planner, "codec", key::DECODE_LATENT.to_owned(), spec, 0)?;
            }
            for spec in decode.outputs.iter().filter(|s| s.role == Some(TensorRole::Frames)) {
                add(&mut planner, "codec", key::DECODED.to_owned(), spec, 0)?;
            }
        }
        if manifest.monitors.scene.is_some() {
            let monitor = signature(Graph::Monitor)?;
            for spec in monitor.inputs.iter().chain(&monitor.outputs) {
                add(&mut planner, "monitor", spec.name.clone(), spec, 0)?;
            }
        }
        for graph in [Graph::ContextText, Graph::ContextEgo] {
            let signature = signature(graph)?;
            for spec in signature.inputs.iter().chain(&signature.outputs) {
                add(&mut planner, "context", spec.name.clone(), spec, 0)?;
            }
        }
        let dit = signature(Graph::Dit)?;
        for spec in &dit.inputs {
            if matches!(spec.role, Some(TensorRole::IsAction | TensorRole::SelfScale)) {
                for (rows, n) in [(PassTokens::Video, n_video), (PassTokens::Action, n_action), (PassTokens::Both, n_video + n_action)] {
                    add(&mut planner, "sampler", key::of_pass(&spec.name, rows), spec, n)?;
                }
            } else {
                let is_memory = matches!(spec.role, Some(TensorRole::MemBias | TensorRole::MemK(_) | TensorRole::MemV(_)));
                let owner = if is_memory { "memory" } else { "sampler" };
                add(&mut planner, owner, spec.name.clone(), spec, n_video + n_action)?;
            }
        }
        for spec in &dit.outputs {
            add(&mut planner, "sampler", spec.name.clone(), spec, n_video + n_action)?;
        }
        let history = |planner: &mut Planner, stem: &str, n: usize, kind: SolverKind| -> Result<Vec<Region>> {
            (0..history_len(kind))
                .map(|i| planner.add("sampler", format!("{stem}_history.{i}"), DType::F32, &[n, model.token_width()]))
                .collect()
        };
        let video_history = history(&mut planner, "video", n_video, config.flow.solver)?;
        let action_history = history(&mut planner, "action", n_action, config.flow.solver)?;
        let scratch = scratch_bytes(config, manifest, &Graph::POLICY)?;
        let scratch = scratch.map(|bytes| planner.add("engine", "scratch", DType::U8, &[bytes])).transpose()?;
        let regions = Self { named, video_history, action_history, scratch, n_video, n_action, slots };
        Ok((regions, planner.finish(config.target.arena_bytes)?))
    }

    /// The region with the key `name`, which the lanes share.
    ///
    /// # Errors
    /// `Usage` when the plan has none.
    pub(crate) fn get(&self, name: &str) -> Result<Region> {
        self.of_lane(0, name)
    }

    /// The region with the key `name` of lane `lane`, or the one that the lanes share.
    ///
    /// # Errors
    /// `Usage` when the plan has none.
    pub(crate) fn of_lane(&self, lane: usize, name: &str) -> Result<Region> {
        self.named
            .iter()
            .find(|(n, _)| n == name)
            .and_then(|(_, place)| place.of_lane(lane))
            .ok_or_else(|| Error::new(ErrorKind::Usage, "the plan has no such region").at("arena").got(format!("{name:?}, lane {lane}")))
    }

    /// The region of the tensor with the role `role`: as [`Regions::of_lane`] by its name.
    ///
    /// # Errors
    /// `Usage` when the plan has none.
    pub(crate) fn of_role(&self, lane: usize, role: TensorRole) -> Result<Region> {
        self.of_lane(lane, &role.to_string())
    }

    /// Number of tokens of a pass.
    pub(crate) fn n(&self, rows: PassTokens) -> usize {
        match rows {
            PassTokens::Video => self.n_video,
            PassTokens::Action => self.n_action,
            PassTokens::Both => self.n_video + self.n_action,
        }
    }

    /// The rows of a pass within a region that holds a row per token, video first.
    ///
    /// # Errors
    /// `Usage` when the region is too short.
    pub(crate) fn rows_of(&self, region: Region, rows: PassTokens) -> Result<Region> {
        let width = region.len() / (self.n_video + self.n_action);
        match rows {
            PassTokens::Video => region.part(0, self.n_video * width),
            PassTokens::Action => region.part(self.n_video * width, self.n_action * width),
            PassTokens::Both => Ok(region),
        }
    }

    /// Binds each tensor of `specs` to the region that `region_of` gives for it, cut to its shape.
    fn bind(&self, specs: &[TensorSpec], n: usize, region_of: impl Fn(&TensorSpec) -> Result<Region>) -> Result<Vec<BoundTensor>> {
        specs
            .iter()
            .map(|spec| {
                let shape = spec.resolve(n, self.slots);
                let region = region_of(spec)?.part(0, shape.iter().product())?;
                Ok(BoundTensor { name: spec.name.clone(), region, shape })
            })
            .collect()
    }

    /// The binding of a graph for `n` tokens, with inputs and outputs in the regions that `input`
    /// and `output` give.
    pub(crate) fn io(
        &self,
        signature: &Signature,
        n: usize,
        input: impl Fn(&TensorSpec) -> Result<Region>,
        output: impl Fn(&TensorSpec) -> Result<Region>,
    ) -> Result<Io> {
        Ok(Io {
            inputs: self.bind(&signature.inputs, n, input)?,
            outputs: self.bind(&signature.outputs, n, output)?,
            scratch: self.scratch,
        })
    }
}

//! A test fixture: a device with a small KV memory, and a record of every key and value that a test
//! committed to it.

use super::Make;
use drivewam_core::Result;
use drivewam_core::arena::{Planner, Region};
use drivewam_core::bindings::MASKED;
use drivewam_core::config::{Config, Layer, MemoryPolicy};
use drivewam_core::dims::Model;
use drivewam_core::dtype::DType;
use drivewam_core::noise::{Stream, standard_normal};
use drivewam_core::rope::RopeTable;
use drivewam_core::selection::{Policy, Provenance, Scoring, SlotTable};
use drivewam_device::{Commit, Device, KvCounts, KvLayout, KvRegions, PassKv, Pool};
use std::collections::BTreeMap;
use std::ops::Range;

/// The tiny model of `configs`, whose rotations the suite uses.
pub fn model() -> Model {
    let layer = |name: &str, text: &str| Layer { name: name.to_owned(), text: text.to_owned() };
    let layers = [
        layer("model", include_str!("../../../configs/model/tiny.yaml")),
        layer("target", include_str!("../../../configs/target/host-cpu.yaml")),
        layer("vehicle", include_str!("../../../configs/vehicle/world.yaml")),
        layer("tiny", include_str!("../../../configs/tiny.yaml")),
    ];
    Config::from_layers(&layers).unwrap().model
}

/// A memory whose pools are not multiples of a chunk, so that the first selection meets free slots.
pub fn layout(scoring: Scoring) -> KvLayout {
    let model = model();
    KvLayout {
        layers: 2,
        heads: 3,
        head_dim: model.head_dim,
        video_slots: 20,
        action_slots: 10,
        tail_slots: 8,
        pass_tokens: 14,
        policy: MemoryPolicy::Selective,
        scoring,
        rope: RopeTable::new(&model),
    }
}

/// The same memory with heads of another width. The axes share the rotations as evenly as pairs
/// allow.
pub fn with_width(layout: KvLayout, width: usize) -> KvLayout {
    let mut model = model();
    let third = width / 6 * 2;
    model.rope.split = [width - 2 * third, third, third];
    KvLayout { head_dim: width, rope: RopeTable::new(&model), ..layout }
}

/// A memory of many tokens with heads as wide as the paper's. Several warps, blocks and column
/// steps of a kernel work together, and the sizes are multiples of none of them.
pub fn wide_layout(scoring: Scoring) -> KvLayout {
    let layout = KvLayout { heads: 2, video_slots: 150, action_slots: 69, tail_slots: 40, pass_tokens: 80, ..layout(scoring) };
    with_width(layout, 128)
}

/// Outputs of a pass: K, V and Q, `[L][H, tokens, D]`.
#[derive(Debug, Clone)]
pub struct Offer {
    /// N.
    pub tokens: usize,
    /// Keys.
    pub k: Vec<Vec<f32>>,
    /// Values.
    pub v: Vec<Vec<f32>>,
    /// Queries.
    pub q: Vec<Vec<f32>>,
}

impl Offer {
    /// Standard normals that depend on the seed alone, rounded to values that `kv` represents.
    fn random(layout: &KvLayout, kv: DType, tokens: usize, seed: u64) -> Self {
        let mut chunk = 0;
        let mut tensor = || {
            (0..layout.layers)
                .map(|_| {
                    let mut data = vec![0.0; layout.heads * tokens * layout.head_dim];
                    chunk += 1;
                    standard_normal(seed, chunk, Stream::Video, &mut data);
                    data.iter_mut().for_each(|x| *x = hold(kv, *x));
                    data
                })
                .collect::<Vec<_>>()
        };
        Self { tokens, k: tensor(), v: tensor(), q: tensor() }
    }
}

/// `x` rounded to a value that a memory of type `kv` represents: eight bits of the significand for
/// a 16-bit type, and 0 for f16 below 2^-14.
pub fn hold(kv: DType, x: f32) -> f32 {
    match kv {
        DType::F32 => x,
        DType::F16 if x.abs() < 6.2e-5 => 0.0,
        _ => f32::from_bits(x.to_bits() & 0xffff_0000),
    }
}

/// All state that a commit can change.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Slot table of each layer.
    pub tables: Vec<SlotTable>,
    /// Keys, `[L][H, S, D]`.
    pub k: Vec<Vec<f32>>,
    /// Values, `[L][H, S, D]`.
    pub v: Vec<Vec<f32>>,
    /// Bias, `[S]`.
    pub bias: Vec<f32>,
    /// Counts that the device reports.
    pub counts: KvCounts,
}

/// A token: its pool (true for video, `None` for the tail), chunk and index.
type Token = (Option<bool>, u32, u32);

/// One pool's commit of rows of a pass: pool, policy, rows.
pub type PoolCommit<'a> = (Pool, Policy<'a>, Range<usize>);

/// Key and value of a token, `[L, H, D]` each.
type Pair = [Vec<f32>; 2];

/// The device, its memory, and the expected contents.
#[derive(Debug)]
pub struct Rig {
    /// The device under test.
    pub device: Box<dyn Device>,
    /// The type of its keys and values.
    kv: DType,
    /// The layout of its memory.
    pub layout: KvLayout,
    /// The regions of its memory.
    pub regions: KvRegions,
    /// Two regions of eight f32 that nothing else uses.
    pub spare: [Region; 2],
    /// Regions for K, V and Q of the longest pass.
    pass: PassKv,
    /// Every committed token.
    record: BTreeMap<Token, Pair>,
    /// Counts that the device must report.
    counts: KvCounts,
    /// The other lanes' regions, tokens and counts; an empty entry at the lane in use.
    parked: Vec<Parked>,
    lane: usize,
}

/// Regions, tokens and counts of a lane that is not in use.
type Parked = Option<(KvRegions, BTreeMap<Token, Pair>, KvCounts)>;

impl Rig {
    /// A device whose memory is not open yet.
    pub fn closed(make: Make, layout: KvLayout) -> Self {
        Self::closed_lanes(make, layout, 1)
    }

    /// A device for a memory of `lanes` lanes, which is not open yet.
    pub fn closed_lanes(make: Make, layout: KvLayout, lanes: usize) -> Self {
        let mut planner = Planner::new();
        let mut per_layer = |name: &str, rows: usize| -> Vec<Region> {
            let shape = [layout.heads, rows, layout.head_dim];
            (0..layout.layers).map(|l| planner.add("memory", format!("{name}.{l}"), make.kv, &shape).unwrap()).collect()
        };
        let mut memory: Vec<_> = (0..lanes).map(|_| (per_layer("mem_k", layout.slots()), per_layer("mem_v", layout.slots()))).collect();
        let pass = PassKv {
            tokens: layout.pass_tokens,
            k: per_layer("k", layout.pass_tokens),
            v: per_layer("v", layout.pass_tokens),
            q: per_layer("q", layout.pass_tokens),
        };
        let mut parked: Vec<Parked> = memory
            .drain(..)
            .map(|(k, v)| {
                let bias = planner.add("memory", "mem_bias", DType::F32, &[layout.slots()]).unwrap();
                Some((KvRegions { k, v, bias }, BTreeMap::new(), KvCounts::default()))
            })
            .collect();
        let spare = ["x", "velocity"].map(|name| planner.add("sampler", name, DType::F32, &[8]).unwrap());
        let device = (make.device)(planner.finish(1 << 24).unwrap()).unwrap();
        let (regions, record, counts) = parked[0].take().unwrap();
        Self { device, kv: make.kv, layout, regions, spare, pass, record, counts, parked, lane: 0 }
    }

    /// A device with an open, empty memory.
    pub fn new(make: Make, scoring: Scoring) -> Self {
        Self::open(make, layout(scoring))
    }

    /// The same for any layout.
    pub fn open(make: Make, layout: KvLayout) -> Self {
        let mut rig = Self::closed(make, layout);
        rig.device.kv_open(&rig.layout, std::slice::from_ref(&rig.regions)).unwrap();
        rig
    }

    /// A device with an open, empty memory of `lanes` lanes.
    pub fn of_lanes(make: Make, layout: KvLayout, lanes: usize) -> Self {
        let mut rig = Self::closed_lanes(make, layout, lanes);
        let regions = rig.lanes();
        rig.device.kv_open(&rig.layout, &regions).unwrap();
        rig
    }

    /// The regions of every lane.
    pub fn lanes(&self) -> Vec<KvRegions> {
        self.parked.iter().map(|parked| parked.as_ref().map_or(&self.regions, |(regions, ..)| regions).clone()).collect()
    }

    /// Lets the device and all other functions act on lane `lane`.
    pub fn use_lane(&mut self, lane: usize) -> Result<()> {
        let used = self.device.kv_use_lane(lane);
        if let Some((regions, record, counts)) = self.parked[lane].take() {
            let before = (&mut self.regions, &mut self.record, &mut self.counts);
            let before = (std::mem::replace(before.0, regions), std::mem::replace(before.1, record), std::mem::replace(before.2, counts));
            self.parked[self.lane] = Some(before);
            self.lane = lane;
        }
        used
    }

    /// Outputs of a pass of `tokens` tokens, which depend on the seed alone.
    pub fn offer(&self, tokens: usize, seed: u64) -> Offer {
        Offer::random(&self.layout, self.kv, tokens, seed)
    }

    /// Uploads the outputs of a pass.
    pub fn put(&mut self, offer: &Offer) -> PassKv {
        put(&mut *self.device, &self.layout, &self.pass, 0, offer)
    }

    /// The same, after a pass of `tokens` tokens.
    pub fn put_behind(&mut self, tokens: usize, offer: &Offer) -> PassKv {
        put(&mut *self.device, &self.layout, &self.pass, tokens, offer)
    }

    /// The same on another device of the same plan.
    pub fn put_on(&self, device: &mut dyn Device, offer: &Offer) -> PassKv {
        put(device, &self.layout, &self.pass, 0, offer)
    }

    /// Commits rows of a pass as observed tokens and, if the device accepts them, records them.
    pub fn observe(&mut self, pool: Pool, policy: Policy<'_>, chunk: u32, offer: &Offer, rows: Range<usize>) -> Result<()> {
        self.observe_all(chunk, offer, &[(pool, policy, rows)])
    }

    /// The same for several pools in one call.
    pub fn observe_all(&mut self, chunk: u32, offer: &Offer, pools: &[PoolCommit<'_>]) -> Result<()> {
        let pass = self.put(offer);
        let commits = pools.iter().cloned().map(|(pool, policy, rows)| Commit { pool, policy, pass: &pass, rows });
        self.device.kv_commit_observed(chunk, &commits.collect::<Vec<_>>())?;
        self.device.synchronize()?;
        for (pool, _, rows) in pools {
            self.note(Some(*pool == Pool::Video), chunk, offer, rows);
            let slots = self.layout.pool(*pool).len();
            let count = if *pool == Pool::Video { &mut self.counts.video } else { &mut self.counts.action };
            *count = (*count + rows.len()).min(slots);
        }
        Ok(())
    }

    /// Commits rows of a pass as predicted tokens and, if the device accepts them, records them.
    pub fn predict(&mut self, chunk: u32, offer: &Offer, rows: Range<usize>) -> Result<()> {
        let pass = self.put(offer);
        self.device.kv_commit_predicted(chunk, &pass, rows.clone())?;
        self.device.synchronize()?;
        self.note(None, chunk, offer, &rows);
        self.counts.tail = rows.len();
        Ok(())
    }

    /// Empties the tail.
    pub fn drop_predicted(&mut self) {
        self.device.kv_drop_predicted().unwrap();
        self.counts.tail = 0;
    }

    /// Empties the memory.
    pub fn clear(&mut self) {
        self.device.kv_clear().unwrap();
        self.counts = KvCounts::default();
    }

    fn note(&mut self, whose: Option<bool>, chunk: u32, offer: &Offer, rows: &Range<usize>) {
        let width = self.layout.head_dim;
        for (token, row) in (0u32..).zip(rows.clone()) {
            let gather = |tensor: &[Vec<f32>]| {
                let heads = |layer: &Vec<f32>| {
                    layer.chunks(offer.tokens * width).flat_map(|head| head[row * width..(row + 1) * width].to_vec()).collect::<Vec<f32>>()
                };
                tensor.iter().flat_map(heads).collect::<Vec<f32>>()
            };
            self.record.insert((whose, chunk, token), [gather(&offer.k), gather(&offer.v)]);
        }
    }

    /// Reads all state that a commit can change.
    pub fn snapshot(&mut self) -> Snapshot {
        let len = self.layout.heads * self.layout.slots() * self.layout.head_dim;
        let mut download = |region: Region, len: usize| {
            let mut out = vec![f32::NAN; len];
            self.device.download(region, &mut out).unwrap();
            out
        };
        let k = self.regions.k.iter().map(|r| download(*r, len)).collect();
        let v = self.regions.v.iter().map(|r| download(*r, len)).collect();
        let bias = download(self.regions.bias, self.layout.slots());
        let tables = (0..self.layout.layers).map(|l| self.device.kv_table(l).unwrap()).collect();
        Snapshot { tables, k, v, bias, counts: self.device.kv_counts() }
    }

    /// Asserts that counts, bias and tables agree, that pools hold observed and the tail predicted
    /// tokens, and that every slot holds, to the bit, the key and value of the token in its table,
    /// in every head of its set.
    pub fn check(&mut self) -> Snapshot {
        let now = self.snapshot();
        let layout = &self.layout;
        assert_eq!(now.counts, self.counts);
        let width = layout.head_dim;
        for (layer, table) in now.tables.iter().enumerate() {
            for set in 0..table.sets() {
                let slots = table.pool(set, 0..layout.slots()).unwrap();
                for (range, count) in [
                    (layout.pool(Pool::Video), self.counts.video),
                    (layout.pool(Pool::Action), self.counts.action),
                    (layout.tail(), self.counts.tail),
                ] {
                    assert_eq!(slots[range].iter().filter(|s| s.valid).count(), count, "layer {layer}, set {set}");
                }
                for (i, slot) in slots.iter().enumerate() {
                    assert_eq!(now.bias[i], if slot.valid { 0.0 } else { MASKED }, "bias of slot {i}, layer {layer}, set {set}");
                    if !slot.valid {
                        continue;
                    }
                    let in_tail = layout.tail().contains(&i);
                    assert_eq!(slot.provenance, if in_tail { Provenance::Predicted } else { Provenance::Observed }, "slot {i}");
                    let whose = (!in_tail).then(|| layout.pool(Pool::Video).contains(&i));
                    let [key, value] = &self.record[&(whose, slot.chunk, slot.token)];
                    for head in layout.scoring.heads_of(set, layout.heads) {
                        let (place, note) = ((head * layout.slots() + i) * width, (layer * layout.heads + head) * width);
                        let at = format!("layer {layer}, head {head}, slot {i}: {slot:?}");
                        assert_eq!(now.k[layer][place..place + width], key[note..note + width], "key of {at}");
                        assert_eq!(now.v[layer][place..place + width], value[note..note + width], "value of {at}");
                    }
                }
            }
        }
        now
    }
}

fn put(device: &mut dyn Device, layout: &KvLayout, target: &PassKv, behind: usize, offer: &Offer) -> PassKv {
    let [first, len] = [behind, offer.tokens].map(|tokens| layout.heads * tokens * layout.head_dim);
    let cut = |regions: &[Region]| regions.iter().map(|r| r.part(first, len).unwrap()).collect::<Vec<_>>();
    let pass = PassKv { tokens: offer.tokens, k: cut(&target.k), v: cut(&target.v), q: cut(&target.q) };
    for (regions, data) in [(&pass.k, &offer.k), (&pass.v, &offer.v), (&pass.q, &offer.q)] {
        for (region, data) in regions.iter().zip(data) {
            device.upload(*region, data).unwrap();
        }
    }
    pass
}

/// Chunk and token of every valid slot of a pool, sorted.
pub fn held(table: &SlotTable, set: usize, pool: Range<usize>) -> Vec<(u32, u32)> {
    let mut held: Vec<_> = table.pool(set, pool).unwrap().iter().filter(|s| s.valid).map(|s| (s.chunk, s.token)).collect();
    held.sort_unstable();
    held
}

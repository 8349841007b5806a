//! Scores of the old tokens of one head set, in f32. [`drivewam_core::selection::score`] is the
//! reference in f64.
//!
//! Relevance is a matrix product, head by head, then a softmax per query. Redundancy needs no
//! product of all pairs: `η_j = (k̂_j·Σk̂ − 1)/(n − 1)`. Under `keys: pre_rope` the rotation of
//! keys and queries is undone first, by the positions in the slot table.

use super::simd::{Panel, Simd};
use crate::kv::{KvLayout, Pool};
use drivewam_core::rope::{RopeTable, unrotate};
use drivewam_core::selection::{Keys, Normalise, Scored, Slot, TOO_OLD, has_direction};
use drivewam_core::{Error, ErrorKind, Result};
use std::ops::Range;

/// Consecutive rows of consecutive heads of a `[H, rows, D]` array. Heads and rows are counted from
/// the first of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadRows<'a> {
    data: &'a [f32],
    stride: usize,
    first: usize,
    len: usize,
    width: usize,
}

impl<'a> HeadRows<'a> {
    /// Rows `rows` of the heads from `head` on, of `data` `[_, stride, width]`.
    pub(crate) fn new(data: &'a [f32], head: usize, stride: usize, width: usize, rows: Range<usize>) -> Self {
        Self { data: &data[head * stride * width..], stride, first: rows.start, len: rows.len(), width }
    }

    /// All rows of one head, contiguous.
    pub(crate) fn head(&self, head: usize) -> &'a [f32] {
        let start = (head * self.stride + self.first) * self.width;
        &self.data[start..start + self.len * self.width]
    }

    fn row(&self, head: usize, row: usize) -> &'a [f32] {
        &self.head(head)[row * self.width..(row + 1) * self.width]
    }
}

/// Inputs of the scores of one head set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// Keys of the pool, one row per slot.
    pub(crate) keys: HeadRows<'a>,
    /// Queries of the new tokens.
    pub(crate) queries: HeadRows<'a>,
    /// Keys of the new tokens.
    pub(crate) new: HeadRows<'a>,
    /// The pool's slots.
    pub(crate) slots: &'a [Slot],
    /// Chunk of the new tokens.
    pub(crate) chunk: u32,
    pub(crate) pool: Pool,
}

/// Work space of one thread, for any head set of a layout.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// `[Q, tokens]`.
    logits: Vec<f32>,
    rho: Vec<f32>,
    eta: Vec<f32>,
    /// |k|².
    square: Vec<f64>,
    /// 1/|k|; 0 for a zero key.
    inv_norm: Vec<f32>,
    /// Σk̂ over the tokens of a head, `[D]`.
    sum: Vec<f32>,
    panel: Panel,
    order: Vec<u32>,
    /// A rotation per token, `[tokens, D]`. This and the two below are empty unless
    /// `keys: pre_rope`.
    rotations: Vec<f32>,
    /// `[heads, tokens, D]`.
    keys: Vec<f32>,
    /// `[heads, Q, D]`.
    queries: Vec<f32>,
}

impl Workspace {
    /// Space for any set of `layout`. Warm.
    pub(crate) fn new(layout: &KvLayout) -> Self {
        let pool = layout.video_slots.max(layout.action_slots);
        let tokens = pool + layout.pass_tokens;
        let heads = layout.scoring.heads_of(0, layout.heads).len();
        let unrotated = if layout.scoring.keys == Keys::PreRope { layout.head_dim } else { 0 };
        // Not zeros: the host may back zero pages only at their first use, which would be in Run.
        let touched = |len: usize| vec![f32::NAN; len];
        Self {
            logits: touched(layout.pass_tokens * tokens),
            rho: touched(tokens),
            eta: touched(tokens),
            square: vec![f64::NAN; tokens],
            inv_norm: touched(tokens),
            sum: touched(layout.head_dim),
            panel: vec![[f32::NAN; _]; layout.head_dim],
            order: vec![u32::MAX; tokens],
            rotations: touched(tokens * unrotated),
            keys: touched(heads * tokens * unrotated),
            queries: touched(heads * layout.pass_tokens * unrotated),
        }
    }

    /// Scratch for an order of the pool's slots.
    pub(crate) fn order(&mut self) -> &mut [u32] {
        &mut self.order
    }

    /// Writes `s_j = λ ρ_j − (1 − λ) η_j` of every valid slot into `out`, and −∞ for an empty slot.
    /// Does not allocate.
    ///
    /// # Errors
    /// `Output` for a key of a scored token, a query, or a product of both, that is not finite.
    pub(crate) fn score(&mut self, simd: Simd, layout: &KvLayout, inputs: &Inputs<'_>, out: &mut [f32]) -> Result<()> {
        let Self { logits, rho, eta, square, inv_norm, sum, panel, order, rotations, keys, queries } = self;
        let scoring = &layout.scoring;
        let heads = scoring.heads_of(0, layout.heads).len();
        let inputs = match scoring.keys {
            Keys::PostRope => *inputs,
            Keys::PreRope => unrotate_all(&layout.rope, heads, inputs, rotations, keys, queries),
        };
        let len = inputs.slots.len() + if scoring.scored == Scored::PoolAndNew { inputs.new.len } else { 0 };
        let tokens = Tokens { simd, inputs: &inputs, heads, len };
        let (rho, eta) = (&mut rho[..len], &mut eta[..len]);
        let logits = &mut logits[..inputs.queries.len * len];
        tokens.first_pass(logits, &mut square[..len], panel)?;
        tokens.redundancy(eta, &square[..len], &mut inv_norm[..len], sum);
        tokens.relevance(rho, logits)?;
        let spare = &mut inv_norm[..len];
        if scoring.max_pool > 1 {
            spare.copy_from_slice(rho);
            tokens.max_pool(scoring.max_pool as usize / 2, spare, order, rho);
        }
        if scoring.normalise == Normalise::Softmax {
            for term in [&mut *rho, &mut *eta] {
                spare.copy_from_slice(term);
                tokens.mask(spare);
                term.fill(0.0);
                simd.add_softmax(term, spare, 1.0, 1.0);
            }
        }
        let lambda = scoring.lambda;
        for (j, (out, slot)) in out.iter_mut().zip(inputs.slots).enumerate() {
            *out = match slot {
                slot if !slot.valid => f32::NEG_INFINITY,
                slot if scoring.is_too_old(slot.chunk, inputs.chunk) => TOO_OLD,
                _ => lambda * rho[j] - (1.0 - lambda) * eta[j],
            };
        }
        Ok(())
    }
}

/// The inputs before their rotation. Empty slots are skipped.
fn unrotate_all<'a>(
    rope: &RopeTable,
    heads: usize,
    inputs: &Inputs<'a>,
    rotations: &'a mut [f32],
    keys: &'a mut [f32],
    queries: &'a mut [f32],
) -> Inputs<'a> {
    let (pool, new, width) = (inputs.slots.len(), inputs.new.len, inputs.keys.width);
    let all = pool + new;
    let position = |i: usize| match inputs.slots.get(i) {
        Some(slot) => slot.valid.then_some((slot.chunk, slot.token as usize)),
        None => Some((inputs.chunk, i - pool)),
    };
    for (i, rotation) in rotations.chunks_exact_mut(width).take(all).enumerate() {
        match (position(i), inputs.pool) {
            (Some((chunk, token)), Pool::Video) => rope.video(u64::from(chunk), token, rotation),
            (Some((chunk, token)), Pool::Action) => rope.action(u64::from(chunk), token, rotation),
            (None, _) => {}
        }
    }
    for head in 0..heads {
        let unrotated = &mut keys[head * all * width..(head + 1) * all * width];
        let (old, newest) = unrotated.split_at_mut(pool * width);
        let asked = &mut queries[head * new * width..(head + 1) * new * width];
        let (old_rotations, new_rotations) = rotations.split_at(pool * width);
        for (to, from, rotations, first) in [
            (old, inputs.keys.head(head), old_rotations, 0),
            (newest, inputs.new.head(head), new_rotations, pool),
            (asked, inputs.queries.head(head), new_rotations, pool),
        ] {
            to.copy_from_slice(from);
            for (i, (row, rotation)) in to.chunks_exact_mut(width).zip(rotations.chunks_exact(width)).enumerate() {
                if position(first + i).is_some() {
                    unrotate(rotation, row);
                }
            }
        }
    }
    Inputs {
        keys: HeadRows::new(keys, 0, all, width, 0..pool),
        new: HeadRows::new(keys, 0, all, width, pool..all),
        queries: HeadRows::new(queries, 0, new, width, 0..new),
        ..*inputs
    }
}

/// The tokens that the sums of a head set run over: the pool's slots, then the new tokens if they
/// are scored.
struct Tokens<'a> {
    simd: Simd,
    inputs: &'a Inputs<'a>,
    heads: usize,
    len: usize,
}

impl<'a> Tokens<'a> {
    /// Indices of the slots that hold a token, and of the new tokens.
    fn present(&self) -> impl Iterator<Item = usize> + use<'a> {
        let slots = self.inputs.slots;
        (0..self.len).filter(move |i| slots.get(*i).is_none_or(|slot| slot.valid))
    }

    /// Chunk and token index of token `i`. The new chunk counts as later than all others.
    fn position(&self, i: usize) -> (u64, usize) {
        match self.inputs.slots.get(i) {
            Some(slot) => (u64::from(slot.chunk), slot.token as usize),
            None => (u64::MAX, i - self.inputs.slots.len()),
        }
    }

    /// Excludes empty slots from a softmax.
    fn mask(&self, x: &mut [f32]) {
        for (x, slot) in x.iter_mut().zip(self.inputs.slots) {
            if !slot.valid {
                *x = f32::NEG_INFINITY;
            }
        }
    }

    /// Ranges of consecutive present tokens.
    fn runs(&self) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let (slots, len) = (self.inputs.slots, self.len);
        let is_present = move |i: usize| slots.get(i).is_none_or(|slot| slot.valid);
        let mut from = 0;
        std::iter::from_fn(move || {
            let start = (from..len).find(|i| is_present(*i))?;
            // The keys of the pool and of the new tokens are not contiguous.
            let end = if start < slots.len() { slots.len().min(len) } else { len };
            from = (start..end).find(|i| !is_present(*i)).unwrap_or(end);
            Some(start..from)
        })
    }

    /// Keys of a run, contiguous.
    fn keys(&self, head: usize, run: &Range<usize>) -> &'a [f32] {
        let (pool, width) = (self.inputs.slots.len(), self.inputs.keys.width);
        match run.start.checked_sub(pool) {
            None => &self.inputs.keys.head(head)[run.start * width..run.end * width],
            Some(start) => &self.inputs.new.head(head)[start * width..(run.end - pool) * width],
        }
    }

    /// Computes `q·k` `[Q, tokens]` and `|k|²`, head by head, so that each key is loaded once.
    fn first_pass(&self, logits: &mut [f32], square: &mut [f64], panel: &mut Panel) -> Result<()> {
        let queries = &self.inputs.queries;
        let width = queries.width;
        logits.fill(0.0);
        square.fill(0.0);
        for head in 0..self.heads {
            let asked = queries.head(head);
            if let Some(q) = (0..queries.len).find(|q| !self.simd.are_finite(queries.row(head, *q))) {
                return Err(not_finite("query", head, q));
            }
            for run in self.runs() {
                let keys = self.keys(head, &run);
                for (j, key) in run.clone().zip(keys.chunks_exact(width)) {
                    square[j] += self.simd.square(key);
                    if !square[j].is_finite() {
                        return Err(not_finite("key", head, j));
                    }
                }
                self.simd.add_products(&mut logits[run.start..], self.len, asked, keys, panel);
            }
        }
        Ok(())
    }

    /// `ρ_j = (1/|Q|) Σ_q [softmax_l(q·k_l / √d)]_j`.
    fn relevance(&self, rho: &mut [f32], logits: &mut [f32]) -> Result<()> {
        let queries = &self.inputs.queries;
        let scale = 1.0 / ((self.heads * queries.width) as f32).sqrt();
        let weight = 1.0 / queries.len as f32;
        rho.fill(0.0);
        for (q, row) in logits.chunks_exact_mut(self.len).enumerate() {
            if !self.simd.are_finite(row)
                && let Some(j) = self.present().find(|j| !row[*j].is_finite())
            {
                return Err(Error::new(ErrorKind::Output, "a product of query and key is not finite").at(format!("query {q}, key {j}")));
            }
            self.mask(row);
            self.simd.add_softmax(rho, row, scale, weight);
        }
        Ok(())
    }

    /// `η_j = mean_{l ≠ j} cos(k_j, k_l)`; 0 for a zero key and for a lone key.
    fn redundancy(&self, eta: &mut [f32], square: &[f64], inv_norm: &mut [f32], sum: &mut [f32]) {
        for (inv_norm, square) in inv_norm.iter_mut().zip(square) {
            *inv_norm = if has_direction(square.sqrt()) { (1.0 / square.sqrt()) as f32 } else { 0.0 };
        }
        eta.fill(0.0);
        let present = self.present().count();
        if present < 2 {
            return;
        }
        for head in 0..self.heads {
            sum.fill(0.0);
            for run in self.runs() {
                self.simd.add_weighted(sum, self.keys(head, &run), &inv_norm[run]);
            }
            for run in self.runs() {
                let keys = self.keys(head, &run);
                self.simd.add_dots(&mut eta[run], sum, keys);
            }
        }
        for j in self.present() {
            eta[j] = if inv_norm[j] > 0.0 { (eta[j] * inv_norm[j] - 1.0) / (present - 1) as f32 } else { 0.0 };
        }
    }

    /// `to_j = max from_i` over the present tokens of j's chunk whose token index lies within
    /// `radius` of j's.
    fn max_pool(&self, radius: usize, from: &[f32], order: &mut [u32], to: &mut [f32]) {
        let mut count = 0;
        for (entry, i) in order.iter_mut().zip(self.present()) {
            // A pool has far fewer slots than 2^32.
            *entry = i as u32;
            count += 1;
        }
        let order = &mut order[..count];
        order.sort_unstable_by_key(|i| self.position(*i as usize));
        for (at, j) in order.iter().enumerate() {
            let (chunk, token) = self.position(*j as usize);
            let near = |i: &&u32| {
                let (c, t) = self.position(**i as usize);
                c == chunk && t.abs_diff(token) <= radius
            };
            let (before, after) = (order[..at].iter().rev().take_while(near), order[at..].iter().take_while(near));
            to[*j as usize] = before.chain(after).map(|i| from[*i as usize]).fold(f32::NEG_INFINITY, f32::max);
        }
    }
}

fn not_finite(what: &str, head: usize, row: usize) -> Error {
    Error::new(ErrorKind::Output, format!("a {what} is not finite")).at(format!("head {head} of its set, row {row}"))
}

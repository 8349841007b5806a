//! The scores of the old tokens of one head set: relevance, redundancy, and their combination.
//!
//! Sums are f64, and a score is rounded to f32 once, so that backends that sum in f32 can be
//! compared with it.

use super::slots::{Provenance, Slot};
use super::{Normalise, Scored, Scoring, TOO_OLD};
use crate::error::{Error, ErrorKind, Result};
use std::ops::Range;

/// Consecutive rows of a `[H, rows, D]` array.
#[derive(Debug, Clone, Copy)]
pub struct HeadRows<'a> {
    data: &'a [f32],
    heads: usize,
    stride: usize,
    width: usize,
    first: usize,
    len: usize,
}

impl<'a> HeadRows<'a> {
    /// All rows of `data`, which has the shape `[heads, rows, width]`.
    ///
    /// # Errors
    /// `Usage` when `heads` or `width` is 0, or `data` does not have this shape.
    pub fn new(data: &'a [f32], [heads, rows, width]: [usize; 3]) -> Result<Self> {
        if heads == 0 || width == 0 || heads.checked_mul(rows).and_then(|n| n.checked_mul(width)) != Some(data.len()) {
            return Err(Error::new(ErrorKind::Usage, "rows of the wrong shape")
                .got(format!("{} numbers", data.len()))
                .wanted(format!("[{heads}, {rows}, {width}]")));
        }
        Ok(Self { data, heads, stride: rows, width, first: 0, len: rows })
    }

    /// The rows `range` of these rows, for example a pool of the memory or a modality of a pass.
    ///
    /// # Errors
    /// `Usage` when `range` exceeds them.
    pub fn slice(self, range: Range<usize>) -> Result<Self> {
        if range.start > range.end || range.end > self.len {
            return Err(Error::new(ErrorKind::Usage, "rows out of range")
                .got(format!("{range:?}"))
                .wanted(format!("within 0..{}", self.len)));
        }
        Ok(Self { first: self.first + range.start, len: range.end - range.start, ..self })
    }

    fn row(&self, head: usize, row: usize) -> &'a [f32] {
        let start = (head * self.stride + self.first + row) * self.width;
        &self.data[start..start + self.width]
    }
}

/// The inputs of the scores of one set. All rows have the same heads and head width.
#[derive(Debug, Clone, Copy)]
pub struct ScoreInputs<'a> {
    /// K of the pool, a row for each slot.
    pub keys: HeadRows<'a>,
    /// Q of the observed commit, of the modality of the pool.
    pub queries: HeadRows<'a>,
    /// K of the new chunk. Read under `scored: pool_and_new` only.
    pub new: HeadRows<'a>,
    /// The chunk of the new tokens.
    pub chunk: u32,
}

impl ScoreInputs<'_> {
    fn scored(&self, scoring: &Scoring) -> usize {
        match scoring.scored {
            Scored::Pool => self.keys.len,
            Scored::PoolAndNew => self.keys.len + self.new.len,
        }
    }
}

/// The number of f64 values of scratch that [`score`] needs for `inputs`.
pub fn scratch_len(scoring: &Scoring, inputs: &ScoreInputs<'_>) -> usize {
    3 * inputs.scored(scoring) + scoring.heads_of(0, inputs.keys.heads).len() * inputs.keys.width
}

/// The tokens that the sums of a set run over: the slots of the pool, and then the tokens of the
/// new chunk if these are scored.
struct Tokens<'a> {
    inputs: &'a ScoreInputs<'a>,
    slots: &'a [Slot],
    heads: Range<usize>,
    len: usize,
}

impl<'a> Tokens<'a> {
    /// The indices that hold a token.
    fn present(&self) -> impl Iterator<Item = usize> + use<'a> {
        let slots = self.slots;
        (0..self.len).filter(move |i| slots.get(*i).is_none_or(|slot| slot.valid))
    }

    fn key(&self, head: usize, i: usize) -> &'a [f32] {
        match i.checked_sub(self.slots.len()) {
            None => self.inputs.keys.row(head, i),
            Some(new) => self.inputs.new.row(head, new),
        }
    }

    /// The chunk (`None`: the new one) and the token index.
    fn place(&self, i: usize) -> (Option<u32>, usize) {
        match self.slots.get(i) {
            Some(slot) => (Some(slot.chunk), slot.token as usize),
            None => (None, i - self.slots.len()),
        }
    }
}

/// Writes `s_j = λ ρ_j - (1 - λ) η_j` of every valid slot of set `set` into `out`. A slot that
/// holds no token gets -∞; a token that is too old gets [`TOO_OLD`].
///
/// Under `normalise: softmax` each term first goes through a softmax over the scored tokens. `out`
/// and `slots` have an element for each slot of the pool. `scratch` has at least [`scratch_len`]
/// elements of any value. Does not allocate unless it fails.
///
/// # Errors
/// `Usage` when shapes disagree, when there is no query, or when a predicted token is in the pool.
/// `Output` when a query, or the key of a scored token, is not finite.
pub fn score(scoring: &Scoring, set: usize, inputs: &ScoreInputs<'_>, slots: &[Slot], scratch: &mut [f64], out: &mut [f32]) -> Result<()> {
    check(scoring, set, inputs, slots, scratch.len(), out.len())?;
    let heads = scoring.heads_of(set, inputs.keys.heads);
    let tokens = Tokens { inputs, slots, heads, len: inputs.scored(scoring) };
    let (rho, rest) = scratch.split_at_mut(tokens.len);
    let (eta, rest) = rest.split_at_mut(tokens.len);
    let (work, sum) = rest.split_at_mut(tokens.len);
    redundancy(&tokens, eta, &mut sum[..tokens.heads.len() * inputs.keys.width])?;
    relevance(&tokens, rho, work);
    if scoring.max_pool > 1 {
        work.copy_from_slice(rho);
        max_pool(&tokens, scoring.max_pool as usize / 2, work, rho);
    }
    if scoring.normalise == Normalise::Softmax {
        softmax(&tokens, rho);
        softmax(&tokens, eta);
    }
    let lambda = f64::from(scoring.lambda);
    for (j, out) in out.iter_mut().enumerate() {
        *out = match slots[j] {
            slot if !slot.valid => f32::NEG_INFINITY,
            slot if scoring.is_too_old(slot.chunk, inputs.chunk) => TOO_OLD,
            _ => (lambda * rho[j] - (1.0 - lambda) * eta[j]) as f32,
        };
    }
    Ok(())
}

fn check(scoring: &Scoring, set: usize, inputs: &ScoreInputs<'_>, slots: &[Slot], scratch: usize, out: usize) -> Result<()> {
    let ScoreInputs { keys, queries, new, .. } = inputs;
    let usage = |what: &str, got: String, wanted: String| Err(Error::new(ErrorKind::Usage, what).got(got).wanted(wanted));
    for (name, rows) in [("queries", queries), ("new keys", new)] {
        if (rows.heads, rows.width) != (keys.heads, keys.width) {
            return usage(
                "heads and head width differ from the keys'",
                format!("{name} [{}, _, {}]", rows.heads, rows.width),
                format!("[{}, _, {}]", keys.heads, keys.width),
            );
        }
    }
    if set >= scoring.sets(keys.heads) {
        return usage("no such head set", set.to_string(), format!("below {}", scoring.sets(keys.heads)));
    }
    if slots.len() != keys.len || out != keys.len {
        return usage("one slot and one score per key", format!("{} and {out}", slots.len()), keys.len.to_string());
    }
    if scratch < scratch_len(scoring, inputs) {
        return usage("scratch is too short", scratch.to_string(), scratch_len(scoring, inputs).to_string());
    }
    if queries.len == 0 {
        return usage("no query", "0".into(), "at least 1".into());
    }
    if let Some(i) = slots.iter().position(|s| s.valid && s.provenance == Provenance::Predicted) {
        return usage("a predicted token is never scored", format!("slot {i}"), "observed tokens alone".into());
    }
    for head in scoring.heads_of(set, keys.heads) {
        if let Some(i) = (0..queries.len).find(|i| !queries.row(head, *i).iter().all(|x| x.is_finite())) {
            return Err(not_finite("query", head, i));
        }
    }
    Ok(())
}

fn not_finite(what: &str, head: usize, row: usize) -> Error {
    Error::new(ErrorKind::Output, format!("a {what} is not finite")).at(format!("head {head}, row {row}"))
}

/// `ρ_j = (1/|Q|) Σ_q [softmax_l(q·k_l / √d)]_j`.
fn relevance(tokens: &Tokens<'_>, rho: &mut [f64], work: &mut [f64]) {
    let queries = &tokens.inputs.queries;
    let scale = 1.0 / ((tokens.heads.len() * queries.width) as f64).sqrt();
    rho.fill(0.0);
    for q in 0..queries.len {
        for l in tokens.present() {
            work[l] = scale * tokens.heads.clone().map(|h| dot(queries.row(h, q), tokens.key(h, l))).sum::<f64>();
        }
        softmax(tokens, work);
        for l in tokens.present() {
            rho[l] += work[l] / queries.len as f64;
        }
    }
}

/// `η_j = mean_{l ≠ j} cos(k_j, k_l)`, computed as `(k̂_j·Σk̂ - |k̂_j|²) / (n - 1)`, where k̂ is
/// the unit key and n the number of keys; `sum` is scratch for Σk̂.
///
/// A key without direction (zero, or shorter than the smallest normal f32) has η 0. It adds nothing
/// to the sum but counts in n. With n ≤ 1 there is no other key, and η is 0.
fn redundancy(tokens: &Tokens<'_>, eta: &mut [f64], sum: &mut [f64]) -> Result<()> {
    let width = tokens.inputs.keys.width;
    sum.fill(0.0);
    let mut present = 0usize;
    for j in tokens.present() {
        let mut square = 0.0;
        for head in tokens.heads.clone() {
            let key = tokens.key(head, j);
            let part = dot(key, key);
            if !part.is_finite() {
                return Err(not_finite("key", head, j));
            }
            square += part;
        }
        present += 1;
        eta[j] = square.sqrt();
        if has_direction(eta[j]) {
            for (head, sum) in tokens.heads.clone().zip(sum.chunks_exact_mut(width)) {
                for (sum, x) in sum.iter_mut().zip(tokens.key(head, j)) {
                    *sum += f64::from(*x) / eta[j];
                }
            }
        }
    }
    for j in tokens.present() {
        let norm = eta[j];
        eta[j] = 0.0;
        if has_direction(norm) && present > 1 {
            let along: f64 = tokens
                .heads
                .clone()
                .zip(sum.chunks_exact(width))
                .map(|(head, sum)| tokens.key(head, j).iter().zip(sum).map(|(x, s)| f64::from(*x) * s).sum::<f64>())
                .sum();
            eta[j] = (along / norm - 1.0) / (present - 1) as f64;
        }
    }
    Ok(())
}

/// Whether a key of this length has a direction, that is, whether 1/|k| is a finite f32.
pub fn has_direction(length: f64) -> bool {
    length >= f64::from(f32::MIN_POSITIVE)
}

/// `to_j = max from_i` over the tokens i of the same chunk whose index is at most `reach` from that
/// of j. Forgotten neighbours do not count.
fn max_pool(tokens: &Tokens<'_>, reach: usize, from: &[f64], to: &mut [f64]) {
    for j in tokens.present() {
        let (chunk, index) = tokens.place(j);
        let near = |i: &usize| {
            let (c, t) = tokens.place(*i);
            c == chunk && t.abs_diff(index) <= reach
        };
        to[j] = tokens.present().filter(near).map(|i| from[i]).fold(f64::NEG_INFINITY, f64::max);
    }
}

/// Softmax in place, over the tokens that are present.
fn softmax(tokens: &Tokens<'_>, x: &mut [f64]) {
    let largest = tokens.present().map(|i| x[i]).fold(f64::NEG_INFINITY, f64::max);
    let mut total = 0.0;
    for i in tokens.present() {
        x[i] = libm::exp(x[i] - largest);
        total += x[i];
    }
    for i in tokens.present() {
        x[i] /= total;
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

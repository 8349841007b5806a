//! The transformer pass. Every row has a state u of H·D numbers; attention is the weighted mean
//! over what the row may see.
//!
//! u₀ = the row's numbers, repeated to H·D, + 1/4 in an action row + τ/10. In layer l: v = u, k =
//! rope(u·(1 + l/10)), q = rope(u/2 + 1/10); m = the mean of v + k/8 over memory slots (weight
//! e^bias) and over the rows of the pass that the mask shows; then u ← (u + g(8·scale·m))/2 + (text
//! mean + ego mean)/10, where g(x) = x / (1 + |x|). s = g(u) after the last layer. Sums are f64, so
//! that their order hardly matters; the factor 8 makes the influence of a single row visible.

use super::context::speed_mps;
use super::options::{Fault, Options};
use super::slot::Slot;
use drivewam_core::dims::{INCREMENT_CHANNELS, Model, SelfScale};
use drivewam_core::manifest::ActionNormalisation;

/// Length of the f64 scratch for `rows` rows: the state, and three sums of a layer.
pub(super) fn scratch(model: &Model, rows: usize) -> usize {
    (rows + 3) * model.dim
}

/// The data of a channel of an action row: straight motion at the ego's speed.
fn action_data(model: &Model, action: &ActionNormalisation, speed_mps: f32, channel: usize) -> f32 {
    let Some(place) = model.action.used_channels.iter().position(|&used| used == channel) else { return 0.0 };
    let number = place % INCREMENT_CHANNELS;
    let increment = if number == 0 { f64::from(speed_mps) * model.pose_period_ns() as f64 * 1e-9 } else { 0.0 };
    let (Some(q01), Some(q99)) = (action.q01.get(number), action.q99.get(number)) else { return 0.0 };
    (2.0 * (increment - q01) / (q99 - q01 + action.epsilon) - 1.0) as f32
}

/// A sigmoid within ±1, steepest at 0.
fn soft(x: f64) -> f64 {
    x / (1.0 + x.abs())
}

/// The data of a channel of a video row.
fn video_data(channel: usize) -> f32 {
    ((channel % 5) as f32 - 2.0) / 4.0
}

/// Splits the first `N` off `slots`. The signature guarantees that they exist.
fn first<const N: usize>(slots: &[Slot]) -> Option<(&[Slot; N], &[Slot])> {
    slots.split_first_chunk()
}

pub(super) fn run(
    model: &Model,
    action: &ActionNormalisation,
    options: Options,
    inputs: &[Slot],
    outputs: &mut [Slot],
    scratch: &mut [f64],
) {
    let Some(([tokens, is_action, flow_time, rope, mem_bias, text_bias], rest)) = first::<6>(inputs) else { return };
    let (self_scale, rest) = match (model.self_scale, rest.split_first()) {
        (SelfScale::Log, Some((scale, rest))) => (Some(scale), rest),
        _ => (None, rest),
    };
    let (mem, rest) = rest.split_at(2 * model.layers);
    let (text, ego) = rest.split_at(2 * model.layers);
    let Some((velocity, kvq)) = outputs.split_first_mut() else { return };
    let (rows, width, dim, head_dim) = (is_action.data.len(), model.token_width(), model.dim, model.head_dim);
    let slots = mem_bias.data.len();
    let modality = |r: usize| is_action.data.get(r).copied().unwrap_or(0.0) > 0.5;
    let tau = |r: usize| flow_time.data.get(usize::from(modality(r))).copied().unwrap_or(0.0);
    let (u, sums) = scratch.split_at_mut(rows * dim);
    let (seen_memory, sums) = sums.split_at_mut(dim);
    let (seen_video, seen_action) = sums.split_at_mut(dim);
    for (r, (u, token)) in u.chunks_exact_mut(dim).zip(tokens.data.chunks_exact(width)).enumerate() {
        let offset = f64::from(tau(r)) / 10.0 + if modality(r) { 0.25 } else { 0.0 };
        for (u, x) in u.iter_mut().zip(token.iter().cycle()) {
            *u = f64::from(*x) + offset;
        }
    }
    let layers = mem.chunks_exact(2).zip(text.chunks_exact(2)).zip(ego.chunks_exact(2)).zip(kvq.chunks_exact_mut(3));
    for (l, (((mem, text), ego), kvq)) in layers.enumerate() {
        let ([mem_k, mem_v], [_, text_v], [_, ego_v], [k, v, q]) = (mem, text, ego, kvq) else { return };
        for (r, u) in u.chunks_exact(dim).enumerate() {
            let turn = rope.data.chunks_exact(head_dim).nth(r).unwrap_or_default();
            for (h, u) in u.chunks_exact(head_dim).enumerate() {
                let row = |slot: &mut Slot, f: &dyn Fn(f64) -> f64, turned: bool| {
                    let Some(out) = slot.data.chunks_exact_mut(head_dim).nth(h * rows + r) else { return };
                    for ((out, u), turn) in out.chunks_exact_mut(2).zip(u.chunks_exact(2)).zip(turn.chunks_exact(2)) {
                        let ([out0, out1], [u0, u1], [cos, sin]) = (out, u, turn) else { return };
                        let (a, b) = (f(*u0), f(*u1));
                        let (cos, sin) = if turned { (f64::from(*cos), f64::from(*sin)) } else { (1.0, 0.0) };
                        *out0 = (a * cos - b * sin) as f32;
                        *out1 = (a * sin + b * cos) as f32;
                    }
                };
                row(v, &|u| u, false);
                row(k, &|u| u * (1.0 + l as f64 / 10.0), true);
                row(q, &|u| u / 2.0 + 0.1, true);
            }
        }
        let memory = sum(seen_memory, mem_k, mem_v, slots, head_dim, |s| f64::from(mem_bias.data.get(s).copied().unwrap_or(0.0)).exp());
        let videos = sum(seen_video, k, v, rows, head_dim, |r| f64::from(u8::from(!modality(r))));
        let actions = sum(seen_action, k, v, rows, head_dim, |r| f64::from(u8::from(modality(r))));
        for (r, u) in u.chunks_exact_mut(dim).enumerate() {
            let sees_actions = modality(r) || options.fault == Some(Fault::LeakyMask);
            let scale = self_scale.and_then(|s| s.data.get(r)).map_or(1.0, |s| f64::from(*s));
            let weight = memory + videos + if sees_actions { actions } else { 0.0 };
            let seen = seen_memory.iter().zip(seen_video.iter()).zip(seen_action.iter());
            for (c, (u, ((m, video), action))) in u.iter_mut().zip(seen).enumerate() {
                let mean = (m + video + if sees_actions { *action } else { 0.0 }) / weight.max(1.0);
                let context = column_mean(text_v, c, head_dim, &text_bias.data) + column_mean(ego_v, c, head_dim, &[]);
                *u = (*u + soft(8.0 * scale * mean)) / 2.0 + context / 10.0;
            }
        }
    }
    let speed = ego.get(1).map_or(0.0, |ego_v| speed_mps(model, &ego_v.data));
    let rows_of = velocity.data.chunks_exact_mut(width).zip(tokens.data.chunks_exact(width)).zip(u.chunks_exact(dim));
    for (r, ((velocity, token), u)) in rows_of.enumerate() {
        for (w, ((velocity, x), u)) in velocity.iter_mut().zip(token).zip(u.iter().cycle()).enumerate() {
            let data = if modality(r) { action_data(model, action, speed, w) } else { video_data(w) };
            let straight = if tau(r) > 0.0 { (x - data) / tau(r) } else { 0.0 };
            *velocity = straight + options.coupling * soft(*u) as f32;
        }
    }
}

/// Writes the weighted sum of v + k/8 over `rows`, for each channel of all heads. Returns the sum
/// of the weights.
fn sum(out: &mut [f64], k: &Slot, v: &Slot, rows: usize, head_dim: usize, weight: impl Fn(usize) -> f64) -> f64 {
    for (h, out) in out.chunks_exact_mut(head_dim).enumerate() {
        out.fill(0.0);
        let range = h * rows * head_dim..(h + 1) * rows * head_dim;
        let (Some(k), Some(v)) = (k.data.get(range.clone()), v.data.get(range)) else { continue };
        for (row, (k, v)) in k.chunks_exact(head_dim).zip(v.chunks_exact(head_dim)).enumerate() {
            let weight = weight(row);
            if weight > 0.0 {
                for (out, (k, v)) in out.iter_mut().zip(k.iter().zip(v)) {
                    *out += weight * (f64::from(*v) + f64::from(*k) / 8.0);
                }
            }
        }
    }
    (0..rows).map(weight).sum()
}

/// The mean of one channel of all heads over the rows of a context, weighted by e^bias where there
/// is a bias.
fn column_mean(slot: &Slot, channel: usize, head_dim: usize, bias: &[f32]) -> f64 {
    let rows = slot.shape.get(1).copied().unwrap_or(0);
    let (h, d) = (channel / head_dim, channel % head_dim);
    let (mut total, mut weights) = (0.0, 0.0);
    for r in 0..rows {
        let weight = bias.get(r).map_or(1.0, |bias| f64::from(*bias).exp());
        total += weight * slot.data.get((h * rows + r) * head_dim + d).map_or(0.0, |v| f64::from(*v));
        weights += weight;
    }
    total / f64::max(weights, 1e-300)
}

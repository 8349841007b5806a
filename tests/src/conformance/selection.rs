//! Scores and kept tokens against the reference in core.

use super::Make;
use super::rig::{Offer, Rig, Snapshot, held, hold, layout, wide_layout, with_width};
use drivewam_core::ErrorKind;
use drivewam_core::dtype::DType;
use drivewam_core::rope::unrotate;
use drivewam_core::selection::{
    HeadRows, HeadSets, Keys, Normalise, Policy, ScoreInputs, Scored, Scoring, Slot, destinations, score, scratch_len,
};
use drivewam_device::{KvLayout, Pool};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::ops::Range;

/// Tolerance of a score, because a device sums in f32. A token so near the cut may fall on either
/// side.
const CLOSE: f32 = 1e-5;

/// Every combination of the options; the weight of relevance and the age limit alternate.
fn options() -> Vec<Scoring> {
    let mut all = Vec::new();
    for heads in [HeadSets::Shared, HeadSets::PerHead] {
        for normalise in [Normalise::Literal, Normalise::Softmax] {
            for keys in [Keys::PostRope, Keys::PreRope] {
                for max_pool in [0, 3, 7] {
                    for scored in [Scored::Pool, Scored::PoolAndNew] {
                        let lambda = [0.07, 0.5, 0.0, 1.0][all.len() % 4];
                        all.push(Scoring { lambda, heads, normalise, keys, max_pool, scored, max_age_chunks: [0, 3][all.len() % 2] });
                    }
                }
            }
        }
    }
    all
}

/// The commit under test.
struct Commit<'a> {
    pool: Pool,
    chunk: u32,
    offer: &'a Offer,
    rows: Range<usize>,
}

/// The reference scores of one layer and set, for the pool before the commit.
fn reference(layout: &KvLayout, was: &Snapshot, layer: usize, set: usize, commit: &Commit<'_>) -> Vec<f32> {
    let Commit { pool, chunk, offer, ref rows } = *commit;
    let width = layout.head_dim;
    let range = layout.pool(pool);
    let slots = was.tables[layer].pool(set, range.clone()).unwrap();
    let (mut keys, mut queries, mut new) = (was.k[layer].clone(), offer.q[layer].clone(), offer.k[layer].clone());
    if layout.scoring.keys == Keys::PreRope {
        let mut rotation = vec![0.0; width];
        let mut undo_rotation = |chunk: u32, token: usize, row: &mut [f32]| {
            match pool {
                Pool::Video => layout.rope.video(u64::from(chunk), token, &mut rotation),
                Pool::Action => layout.rope.action(u64::from(chunk), token, &mut rotation),
            }
            unrotate(&rotation, row);
        };
        for head in 0..layout.heads {
            for (i, slot) in slots.iter().enumerate().filter(|(_, slot)| slot.valid) {
                let at = (head * layout.slots() + range.start + i) * width;
                undo_rotation(slot.chunk, slot.token as usize, &mut keys[at..at + width]);
            }
            for (token, row) in rows.clone().enumerate() {
                let at = (head * offer.tokens + row) * width;
                undo_rotation(chunk, token, &mut queries[at..at + width]);
                undo_rotation(chunk, token, &mut new[at..at + width]);
            }
        }
    }
    let of = |data, count, rows: &Range<usize>| HeadRows::new(data, [layout.heads, count, width]).unwrap().slice(rows.clone()).unwrap();
    let inputs = ScoreInputs {
        keys: of(&keys, layout.slots(), &range),
        queries: of(&queries, offer.tokens, rows),
        new: of(&new, offer.tokens, rows),
        chunk,
    };
    let mut out = vec![0.0; slots.len()];
    score(&layout.scoring, set, &inputs, slots, &mut vec![0.0; scratch_len(&layout.scoring, &inputs)], &mut out).unwrap();
    out
}

/// Commits under `selective` and compares every layer and set with the reference. Returns the
/// number of compared tokens, and of those that needed the tolerance of the cut.
fn observe(rig: &mut Rig, pool: Pool, chunk: u32, offer: &Offer, rows: Range<usize>) -> [usize; 2] {
    let before = rig.snapshot();
    rig.observe(pool, Policy::Selective, chunk, offer, rows.clone()).unwrap();
    let after = rig.check();
    let (layout, range) = (rig.layout.clone(), rig.layout.pool(pool));
    let commit = Commit { pool, chunk, offer, rows: rows.clone() };
    let mut seen = [0, 0];
    for layer in 0..layout.layers {
        for set in 0..layout.scoring.sets(layout.heads) {
            let slots = before.tables[layer].pool(set, range.clone()).unwrap();
            let now = after.tables[layer].pool(set, range.clone()).unwrap();
            let new_tokens = now.iter().filter(|s| s.valid && s.chunk == chunk).count();
            assert_eq!(new_tokens, rows.len(), "the new chunk is kept whole");
            if slots.iter().filter(|s| !s.valid).count() >= rows.len() {
                continue;
            }
            let at = format!("{:?}, {pool:?}, chunk {chunk}, layer {layer}, set {set}", layout.scoring);
            let scores = reference(&layout, &before, layer, set, &commit);
            let mut evicted = vec![0; rows.len()];
            destinations(Policy::Selective, &scores, slots, &mut vec![0; slots.len()], &mut evicted).unwrap();
            let is_kept = |i: usize| !evicted.contains(&(i as u32));
            let valid = || slots.iter().enumerate().filter(|(_, slot)| slot.valid).map(|(i, _)| i);
            let lowest_kept = valid().filter(|i| is_kept(*i)).map(|i| scores[i]).fold(f32::INFINITY, f32::min);
            let highest_evicted = valid().filter(|i| !is_kept(*i)).map(|i| scores[i]).fold(f32::NEG_INFINITY, f32::max);
            for i in valid() {
                let kept = now[i].chunk != chunk;
                seen[0] += 1;
                if kept {
                    assert_eq!(Slot { score: 0.0, ..now[i] }, Slot { score: 0.0, ..slots[i] }, "{at}, slot {i}");
                    assert!((now[i].score - scores[i]).abs() <= CLOSE, "{at}, slot {i}: score {} for {}", now[i].score, scores[i]);
                }
                if kept != is_kept(i) {
                    let across = if kept { lowest_kept - scores[i] } else { scores[i] - highest_evicted };
                    assert!(across <= CLOSE, "{at}, slot {i} {}: {across} from the cut", if kept { "kept" } else { "evicted" });
                    seen[1] += 1;
                }
            }
        }
    }
    seen
}

/// Breaks if any term, option, mask or rotation of the score differs from the reference, in any
/// layer, head or pool.
pub fn every_option_scores_and_keeps_as_the_oracle_does(make: Make) {
    let mut seen = [0, 0];
    for (case, scoring) in (0u64..).zip(options()) {
        let mut rig = Rig::new(make, scoring);
        for chunk in 0..7u32 {
            let seed = 1000 * case + u64::from(chunk);
            let mut offer = rig.offer(12, seed);
            if chunk == 1 {
                // One zero key.
                for layer in &mut offer.k {
                    for head in layer.chunks_mut(12 * rig.layout.head_dim) {
                        head[3 * rig.layout.head_dim..4 * rig.layout.head_dim].fill(0.0);
                    }
                }
            }
            for (pool, rows) in [(Pool::Video, 1..7), (Pool::Action, 7..11)] {
                let [compared, excused] = observe(&mut rig, pool, chunk, &offer, rows);
                seen = [seen[0] + compared, seen[1] + excused];
            }
        }
    }
    assert!(seen[0] > 10_000, "only {} tokens were compared", seen[0]);
    assert!(seen[1] * 1000 <= seen[0], "{} of {} tokens needed the tolerance of the cut", seen[1], seen[0]);
}

/// Breaks if the warps or blocks of a kernel that share a large pool do not wait for one another,
/// or skip tokens at their boundaries.
pub fn a_pool_of_many_tokens_scores_as_the_oracle_does(make: Make) {
    let plain = Scoring { lambda: 0.5, ..Scoring::default() };
    let all = Scoring {
        heads: HeadSets::PerHead,
        normalise: Normalise::Softmax,
        keys: Keys::PreRope,
        max_pool: 3,
        scored: Scored::PoolAndNew,
        ..plain
    };
    let mut seen = [0, 0];
    for (scoring, chunks) in [(plain, 7), (all, 5)] {
        let mut rig = Rig::open(make, wide_layout(scoring));
        for chunk in 0..chunks {
            let offer = rig.offer(80, 500 + u64::from(chunk));
            for (pool, rows) in [(Pool::Video, 1..62), (Pool::Action, 62..79)] {
                let [compared, excused] = observe(&mut rig, pool, chunk, &offer, rows);
                seen = [seen[0] + compared, seen[1] + excused];
            }
        }
    }
    assert!(seen[0] > 2_000, "only {} tokens were compared", seen[0]);
    assert!(seen[1] * 200 <= seen[0], "{} of {} tokens needed the tolerance of the cut", seen[1], seen[0]);
}

/// Breaks if the order of equal scores depends on slots, threads, or the position of a row in a
/// loop.
pub fn tied_tokens_of_the_older_chunk_stay_then_those_of_lower_index(make: Make) {
    for heads in [HeadSets::Shared, HeadSets::PerHead] {
        let mut rig = Rig::new(make, Scoring { heads, ..Scoring::default() });
        let width = rig.layout.head_dim;
        let mut offer = rig.offer(6, 3);
        for layer in &mut offer.k {
            for head in layer.chunks_mut(6 * width) {
                let (first, rest) = head.split_at_mut(width);
                rest.chunks_mut(width).for_each(|row| row.copy_from_slice(first));
            }
        }
        for chunk in 0..6 {
            rig.observe(Pool::Video, Policy::Selective, chunk, &offer, 0..6).unwrap();
        }
        let now = rig.check();
        // Fourteen old tokens are kept: the two oldest chunks, and two tokens of the third.
        let mut wanted: Vec<(u32, u32)> = (0..2).flat_map(|chunk| (0..6).map(move |token| (chunk, token))).collect();
        wanted.extend([(2, 0), (2, 1)]);
        wanted.extend((0..6).map(|token| (5, token)));
        for table in &now.tables {
            for set in 0..table.sets() {
                assert_eq!(held(table, set, 0..20), wanted, "{heads:?}, set {set}");
            }
        }
    }
}

/// Breaks if a selection reads the tail.
pub fn predicted_tokens_neither_score_nor_change_a_score(make: Make) {
    let scoring = Scoring { heads: HeadSets::PerHead, ..Scoring::default() };
    let [mut with, mut without] = [(); 2].map(|()| Rig::new(make, scoring));
    for chunk in 0..6 {
        let offer = with.offer(6, 50 + u64::from(chunk));
        with.predict(chunk, &with.offer(8, 90 + u64::from(chunk)), 0..8).unwrap();
        for rig in [&mut with, &mut without] {
            rig.observe(Pool::Video, Policy::Selective, chunk, &offer, 0..6).unwrap();
        }
        let (a, b) = (with.check(), without.check());
        for (a, b) in a.tables.iter().zip(&b.tables) {
            for set in 0..a.sets() {
                assert_eq!(a.pool(set, 0..30).unwrap(), b.pool(set, 0..30).unwrap(), "chunk {chunk}, set {set}");
            }
        }
    }
}

/// Breaks if a query that is not finite takes part in a selection.
pub fn a_query_that_is_not_finite_leaves_the_memory_as_it_was(make: Make) {
    for heads in [HeadSets::Shared, HeadSets::PerHead] {
        let mut rig = Rig::new(make, Scoring { heads, ..Scoring::default() });
        for chunk in 0..4 {
            rig.observe(Pool::Video, Policy::Selective, chunk, &rig.offer(6, u64::from(chunk)), 0..6).unwrap();
        }
        let before = rig.check();
        for bad in [f32::NAN, f32::INFINITY] {
            let mut offer = rig.offer(6, 9);
            *offer.q[1].last_mut().unwrap() = bad;
            let error = rig.observe(Pool::Video, Policy::Selective, 4, &offer, 0..6).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Output, "{error}");
            assert_eq!(rig.check(), before);
        }
        rig.observe(Pool::Video, Policy::Selective, 4, &rig.offer(6, 9), 0..6).unwrap();
        rig.check();
    }
}

/// Breaks if a zero key counts as similar or opposite to the others.
pub fn a_zero_key_has_no_redundancy(make: Make) {
    let mut rig = Rig::new(make, Scoring { lambda: 0.0, ..Scoring::default() });
    let mut offer = rig.offer(6, 1);
    for layer in &mut offer.k {
        layer.fill(0.0);
    }
    for chunk in 0..4 {
        rig.observe(Pool::Video, Policy::Selective, chunk, &offer, 0..6).unwrap();
    }
    let now = rig.check();
    let scores: Vec<f32> = now.tables[0].pool(0, 0..20).unwrap().iter().map(|s| s.score).collect();
    assert_eq!(scores, [0.0; 20]);
}

/// Breaks if the norm of a key is lost where its squares overflow or underflow, or if a key of
/// negligible norm is not treated as zero.
pub fn keys_of_any_length_score_as_the_oracle_does(make: Make) {
    let mut rig = Rig::new(make, Scoring { lambda: 0.0, ..Scoring::default() });
    let width = rig.layout.head_dim;
    // f16 holds neither the largest nor the smallest of these.
    let lengths: [f32; 4] = if make.kv == DType::F16 { [1.0, 1e-3, 64.0, 0.0] } else { [1e18, 1e-19, 1e-37, 1e-41] };
    for chunk in 0..7 {
        let mut offer = rig.offer(12, 70 + u64::from(chunk));
        for (layer, factor) in offer.k.iter_mut().flat_map(|layer| layer.chunks_mut(width)).zip(lengths.iter().cycle()) {
            layer.iter_mut().for_each(|x| *x = hold(make.kv, *x * factor));
        }
        // Queries of ordinary norm, so that no product overflows; relevance has no weight here.
        offer.q.iter_mut().flatten().for_each(|x| *x = hold(make.kv, *x * 1e-3));
        for (pool, rows) in [(Pool::Video, 1..7), (Pool::Action, 7..11)] {
            observe(&mut rig, pool, chunk, &offer, rows);
        }
    }
}

/// Breaks at the boundaries of a kernel's tiles (a single token or query, pools of one slot, or one
/// slot more than a tile), and with heads of another width.
pub fn random_shapes_score_as_the_oracle_does(make: Make) {
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let shapes = (1..=3usize, 1..=3usize, 1..=70usize, 1..=40usize, 0..options().len(), 0..4usize, any::<u64>());
    let check = |(layers, heads, slots, new_tokens, option, width, seed): (usize, usize, usize, usize, usize, usize, u64)| {
        let new_tokens = new_tokens.min(slots);
        let small = layout(options()[option]);
        let layout =
            KvLayout { layers, heads, video_slots: slots, action_slots: new_tokens, pass_tokens: new_tokens, tail_slots: 1, ..small };
        let mut rig = Rig::open(make, with_width(layout, [32, 64, 128, 192][width]));
        for chunk in 0..4 {
            let offer = rig.offer(new_tokens, seed ^ u64::from(chunk));
            observe(&mut rig, Pool::Video, chunk, &offer, 0..new_tokens);
            // A chunk fills the pool, so no old token is kept.
            observe(&mut rig, Pool::Action, chunk, &offer, 0..new_tokens);
        }
        Ok(())
    };
    runner.run(&shapes, check).unwrap();
}

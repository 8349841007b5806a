//! The KV memory without scores: destinations of tokens, contents of slots, and the state after an
//! error.

use super::Make;
use super::rig::{Rig, held, layout};
use drivewam_core::ErrorKind;
use drivewam_core::flow::solver::SolverStep;
use drivewam_core::selection::{HeadSets, Keys, Normalise, Policy, Provenance, Scored, Scoring, Slot, destinations};
use drivewam_device::{Commit, KvCounts, KvRegions, PassKv, Pool};

const PER_HEAD: Scoring = Scoring {
    lambda: 0.07,
    heads: HeadSets::PerHead,
    normalise: Normalise::Literal,
    keys: Keys::PostRope,
    max_pool: 0,
    scored: Scored::Pool,
    max_age_chunks: 0,
};

/// Breaks if an operation works on a memory that was not opened, or a slot begins filled.
pub fn a_memory_begins_empty_and_is_used_only_when_open(make: Make) {
    let mut rig = Rig::closed(make, layout(Scoring::default()));
    let offer = rig.offer(4, 1);
    let pass = rig.put(&offer);
    let commit = Commit { pool: Pool::Video, policy: Policy::Fifo, pass: &pass, rows: 0..4 };
    let results = [
        rig.device.kv_clear(),
        rig.device.kv_drop_predicted(),
        rig.device.kv_commit_predicted(0, &pass, 0..4),
        rig.device.kv_commit_observed(0, &[commit]),
        rig.device.kv_table(0).map(|_| ()),
    ];
    for (i, result) in results.into_iter().enumerate() {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Usage, "operation {i}");
    }
    assert_eq!(rig.device.kv_counts(), KvCounts::default());
    rig.device.kv_open(&rig.layout, std::slice::from_ref(&rig.regions)).unwrap();
    rig.check();
    assert_eq!(rig.device.kv_table(2).unwrap_err().kind(), ErrorKind::Usage, "beyond the last layer");
    assert_eq!(
        rig.device.kv_open(&rig.layout, std::slice::from_ref(&rig.regions)).unwrap_err().kind(),
        ErrorKind::Usage,
        "a second kv_open"
    );
}

/// Breaks if the device accepts regions that the layout does not describe.
pub fn a_memory_of_another_shape_is_refused(make: Make) {
    let rig = Rig::closed(make, layout(Scoring::default()));
    let KvRegions { k, v, bias } = &rig.regions;
    let regions = |k: &[_], v: &[_], bias| KvRegions { k: k.to_vec(), v: v.to_vec(), bias };
    let short = k[1].part(0, k[1].len() - 1).unwrap();
    for (what, bad) in [
        ("a layer is missing", regions(&k[..1], v, *bias)),
        ("a short layer", regions(&[k[0], short], v, *bias)),
        ("two layers in one region", regions(&[k[0], k[0]], v, *bias)),
        ("keys and values in one region", regions(k, k, *bias)),
        ("a short bias", regions(k, v, bias.part(0, 5).unwrap())),
    ] {
        let mut rig = Rig::closed(make, layout(Scoring::default()));
        assert_eq!(rig.device.kv_open(&rig.layout, &[bad]).unwrap_err().kind(), ErrorKind::Usage, "{what}");
        rig.device.kv_open(&rig.layout, std::slice::from_ref(&rig.regions)).unwrap();
    }
    let mut rig = Rig::closed(make, layout(Scoring::default()));
    let mut layout = rig.layout.clone();
    layout.scoring.max_pool = 4;
    assert_eq!(rig.device.kv_open(&layout, std::slice::from_ref(&rig.regions)).unwrap_err().kind(), ErrorKind::Config);
    let mut layout = rig.layout.clone();
    (layout.heads, layout.head_dim) = (6, 16);
    assert_eq!(
        rig.device.kv_open(&layout, std::slice::from_ref(&rig.regions)).unwrap_err().kind(),
        ErrorKind::Usage,
        "rotations of another width"
    );
}

/// Breaks if free slots are skipped, a pool writes into the other, or rows are read from the wrong
/// place of a pass.
pub fn free_slots_are_filled_in_order_before_anything_is_forgotten(make: Make) {
    for policy in [Policy::Full, Policy::Fifo, Policy::Selective, Policy::Random(3), Policy::Forced(&[])] {
        let mut rig = Rig::new(make, PER_HEAD);
        let offer = rig.offer(14, 5);
        for chunk in 0..2 {
            rig.observe(Pool::Video, policy, chunk, &offer, 1..7).unwrap();
            rig.observe(Pool::Action, policy, chunk, &offer, 9..13).unwrap();
        }
        let now = rig.check();
        let wanted = |n| (0..2).flat_map(move |chunk| (0..n).map(move |token| (chunk, token))).collect::<Vec<_>>();
        for set in 0..3 {
            let table = &now.tables[1];
            for (pool, n) in [(Pool::Video, 6), (Pool::Action, 4)] {
                let slots = table.pool(set, rig.layout.pool(pool)).unwrap();
                let in_order: Vec<(u32, u32)> = slots.iter().take_while(|s| s.valid).map(|s| (s.chunk, s.token)).collect();
                assert_eq!(in_order, wanted(n), "{policy:?}");
            }
        }
    }
}

/// Breaks if a device decides by age, chance or a forced set otherwise than core does.
pub fn policies_without_scores_keep_what_core_keeps(make: Make) {
    let keep_mask: Vec<bool> = (0..20).map(|i| i % 10 != 3 && i % 10 != 7 && i != 0 && i != 19).collect();
    for policy in [Policy::Fifo, Policy::Random(1), Policy::Random(2), Policy::Forced(&keep_mask)] {
        for scoring in [Scoring::default(), PER_HEAD] {
            let mut rig = Rig::new(make, scoring);
            let pool = rig.layout.pool(Pool::Video);
            for chunk in 0..7 {
                let offer = rig.offer(6, 10 + u64::from(chunk));
                let before = rig.snapshot();
                // A forced set marks the slots of a full pool.
                let full = before.counts.video == pool.len();
                let used = if matches!(policy, Policy::Forced(_)) && !full { Policy::Fifo } else { policy };
                rig.observe(Pool::Video, used, chunk, &offer, 0..6).unwrap();
                let after = rig.check();
                for (layer, (before, after)) in before.tables.iter().zip(&after.tables).enumerate() {
                    for set in 0..before.sets() {
                        let (slots, mut out) = (before.pool(set, pool.clone()).unwrap(), [0; 6]);
                        destinations(used.of_set(layer, set), &[], slots, &mut [0; 20], &mut out).unwrap();
                        for (i, slot) in after.pool(set, pool.clone()).unwrap().iter().enumerate() {
                            let token = out.iter().position(|d| *d as usize == i);
                            let wanted = match token {
                                Some(token) => Slot { valid: true, chunk, token: token as u32, ..Slot::FREE },
                                None => slots[i],
                            };
                            assert_eq!(*slot, wanted, "{policy:?}, chunk {chunk}, slot {i}");
                        }
                    }
                }
            }
        }
    }
}

/// Breaks if a full pool forgets under a policy that forgets nothing.
pub fn the_full_policy_ends_in_an_error_that_names_the_key(make: Make) {
    let mut rig = Rig::new(make, Scoring::default());
    let offer = rig.offer(14, 5);
    for chunk in 0..3 {
        rig.observe(Pool::Video, Policy::Full, chunk, &offer, 0..6).unwrap();
    }
    let before = rig.check();
    let error = rig.observe(Pool::Video, Policy::Full, 3, &offer, 0..6).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Capacity);
    assert!(error.to_string().contains("memory.max_chunks"), "{error}");
    assert_eq!(rig.check(), before);
    // A chunk that is larger than its pool fits under no policy.
    for policy in [Policy::Fifo, Policy::Selective] {
        assert_eq!(rig.observe(Pool::Action, policy, 3, &offer, 0..11).unwrap_err().kind(), ErrorKind::Capacity);
    }
    assert_eq!(rig.check(), before);
}

/// Breaks if predicted tokens reach a pool, outlive their replacement, or are visible after they
/// were dropped.
pub fn predicted_tokens_live_in_the_tail_until_they_are_dropped(make: Make) {
    for scoring in [Scoring::default(), PER_HEAD] {
        let mut rig = Rig::new(make, scoring);
        let offer = rig.offer(14, 6);
        rig.observe(Pool::Video, Policy::Fifo, 0, &offer, 0..6).unwrap();
        rig.predict(1, &offer, 3..11).unwrap();
        let now = rig.check();
        assert_eq!(now.counts, KvCounts { video: 6, action: 0, tail: 8 });
        assert_eq!(now.counts.total(), 14);
        let tail = rig.layout.tail();
        assert!(now.tables[1].pool(0, tail.clone()).unwrap().iter().all(|s| s.provenance == Provenance::Predicted && s.chunk == 1));
        rig.predict(2, &rig.offer(9, 7), 0..5).unwrap();
        let now = rig.check();
        assert_eq!(held(&now.tables[0], 0, tail.clone()), (0..5).map(|token| (2, token)).collect::<Vec<_>>());
        assert_eq!(rig.predict(3, &offer, 0..9).unwrap_err().kind(), ErrorKind::Usage, "longer than the tail");
        assert_eq!(rig.check(), now);
        rig.drop_predicted();
        rig.check();
        rig.drop_predicted();
        assert_eq!(rig.check().counts, KvCounts { video: 6, action: 0, tail: 0 });
    }
}

/// Breaks if a new rollout sees tokens of the old one.
pub fn a_clear_empties_every_slot(make: Make) {
    let mut rig = Rig::new(make, PER_HEAD);
    let offer = rig.offer(14, 8);
    for chunk in 0..4 {
        rig.observe(Pool::Video, Policy::Fifo, chunk, &offer, 0..6).unwrap();
        rig.observe(Pool::Action, Policy::Fifo, chunk, &offer, 6..10).unwrap();
    }
    rig.predict(4, &offer, 0..6).unwrap();
    rig.clear();
    let now = rig.check();
    assert!(now.tables.iter().all(|t| (0..3).all(|set| t.pool(set, 0..38).unwrap().iter().all(|s| *s == Slot::FREE))));
    rig.observe(Pool::Video, Policy::Full, 0, &offer, 0..6).unwrap();
    assert_eq!(held(&rig.check().tables[0], 2, 0..20), (0..6).map(|token| (0, token)).collect::<Vec<_>>());
}

/// Breaks if a layer is written before every layer has been checked.
pub fn an_error_leaves_the_memory_as_it_was(make: Make) {
    for scoring in [Scoring::default(), PER_HEAD] {
        let mut rig = Rig::new(make, scoring);
        for chunk in 0..4 {
            rig.observe(Pool::Video, Policy::Fifo, chunk, &rig.offer(6, 20 + u64::from(chunk)), 0..6).unwrap();
        }
        rig.predict(4, &rig.offer(6, 30), 0..6).unwrap();
        let before = rig.check();
        for bad in [f32::NAN, f32::NEG_INFINITY] {
            let mut spoilt = [rig.offer(6, 40), rig.offer(6, 40)];
            // The last row of the last head of the last layer.
            *spoilt[0].k[1].last_mut().unwrap() = bad;
            *spoilt[1].v[1].last_mut().unwrap() = bad;
            for offer in &spoilt {
                for policy in [Policy::Fifo, Policy::Selective] {
                    let error = rig.observe(Pool::Video, policy, 4, offer, 0..6).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Output);
                    assert!(error.to_string().contains("layer 1"), "{error}");
                    assert_eq!(rig.check(), before);
                }
                assert_eq!(rig.predict(5, offer, 0..6).unwrap_err().kind(), ErrorKind::Output);
                assert_eq!(rig.check(), before);
                // A row that is not committed may hold any value.
                rig.put(offer);
            }
            let error = rig.observe(Pool::Video, Policy::Forced(&[true; 20]), 4, &rig.offer(6, 40), 0..6).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert_eq!(rig.check(), before);
        }
        let mut beside = rig.offer(7, 41);
        let row = rig.layout.head_dim;
        for layer in beside.k.iter_mut().chain(&mut beside.v).chain(&mut beside.q) {
            for head in layer.chunks_mut(7 * row) {
                head[6 * row..].fill(f32::NAN);
            }
        }
        rig.observe(Pool::Video, Policy::Selective, 4, &beside, 0..6).unwrap();
        rig.check();
    }
}

/// Breaks if rows or regions that do not fit are used in part.
pub fn passes_of_another_shape_are_refused(make: Make) {
    let mut rig = Rig::new(make, Scoring::default());
    let pass = rig.put(&rig.offer(6, 1));
    let before = rig.check();
    let mut short = pass.clone();
    short.v[1] = short.v[1].part(0, short.v[1].len() - 1).unwrap();
    let mut fewer = pass.clone();
    fewer.q.pop();
    let mut own = pass.clone();
    own.k[0] = rig.regions.k[1].part(0, own.k[0].len()).unwrap();
    let long = PassKv { tokens: 15, ..pass.clone() };
    #[expect(clippy::reversed_empty_ranges, reason = "an invalid range of a caller")]
    let reversed = 4..2;
    for (what, pass, rows) in [
        ("a short region", &short, 0..6),
        ("a missing layer", &fewer, 0..6),
        ("the memory itself", &own, 0..6),
        ("a longer pass", &long, 0..6),
        ("rows beyond the pass", &pass, 3..7),
        ("a reversed range", &pass, reversed),
    ] {
        let commit = Commit { pool: Pool::Video, policy: Policy::Fifo, pass, rows: rows.clone() };
        let error = rig.device.kv_commit_observed(0, &[commit]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{what}: {error}");
        assert_eq!(rig.device.kv_commit_predicted(0, pass, rows).unwrap_err().kind(), ErrorKind::Usage, "{what}");
    }
    assert_eq!(rig.check(), before);
}

/// Breaks if an asynchronous device writes into the memory, or counts tokens that it did not write,
/// between a fault and its report.
pub fn a_fault_that_was_not_told_yet_leaves_the_memory_as_it_was(make: Make) {
    let mut rig = Rig::new(make, Scoring::default());
    for chunk in 0..2 {
        let offer = rig.offer(14, u64::from(chunk));
        rig.observe(Pool::Video, Policy::Fifo, chunk, &offer, 0..6).unwrap();
    }
    let before = rig.check();
    let offer = rig.offer(14, 9);
    let pass = rig.put(&offer);
    let [x, velocity] = rig.spare;
    rig.device.upload(velocity, &[f32::NAN; 8]).unwrap();
    if rig.device.solve(&SolverStep::Euler { span: -0.5 }, x, velocity, &[], 8, &[0]).is_ok() {
        rig.device.kv_commit_observed(2, &[Commit { pool: Pool::Video, policy: Policy::Fifo, pass: &pass, rows: 0..6 }]).unwrap();
        rig.device.kv_commit_predicted(3, &pass, 0..6).unwrap();
        rig.device.kv_drop_predicted().unwrap();
        let error = rig.device.synchronize().unwrap_err();
        assert!(error.kind() == ErrorKind::Output && error.to_string().contains("row 0, channel 0"), "{error}");
    }
    rig.device.synchronize().unwrap();
    assert_eq!(rig.check(), before);
    rig.observe(Pool::Video, Policy::Fifo, 2, &offer, 0..6).unwrap();
    rig.check();
}

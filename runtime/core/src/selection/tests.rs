//! Tests: the reference implementation against its PyTorch transcription, and properties of every
//! pool.

use super::policy::{destinations, must_forget};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Deserialize)]
struct Scene {
    shape: [usize; 3],
    keys: Vec<f32>,
    queries: Vec<f32>,
    new: Vec<f32>,
    chunk: Vec<u32>,
    token: Vec<u32>,
    valid: Vec<usize>,
    now: u32,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    scoring: Scoring,
    scores: Vec<Vec<f32>>,
    kept: Vec<Vec<u32>>,
}

fn observed(chunk: u32, token: u32) -> Slot {
    Slot { valid: true, chunk, token, ..Slot::FREE }
}

fn all_rows(data: &[f32], heads: usize, width: usize) -> HeadRows<'_> {
    HeadRows::new(data, [heads, data.len() / heads / width, width]).unwrap()
}

fn scores_of(scoring: &Scoring, set: usize, inputs: &ScoreInputs<'_>, slots: &[Slot]) -> Result<Vec<f32>> {
    let mut out = vec![0.0; slots.len()];
    score(scoring, set, inputs, slots, &mut vec![f64::NAN; scratch_len(scoring, inputs)], &mut out)?;
    Ok(out)
}

fn choose(policy: Policy<'_>, scores: &[f32], slots: &[Slot], new: usize) -> Result<Vec<u32>> {
    let mut out = vec![0; new];
    destinations(policy, scores, slots, &mut vec![0; slots.len()], &mut out)?;
    Ok(out)
}

fn survivors(slots: &[Slot], evicted: &[u32]) -> BTreeSet<(u32, u32)> {
    (0u32..).zip(slots).filter(|(i, s)| s.valid && !evicted.contains(i)).map(|(_, s)| (s.chunk, s.token)).collect()
}

#[test]
fn scores_and_kept_sets_are_those_of_the_pytorch_transcription_for_every_option() {
    let scenes: Vec<Scene> = serde_json::from_str(include_str!("../../tests/fixtures/selection.json")).unwrap();
    let mut compared = 0;
    for scene in &scenes {
        let [heads, count, width] = scene.shape;
        let inputs = ScoreInputs {
            keys: all_rows(&scene.keys, heads, width),
            queries: all_rows(&scene.queries, heads, width),
            new: all_rows(&scene.new, heads, width),
            chunk: scene.now,
        };
        let slots: Vec<Slot> =
            (0..count).map(|i| Slot { valid: scene.valid.contains(&i), ..observed(scene.chunk[i], scene.token[i]) }).collect();
        for case in &scene.cases {
            assert_eq!(case.scores.len(), case.scoring.sets(heads));
            for (set, wanted) in case.scores.iter().enumerate() {
                let got = scores_of(&case.scoring, set, &inputs, &slots).unwrap();
                for (i, wanted) in scene.valid.iter().zip(wanted) {
                    let error = (got[*i] - wanted).abs() / wanted.abs().max(f32::MIN_POSITIVE);
                    assert!(error <= 1e-6, "{:?} set {set} slot {i}: {} for {wanted}", case.scoring, got[*i]);
                    compared += 1;
                }
                let new = count - case.kept[set].len();
                let evicted = choose(Policy::Selective, &got, &slots, new).unwrap();
                let kept: Vec<u32> = (0..count as u32).filter(|i| !evicted.contains(i)).collect();
                assert_eq!(kept, case.kept[set], "{:?} set {set}", case.scoring);
            }
        }
    }
    assert_eq!(compared, (14 + 12) * (16 + 2 * 16), "a case was lost from the fixture");
}

#[test]
fn a_lone_token_and_a_zero_key_have_no_redundancy() {
    let scoring = Scoring { lambda: 0.0, ..Scoring::default() };
    let (keys, queries) = ([3.0, 4.0, 0.0, 0.0, 3.0, 4.0], [1.0, 1.0]);
    let inputs = ScoreInputs { keys: all_rows(&keys, 1, 2), queries: all_rows(&queries, 1, 2), new: all_rows(&[], 1, 2), chunk: 1 };
    let mut slots = [observed(0, 0), observed(0, 1), observed(0, 2)];
    assert_eq!(scores_of(&scoring, 0, &inputs, &slots).unwrap(), [-0.5, 0.0, -0.5]);
    slots[1].valid = false;
    slots[2].valid = false;
    assert_eq!(scores_of(&scoring, 0, &inputs, &slots).unwrap(), [0.0, f32::NEG_INFINITY, f32::NEG_INFINITY]);
}

#[test]
fn what_is_not_finite_in_keys_or_queries_is_an_output_error_but_a_free_slot_may_hold_anything() {
    let good = [1.0, 2.0, 3.0, 4.0];
    for bad in [f32::NAN, f32::INFINITY] {
        let spoilt = [1.0, 2.0, bad, 4.0];
        let mut slots = [observed(0, 0), observed(0, 1)];
        for (keys, queries, new) in [(spoilt, good, good), (good, spoilt, good), (good, good, spoilt)] {
            let scoring = Scoring { scored: Scored::PoolAndNew, ..Scoring::default() };
            let inputs =
                ScoreInputs { keys: all_rows(&keys, 1, 2), queries: all_rows(&queries, 1, 2), new: all_rows(&new, 1, 2), chunk: 1 };
            assert_eq!(scores_of(&scoring, 0, &inputs, &slots).unwrap_err().kind(), ErrorKind::Output);
        }
        slots[1].valid = false;
        let inputs = ScoreInputs { keys: all_rows(&spoilt, 1, 2), queries: all_rows(&good, 1, 2), new: all_rows(&spoilt, 1, 2), chunk: 1 };
        assert!(scores_of(&Scoring::default(), 0, &inputs, &slots).is_ok());
        slots[1] = Slot { provenance: Provenance::Predicted, ..observed(1, 0) };
        assert_eq!(scores_of(&Scoring::default(), 0, &inputs, &slots).unwrap_err().kind(), ErrorKind::Usage);
    }
}

#[test]
fn a_pool_is_a_view_and_its_neighbours_are_not_read() {
    let data: Vec<f32> = (0..24u8).map(|i| if (2..5).contains(&(i / 2 % 6)) { f32::from(i) } else { f32::NAN }).collect();
    let inputs = |keys| ScoreInputs { keys, queries: all_rows(&[1.0, 0.5, -1.0, 0.25], 2, 2), new: all_rows(&[], 2, 2), chunk: 1 };
    let view = inputs(HeadRows::new(&data, [2, 6, 2]).unwrap().slice(2..5).unwrap());
    let dense: Vec<f32> = data.iter().copied().filter(|x| x.is_finite()).collect();
    let slots = [observed(0, 0), observed(0, 1), observed(0, 2)];
    let scoring = Scoring::default();
    assert_eq!(scores_of(&scoring, 0, &view, &slots).unwrap(), scores_of(&scoring, 0, &inputs(all_rows(&dense, 2, 2)), &slots).unwrap());
}

#[test]
fn a_tie_keeps_the_older_chunk_and_then_the_lower_token() {
    let slots = [observed(2, 0), observed(1, 1), observed(1, 0), observed(2, 1)];
    assert_eq!(choose(Policy::Selective, &[0.0, -0.0, 0.0, 0.0], &slots, 1).unwrap(), [3]);
    assert_eq!(choose(Policy::Selective, &[0.0; 4], &slots, 3).unwrap(), [0, 1, 3]);
}

#[test]
fn fifo_forgets_the_oldest_chunk_first() {
    let slots = [observed(2, 0), observed(1, 1), observed(1, 0), observed(2, 1)];
    assert_eq!(choose(Policy::Fifo, &[], &slots, 1).unwrap(), [2]);
    assert_eq!(choose(Policy::Fifo, &[], &slots, 3).unwrap(), [0, 1, 2]);
}

#[test]
fn free_slots_are_filled_before_anything_is_forgotten() {
    let slots = [observed(0, 0), Slot::FREE, observed(0, 1), Slot::FREE];
    assert!(!must_forget(&slots, 2) && must_forget(&slots, 3));
    for policy in [Policy::Full, Policy::Fifo, Policy::Selective, Policy::Random(7), Policy::Forced(&[])] {
        assert_eq!(choose(policy, &[], &slots, 2).unwrap(), [1, 3], "{policy:?}");
    }
    assert_eq!(choose(Policy::Selective, &[1.0, 9.0, 2.0, 9.0], &slots, 3).unwrap(), [0, 1, 3]);
}

#[test]
fn what_cannot_be_done_is_an_error_that_says_so() {
    let slots = [observed(0, 0), observed(0, 1)];
    let kind = |policy, scores: &[f32], new| choose(policy, scores, &slots, new).unwrap_err().kind();
    let full = choose(Policy::Full, &[], &slots, 1).unwrap_err();
    assert_eq!((full.kind(), full.place()), (ErrorKind::Capacity, Some("memory.max_chunks")));
    assert_eq!(kind(Policy::Fifo, &[], 3), ErrorKind::Capacity);
    assert_eq!(kind(Policy::Selective, &[0.0], 1), ErrorKind::Usage);
    assert_eq!(kind(Policy::Selective, &[0.0, f32::NAN], 1), ErrorKind::Output);
    assert_eq!(kind(Policy::Forced(&[true, true]), &[], 1), ErrorKind::Usage);
    assert_eq!(choose(Policy::Forced(&[false, true]), &[], &slots, 1).unwrap(), [0]);
}

#[test]
fn the_table_keeps_sets_and_pools_apart() {
    let mut table = SlotTable::new(2, 5);
    slots::commit(table.pool_mut(1, 2..5).unwrap(), &[0, 2], 9, Provenance::Observed).unwrap();
    slots::record(table.pool_mut(1, 2..5).unwrap(), &[0.5, 0.25, 0.125]).unwrap();
    let pool = table.pool(1, 0..5).unwrap();
    assert_eq!(pool[4], Slot { score: 0.125, ..observed(9, 1) });
    assert_eq!(pool.iter().map(|s| s.valid).collect::<Vec<_>>(), [false, false, true, false, true]);
    assert_eq!((slots::free(table.pool(0, 0..5).unwrap()), pool[3]), (5, Slot::FREE));
    assert!(table.pool(2, 0..5).is_err() && table.pool(0, 3..6).is_err());
    assert!(slots::commit(table.pool_mut(0, 0..2).unwrap(), &[2], 0, Provenance::Observed).is_err());
}

#[test]
fn the_configuration_has_defaults_and_refuses_what_it_does_not_know() {
    assert_eq!(serde_json::from_str::<Scoring>("{}").unwrap(), Scoring::default());
    assert!(serde_json::from_str::<Scoring>(r#"{"lamda": 0.1}"#).is_err());
    assert!(Scoring::default().check().is_ok());
    for (key, bad) in [
        ("max_pool", Scoring { max_pool: 4, ..Scoring::default() }),
        ("lambda", Scoring { lambda: f32::NAN, ..Scoring::default() }),
        ("lambda", Scoring { lambda: 1.5, ..Scoring::default() }),
    ] {
        let error = bad.check().unwrap_err();
        assert_eq!((error.kind(), error.place()), (ErrorKind::Config, Some(key)));
    }
}

/// Breaks if the age limit acts a chunk early or late, or if a token beyond the limit outlives one
/// within it.
#[test]
fn a_token_beyond_the_age_limit_goes_before_all_others() {
    let keys = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
    let slots = [observed(4, 0), observed(5, 0), observed(6, 0)];
    for (max_age_chunks, chunk, gone) in [(0, 900, 2), (3, 7, 2), (3, 8, 0), (3, 9, 1)] {
        let inputs = ScoreInputs { keys: all_rows(&keys, 1, 2), queries: all_rows(&[1.0, 1.0], 1, 2), new: all_rows(&[], 1, 2), chunk };
        let scores = scores_of(&Scoring { max_age_chunks, ..Scoring::default() }, 0, &inputs, &slots).unwrap();
        let too_old = slots.iter().filter(|s| max_age_chunks > 0 && chunk - s.chunk > max_age_chunks).count();
        assert_eq!(scores.iter().filter(|s| **s == TOO_OLD).count(), too_old, "chunk {chunk}");
        assert_eq!(choose(Policy::Selective, &scores, &slots, 1).unwrap(), [gone], "limit {max_age_chunks}, chunk {chunk}");
    }
}

/// A pool with free slots and tied scores, in some order, and the size of the new chunk.
fn pools() -> impl Strategy<Value = (Vec<(Slot, f32)>, usize)> {
    (1..40u32)
        .prop_flat_map(|count| {
            let slot = move |i: u32| (prop::bool::weighted(0.85), 0..4i8).prop_map(move |(v, s)| (v, i, f32::from(s)));
            let slots = (0..count).map(slot).collect::<Vec<_>>();
            (slots.prop_shuffle(), 1..=count as usize)
        })
        .prop_map(|(slots, new)| (slots.into_iter().map(|(valid, i, s)| (Slot { valid, ..observed(i / 6, i % 6) }, s)).collect(), new))
}

proptest! {
    /// Breaks if a policy writes outside the pool, writes twice into a slot, overwrites more than
    /// it must, or depends on the order of slots.
    #[test]
    fn destinations_are_a_budgeted_subset_that_does_not_depend_on_slot_order((pool, new) in pools(), seed: u64) {
        let mut reversed = pool.clone();
        reversed.reverse();
        let (slots, scores): (Vec<Slot>, Vec<f32>) = pool.iter().copied().unzip();
        let (slots_r, scores_r): (Vec<Slot>, Vec<f32>) = reversed.into_iter().unzip();
        let valid = slots.iter().filter(|s| s.valid).count();
        for policy in [Policy::Fifo, Policy::Selective, Policy::Random(seed)] {
            let out = choose(policy, &scores, &slots, new).unwrap();
            prop_assert!(out.windows(2).all(|w| w[0] < w[1]) && out.iter().all(|i| (*i as usize) < slots.len()));
            let kept = survivors(&slots, &out);
            prop_assert_eq!(kept.len(), valid.min(slots.len() - new));
            prop_assert_eq!(&kept, &survivors(&slots_r, &choose(policy, &scores_r, &slots_r, new).unwrap()));
            // With only the survivors left, the same chunk fits: choosing again forgets nothing
            // more.
            let left: Vec<Slot> = slots.iter().map(|s| Slot { valid: s.valid && kept.contains(&(s.chunk, s.token)), ..*s }).collect();
            prop_assert_eq!(&kept, &survivors(&left, &choose(policy, &scores, &left, new).unwrap()));
        }
    }

    /// Breaks if the tokens with the best scores are not those that are kept.
    #[test]
    fn no_forgotten_token_scores_above_a_kept_one((pool, new) in pools()) {
        let (slots, scores): (Vec<Slot>, Vec<f32>) = pool.into_iter().unzip();
        let out = choose(Policy::Selective, &scores, &slots, new).unwrap();
        let of = |gone: bool| (0u32..).zip(&slots).zip(&scores).filter(move |((i, s), _)| s.valid && out.contains(i) == gone).map(|(_, x)| *x).collect::<Vec<_>>();
        let worst_kept = of.clone()(false).into_iter().fold(f32::INFINITY, f32::min);
        prop_assert!(of(true).into_iter().all(|x| x <= worst_kept));
    }
}

//! Commits of both pools in one call: equal to two commits in sequence, and all or nothing on an
//! error.

use super::Make;
use super::rig::{PoolCommit, Rig, Snapshot};
use drivewam_core::ErrorKind;
use drivewam_core::selection::{HeadSets, Policy, Scoring};
use drivewam_device::{Commit, Pool};

const SELECTIVE: Policy<'static> = Policy::Selective;

/// One selection for all heads, and one for each head.
fn scorings() -> [Scoring; 2] {
    [HeadSets::Shared, HeadSets::PerHead].map(|heads| Scoring { heads, ..Scoring::default() })
}

/// A memory with `chunks` chunks in each pool (from four on, both are full) and a predicted one.
fn filled(make: Make, scoring: Scoring, chunks: u32) -> (Rig, Snapshot) {
    let mut rig = Rig::new(make, scoring);
    for chunk in 0..chunks {
        let offer = rig.offer(14, 20 + u64::from(chunk));
        for (pool, policy, rows) in both(Policy::Fifo) {
            rig.observe(pool, policy, chunk, &offer, rows).unwrap();
        }
    }
    rig.predict(chunks, &rig.offer(6, 30), 0..6).unwrap();
    let now = rig.check();
    (rig, now)
}

/// Both pools' rows of a pass.
fn both(policy: Policy<'_>) -> [PoolCommit<'_>; 2] {
    [(Pool::Video, policy, 1..7), (Pool::Action, policy, 9..13)]
}

/// Breaks if the commit of one pool uses the rows, policy, pass, work space or position of the
/// other's.
pub fn a_commit_of_both_pools_leaves_what_two_commits_leave(make: Make) {
    // A chunk's worth of tokens is forgotten: different slots in each pool.
    let keep_mask = |slots: usize, forgotten: &[usize]| (0..slots).map(|slot| !forgotten.contains(&slot)).collect::<Vec<_>>();
    let (video_mask, action_mask) = (keep_mask(20, &[0, 3, 7, 13, 17, 19]), keep_mask(10, &[1, 2, 5, 8]));
    let forced = [Policy::Forced(&video_mask), Policy::Forced(&action_mask)];
    for scoring in scorings() {
        for policies in [[Policy::Fifo; 2], [SELECTIVE; 2], [Policy::Random(1), Policy::Random(2)], forced, [SELECTIVE, Policy::Fifo]] {
            let [mut joint, mut single] = [(); 2].map(|()| Rig::new(make, scoring));
            for chunk in 0..8 {
                // Alternately one pass of both pools, and a pass of each.
                let (seed, apart) = (100 + u64::from(chunk), chunk % 2 == 1);
                let offers =
                    if apart { [joint.offer(8, seed), joint.offer(6, seed + 50)] } else { [(); 2].map(|()| joint.offer(14, seed)) };
                let passes = [joint.put(&offers[0]), joint.put_behind(if apart { 8 } else { 0 }, &offers[1])];
                let rows = [1..7, if apart { 1..5 } else { 9..13 }];
                let counts = joint.device.kv_counts();
                // A forced set marks the slots of a full pool.
                let policy =
                    |i: usize, full: bool| if matches!(policies[i], Policy::Forced(_)) && !full { Policy::Fifo } else { policies[i] };
                let policies = [policy(0, counts.video == 20), policy(1, counts.action == 10)];
                let commit = |pool, i: usize| Commit { pool, policy: policies[i], pass: &passes[i], rows: rows[i].clone() };
                let mut commits = [commit(Pool::Video, 0), commit(Pool::Action, 1)];
                for (commit, offer) in commits.iter().zip(&offers) {
                    single.observe(commit.pool, commit.policy, chunk, offer, commit.rows.clone()).unwrap();
                }
                if chunk % 4 > 1 {
                    commits.reverse();
                }
                joint.device.kv_commit_observed(chunk, &commits).unwrap();
                assert_eq!(joint.snapshot(), single.check(), "{policies:?}, chunk {chunk}");
                assert_eq!(joint.device.traffic().committed, single.device.traffic().committed, "{policies:?}, chunk {chunk}");
            }
            let counts = joint.device.kv_counts();
            assert_eq!((counts.video, counts.action), (20, 10), "a pool never had to forget");
        }
    }
}

/// Breaks if a pool is written or counted before the other has been checked.
pub fn a_number_that_is_not_finite_in_one_pool_leaves_both_as_they_were(make: Make) {
    for (scoring, chunks) in scorings().into_iter().flat_map(|scoring| [(scoring, 1), (scoring, 4)]) {
        let (mut rig, before) = filled(make, scoring, chunks);
        let good = rig.offer(14, 40);
        for policy in [Policy::Fifo, SELECTIVE, Policy::Random(5)] {
            // The last row of either pool, in the last head of the last layer.
            for row in [6, 12] {
                let place = ((rig.layout.heads - 1) * 14 + row + 1) * rig.layout.head_dim - 1;
                let mut spoilt = vec![good.clone(), good.clone()];
                (spoilt[0].k[1][place], spoilt[1].v[1][place]) = (f32::NAN, f32::NEG_INFINITY);
                if policy == SELECTIVE && chunks == 4 {
                    spoilt.push(good.clone());
                    spoilt[2].q[1][place] = f32::NAN;
                }
                for offer in &spoilt {
                    let mut parts = both(policy);
                    for _ in 0..2 {
                        let error = rig.observe_all(chunks, offer, &parts).unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::Output, "{error}");
                        assert!(error.to_string().contains("layer 1"), "{error}");
                        assert_eq!(rig.check(), before, "{policy:?}, row {row}, {chunks} chunks");
                        parts.reverse();
                    }
                }
            }
        }
        for (i, policy) in (0..).zip([Policy::Fifo, SELECTIVE]) {
            rig.observe_all(chunks + i, &good, &both(policy)).unwrap();
            rig.check();
        }
    }
}

/// Breaks if a pool is written or counted before the other is known to have room for its rows.
pub fn a_commit_that_one_pool_cannot_take_leaves_both_as_they_were(make: Make) {
    let (mut rig, before) = filled(make, Scoring::default(), 4);
    let offer = rig.offer(14, 40);
    let [video, action] = both(Policy::Fifo);
    for (mut parts, kind) in [
        ([video.clone(), (Pool::Action, Policy::Fifo, 9..15)], ErrorKind::Usage),
        ([video.clone(), (Pool::Action, Policy::Fifo, 0..11)], ErrorKind::Capacity),
        ([video.clone(), (Pool::Action, Policy::Full, 9..13)], ErrorKind::Capacity),
        ([video, (Pool::Action, Policy::Forced(&[true; 10]), 9..13)], ErrorKind::Usage),
        ([action, (Pool::Video, Policy::Full, 1..7)], ErrorKind::Capacity),
    ] {
        for _ in 0..2 {
            let error = rig.observe_all(4, &offer, &parts).unwrap_err();
            assert_eq!(error.kind(), kind, "{parts:?}: {error}");
            assert_eq!(rig.check(), before, "{parts:?}");
            parts.reverse();
        }
    }
    rig.observe_all(4, &offer, &both(SELECTIVE)).unwrap();
    rig.check();
}

/// Breaks if one call commits twice to a pool: the second selection would ignore the first commit.
pub fn a_pool_that_is_named_twice_is_refused(make: Make) {
    for chunks in [1, 4] {
        let (mut rig, before) = filled(make, Scoring::default(), chunks);
        let offer = rig.offer(14, 40);
        let [video, action] = both(Policy::Fifo);
        for parts in [
            vec![video.clone(), video.clone()],
            vec![(Pool::Action, Policy::Fifo, 0..2), action.clone()],
            vec![video.clone(), action.clone(), (Pool::Video, SELECTIVE, 0..0)],
        ] {
            let error = rig.observe_all(chunks, &offer, &parts).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{parts:?}: {error}");
            assert_eq!(rig.check(), before, "{parts:?}");
        }
        rig.observe_all(chunks, &offer, &[video, action]).unwrap();
        rig.check();
    }
}

/// Breaks if an empty commit counts a chunk, forgets tokens, or drops predicted ones.
pub fn no_commits_change_nothing(make: Make) {
    for chunks in [0, 4] {
        let (mut rig, before) = filled(make, Scoring::default(), chunks);
        let moved = rig.device.traffic().committed;
        rig.device.kv_commit_observed(chunks, &[]).unwrap();
        rig.device.synchronize().unwrap();
        assert_eq!(rig.check(), before);
        assert_eq!(rig.device.traffic().committed, moved);
    }
}

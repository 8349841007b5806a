//! Invariants of any sequence of commits.

use super::Make;
use super::rig::{Rig, held};
use drivewam_core::selection::{HeadSets, Policy, Scoring};
use drivewam_device::Pool;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeSet;

/// One operation of a sequence.
#[derive(Debug, Clone, Copy)]
enum Act {
    Observe { video: bool, policy: u8, first: usize, len: usize },
    Predict { first: usize, len: usize },
    Drop,
    Clear,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let observe = (any::<bool>(), 0..3u8, 0..4usize, 0..=10usize);
    let act = prop_oneof![
        8 => observe.prop_map(|(video, policy, first, len)| Act::Observe { video, policy, first, len }),
        2 => (0..6usize, 0..=8usize).prop_map(|(first, len)| Act::Predict { first, len }),
        1 => Just(Act::Drop),
        1 => Just(Act::Clear),
    ];
    vec(act, 1..20)
}

/// Breaks if a commit forgets more than it must, drops a new token, changes the other pool, or a
/// slot holds another token's key or value.
pub fn any_sequence_of_commits_keeps_the_budget_and_the_new_chunk_whole(make: Make) {
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let check = |(acts, per_head, seed): (Vec<Act>, bool, u64)| {
        let heads = if per_head { HeadSets::PerHead } else { HeadSets::Shared };
        let mut rig = Rig::new(make, Scoring { heads, ..Scoring::default() });
        for (chunk, act) in (0u32..).zip(acts) {
            let offer = rig.offer(14, seed ^ u64::from(chunk));
            match act {
                Act::Drop => rig.drop_predicted(),
                Act::Clear => rig.clear(),
                Act::Predict { first, len } => rig.predict(chunk, &offer, first..first + len).unwrap(),
                Act::Observe { video, policy, first, len } => {
                    let policy = [Policy::Fifo, Policy::Selective, Policy::Random(seed)][usize::from(policy)];
                    let (pool, other) = if video { (Pool::Video, Pool::Action) } else { (Pool::Action, Pool::Video) };
                    let before = rig.snapshot();
                    rig.observe(pool, policy, chunk, &offer, first..first + len).unwrap();
                    let after = rig.snapshot();
                    let range = rig.layout.pool(pool);
                    for (before, after) in before.tables.iter().zip(&after.tables) {
                        for set in 0..before.sets() {
                            let (was, is) = (held(before, set, range.clone()), held(after, set, range.clone()));
                            let (old, new): (BTreeSet<_>, BTreeSet<_>) = is.iter().partition(|(c, _)| *c != chunk);
                            prop_assert_eq!(new, (0..len as u32).map(|token| (chunk, token)).collect());
                            prop_assert_eq!(old.len(), was.len().min(range.len() - len));
                            prop_assert!(old.is_subset(&was.into_iter().collect()));
                            let beside = rig.layout.pool(other);
                            prop_assert_eq!(before.pool(set, beside.clone()).unwrap(), after.pool(set, beside).unwrap());
                        }
                    }
                }
            }
            rig.check();
        }
        Ok(())
    };
    runner.run(&(acts(), any::<bool>(), any::<u64>()), check).unwrap();
}

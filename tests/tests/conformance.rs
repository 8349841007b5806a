//! The host device, by one thread, by three, and on its portable loops, is held to the suite that every device must pass.

use drivewam_core::Result;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::selection::{HeadSets, Keys, Normalise, Policy, Scored, Scoring};
use drivewam_device::{Device, HostDevice, Pool};
use drivewam_tests::conformance::rig::{Offer, Rig};
use drivewam_tests::conformance_suite;

fn one_thread(plan: ArenaPlan) -> Result<Box<dyn Device>> {
    Ok(Box::new(HostDevice::new(plan, 1)?))
}

fn three_threads(plan: ArenaPlan) -> Result<Box<dyn Device>> {
    Ok(Box::new(HostDevice::new(plan, 3)?))
}

fn portable_loops(plan: ArenaPlan) -> Result<Box<dyn Device>> {
    Ok(Box::new(HostDevice::new(plan, 2)?.portable()))
}

conformance_suite!(host_of_one_thread, one_thread);
conformance_suite!(host_of_three_threads, three_threads);
conformance_suite!(host_on_portable_loops, portable_loops);

/// Breaks if a job's result depends on the thread that ran it, or on what that thread did before.
#[test]
fn the_same_input_gives_the_same_bits_for_any_number_of_threads() {
    for heads in [HeadSets::Shared, HeadSets::PerHead] {
        let scoring = Scoring {
            heads,
            normalise: Normalise::Softmax,
            keys: Keys::PreRope,
            max_pool: 3,
            scored: Scored::PoolAndNew,
            ..Scoring::default()
        };
        let [mut one, mut three] = [Rig::new(one_thread, scoring), Rig::new(three_threads, scoring)];
        for chunk in 0..12 {
            let offer = Offer::random(&one.layout, 12, u64::from(chunk));
            for rig in [&mut one, &mut three] {
                rig.observe(Pool::Video, Policy::Selective(&[]), chunk, &offer, 0..6).unwrap();
                rig.observe(Pool::Action, Policy::Selective(&[]), chunk, &offer, 6..10).unwrap();
            }
            assert_eq!(one.check(), three.check(), "chunk {chunk}");
        }
    }
}

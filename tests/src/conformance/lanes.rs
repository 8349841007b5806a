//! Lanes: several memories of one shape on one device, of which one is in use at a time.

use super::Make;
use super::rig::{Rig, layout};
use drivewam_core::ErrorKind;
use drivewam_core::selection::{Policy, Scoring};
use drivewam_device::{Commit, Pool};

/// Breaks if a lane writes into another, if what lanes share (work space, chunk, counts) carries
/// something from one to the next, or if a clear empties more than its lane.
pub fn a_lane_does_what_a_memory_of_its_own_does(make: Make) {
    const LANES: usize = 3;
    let mut joint = Rig::of_lanes(make, layout(Scoring::default()), LANES);
    let mut own: Vec<_> = (0..LANES).map(|_| Rig::new(make, Scoring::default())).collect();
    // Lane 1 begins later and is cleared once, so that the lanes differ in age and in count.
    for step in 0..15u32 {
        let lane = [0, 2, 1][step as usize % LANES];
        if lane == 1 && step < 6 {
            continue;
        }
        joint.use_lane(lane).unwrap();
        let (chunk, seed) = (step / LANES as u32, u64::from(step) + 100);
        for rig in [&mut joint, &mut own[lane]] {
            if lane == 1 && step == 11 {
                rig.clear();
            }
            rig.drop_predicted();
            let offer = rig.offer(14, seed);
            rig.observe_all(chunk, &offer, &[(Pool::Video, Policy::Selective, 0..8), (Pool::Action, Policy::Selective, 8..14)]).unwrap();
            let offer = rig.offer(8, seed + 1000);
            rig.predict(chunk + 1, &offer, 0..8).unwrap();
        }
        for (lane, own) in own.iter_mut().enumerate() {
            joint.use_lane(lane).unwrap();
            assert_eq!(joint.check(), own.check(), "lane {lane} after step {step}");
        }
    }
}

/// Breaks if a lane that does not exist is used, or the regions of two lanes overlap.
pub fn lanes_that_do_not_exist_or_overlap_are_refused(make: Make) {
    let mut rig = Rig::closed_lanes(make, layout(Scoring::default()), 2);
    assert_eq!(rig.device.kv_use_lane(0).unwrap_err().kind(), ErrorKind::Usage, "before kv_open");
    let mut lanes = rig.lanes();
    assert_eq!(rig.device.kv_open(&rig.layout, &[]).unwrap_err().kind(), ErrorKind::Usage, "no lane");
    lanes[1].v[1] = lanes[0].v[1];
    assert_eq!(rig.device.kv_open(&rig.layout, &lanes).unwrap_err().kind(), ErrorKind::Usage, "two lanes in one region");
    rig.device.kv_open(&rig.layout, &rig.lanes()).unwrap();
    assert_eq!(rig.device.kv_use_lane(2).unwrap_err().kind(), ErrorKind::Usage, "beyond the last lane");
    rig.check();
}

/// Breaks if a fault that a device finds late is counted against the lane that is used next.
pub fn a_fault_stays_with_its_lane(make: Make) {
    let mut rig = Rig::of_lanes(make, layout(Scoring::default()), 2);
    for lane in [1, 0] {
        rig.use_lane(lane).unwrap();
        let offer = rig.offer(8, 7 + lane as u64);
        rig.observe(Pool::Video, Policy::Fifo, 0, &offer, 0..8).unwrap();
    }
    let mut offer = rig.offer(8, 9);
    offer.k[1][0] = f32::NAN;
    let pass = rig.put(&offer);
    let commit = Commit { pool: Pool::Video, policy: Policy::Fifo, pass: &pass, rows: 0..8 };
    let committed = rig.device.kv_commit_observed(1, &[commit]);
    let error = committed.and(rig.use_lane(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Output);
    for lane in [0, 1] {
        rig.use_lane(lane).unwrap();
        rig.check();
    }
}

//! Slices that the arena hands out, and requests that it refuses.

use super::*;
use drivewam_core::arena::Planner;

fn arena() -> (HostArena, [Region; 4]) {
    let mut planner = Planner::new();
    let regions = [
        planner.add("memory", "a", DType::F32, &[2, 50]).unwrap(),
        planner.add("memory", "b", DType::F32, &[7]).unwrap(),
        planner.add("codec", "picture", DType::U8, &[300]).unwrap(),
        planner.add("sampler", "c", DType::F32, &[5000]).unwrap(),
    ];
    (HostArena::new(planner.finish(1 << 20).unwrap()).unwrap(), regions)
}

#[test]
fn regions_begin_zeroed_aligned_and_keep_what_is_written_to_them_alone() {
    let (mut arena, [a, b, _, c]) = arena();
    for region in [a, b, c] {
        assert!(arena.f32(region).unwrap().iter().all(|&x| x == 0.0));
        assert_eq!(arena.address(region).unwrap() as usize % ALIGNMENT, 0);
        assert_eq!(arena.address(region).unwrap().cast_const(), arena.f32(region).unwrap().as_ptr());
    }
    arena.f32_mut(b).unwrap().fill(3.0);
    assert_eq!(arena.f32(b).unwrap(), [3.0; 7]);
    assert!(arena.f32(a).unwrap().iter().chain(arena.f32(c).unwrap()).all(|&x| x == 0.0), "a write reached a neighbour");
    arena.f32_mut(a.part(50, 50).unwrap()).unwrap().fill(1.0);
    assert_eq!(arena.f32(a.part(49, 3).unwrap()).unwrap(), [0.0, 1.0, 1.0]);
}

#[test]
fn a_region_of_another_plan_or_type_is_refused() {
    let (mut arena, [a, _, picture, _]) = arena();
    let mut other = Planner::new();
    let longer = other.add("x", "longer", DType::F32, &[101]).unwrap();
    let across = other.add("x", "across", DType::F32, &[300]).unwrap();
    let beyond = other.add("x", "beyond", DType::F32, &[50_000]).unwrap();
    for region in [longer, across, beyond, picture] {
        assert_eq!(arena.f32(region).unwrap_err().kind(), ErrorKind::Usage, "{region:?}");
        assert_eq!(arena.f32_mut(region).unwrap_err().kind(), ErrorKind::Usage, "{region:?}");
        assert_eq!(arena.address(region).unwrap_err().kind(), ErrorKind::Usage, "{region:?}");
        assert_eq!(arena.lease(&[region], &[]).unwrap_err().kind(), ErrorKind::Usage, "{region:?}");
        assert_eq!(arena.lease(&[a], &[region]).unwrap_err().kind(), ErrorKind::Usage, "{region:?}");
    }
}

#[test]
fn a_lease_lends_reads_and_writes_together() {
    let (mut arena, [a, b, _, c]) = arena();
    arena.f32_mut(a).unwrap().fill(2.0);
    let lease = arena.lease(&[a, a.part(0, 3).unwrap()], &[b, c.part(10, 4).unwrap(), c.part(14, 2).unwrap()]).unwrap();
    let mut loan = arena.loan(&lease).unwrap();
    let (reads, mut writes) = loan.split();
    assert_eq!((reads.get(0).unwrap().len(), reads.get(1).unwrap()), (100, [2.0; 3].as_slice()));
    let held: Vec<&mut [f32]> = writes.iter().collect();
    for (i, write) in held.into_iter().enumerate() {
        write.fill(i as f32 + reads.iter().map(|r| r[0]).sum::<f32>());
    }
    assert_eq!(writes.get(2).unwrap(), [6.0; 2]);
    assert!(reads.get(2).is_err() && writes.get(3).is_err());
    loan.write(0).unwrap()[6] = 9.0;
    assert!(loan.read(2).is_err() && loan.write(3).is_err() && loan.read(0).is_ok());
    assert_eq!(arena.f32(b).unwrap(), [4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 9.0]);
    assert_eq!(arena.f32(c.part(9, 8).unwrap()).unwrap(), [0.0, 5.0, 5.0, 5.0, 5.0, 6.0, 6.0, 0.0]);
}

#[test]
fn a_lease_whose_writes_overlap_is_refused() {
    let (mut arena, [a, b, ..]) = arena();
    let (left, right) = (a.part(0, 11).unwrap(), a.part(10, 5).unwrap());
    for (reads, writes) in [(&[a][..], &[a][..]), (&[right], &[left]), (&[b], &[left, right]), (&[], &[b, b])] {
        assert_eq!(arena.lease(reads, writes).unwrap_err().kind(), ErrorKind::Usage, "{reads:?} {writes:?}");
    }
    assert!(arena.disjoint([a], [left]).is_err() && arena.disjoint([], [left, right]).is_err());
    assert!(arena.lease(&[left, right], &[b]).is_ok(), "two reads may overlap");
}

#[test]
fn a_few_regions_are_borrowed_together_without_a_lease() {
    let (mut arena, [a, b, _, c]) = arena();
    arena.f32_mut(b).unwrap().fill(4.0);
    let ([from, same], [to, more]) = arena.disjoint([b, b], [a.part(3, 7).unwrap(), c]).unwrap();
    to.copy_from_slice(from);
    more[0] = same[6];
    assert_eq!(arena.f32(a.part(2, 9).unwrap()).unwrap(), [0.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 0.0]);
    assert_eq!(arena.f32(c).unwrap()[..2], [4.0, 0.0]);
}

#[test]
fn a_lease_of_another_arena_is_refused() {
    let (one, [a, ..]) = arena();
    let (mut two, _) = arena();
    let lease = one.lease(&[a], &[]).unwrap();
    assert_eq!(two.loan(&lease).unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn memory_that_is_not_to_be_had_is_a_capacity_error() {
    let mut planner = Planner::new();
    planner.add("memory", "mem_k", DType::F32, &[usize::MAX / 16]).unwrap();
    let error = HostArena::new(planner.finish(usize::MAX).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Capacity);
    assert!(error.to_string().contains("memory.video_slots"), "{error}");
}

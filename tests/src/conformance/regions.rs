//! Regions: uploads, downloads, fills and copies.

use super::Make;
use super::rig::Rig;
use drivewam_core::ErrorKind;
use drivewam_core::arena::{Planner, Region};
use drivewam_core::dtype::DType;
use drivewam_core::flow::solver::SolverStep;
use drivewam_core::selection::{Policy, Scoring};
use drivewam_device::{Commit, Device, Pictures, Pool, ResampleWeights, StridedCopy};

fn three(make: Make) -> (Box<dyn Device>, [Region; 3]) {
    let mut planner = Planner::new();
    let regions = ["a", "b", "c"].map(|name| planner.add("test", name, DType::F32, &[3, 7]).unwrap());
    ((make.device)(planner.finish(1 << 20).unwrap()).unwrap(), regions)
}

fn read(device: &mut dyn Device, region: Region) -> Vec<f32> {
    let mut out = vec![f32::NAN; region.len()];
    device.download(region, &mut out).unwrap();
    out
}

/// Breaks if a region begins at the wrong address, or an operation writes beyond its end.
pub fn what_is_uploaded_comes_back_and_its_neighbours_stay(make: Make) {
    let (mut device, [a, b, c]) = three(make);
    assert!([a, b, c].iter().all(|r| read(&mut *device, *r) == [0.0; 21]), "memory begins zeroed");
    let data: Vec<f32> = (0..21).map(|i| i as f32 - 7.5).collect();
    device.upload(b, &data).unwrap();
    assert_eq!((read(&mut *device, a), read(&mut *device, b), read(&mut *device, c)), (vec![0.0; 21], data.clone(), vec![0.0; 21]));
    device.upload(b, &[1.0, 2.0]).unwrap();
    assert_eq!(read(&mut *device, b)[..3], [1.0, 2.0, data[2]], "a shorter upload writes the start alone");
    device.fill(a.part(20, 1).unwrap(), 9.0).unwrap();
    assert_eq!(read(&mut *device, c), vec![0.0; 21]);
    assert_eq!(read(&mut *device, a)[19..], [0.0, 9.0]);
    assert_eq!(read(&mut *device, b.part(1, 2).unwrap()), [2.0, data[2]]);
    assert_eq!(device.upload(a, &[0.0; 22]).unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(device.download(a, &mut [0.0; 22]).unwrap_err().kind(), ErrorKind::Usage);
    assert!(!device.describe().is_empty() && device.plan().rows().len() == 3);
}

/// Breaks if a row is copied from or to the wrong place, is cut or too long, or its neighbours
/// change.
pub fn rows_go_where_they_are_sent_and_nowhere_else(make: Make) {
    let (mut device, [a, b, c]) = three(make);
    let data: Vec<f32> = (0..21).map(|i| i as f32 + 0.5).collect();
    device.upload(a, &data).unwrap();
    // Two heads of one new row, into the third slot of four.
    let rows = StridedCopy { count: 2, len: 3, from_stride: 3, to_stride: 12 };
    device.copy(a.part(1, 6).unwrap(), b.part(6, 15).unwrap(), rows).unwrap();
    let mut wanted = vec![0.0; 21];
    wanted[6..9].copy_from_slice(&data[1..4]);
    wanted[18..21].copy_from_slice(&data[4..7]);
    assert_eq!(read(&mut *device, b), wanted);
    assert_eq!((read(&mut *device, a), read(&mut *device, c)), (data, vec![0.0; 21]));
    // A copy is ordered after earlier operations and before later ones.
    device.fill(a, 2.0).unwrap();
    device.copy(a, c, StridedCopy::contiguous(21)).unwrap();
    device.fill(a, 3.0).unwrap();
    assert_eq!(read(&mut *device, c), vec![2.0; 21]);
    let part = |region: Region, start, len| region.part(start, len).unwrap();
    let refused = [
        (part(a, 1, 5), b, rows),
        (a, part(b, 6, 14), rows),
        (a, b, StridedCopy { count: 0, ..rows }),
        (a, b, StridedCopy { len: 0, ..rows }),
        (a, b, StridedCopy { to_stride: 2, ..rows }),
        (a, b, StridedCopy { count: usize::MAX, ..rows }),
        (part(a, 0, 8), part(a, 7, 8), StridedCopy::contiguous(8)),
    ];
    for (i, (from, to, rows)) in refused.into_iter().enumerate() {
        assert_eq!(device.copy(from, to, rows).unwrap_err().kind(), ErrorKind::Usage, "{i}");
    }
    assert_eq!(read(&mut *device, c), vec![2.0; 21]);
}

/// Breaks if an operation accepts a region that is not of its plan.
pub fn a_region_of_another_plan_is_refused_by_every_operation(make: Make) {
    let (mut device, [a, ..]) = three(make);
    let mut other = Planner::new();
    let bytes = other.add("test", "bytes", DType::U8, &[21]).unwrap();
    let longer = other.add("test", "longer", DType::F32, &[500]).unwrap();
    other.add("test", "gap", DType::F32, &[10_000]).unwrap();
    let beyond = other.add("test", "beyond", DType::F32, &[21]).unwrap();
    let weights = ResampleWeights::triangle(1, 1);
    device.open_camera(Pictures::rgb8(1, 1), weights.clone(), weights).unwrap();
    for bad in [bytes, longer, beyond] {
        let euler = SolverStep::Euler { span: 1.0 };
        let results = [
            device.upload(bad, &[0.0]),
            device.download(bad, &mut [0.0]),
            device.fill(bad, 0.0),
            device.copy(bad, a, StridedCopy::contiguous(1)),
            device.copy(a, bad, StridedCopy::contiguous(1)),
            device.resample(&[0, 0, 0], bad),
            device.solve(&euler, bad, a, &[], 7, &[0]),
            device.solve(&euler, a, bad, &[], 7, &[0]),
        ];
        for (i, result) in results.into_iter().enumerate() {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Usage, "operation {i} on {bad:?}");
        }
    }
    let mut rig = Rig::new(make, Scoring::default());
    let offer = rig.offer(6, 1);
    let good = rig.put(&offer);
    let before = rig.check();
    let (len, mut planner) = (good.k[0].len(), Planner::new());
    planner.add("test", "gap", DType::F32, &[1 << 20]).unwrap();
    let foreign = planner.add("test", "foreign", DType::F32, &[len]).unwrap();
    let mut passes = [good.clone(), good.clone(), good];
    (passes[0].k[1], passes[1].v[1], passes[2].q[1]) = (foreign, foreign, foreign);
    for pass in passes {
        let commit = Commit { pool: Pool::Video, policy: Policy::Fifo, pass: &pass, rows: 0..6 };
        assert_eq!(rig.device.kv_commit_observed(0, &[commit]).unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(rig.device.kv_commit_predicted(0, &pass, 0..6).unwrap_err().kind(), ErrorKind::Usage);
    }
    assert_eq!(rig.check(), before);
}

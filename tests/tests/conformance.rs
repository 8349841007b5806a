//! Runs the conformance suite of devices on the host device (with one thread, with three, with its
//! portable loops) and on the CUDA kernels (emulated on the CPU). `sanitizer.rs` runs the kernels
//! on bf16; with `long` every element type of the memory runs here and there.

use drivewam_core::dtype::DType;
use drivewam_core::selection::{HeadSets, Keys, Normalise, Policy, Scored, Scoring};
use drivewam_device::cuda::{CudaDevice, Emulator};
use drivewam_device::{HostDevice, Pool};
use drivewam_tests::conformance::Make;
use drivewam_tests::conformance::rig::Rig;
use drivewam_tests::conformance_suite;

const ONE_THREAD: Make = Make { device: |plan| Ok(Box::new(HostDevice::new(plan, 1)?)), kv: DType::F32 };
const THREE_THREADS: Make = Make { device: |plan| Ok(Box::new(HostDevice::new(plan, 3)?)), kv: DType::F32 };
const PORTABLE_LOOPS: Make = Make { device: |plan| Ok(Box::new(HostDevice::new(plan, 2)?.portable())), kv: DType::F32 };
/// The kernels of `runtime/device/kernels`, emulated on the CPU; the seed determines the order of
/// threads.
const KERNELS: Make = Make { device: |plan| Ok(Box::new(CudaDevice::new(Box::new(Emulator::new(1)), plan)?)), kv: DType::F32 };
#[cfg(feature = "long")]
const KERNELS_F16: Make = Make { device: |plan| Ok(Box::new(CudaDevice::new(Box::new(Emulator::new(2)), plan)?)), kv: DType::F16 };
#[cfg(feature = "long")]
const KERNELS_BF16: Make = Make { device: |plan| Ok(Box::new(CudaDevice::new(Box::new(Emulator::new(3)), plan)?)), kv: DType::Bf16 };

conformance_suite!(host_of_one_thread, ONE_THREAD);
conformance_suite!(host_of_three_threads, THREE_THREADS);
conformance_suite!(host_on_portable_loops, PORTABLE_LOOPS);
conformance_suite!(kernels_on_f32, KERNELS);
#[cfg(feature = "long")]
conformance_suite!(kernels_on_f16, KERNELS_F16);
#[cfg(feature = "long")]
conformance_suite!(kernels_on_bf16, KERNELS_BF16);

/// Breaks if a result depends on which thread computed it, or on what that thread computed before.
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
        let [mut one, mut three] = [Rig::new(ONE_THREAD, scoring), Rig::new(THREE_THREADS, scoring)];
        for chunk in 0..12 {
            let offer = one.offer(12, u64::from(chunk));
            for rig in [&mut one, &mut three] {
                rig.observe(Pool::Video, Policy::Selective, chunk, &offer, 0..6).unwrap();
                rig.observe(Pool::Action, Policy::Selective, chunk, &offer, 6..10).unwrap();
            }
            assert_eq!(one.check(), three.check(), "chunk {chunk}");
        }
    }
}

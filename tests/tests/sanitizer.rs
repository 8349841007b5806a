//! The kernels under the emulator's sanitizer, which checks every memory access against CUDA's
//! rules (`runtime/device/emulator/sanitizer.cpp`): in the conformance suite; and copies of the
//! sources with bugs, each of which one of its checks must report.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam_core::dtype::DType;
use drivewam_core::selection::{HeadSets, Policy, Scoring};
use drivewam_device::cuda::{CudaDevice, Emulator};
use drivewam_device::{KvLayout, Pool};
use drivewam_tests::broken::{self, Bug, Build};
use drivewam_tests::conformance::rig::{self, Rig};
use drivewam_tests::conformance::{Make, camera, memory, regions, selection, steps};
use drivewam_tests::conformance_suite;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const RACES: [Bug; 12] = [
    Bug {
        name: "lanes of one warp read a sum that others of it have just written",
        file: "score_tensor.cuh",
        right: "__syncthreads();  // the sum is complete",
        wrong: "",
        test: selection::tied_tokens_of_the_older_chunk_stay_then_those_of_lower_index,
    },
    Bug {
        name: "the next head's queries set out before all have read those that lie there",
        file: "score_tensor.cuh",
        right: "                __syncthreads();  // queries complete, previous ones no longer in use\n                if (h + 1 < b.heads) stage(h + 1, queries + (h + 1) % 2 * QUERIES * QUERY_STRIDE);",
        wrong: "                if (h + 1 < b.heads) stage(h + 1, queries + (h + 1) % 2 * QUERIES * QUERY_STRIDE);\n                __syncthreads();",
        test: queries_of_three_heads_share_two_buffers,
    },
    Bug {
        name: "a wait for one group of copies too few",
        file: "score_tensor.cuh",
        right: "wait_copies(prefetch);",
        wrong: "wait_copies(prefetch + 1);",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "copies into a slot of the ring that is still multiplied",
        file: "score_tensor.cuh",
        right: "next_slot = next_slot + 1 == p.stages ? 0u : next_slot + 1;",
        wrong: "next_slot = next_slot + 2 >= p.stages ? 0u : next_slot + 1;",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "the ring sets out where another thread still reads whether a fault was found",
        file: "score.cu",
        right: "    __syncthreads();  // all threads have read the word",
        wrong: "",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "a fault is looked for by a plain read while others raise theirs",
        file: "kernel.cuh",
        right: "*word = *(const volatile u32*)&state->raised;",
        wrong: "*word = state->raised;",
        test: selection::a_query_that_is_not_finite_leaves_the_memory_as_it_was,
    },
    Bug {
        name: "a fault is raised without an atomic",
        file: "kernel.cuh",
        right: "if (atomicCAS(&state->raised, 0u, 1u) != 0u) return;",
        wrong: "if (state->raised != 0u) return;\n    state->raised = 1u;",
        test: selection::a_query_that_is_not_finite_leaves_the_memory_as_it_was,
    },
    Bug {
        name: "sums with care are written over plain sums that others still read",
        file: "check.cuh",
        right: "__syncthreads();  // all threads have read the plain sums",
        wrong: "",
        test: selection::keys_of_any_length_score_as_the_oracle_does,
    },
    Bug {
        name: "numbers are added up before all are there",
        file: "select.cuh",
        right: "    __syncthreads();\n    if (threadIdx.x < 32) {",
        wrong: "    if (threadIdx.x < 32) {",
        test: selection::every_option_scores_and_keeps_as_the_oracle_does,
    },
    Bug {
        name: "two tokens are written over one slot",
        file: "select.cuh",
        right: "before += w < warp ? warp_counts[w] : 0u;",
        wrong: "before += 0u;",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "the lengths of all jobs' keys go where those of the first belong",
        file: "scatter.cu",
        right: "p.inv_norm[(u64)job * p.slots + slot] =",
        wrong: "p.inv_norm[slot] =",
        test: memory::free_slots_are_filled_in_order_before_anything_is_forgotten,
    },
    Bug {
        name: "a bias is read while other jobs write the same one",
        file: "scatter.cu",
        right: "    p.bias[slot] = 0.0f;",
        wrong: "    if (p.bias[slot] != 0.0f) p.bias[slot] = 0.0f;",
        test: memory::free_slots_are_filled_in_order_before_anything_is_forgotten,
    },
];

const OUTSIDE: [Bug; 5] = [
    Bug {
        name: "queries that do not exist are copied, and masked",
        file: "score_tensor.cuh",
        right: "if (query + q < pool.new_tokens) {",
        wrong: "if (q < QUERIES) {",
        test: selection::tied_tokens_of_the_older_chunk_stay_then_those_of_lower_index,
    },
    Bug {
        name: "a number beyond the sample is stepped",
        file: "solver.cu",
        right: "if (i >= p.len) return;",
        wrong: "if (i > p.len) return;",
        test: steps::a_step_of_every_solver_is_the_step_of_core,
    },
    Bug {
        name: "a number beyond the region is filled",
        file: "solver.cu",
        right: "if (i < p.len) p.to[i]",
        wrong: "if (i <= p.len) p.to[i]",
        test: regions::what_is_uploaded_comes_back_and_its_neighbours_stay,
    },
    Bug {
        name: "a number beyond the shared memory of the block",
        file: "select.cuh",
        right: "float* word = (float*)(warp_counts + warps);",
        wrong: "float* word = (float*)(warp_counts + warps) + 1;",
        test: selection::every_option_scores_and_keeps_as_the_oracle_does,
    },
    Bug {
        name: "pixels beyond the image are weighted with zero",
        file: "image.cu",
        right: "k < p.column_count[x]; ++k",
        wrong: "k < p.max_columns; ++k",
        test: camera::a_picture_is_resampled_as_pillow_does_without_its_rounding,
    },
];

const UNWRITTEN: [Bug; 4] = [
    Bug {
        name: "queries are multiplied that a thread has waited for, and others have not",
        file: "score_tensor.cuh",
        right: "__syncthreads();  // queries complete, previous ones no longer in use",
        wrong: "",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "a peak over one warp too many, which a maximum does not show",
        file: "score.cu",
        right: "for (u32 w = 0; w < warps; ++w) x = fmaxf(",
        wrong: "for (u32 w = 0; w <= warps; ++w) x = fmaxf(",
        test: selection::tied_tokens_of_the_older_chunk_stay_then_those_of_lower_index,
    },
    Bug {
        name: "queries that do not exist are multiplied with what lies there",
        file: "score_tensor.cuh",
        right: "store_shared_16(to, uint4{0u, 0u, 0u, 0u});",
        wrong: "",
        test: selection::tied_tokens_of_the_older_chunk_stay_then_those_of_lower_index,
    },
    Bug {
        name: "whether a fault was found is written only if one was",
        file: "kernel.cuh",
        right: "if (threadIdx.x == 0) *word = *(const volatile u32*)&state->raised;",
        wrong: "if (threadIdx.x == 0 && *(const volatile u32*)&state->raised) *word = 1u;",
        test: selection::tied_tokens_of_the_older_chunk_stay_then_those_of_lower_index,
    },
];

/// Emulators with the sanitizer.
static BUILD: LazyLock<Build> = LazyLock::new(|| Build::sanitizer(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("sanitizer")));
/// The unchanged kernels.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| BUILD.library("kernels", None));

#[cfg(feature = "long")]
const F32: Make =
    Make { device: |plan| Ok(Box::new(CudaDevice::new(Box::new(Emulator::of_library(&LIBRARY, 1)?), plan)?)), kv: DType::F32 };
const F16: Make =
    Make { device: |plan| Ok(Box::new(CudaDevice::new(Box::new(Emulator::of_library(&LIBRARY, 2)?), plan)?)), kv: DType::F16 };
const BF16: Make =
    Make { device: |plan| Ok(Box::new(CudaDevice::new(Box::new(Emulator::of_library(&LIBRARY, 3)?), plan)?)), kv: DType::Bf16 };

#[cfg(feature = "long")]
conformance_suite!(kernels_on_f32, F32);
#[cfg(feature = "long")]
conformance_suite!(kernels_on_f16, F16);
conformance_suite!(kernels_on_bf16, BF16);

const BROKEN: Make =
    Make { device: |plan| Ok(Box::new(CudaDevice::new(Box::new(Emulator::of_library(&broken::library(), 1)?), plan)?)), kv: DType::Bf16 };

/// The third head's queries overwrite the first's, with no barrier in between but the head's own,
/// because another block sums the unit keys.
fn queries_of_three_heads_share_two_buffers(make: Make) {
    let layout = rig::wide_layout(Scoring { heads: HeadSets::Shared, ..Scoring::default() });
    let mut rig = Rig::open(make, KvLayout { heads: 3, ..layout });
    for chunk in 0..4 {
        let offer = rig.offer(60, u64::from(chunk));
        rig.observe(Pool::Video, Policy::Selective, chunk, &offer, 0..60).unwrap();
    }
    rig.check();
}

#[test]
fn no_query_is_overwritten_before_all_warps_have_read_it() {
    queries_of_three_heads_share_two_buffers(F16);
    queries_of_three_heads_share_two_buffers(BF16);
}

/// Breaks if a check misses one of these bugs. The suite tests that it reports nothing in the
/// unchanged kernels.
#[test]
fn every_bug_on_the_list_is_named_by_its_check() {
    for (bugs, says) in [(&RACES[..], "racecheck: "), (&OUTSIDE, "memcheck: "), (&UNWRITTEN, "initcheck: ")] {
        let missed = BUILD.missed(bugs, BROKEN, says);
        assert!(missed.is_empty(), "{missed:#?}");
    }
}

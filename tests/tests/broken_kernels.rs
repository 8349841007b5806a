//! Mutation test of the conformance suite: each of these bugs, in a copy of the kernel sources,
//! must make a test of the suite fail.

use drivewam_core::dtype::DType;
use drivewam_device::cuda::{CudaDevice, Emulator};
use drivewam_tests::broken::{self, Bug, Build};
use drivewam_tests::conformance::{Make, camera, joint, memory, selection, steps};

const BUGS: [Bug; 25] = [
    Bug {
        name: "the last tokens of a pool are not scored",
        file: "score_block.cuh",
        right: "return token(m, r) < all ? inv_norm_of",
        wrong: "return token(m, r) + 1 < all ? inv_norm_of",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "a softmax over rows that do not exist",
        file: "score.cu",
        right: "c[m][n][i] = b.token(m, i / 2) < all ? c[m][n][i] * scale : minus_infinity();",
        wrong: "c[m][n][i] = c[m][n][i] * scale;",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "queries are overwritten while others still read them, and read before they are there",
        file: "score_tensor.cuh",
        right: "__syncthreads();  // queries complete, previous ones no longer in use",
        wrong: "",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "copies without a wait",
        file: "score_tensor.cuh",
        right: "wait_copies(prefetch);",
        wrong: "",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "the keys of a step are not waited for, those of the step before are",
        file: "score_tensor.cuh",
        right: "wait_copies(prefetch);",
        wrong: "wait_copies(prefetch + 1);",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "a new key is followed by the same token's next head in the cache",
        file: "score_tensor.cuh",
        right: "& 1u ? to_next_new : to_next_head;",
        wrong: "& 1u ? to_next_head : to_next_head;",
        test: selection::every_option_scores_and_keeps_as_the_oracle_does,
    },
    Bug {
        name: "the sum of unit keys is rounded to 16 bits",
        file: "score_tensor.cuh",
        right: "for (u32 i = 0; i < 3; ++i) {",
        wrong: "for (u32 i = 0; i < 1; ++i) {",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "keys are copied over those that are multiplied",
        file: "score_tensor.cuh",
        right: "next_slot = next_slot + 1 == p.stages ? 0u : next_slot + 1;",
        wrong: "next_slot = next_slot + 2 >= p.stages ? 0u : next_slot + 1;",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "a sum of unit keys is read before all warps have added to it",
        file: "score_tensor.cuh",
        right: "__syncthreads();  // all warps have written their sums",
        wrong: "",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "weights of queries are read before they are there",
        file: "score.cu",
        right: "__syncthreads();  // all weights of queries are written",
        wrong: "",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "a barrier that a part of the block does not reach",
        file: "score.cu",
        right: "__syncthreads();  // all weights of queries are written",
        wrong: "if (warp == 0) __syncthreads();",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "the scale of one head for a set of all heads",
        file: "score.cu",
        right: "sqrtf((float)(heads * p.width))",
        wrong: "sqrtf((float)p.width)",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "a rotation undone in the wrong direction",
        file: "score_plain.cuh",
        right: "x[2 * i] = even * cos + odd * sin;",
        wrong: "x[2 * i] = even * cos - odd * sin;",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "a sum over stale slots",
        file: "kv.cuh",
        right: "{ return pool.count + (p.scored_new",
        wrong: "{ return pool.slots + (p.scored_new",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "ties go to the newer chunk",
        file: "select.cuh",
        right: "k == 2 ? (u32)(position >> 32)",
        wrong: "k == 2 ? ~(u32)(position >> 32)",
        test: selection::tied_tokens_of_the_older_chunk_stay_then_those_of_lower_index,
    },
    Bug {
        name: "one token too many stays",
        file: "select.cuh",
        right: "wanted = pool.slots - pool.new_tokens;",
        wrong: "wanted = pool.slots - pool.new_tokens + 1;",
        test: memory::policies_without_scores_keep_what_core_keeps,
    },
    Bug {
        name: "two warps count their places from the same one on",
        file: "select.cuh",
        right: "before += w < warp ? warp_counts[w] : 0u;",
        wrong: "before += 0u;",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "the second pool is given the slots of the first",
        file: "decide.cu",
        right: "p.pools[blockIdx.x / jobs]",
        wrong: "p.pools[0]",
        test: joint::a_commit_of_both_pools_leaves_what_two_commits_leave,
    },
    Bug {
        name: "a maximum over the neighbours of all chunks",
        file: "select.cuh",
        right: "(!old || mine >> 32 == other >> 32) && apart <= p.pool_radius",
        wrong: "(u32)apart <= p.pool_radius",
        test: selection::a_pool_of_many_tokens_scores_as_the_oracle_does,
    },
    Bug {
        name: "a fault of one layer does not stop the others",
        file: "scatter.cu",
        right: "    if (p.state->raised) return;  // this launch raises no fault\n    const bool later",
        wrong: "    const bool later",
        test: memory::an_error_leaves_the_memory_as_it_was,
    },
    Bug {
        name: "the last columns of a row are not copied",
        file: "scatter.cu",
        right: "const u32 vectors = p.width / ELEMENTS;",
        wrong: "const u32 vectors = p.width / ELEMENTS - 1;",
        test: memory::free_slots_are_filled_in_order_before_anything_is_forgotten,
    },
    Bug {
        name: "a key's squares overflow",
        file: "check.cuh",
        right: "const float scale = __uint_as_float((254 - e) << 23);",
        wrong: "const float scale = 1.0f;",
        test: selection::keys_of_any_length_score_as_the_oracle_does,
    },
    Bug {
        name: "U and V are exchanged",
        file: "image.cu",
        right: "u = (float)pair[1];\n        v = (float)pair[3];",
        wrong: "u = (float)pair[3];\n        v = (float)pair[1];",
        test: camera::yuv_is_turned_into_rgb_as_bt_601_says_before_it_is_weighted,
    },
    Bug {
        name: "masked channels are stepped",
        file: "solver.cu",
        right: ">> channel % 64 & 1)) return;",
        wrong: ">> channel % 64 & 1)) {}",
        test: steps::a_step_of_every_solver_is_the_step_of_core,
    },
    Bug {
        name: "rows and columns of an image are exchanged",
        file: "image.cu",
        right: "pixel(p, p.first_column[x] + k, p.first_row[y] + j, rgb);",
        wrong: "pixel(p, p.first_row[y] + j, p.first_column[x] + k, rgb);",
        test: camera::a_picture_is_resampled_as_pillow_does_without_its_rounding,
    },
];

const BROKEN: Make =
    Make { device: |plan| Ok(Box::new(CudaDevice::new(Box::new(Emulator::of_library(&broken::library(), 1)?), plan)?)), kv: DType::Bf16 };

/// Breaks if the emulator cannot run the kernels with `ucontext`, which it uses on machines without
/// its own context switch.
#[test]
fn the_stack_switch_of_every_machine_runs_the_kernels_too() {
    let temp = tempfile::tempdir().unwrap();
    broken::set_library(Build::ucontext(temp.path()).library("kernels", None));
    selection::tied_tokens_of_the_older_chunk_stay_then_those_of_lower_index(BROKEN);
    selection::keys_of_any_length_score_as_the_oracle_does(BROKEN);
}

/// Breaks if the suite misses a bug of the list, or fails on unchanged sources that are compiled in
/// the same way.
#[test]
fn every_bug_on_the_list_is_caught() {
    let temp = tempfile::tempdir().unwrap();
    let build = Build::plain(temp.path());
    assert_eq!(build.untouched(&BUGS, BROKEN), None);
    let missed = build.missed(&BUGS, BROKEN, "");
    assert!(missed.is_empty(), "{missed:#?}");
}

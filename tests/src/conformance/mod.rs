//! The conformance suite of the device contract, as tests that take a function which makes a
//! device.
//!
//! [`conformance_suite!`](crate::conformance_suite) makes `#[test]` functions of them for one
//! device. They use nothing but the contract, so they also run on a device whose memory the host
//! cannot address. Every test panics where the device fails.

pub mod camera;
pub mod joint;
pub mod lanes;
pub mod memory;
pub mod properties;
pub mod regions;
pub mod rig;
pub mod selection;
pub mod steps;

use drivewam_core::Result;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::dtype::DType;
use drivewam_device::Device;

/// Makes the device under test.
#[derive(Debug, Clone, Copy)]
pub struct Make {
    /// Makes the device.
    pub device: fn(ArenaPlan) -> Result<Box<dyn Device>>,
    /// The type of keys and values of its KV memory.
    pub kv: DType,
}

/// Passes every test of the suite, by module, to the macro `$then`, after `$first`.
#[macro_export]
macro_rules! each_conformance_test {
    ($then:ident, $first:expr) => {
        $crate::$then! { $first;
            regions:
                what_is_uploaded_comes_back_and_its_neighbours_stay
                rows_go_where_they_are_sent_and_nowhere_else
                a_region_of_another_plan_is_refused_by_every_operation;
            steps:
                a_step_of_every_solver_is_the_step_of_core
                a_velocity_that_is_not_finite_is_an_output_error;
            camera:
                a_picture_is_resampled_as_pillow_does_without_its_rounding
                yuv_is_turned_into_rgb_as_bt_601_says_before_it_is_weighted
                equal_sizes_give_every_byte_exactly
                what_the_camera_does_not_cover_is_black
                sizes_that_disagree_are_refused;
            memory:
                a_memory_begins_empty_and_is_used_only_when_open
                a_memory_of_another_shape_is_refused
                free_slots_are_filled_in_order_before_anything_is_forgotten
                policies_without_scores_keep_what_core_keeps
                the_full_policy_ends_in_an_error_that_names_the_key
                predicted_tokens_live_in_the_tail_until_they_are_dropped
                a_clear_empties_every_slot
                an_error_leaves_the_memory_as_it_was
                a_fault_that_was_not_told_yet_leaves_the_memory_as_it_was
                passes_of_another_shape_are_refused;
            lanes:
                a_lane_does_what_a_memory_of_its_own_does
                lanes_that_do_not_exist_or_overlap_are_refused
                a_fault_stays_with_its_lane;
            joint:
                a_commit_of_both_pools_leaves_what_two_commits_leave
                a_number_that_is_not_finite_in_one_pool_leaves_both_as_they_were
                a_commit_that_one_pool_cannot_take_leaves_both_as_they_were
                a_pool_that_is_named_twice_is_refused
                no_commits_change_nothing;
            selection:
                every_option_scores_and_keeps_as_the_oracle_does
                a_pool_of_many_tokens_scores_as_the_oracle_does
                random_shapes_score_as_the_oracle_does
                keys_of_any_length_score_as_the_oracle_does
                tied_tokens_of_the_older_chunk_stay_then_those_of_lower_index
                predicted_tokens_neither_score_nor_change_a_score
                a_query_that_is_not_finite_leaves_the_memory_as_it_was
                a_zero_key_has_no_redundancy;
            properties:
                any_sequence_of_commits_keeps_the_budget_and_the_new_chunk_whole;
        }
    };
}

/// The whole suite for one device: `conformance_suite!(name, make)`, where `make` is a
/// [`Make`](crate::conformance::Make) in scope.
#[macro_export]
macro_rules! conformance_suite {
    ($device:ident, $make:expr) => {
        mod $device {
            use super::*;
            $crate::each_conformance_test!(conformance_functions, $make);
        }
    };
}

/// See [`conformance_suite!`].
#[macro_export]
macro_rules! conformance_functions {
    ($make:expr; $($module:ident: $($test:ident)*;)*) => {
        $($(
            #[test]
            fn $test() {
                $crate::conformance::$module::$test($make);
            }
        )*)*
    };
}

/// See [`suite`].
#[macro_export]
macro_rules! conformance_list {
    ($first:expr; $($module:ident: $($test:ident)*;)*) => {
        vec![$($((stringify!($test), $crate::conformance::$module::$test as fn(Make)),)*)*]
    };
}

/// A test of the suite: its name and its body.
pub type Test = (&'static str, fn(Make));

/// Every test, for programs that run them one by one.
pub fn suite() -> Vec<Test> {
    crate::each_conformance_test!(conformance_list, ())
}

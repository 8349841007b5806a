//! A pass that hangs while Warm rehearses.

use super::ride;
use drivewam_core::bindings::Graph;
use drivewam_engine::closed_form::Fault;
use std::process::Command;

/// Set in the process whose engine hangs.
const INSIDE: &str = "DRIVEWAM_TEST_HANGING_REHEARSAL";

/// Breaks when Warm waits for ever for an engine whose first runs were quick.
#[test]
fn a_rehearsal_that_hangs_ends_the_process_with_limit_and_time() {
    if std::env::var_os(INSIDE).is_some() {
        ride("engine: {warm_time_limit_s: 1}", Graph::Dit, Some(Fault::HangsAt(1)));
        return;
    }
    let name = "time_limit::a_rehearsal_that_hangs_ends_the_process_with_limit_and_time";
    let program = std::env::current_exe().unwrap();
    let done = Command::new(program).args([name, "--exact", "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success(), "{said}");
    for word in ["warm", "the rehearsal took too long", "got 1.", "at most 1 s (engine.warm_time_limit_s)"] {
        assert!(said.contains(word), "{word:?} is missing in {said}");
    }
}

//! Load, steal and context switches between two readings of a machine.

use super::trees;
use crate::machine::{Machine, changed, contention_json, contention_lines};
use std::time::Duration;

const STAT: &str = "proc/stat";

fn machine(load: &str, stat: &str, status: &str) -> Machine {
    let tree = trees::vm();
    tree.put("proc/loadavg", load).put(STAT, stat).put("proc/self/status", status);
    Machine::read(tree.root())
}

/// Breaks if a counter since the start of the machine is shown as that of the window, steal is read
/// from another column, or guests' time counts twice.
#[test]
fn contention_is_the_difference_of_two_readings() {
    let before = machine(
        "0.20 0.10 0.05 1/99 4242\n",
        "cpu  1000 0 500 8000 10 0 5 20 700 0\ncpu0 1 2 3 4 5 6 7 8\nctxt 1000000\n",
        "Name:\tp\nvoluntary_ctxt_switches:\t10\nnonvoluntary_ctxt_switches:\t3\n",
    );
    let after = machine(
        "1.50 0.40 0.15 3/99 4243\n",
        "cpu  1500 0 700 8270 10 0 5 50 900 0\ncpu0 1 2 3 4 5 6 7 8\nctxt 1005000\n",
        "Name:\tp\nvoluntary_ctxt_switches:\t25\nnonvoluntary_ctxt_switches:\t7\n",
    );
    let window = Duration::from_secs(10);
    assert_eq!(
        contention_lines(&before, &after, window),
        [
            "load        0.20, 0.10, 0.05 before, 1.50, 0.40, 0.15 after (tasks; mean of 1, 5 and 15 minutes)",
            "steal       3.00 % of the CPU time during the window",
            "switches    500 a second on the machine; of the ride's thread 15 voluntary, 4 involuntary",
        ]
    );
    let json = contention_json(&before, &after, window);
    assert_eq!((&json["steal_share"], &json["ride_involuntary_switches"]), (&0.03.into(), &4.into()));
    assert_eq!(changed(&before, &after), ["the hypervisor gave 3.0 % of the CPU time to others (steal)"]);
    assert_eq!(changed(&before, &before), [""; 0]);
}

/// Breaks if a machine without these files, or with others, makes a figure of nothing.
#[test]
fn what_the_kernel_does_not_say_is_no_figure() {
    for (load, stat, note) in [
        ("much\n", "cpu  1 2 3 4 5 6 7 8\n", "not three numbers"),
        ("0.1 0.2 0.3 1/2 3\n", "cpu  1 2 3\n", "contains no steal time"),
        ("0.1 0.2 0.3 1/2 3\n", "intr 1\n", "contains no times of all CPUs"),
    ] {
        let machine = machine(load, stat, "");
        assert!(machine.unreadable.iter().any(|what| what.contains(note)), "{note}: {:?}", machine.unreadable);
        assert!(contention_lines(&machine, &machine, Duration::ZERO).len() < 3);
    }
}

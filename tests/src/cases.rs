//! Runs the cases of a test program in child processes, as many at a time as there are cores.
//!
//! A vendor library is loaded once per process, and the environment selects its faults. So each
//! case runs the test program again, with the name of the case and the machine in the environment.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Environment variable that selects the case of a child process.
const CASE: &str = "DRIVEWAM_TEST_CASE";

/// A case: name, environment of the fake libraries, and test function.
pub struct Case {
    /// Its name, which is unique in the program.
    pub name: &'static str,
    /// Variables that describe the machine to the fake libraries.
    pub machine: &'static [(&'static str, &'static str)],
    /// The test, which panics if it fails.
    pub body: fn(),
}

/// In a child process: runs its case and returns true. In the parent: returns false.
///
/// Panics if the child's case is not in `cases`.
pub fn run_in_child<'a>(mut cases: impl Iterator<Item = &'a Case>) -> bool {
    let Ok(name) = std::env::var(CASE) else { return false };
    (cases.find(|case| case.name == name).unwrap().body)();
    true
}

/// Runs `cases` in child processes that find the fake libraries in `libraries`; `more` is set in
/// their environment. Prints the result and the output of each case in the order of `cases`.
///
/// Panics if a case fails.
pub fn run_all(cases: &[&Case], libraries: &Path, more: &[(&str, &Path)]) {
    let run = |case: &Case| -> Output {
        Command::new(std::env::current_exe().unwrap())
            .env("LD_LIBRARY_PATH", libraries)
            .env(CASE, case.name)
            .envs(more.iter().copied())
            .envs(case.machine.iter().copied())
            .output()
            .unwrap()
    };
    let next = AtomicUsize::new(0);
    let work = || -> Vec<(usize, Output)> {
        std::iter::from_fn(|| {
            let i = next.fetch_add(1, Ordering::Relaxed);
            cases.get(i).map(|case| (i, run(case)))
        })
        .collect()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(cases.len());
    let mut results: Vec<(usize, Output)> = std::thread::scope(|scope| {
        let spawn = |i| std::thread::Builder::new().name(format!("cases-{i}")).spawn_scoped(scope, work).unwrap();
        let handles: Vec<_> = (0..threads).map(spawn).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
    });
    results.sort_by_key(|(i, _)| *i);
    let mut failed = Vec::new();
    for (case, (_, output)) in cases.iter().zip(&results) {
        println!("{}: {}", case.name, if output.status.success() { "ok" } else { "FAILED" });
        print!("{}", String::from_utf8_lossy(&output.stdout));
        if !output.status.success() {
            println!("{}", String::from_utf8_lossy(&output.stderr));
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

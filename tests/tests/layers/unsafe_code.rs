//! `unsafe` stands only in the files that own it.

use crate::files::Source;
use crate::modules;

/// Where `unsafe` may stand: the two crates that own it, and the allocators that count in a test.
const OWNERS: [&str; 4] = ["runtime/device/", "runtime/engine/", "tests/tests/no_alloc.rs", "tests/tests/fuzz/heap.rs"];

/// The files that say `unsafe`: those that may, and those that may not.
pub(crate) fn places(files: &[Source]) -> (Vec<&str>, Vec<&str>) {
    let said = files.iter().filter(|file| says_unsafe(&file.text)).map(|file| file.path.as_str());
    said.partition(|path| OWNERS.iter().any(|owner| path.starts_with(owner)))
}

/// Whether code says `unsafe`, comments and texts aside.
fn says_unsafe(text: &str) -> bool {
    let mut words = Vec::new();
    modules::flatten(text.parse().unwrap(), &mut words);
    words.iter().any(|word| word == "unsafe")
}

#[test]
fn unsafe_is_found_in_code_alone() {
    assert!(says_unsafe("fn f() { unsafe { g() } }") && says_unsafe("unsafe impl Send for A {}"));
    assert!(!says_unsafe("// unsafe {\nconst A: &str = \"unsafe {\";"));
}

/// Breaks when a file that does not own `unsafe` may say it.
#[test]
fn unsafe_outside_of_its_owners_is_found() {
    let owners = ["runtime/device/src/arena.rs", "runtime/engine/src/rten.rs", "tests/tests/fuzz/heap.rs"];
    let others = ["runtime/pipeline/src/plan.rs", "runtime/devices/src/lib.rs", "tests/tests/fuzz/main.rs"];
    let mut files: Vec<Source> = owners.iter().chain(&others).map(|path| Source::new(path, "fn f() { unsafe { g() } }")).collect();
    files.push(Source::new("tools/world/src/lib.rs", "fn f() { g() }"));
    assert_eq!(places(&files), (owners.to_vec(), others.to_vec()));
}

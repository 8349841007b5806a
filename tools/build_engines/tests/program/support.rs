//! Shared helpers: the vendor's libraries, the program, and folders of graphs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A library of a wheel in .venv.
fn wheel(folder: &str, name: &str) -> PathBuf {
    let pythons = std::fs::read_dir(root().join(".venv/lib")).unwrap_or_else(|e| panic!("`make setup` first: {e}")).flatten();
    let paths = pythons.map(|python| python.path().join("site-packages").join(folder).join(name));
    paths.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("`make setup` first: no {name}"))
}

/// TensorRT-RTX.
pub(crate) fn rtx() -> PathBuf {
    wheel("tensorrt_rtx_libs", "libtensorrt_rtx.so.1")
}

/// The lean runtime of TensorRT.
pub(crate) fn lean() -> PathBuf {
    wheel("tensorrt_lean_libs", "libnvinfer_lean.so.11")
}

/// The program, run from the workspace root.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_build_engines"));
    command.args(arguments).current_dir(root()).env("DRIVEWAM_TENSORRT", rtx());
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    program(arguments).output().unwrap()
}

/// The default arguments: the tiny policy for target `rtx-pc`, written to `out`.
pub(crate) fn arguments(out: &Path) -> Vec<String> {
    ["configs/tiny.yaml", "--target", "rtx-pc", "--out", out.to_str().unwrap()].map(str::to_owned).to_vec()
}

/// Runs the program with `more` after the default arguments.
pub(crate) fn build(out: &Path, more: &[&str]) -> Output {
    let default = arguments(out);
    run(&default.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>())
}

/// Stdout and stderr of a run.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Asserts that a run failed without a panic, and that its output contains all `words`.
pub(crate) fn fails(output: &Output, words: &[&str]) {
    let text = text(output);
    assert!(!output.status.success(), "the program succeeded: {text}");
    assert!(!text.contains("panicked"), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in {text:?}");
    }
}

/// Copies the shipped graphs to the new folder `to`.
pub(crate) fn copy_graphs(to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(root().join("engines/tiny")).unwrap().flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

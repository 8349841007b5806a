//! What the tests share: the libraries, the program, and folders of graphs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A library of the wheels in .venv.
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

/// The program, from the workspace's root.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_build_engines"));
    command.args(arguments).current_dir(root()).env("DRIVEWAM_TENSORRT", rtx());
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    program(arguments).output().unwrap()
}

/// The usual arguments: the small policy for x86 boards, written to `out`.
pub(crate) fn to(out: &Path) -> Vec<String> {
    ["configs/tiny.yaml", "--target", "rtx-pc", "--out", out.to_str().unwrap()].map(str::to_owned).to_vec()
}

/// Runs with `more` after the usual arguments.
pub(crate) fn build(out: &Path, more: &[&str]) -> Output {
    let usual = to(out);
    run(&usual.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>())
}

pub(crate) fn told(done: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

/// Fails, with these words.
pub(crate) fn fails(done: &Output, words: &[&str]) {
    let text = told(done);
    assert!(!done.status.success(), "it went through: {text}");
    assert!(!text.contains("panicked"), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in {text:?}");
    }
}

/// A copy of the shipped graphs.
pub(crate) fn graphs(at: &Path) {
    std::fs::create_dir(at).unwrap();
    for entry in std::fs::read_dir(root().join("engines/tiny")).unwrap().flatten() {
        std::fs::copy(entry.path(), at.join(entry.file_name())).unwrap();
    }
}

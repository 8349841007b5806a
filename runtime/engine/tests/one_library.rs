//! One ONNX Runtime in a process: opened after one that did not work, and never a second. In a
//! process of its own, because a test before it would open the library first.

#![cfg(feature = "ort")]

use drivewam_core::ErrorKind;
use drivewam_core::bindings::Graph;
use drivewam_engine::onnxruntime::OnnxRuntime;
use drivewam_engine::{EngineBundle, Trust};

/// Breaks when a library that does not work leaves a trace, or when a second library is opened, or
/// taken for the first, in silence.
#[test]
fn a_library_that_works_opens_after_one_that_did_not_and_stays_the_only_one() {
    let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) else {
        println!("skipped: needs ONNX Runtime, and ORT_DYLIB_PATH does not say where it is");
        return;
    };
    let engines = concat!(env!("CARGO_MANIFEST_DIR"), "/../../engines/tiny");
    let bundle = EngineBundle::open(engines.as_ref(), &Trust::default()).unwrap();
    let open = |path: Option<&str>| OnnxRuntime::open(&bundle, Graph::ContextEgo, 1, path);
    for bad in ["/nowhere/libonnxruntime.so", "libnowhere_to_be_found.so"] {
        let error = open(Some(bad)).unwrap_err();
        assert!(error.kind() == ErrorKind::Engine && !error.to_string().contains("cannot open two"), "{error}");
    }
    open(None).unwrap();
    open(path.to_str()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("libonnxruntime.so");
    std::fs::copy(&path, &copy).unwrap();
    let error = open(copy.to_str()).unwrap_err().to_string();
    // The library's own path, links followed.
    let path = std::fs::canonicalize(&path).unwrap().display().to_string();
    assert!(error.contains("cannot open two") && error.contains(&path), "{error}");
}

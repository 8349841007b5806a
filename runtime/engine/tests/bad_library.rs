//! An ONNX Runtime library that is absent, not one, too old, or lies about its version: an error
//! message, never a panic, never another engine.

#![cfg(all(feature = "ort", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam_core::ErrorKind;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{EngineConfig, EngineKind};
use drivewam_engine::{EngineBundle, Trust, load};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A shared library that claims to be ONNX Runtime `version` and has no functions.
fn made(dir: &Path, version: &str) -> PathBuf {
    let (source, library) = (dir.join(format!("{version}.c")), dir.join(format!("lib{version}.so")));
    let code = format!(
        "static const void *get_api(unsigned version) {{ return 0; }}\n\
         static const char *get_version(void) {{ return \"{version}\"; }}\n\
         static const struct {{ const void *(*api)(unsigned); const char *(*version)(void); }} base = {{ get_api, get_version }};\n\
         const void *OrtGetApiBase(void) {{ return &base; }}\n"
    );
    std::fs::write(&source, code).unwrap();
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(status.success());
    library
}

fn shipped() -> EngineBundle {
    let path =
        std::env::var("DRIVEWAM_TEST_ENGINES").unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../engines/tiny").to_owned());
    EngineBundle::open(path.as_ref(), &Trust::default()).unwrap()
}

#[test]
fn every_library_that_is_no_onnx_runtime_is_refused_with_its_path_and_what_is_wrong() {
    let folder = shipped();
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text.so");
    std::fs::write(&text, "not a library ".repeat(1000)).unwrap();
    let old = made(dir.path(), "1.10.0");
    let newer = made(dir.path(), "2.0.1");
    let lying = made(dir.path(), "1.99.0");
    let absent = dir.path().join("libonnxruntime.so");
    let cases: [(&str, &[&str]); 8] = [
        (absent.to_str().unwrap(), &["not there"]),
        (dir.path().to_str().unwrap(), &["not a plain file", "a folder"]),
        (text.to_str().unwrap(), &["not a library that can be opened", "ELF"]),
        ("libnowhere_to_be_found.so", &["not a library that can be opened", "No such file"]),
        ("libc.so.6", &["not ONNX Runtime", "OrtGetApiBase"]),
        (old.to_str().unwrap(), &["wrong version", "got 1.10.0", "wanted 1.24"]),
        (newer.to_str().unwrap(), &["wrong version", "got 2.0.1", "below 2"]),
        (lying.to_str().unwrap(), &["does not work", "got 1.99.0, without the functions of 1.24"]),
    ];
    let mut failed = Vec::new();
    for (path, words) in cases {
        let config = EngineConfig { onnxruntime: Some(path.to_owned()), ..EngineConfig::new(EngineKind::Ort) };
        match load(&config, &folder, Graph::ContextEgo) {
            Ok(engine) => failed.push(format!("{path}: {}", engine.describe())),
            Err(e) => {
                let text = e.to_string();
                if e.kind() != ErrorKind::Engine || !text.contains(path) || !words.iter().all(|word| text.contains(word)) {
                    failed.push(format!("{path}: {text}"));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

//! Fuzzes the parsers of untrusted bytes: a manifest's text, an ONNX graph, the files of a
//! recording, the header of an engine. A failure is shrunk to the fewest changes.
//!
//! `make long` tries graphs and recordings a million times each. Longer runs:
//! `PROPTEST_CASES=10000000 cargo test --profile ci -p drivewam-tests --features tensorrt --test
//! fuzz`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod changes;
mod graphs;
mod heap;
mod recordings;

use changes::{change, changed};

use drivewam_core::manifest::Manifest;
use proptest::prelude::*;
use std::path::Path;
use std::time::{Duration, Instant};

/// A manifest of graphs and one of engines.
fn manifests() -> Vec<Vec<u8>> {
    let shipped = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../engines/tiny/manifest.yaml")).unwrap();
    let temp = tempfile::tempdir().unwrap();
    drivewam_tests::fake_engines::FakeBundle::new(drivewam_core::manifest::Family::TensorrtRtx).write(temp.path());
    vec![shipped, std::fs::read(temp.path().join("manifest.yaml")).unwrap()]
}

/// Breaks if a text makes the parser panic or hang, or gives an invalid manifest: a file outside of
/// the folder, a graph that does not match the contract, or one that changes when it is written and
/// read again.
#[test]
fn any_text_is_a_valid_manifest_or_refused() {
    let seeds = manifests();
    let cases = ProptestConfig { cases: ProptestConfig::default().cases.max(512), ..ProptestConfig::default() };
    proptest!(cases, |(seed in 0..2usize, changes in prop::collection::vec(change(), 1..6))| {
        let text = changed(seeds[seed].clone(), &changes);
        let began = Instant::now();
        let parsed = std::str::from_utf8(&text).ok().and_then(|text| Manifest::parse(text).ok());
        prop_assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        if let Some(manifest) = parsed {
            for name in manifest.files.keys() {
                prop_assert!(!name.contains(['/', '\\', '\0']) && !name.starts_with('.') && !name.is_empty(), "{name:?}");
            }
            for (graph, entry) in &manifest.graphs {
                prop_assert!(manifest.files.contains_key(&entry.file));
                let signature = manifest.signature(*graph).unwrap();
                prop_assert_eq!(signature.inputs.len(), entry.inputs.len());
            }
            let again = Manifest::parse(&serde_saphyr::to_string(&manifest).unwrap());
            prop_assert_eq!(again.unwrap(), manifest);
        }
    });
}

/// Calls the vendor's library, which needs no driver for this. Breaks if bytes crash it, or bytes
/// without an engine's header are accepted.
#[cfg(feature = "tensorrt")]
#[test]
fn any_bytes_are_an_engine_or_refused_by_their_header() {
    use drivewam_core::manifest::Family;
    use drivewam_engine::tensorrt::{Header, Library, header};
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pythons = std::fs::read_dir(root.join(".venv/lib")).unwrap().flatten();
    let library = pythons.map(|p| p.path().join("site-packages/tensorrt_rtx_libs/libtensorrt_rtx.so.1")).find(|p| p.exists()).unwrap();
    let library = Library::open(Family::TensorrtRtx, Some(library.to_str().unwrap())).unwrap();
    // The header of an engine of this version: magic number, sizes, versions, and fields that only
    // a driver can check.
    let engine = drivewam_tests::fake_engines::RTX_HEADER.to_vec();
    assert!(matches!(header(&library, &engine).unwrap(), Header::NotHere(_) | Header::Valid));
    let cases = ProptestConfig { cases: ProptestConfig::default().cases.max(512), ..ProptestConfig::default() };
    proptest!(cases, |(changes in prop::collection::vec(change(), 0..6), more in 0..300usize)| {
        let mut bytes = changed(engine.clone(), &changes);
        bytes.resize(bytes.len() + more, 0xa5);
        let found = header(&library, &bytes).unwrap();
        if bytes.len() < engine.len() || bytes[..4] != engine[..4] {
            prop_assert_eq!(found, Header::Malformed);
        }
    });
}

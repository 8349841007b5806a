//! Fuzzes two parsers of untrusted bytes: a manifest's text and the header of an engine. A failure
//! is shrunk to the fewest changes.
//!
//! Longer runs: `PROPTEST_CASES=1000000 cargo test --profile ci -p drivewam-tests --features
//! tensorrt --test fuzz`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam_core::manifest::Manifest;
use proptest::prelude::*;
use std::path::Path;
use std::time::{Duration, Instant};

/// A change of a text. Positions are in 1/65536 of its length.
#[derive(Debug, Clone)]
enum Change {
    Flip(u16, u8),
    Cut(u16, u16),
    Repeat(u16, u16),
    Insert(u16, Vec<u8>),
    /// Exchanges two bytes.
    Swap(u16, u16),
}

fn change() -> impl Strategy<Value = Change> {
    // Tokens with a meaning in YAML or in the schema.
    let words = prop::sample::select(vec![
        "&a [",
        "*a",
        "{",
        "}",
        "!!binary ",
        "? ",
        ": ",
        "\n- ",
        "\n  ",
        "<<: ",
        "|\n",
        "\u{0}",
        "..",
        "/",
        "1e999",
        ".nan",
        "-1",
        "18446744073709551616",
        "null",
        "~",
        "true",
        "N",
        "S",
        "\"",
        "'",
        "#",
        "schema: 2",
        "tensorrt",
        "dit",
        "engine:",
    ]);
    prop_oneof![
        (any::<u16>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        (any::<u16>(), 0..2000u16).prop_map(|(at, len)| Change::Cut(at, len)),
        (any::<u16>(), 0..2000u16).prop_map(|(at, len)| Change::Repeat(at, len)),
        (any::<u16>(), words).prop_map(|(at, word)| Change::Insert(at, word.as_bytes().to_vec())),
        (any::<u16>(), prop::collection::vec(any::<u8>(), 0..32)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Change::Swap(a, b)),
    ]
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    let place = |at: u16, content: &[u8]| usize::from(at) * content.len() / 65536;
    let part = |at: u16, len: u16, content: &[u8]| {
        let from = place(at, content);
        from..(from + usize::from(len)).min(content.len())
    };
    match change {
        Change::Flip(at, byte) => {
            let at = place(*at, content);
            if let Some(old) = content.get_mut(at) {
                *old ^= byte;
            }
        }
        Change::Cut(at, len) => drop(content.drain(part(*at, *len, content))),
        Change::Repeat(at, len) => {
            let range = part(*at, *len, content);
            let copy = content[range.clone()].to_vec();
            content.splice(range.start..range.start, copy);
        }
        Change::Insert(at, bytes) => {
            let at = place(*at, content);
            content.splice(at..at, bytes.iter().copied());
        }
        Change::Swap(a, b) => {
            let (a, b) = (place(*a, content), place(*b, content));
            if !content.is_empty() {
                content.swap(a, b);
            }
        }
    }
}

fn changed(mut content: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        apply(&mut content, change);
    }
    content
}

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

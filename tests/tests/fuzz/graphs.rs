//! ONNX graphs: the check that every file passes before an engine library sees it.

use crate::changes::{Change, binary_change, cases, changed, varint};
use crate::heap;
use drivewam_core::bindings::Graph;
use drivewam_core::manifest::{FileEntry, GraphEntry, Manifest};
use drivewam_engine::bundle::check_onnx;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// Heap memory of a check: for each byte of the file, and beside it.
const MAX_HEAP: (u64, u64) = (64, 1 << 20);

/// A shipped graph, its entry, and the files of its manifest.
struct Seed {
    graph: Graph,
    entry: GraphEntry,
    files: BTreeMap<String, FileEntry>,
    content: Vec<u8>,
}

/// The smallest shipped graphs.
fn seeds() -> Vec<Seed> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engines/tiny");
    let manifest = Manifest::parse(&std::fs::read_to_string(dir.join("manifest.yaml")).unwrap()).unwrap();
    let seed = |graph: Graph| Seed {
        graph,
        entry: manifest.graphs[&graph].clone(),
        files: manifest.files.clone(),
        content: std::fs::read(dir.join(&manifest.graphs[&graph].file)).unwrap(),
    };
    [Graph::VaeEncode, Graph::VaeDecode, Graph::VaeEncodeFirst, Graph::ContextEgo].map(seed).into()
}

/// The fields of a message: number, and where its content lies. Only fields with a length.
fn fields(bytes: &[u8]) -> Vec<(u64, std::ops::Range<usize>, usize)> {
    let (mut at, mut all) = (0, Vec::new());
    let number = |at: &mut usize| {
        let (mut value, mut shift) = (0u64, 0);
        while let Some(byte) = bytes.get(*at) {
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    };
    while at < bytes.len() {
        let begins = at;
        let tag = number(&mut at);
        match tag & 7 {
            0 => drop(number(&mut at)),
            2 => {
                let len = number(&mut at);
                // Numbers and texts are no messages: what follows from reading one as such is
                // left alone.
                let end = usize::try_from(len).ok().and_then(|len| at.checked_add(len)).filter(|end| *end <= bytes.len());
                let Some(end) = end else { break };
                all.push((tag >> 3, at..end, begins));
                at = end;
            }
            kind => at += if kind == 1 { 8 } else { 4 },
        }
    }
    all
}

/// Changes the message that `path` leads to, and repairs the lengths of all that contain it. Each
/// step of the path chooses among the fields of a message, in 1/256 of their number.
fn change_within(message: &[u8], path: &[u8], changes: &[Change]) -> Vec<u8> {
    let fields = fields(message);
    let [step, path @ ..] = path else { return changed(message.to_vec(), changes) };
    let Some((number, content, begins)) = fields.get(usize::from(*step) * fields.len() / 256) else {
        return changed(message.to_vec(), changes);
    };
    let inner = change_within(&message[content.clone()], path, changes);
    [&message[..*begins], &varint(number << 3 | 2), &varint(inner.len() as u64), &inner, &message[content.end..]].concat()
}

/// The path to a part of the graph: 0 steps for the file, 2 for a node or a weight.
fn path(content: &[u8], depth: usize, steps: [u8; 5]) -> Vec<u8> {
    let fields = fields(content);
    let graph = fields.iter().position(|(number, ..)| *number == 7).unwrap();
    // Rounded up, so that the step leads to this field.
    let to_graph = (graph * 256).div_ceil(fields.len());
    [u8::try_from(to_graph).unwrap()].into_iter().chain(steps).take(depth).collect()
}

/// Breaks if a changed graph makes the check panic, overflow a small stack, or take more memory
/// than a small multiple of the file's.
#[test]
fn any_bytes_are_a_graph_within_bounds_or_refused() {
    let check = || {
        let seeds = seeds();
        let began = std::time::Instant::now();
        let strategy = (0..seeds.len(), 0..6usize, any::<[u8; 5]>(), prop::collection::vec(binary_change(), 1..5));
        let config = cases(20_000);
        let count = config.cases;
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let result = runner.run(&strategy, |(seed, depth, steps, changes)| {
            let seed = &seeds[seed];
            let bytes = change_within(&seed.content, &path(&seed.content, depth, steps), &changes);
            let (checked, heap) = heap::peak(|| check_onnx(seed.graph, &seed.entry, &bytes, &seed.files));
            let most = bytes.len() as u64 * MAX_HEAP.0 + MAX_HEAP.1;
            prop_assert!(heap <= most, "{heap} bytes for a file of {}", bytes.len());
            if let Err(e) = checked {
                prop_assert_eq!(e.kind(), drivewam_core::ErrorKind::Manifest);
                let said = e.to_string();
                prop_assert!(said.len() < 8192 && !said.contains(char::is_control), "{said}");
            }
            Ok(())
        });
        result.unwrap_or_else(|e| panic!("{e}"));
        for seed in &seeds {
            check_onnx(seed.graph, &seed.entry, &seed.content, &seed.files).unwrap();
        }
        println!("{count} changed graphs of {} seeds in {:.1} s", seeds.len(), began.elapsed().as_secs_f64());
    };
    let small = std::thread::Builder::new().name("small-stack".into()).stack_size(1 << 20).spawn(check).unwrap();
    small.join().unwrap();
}

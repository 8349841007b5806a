//! rten on views of the arena: what it computes, and what it refuses.

use super::*;
use crate::tests::{Bench, shipped};
use drivewam_core::bindings::VELOCITY;
use drivewam_device::DeviceMemory;

#[test]
fn every_shipped_graph_loads_binds_and_runs_to_finite_numbers() {
    let folder = shipped();
    for graph in folder.manifest().graphs.keys().copied() {
        let mut engine = Rten::open(&folder, graph, 2).unwrap();
        assert!(engine.describe().contains("2 threads"));
        let entry = folder.manifest().graph(graph).unwrap();
        let lengths = match graph {
            Graph::Dit => &[8, 28, 36][..],
            Graph::VlmDecoder => &[1, 124],
            _ => &[0],
        };
        for n in lengths {
            let mut bench = Bench::new(entry, *n, 172);
            let binding = bench.bind(&mut engine).unwrap();
            bench.run(&mut engine, binding).unwrap();
            for bound in bench.io.outputs.clone() {
                let data = bench.get(bound.region);
                assert!(data.iter().all(|x| x.is_finite()) && data.iter().any(|x| *x != 0.0), "{graph}: {}", bound.name);
            }
        }
    }
}

#[test]
fn the_version_in_reports_is_the_pinned_one() {
    let pins = include_str!("../../../../Cargo.toml");
    assert!(pins.contains(&format!("\nrten = \"{VERSION}\"\n")));
}

/// Breaks when weights are read from memory that was freed, or when a folder must outlive its
/// engines.
#[test]
fn an_engine_outlives_the_folder_it_was_loaded_from_and_gives_the_same_bits_again() {
    let folder = shipped();
    let mut engine = Rten::open(&folder, Graph::Dit, 1).unwrap();
    let mut bench = Bench::new(folder.manifest().graph(Graph::Dit).unwrap(), 8, 40);
    let binding = bench.bind(&mut engine).unwrap();
    bench.run(&mut engine, binding).unwrap();
    let first = bench.output(VELOCITY);
    drop(folder);
    let _elsewhere = vec![vec![f32::NAN; 1 << 20]; 4];
    bench.run(&mut engine, binding).unwrap();
    assert_eq!(bench.output(VELOCITY), first);
}

#[test]
fn an_output_that_is_not_bound_is_dropped_and_the_others_are_the_same() {
    let folder = shipped();
    let mut engine = Rten::open(&folder, Graph::Dit, 1).unwrap();
    let mut bench = Bench::new(folder.manifest().graph(Graph::Dit).unwrap(), 8, 40);
    bench.bind(&mut engine).unwrap();
    let whole = bench.output(VELOCITY);
    bench.io.outputs.retain(|bound| bound.name == VELOCITY);
    let region = bench.io.outputs[0].region;
    bench.device.upload(region, &vec![0.0; region.len()]).unwrap();
    bench.bind(&mut engine).unwrap();
    assert_eq!(bench.output(VELOCITY), whole);
}

#[test]
fn a_binding_is_good_for_one_arena() {
    let folder = shipped();
    let mut engine = Rten::open(&folder, Graph::ContextEgo, 1).unwrap();
    let entry = folder.manifest().graph(Graph::ContextEgo).unwrap();
    let (mut one, mut other) = (Bench::new(entry, 0, 0), Bench::new(entry, 0, 0));
    let binding = one.bind(&mut engine).unwrap();
    assert_eq!(other.run(&mut engine, binding).unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(one.run(&mut engine, Binding(1)).unwrap_err().kind(), ErrorKind::Usage);
    one.run(&mut engine, binding).unwrap();
}

#[test]
fn a_bad_graph_that_is_correctly_hashed_is_an_error_in_words() {
    crate::tests::refuses_bad_graphs(|folder, graph, bench| bench.bind(&mut Rten::open(folder, graph, 1)?).map(|_| ()));
}

#[test]
fn weight_files_are_respelt_only_where_a_weight_points() {
    let folder = shipped();
    let parts = folder.graph_files(Graph::Dit).unwrap();
    let (before, after) = (parts.content.as_slice(), respelt(&parts));
    assert_eq!(before.len(), after.len());
    let count = |content: &[u8], word: &[u8]| content.windows(word.len()).filter(|w| w == &word).count();
    assert_eq!(count(&after, b"dit.safetensors"), 0);
    assert_eq!(count(&after, b"dit.datatensors"), count(before, b"dit.safetensors"));
    let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert_eq!(
        changed,
        4 * count(before, b"dit.safetensors") - count(before, b"dit.safetensors"),
        "`safe` and `data` differ in three letters"
    );
}

/// Breaks when the deepest graph and the widest product that the check lets pass overflow the stack
/// of a thread with Rust's usual 2 MiB, or keep the library busy: it follows inputs by recursion.
#[test]
fn the_deepest_graph_that_passes_runs_on_a_usual_stack() {
    use crate::onnx::tests::write::{bytes, constant, join, model, node, value};
    let bundle = crate::tests::spoilt(|manifest, contents| {
        let entry = manifest.graphs.get_mut(&Graph::ContextEgo).unwrap();
        let lengths = |spec: &drivewam_core::tensor::TensorSpec| spec.resolve(0, 0).iter().map(|&len| len as i64).collect::<Vec<_>>();
        let mut nodes = vec![node("ReduceMean", &[&entry.inputs[0].name], &["t0"], &[])];
        for i in 0..6100 {
            let (from, to) = (format!("t{i}"), format!("t{}", i + 1));
            match i < 16 {
                true => nodes.push(node("Mul", &[&from, &from], &[&to], &[])),
                false => nodes.push(node("Tanh", &[&from], &[&to], &[])),
            }
        }
        let mut sides = Vec::new();
        for (i, spec) in entry.outputs.iter().enumerate() {
            let shape = format!("shape{i}");
            nodes.push(constant(&shape, &[spec.shape.len() as i64], &lengths(spec)));
            nodes.push(node("Expand", &["t6100", &shape], &[&spec.name], &[]));
            sides.extend(bytes(12, &value(&spec.name, &lengths(spec))));
        }
        sides.extend(bytes(11, &value(&entry.inputs[0].name, &lengths(&entry.inputs[0]))));
        let nodes = nodes.iter().flat_map(|node| bytes(1, node)).collect();
        contents.insert(entry.file.clone(), model(&join(&[nodes, sides]), &[]));
    });
    let run = move || {
        let mut engine = Rten::open(&bundle, Graph::ContextEgo, 1).unwrap();
        let mut bench = Bench::new(bundle.manifest().graph(Graph::ContextEgo).unwrap(), 0, 0);
        bench.bind(&mut engine).unwrap();
    };
    std::thread::Builder::new().name("usual-stack".into()).stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

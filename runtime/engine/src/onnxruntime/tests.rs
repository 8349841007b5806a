//! ONNX Runtime bound to the arena: what it computes, and what it refuses.

use super::*;
use crate::tests::{Bench, shipped};
use drivewam_core::bindings::VELOCITY;

/// Whether ONNX Runtime is installed (`ORT_DYLIB_PATH`); prints a line if it is not.
fn at_hand(test: &str) -> bool {
    let found = std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty());
    if !found {
        println!("skipped: {test} needs ONNX Runtime, and ORT_DYLIB_PATH does not say where it is");
    }
    found
}

/// Breaks when an input is copied when it is bound, or when an output lands in memory of the
/// library.
#[test]
fn inputs_are_read_where_they_lie_and_outputs_land_where_they_belong() {
    if !at_hand("inputs_are_read_where_they_lie_and_outputs_land_where_they_belong") {
        return;
    }
    let folder = shipped();
    let mut engine = OnnxRuntime::open(&folder, Graph::Dit, 1, None).unwrap();
    let words = engine.describe();
    assert!(words.contains(PROVIDER) && words.contains("ONNX Runtime 1.") && words.contains("1 threads"), "{words}");
    let mut bench = Bench::new(folder.manifest().graph(Graph::Dit).unwrap(), 8, 40);
    drop(folder);
    let binding = bench.bind(&mut engine).unwrap();
    let before = bench.output(VELOCITY);
    for input in ["mem_v.0", "tokens"] {
        let data: Vec<f32> = bench.input(input).iter().map(|x| x + 1.0).collect();
        bench.set(input, &data);
        bench.run(&mut engine, binding).unwrap();
        assert_ne!(bench.output(VELOCITY), before, "{input}");
        let data: Vec<f32> = data.iter().map(|x| x - 1.0).collect();
        bench.set(input, &data);
    }
    let mut other = Bench::new(&engine.entry.clone(), 8, 40);
    assert_eq!(other.run(&mut engine, binding).unwrap_err().kind(), ErrorKind::Usage, "another arena");
    assert_eq!(bench.run(&mut engine, Binding(1)).unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn a_bad_graph_that_is_correctly_hashed_is_an_error_in_words() {
    if !at_hand("a_bad_graph_that_is_correctly_hashed_is_an_error_in_words") {
        return;
    }
    crate::tests::refuses_bad_graphs(|folder, graph, bench| bench.bind(&mut OnnxRuntime::open(folder, graph, 1, None)?).map(|_| ()));
}

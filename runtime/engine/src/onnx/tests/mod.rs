//! Graphs that must pass, and hostile ones: each kind of fault by name, before any library.

pub(crate) mod write;

use super::*;
use crate::tests::shipped;
use drivewam_core::ErrorKind;
use drivewam_core::tensor::{Axis, TensorSpec};
use write::{bytes, constant, graph, int, ints, join, model, node, setting, tensor};

/// A manifest's entry of a graph from `x` [4] to `y` [4].
pub(crate) fn entry() -> GraphEntry {
    let mut entry = shipped().manifest().graphs[&Graph::ContextEgo].clone();
    let of_ego = entry.inputs[0].clone();
    let spec = |name: &str| TensorSpec { name: name.to_owned(), dtype: DType::F32, shape: vec![Axis::Fixed(4)], ..of_ego.clone() };
    (entry.inputs, entry.outputs) = (vec![spec("x")], vec![spec("y")]);
    entry
}

fn checked(onnx: &[u8]) -> Result<GraphSizes> {
    check(Graph::ContextEgo, &entry(), onnx, &BTreeMap::new())
}

/// Of a graph with these nodes and weights, and a last one from `x` to `y`.
fn of(nodes: &[Vec<u8>], initializers: &[Vec<u8>]) -> Result<GraphSizes> {
    let all = [nodes, &[node("Identity", &["x"], &["y"], &[])]].concat();
    checked(&model(&graph(&all, initializers), &[]))
}

/// The check refuses it as a fault of the manifest, with all `words`.
fn refuses(case: &str, checked: Result<GraphSizes>, words: &[&str]) {
    let error = checked.map(drop).expect_err(case);
    let said = error.to_string();
    assert!(error.kind() == ErrorKind::Manifest && said.len() < 3000, "{case}: {said}");
    for word in words.iter().chain(&["context_ego.onnx"]) {
        assert!(said.contains(word), "{case}: {word:?} is missing in {said}");
    }
}

/// A model whose `If` holds a graph with an `If`, `depth` deep.
pub(crate) fn nested(operator: &str, depth: usize) -> Vec<u8> {
    let mut inner = graph(&[node("Identity", &["x"], &["y"], &[])], &[]);
    for _ in 0..depth {
        let branch = join(&[bytes(1, b"then_branch"), bytes(6, &inner)]);
        inner = graph(&[node(operator, &["x"], &["y"], &[branch])], &[]);
    }
    model(&inner, &[])
}

/// Breaks when the exporter's graphs are refused, or when one comes near the limit on memory.
#[test]
fn every_shipped_graph_passes_with_room_to_spare() {
    let bundle = shipped();
    for (graph, entry) in &bundle.manifest().graphs {
        let content = bundle.content(&entry.file).unwrap();
        let sizes = check(*graph, entry, content.as_slice(), &bundle.manifest().files).unwrap();
        for (n, s) in [(1, 1), (8, 40), (33, 500)] {
            let (peak, budget) = sizes.peak(n, s).unwrap();
            println!("{graph} N {n} S {s}: {peak} elements of {budget}");
            assert!(peak < budget / 8, "{graph}: {peak} of {budget}");
        }
    }
}

/// Breaks when the reader descends as deep as a file does: the test's small stack then overflows.
#[test]
fn graphs_inside_graphs_are_refused_by_name_however_deep() {
    let entry = entry();
    let checked = move |onnx: &[u8]| check(Graph::ContextEgo, &entry, onnx, &BTreeMap::new());
    let deep = std::thread::Builder::new().name("small-stack".into()).stack_size(512 << 10).spawn(move || {
        for depth in [1, 2000] {
            refuses("If", checked(&nested("If", depth)), &["operator", "\"If\"", "made y"]);
            refuses("hidden", checked(&nested("Reshape", depth)), &["a graph inside a node", "made y"]);
        }
        let mut kind = int(1, 1);
        for _ in 0..2000 {
            kind = bytes(4, &bytes(1, &kind));
        }
        let input = bytes(11, &join(&[bytes(1, b"x"), bytes(2, &kind)]));
        refuses("sequence", checked(&model(&input, &[])), &["TypeProto", "field 4"]);
    });
    deep.unwrap().join().unwrap();
}

/// Breaks when a graph brings control flow or code of its own.
#[test]
fn control_flow_custom_domains_and_functions_are_refused_by_name() {
    for operator in ["Loop", "Scan", "If", "NonZero", "QLinearMatMul", "\u{1b}[2J"] {
        refuses(operator, of(&[node(operator, &["x"], &["z"], &[])], &[]), &["operator", &format!("{operator:?}")]);
    }
    let custom = [node("Add", &["x", "x"], &["z"], &[]), bytes(7, b"com.example")].concat();
    refuses("custom domain", of(&[custom], &[]), &["domain", "com.example"]);
    let plain = graph(&[node("Identity", &["x"], &["y"], &[])], &[]);
    checked(&model(&plain, &[])).unwrap();
    let import = bytes(8, &join(&[bytes(1, b"com.example"), int(2, 1)]));
    refuses("imported domain", checked(&model(&plain, &[import])), &["com.example"]);
    let function = join(&[vec![0xca, 0x01], vec![2], int(1, 1)]);
    refuses("function", checked(&model(&plain, &[function])), &["ModelProto", "field 25"]);
    refuses("two graphs", checked(&model(&plain, &[bytes(7, &plain)])), &["ModelProto", "field 7 twice"]);
    let twice = node("Softmax", &["x"], &["z"], &[setting("axis", 0), setting("axis", 0)]);
    refuses("attribute twice", of(&[twice], &[]), &["axis", "twice"]);
    refuses("unknown attribute", of(&[node("Add", &["x", "x"], &["z"], &[setting("axis", 0)])], &[]), &["attribute", "axis"]);
}

/// Breaks when a constant of 8 GB, in any form, reaches a library, which would allocate it and
/// abort the process.
#[test]
fn eight_gigabytes_in_any_form_are_refused_and_the_node_is_named() {
    const HUGE: i64 = 1 << 31;
    let size = constant("n", &[1], &[HUGE]);
    let scalar = |name: &str, value: i64| constant(name, &[], &[value]);
    let one = constant("one", &[1], &[1]);
    let wide = |name: &str| ints(name, &[1, 1 << 17], &vec![0; 1 << 17]);
    let tall = |name: &str| ints(name, &[1 << 17, 1], &vec![0; 1 << 17]);
    let small = |name: &str| tensor(name, 1, &[1, 1, 1, 1], &[0; 4]);
    let doubled: Vec<Vec<u8>> = (0..40)
        .map(|i| {
            let (from, to) = (if i == 0 { "x".to_owned() } else { format!("d{i}") }, format!("d{}", i + 1));
            node("Concat", &[&from, &from], &[&to], &[setting("axis", 0)])
        })
        .collect();
    let kept: Vec<Vec<u8>> = std::iter::once(constant("n", &[1], &[1 << 22]))
        .chain((0..100).map(|i| node("ConstantOfShape", &["n"], &[&format!("kept{i}")], &[])))
        .collect();
    // Name, nodes and weights.
    type Case = (&'static str, Vec<Vec<u8>>, Vec<Vec<u8>>);
    let cases: Vec<Case> = vec![
        ("ConstantOfShape", vec![size.clone(), node("ConstantOfShape", &["n"], &["z"], &[])], vec![]),
        ("Expand", vec![size.clone(), one.clone(), node("Expand", &["one", "n"], &["z"], &[])], vec![]),
        ("Tile", vec![size.clone(), one.clone(), node("Tile", &["one", "n"], &["z"], &[])], vec![]),
        ("Range", vec![scalar("a", 0), scalar("b", HUGE - 1), scalar("c", 1), node("Range", &["a", "b", "c"], &["z"], &[])], vec![]),
        ("Pad", vec![constant("p", &[2], &[0, HUGE - 1]), one.clone(), node("Pad", &["one", "p"], &["z"], &[])], vec![]),
        ("MatMul", vec![node("MatMul", &["tall", "wide"], &["z"], &[])], vec![tall("tall"), wide("wide")]),
        ("Gemm", vec![node("Gemm", &["tall", "wide"], &["z"], &[])], vec![tall("tall"), wide("wide")]),
        ("Add", vec![node("Add", &["tall", "wide"], &["z"], &[])], vec![tall("tall"), wide("wide")]),
        ("Gather", vec![node("Gather", &["wide", "tall"], &["z"], &[])], vec![tall("tall"), wide("wide")]),
        (
            "Conv",
            vec![node("Conv", &["i", "w"], &["z"], &[join(&[bytes(1, b"pads"), int(8, HUGE), int(8, 0), int(8, 0), int(8, 0)])])],
            vec![small("i"), small("w")],
        ),
        ("Concat", doubled, vec![]),
        ("ConstantOfShape", kept, vec![]),
    ];
    for (name, nodes, initializers) in cases {
        refuses(name, of(&nodes, &initializers), &["more memory", name, "elements at a time"]);
    }
    let absent = tensor("w", 1, &[HUGE], &[0; 4]);
    refuses("data that are not there", of(&[], &[absent]), &["not as long as its shape", "\"w\"", "8589934592 bytes"]);
    let beyond = tensor("w", 1, &[HUGE, HUGE, HUGE], &[]);
    refuses("an overflow", of(&[], &[beyond]), &["larger than any memory"]);
    let negative = [constant("n", &[1], &[-1]), node("ConstantOfShape", &["n"], &["z"], &[])];
    refuses("a negative length", of(&negative, &[]), &["ConstantOfShape", "-1"]);
}

/// Breaks when a library is given a graph that it follows by recursion, or unfolds: `rten`
/// overflows the stack of the first, and never returns from the second.
#[test]
fn a_chain_that_is_too_long_and_a_sum_of_too_many_terms_are_refused() {
    let chain = |operator: &str, length: usize| -> Vec<Vec<u8>> {
        let name = |i: usize| if i == 0 { "x".to_owned() } else { format!("t{i}") };
        (0..length)
            .map(|i| match operator {
                "Tanh" => node(operator, &[&name(i)], &[&name(i + 1)], &[]),
                _ => node(operator, &[&name(i), &name(i)], &[&name(i + 1)], &[]),
            })
            .collect()
    };
    of(&chain("Tanh", 6144), &[]).unwrap();
    refuses("long", of(&chain("Tanh", 6145), &[]), &["too deep", "6145 nodes in a row", "Tanh"]);
    of(&chain("Mul", 16), &[]).unwrap();
    refuses("wide", of(&chain("Mul", 17), &[]), &["too deep", "131072 terms", "Mul"]);
    refuses("huge", of(&chain("Add", 100), &[]), &["too deep", "terms", "Add"]);
}

/// Breaks when a size is believed that another library computes otherwise: `rten` cuts integers to
/// 32 bits, and would take the large one here.
#[test]
fn a_size_that_depends_on_more_than_32_bits_or_on_an_input_is_refused() {
    let long = [
        constant("a", &[1], &[1 << 40]),
        constant("b", &[1], &[1 << 41]),
        constant("large", &[1], &[1 << 30]),
        constant("small", &[1], &[1]),
        node("Equal", &["a", "b"], &["same"], &[]),
        node("Where", &["same", "large", "small"], &["n"], &[]),
        node("ConstantOfShape", &["n"], &["z"], &[]),
    ];
    refuses("long", of(&long, &[]), &["ConstantOfShape", "not known before the run"]);
    let of_input = [node("Cast", &["x"], &["n"], &[setting("to", 7)]), node("ConstantOfShape", &["n"], &["z"], &[])];
    refuses("input", of(&of_input, &[]), &["ConstantOfShape", "not known before the run"]);
    refuses("order", of(&[node("Add", &["later", "x"], &["z"], &[])], &[]), &["nothing before it makes", "later"]);
    refuses("name", of(&[node("Add", &["x", "x"], &["x"], &[])], &[]), &["two of one name"]);
}

/// Breaks when an integer is followed wrongly: then a size is computed that the library does not
/// have.
#[test]
fn sizes_that_are_computed_from_shapes_are_followed() {
    let nodes = [
        node("Shape", &["x"], &["shape"], &[]),
        constant("two", &[], &[2]),
        constant("minus", &[1], &[-1]),
        constant("zero", &[1], &[0]),
        constant("three", &[1], &[3]),
        node("Mul", &["shape", "two"], &["eight"], &[]),
        node("Sub", &["eight", "three"], &["five"], &[]),
        node("Mod", &["five", "two"], &["one"], &[]),
        node("Div", &["eight", "three"], &["quotient"], &[]),
        node("Concat", &["five", "one", "quotient"], &["list"], &[setting("axis", 0)]),
        node("Slice", &["list", "minus", "start", "zero", "minus"], &["turned"], &[]),
        node("Gather", &["turned", "two"], &["last"], &[setting("axis", 0)]),
        node("Unsqueeze", &["last", "zero"], &["lengths"], &[]),
        node("ConstantOfShape", &["lengths"], &["five_ones"], &[]),
        node("ConstantOfShape", &["turned"], &["box"], &[]),
        node("Transpose", &["box"], &["z"], &[join(&[bytes(1, b"perm"), int(8, 2), int(8, 0), int(8, 1)])]),
        node("Reshape", &["z", "minus"], &["flat"], &[]),
        node("Slice", &["flat", "zero", "shape"], &["y"], &[]),
    ];
    checked(&model(&graph(&nodes, &[ints("start", &[1], &[i64::MIN + 1])]), &[])).unwrap();
}

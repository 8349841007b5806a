//! Checks an ONNX file before an engine library sees a byte of it, so that every engine refuses the
//! same files with the same messages.
//!
//! Engine libraries trust a graph: their parsers descend as deep as the file does, control flow
//! runs without an end, a constant may take all memory, and ONNX Runtime reads weights from any
//! file beside the graph. They are also lenient: `rten` reads f16 inputs as f32. This check parses
//! the file itself ([`graph`], no deeper than the exporter writes), knows the exporter's operators
//! alone ([`operators`]), limits how far a library descends ([`depth`]), computes the size of every
//! tensor before a pass ([`program`]), and compares names, element types and shapes of inputs and
//! outputs, the operator set, and the location of each weight with the manifest.

mod depth;
mod graph;
mod inputs;
mod integers;
mod moves;
mod operators;
mod outputs;
mod program;
mod shapes;
mod step;
mod wire;

pub use program::GraphSizes;

use crate::io_check::{Reported, agrees};
use drivewam_core::bindings::Graph;
use drivewam_core::dtype::DType;
use drivewam_core::excerpt::quoted;
use drivewam_core::manifest::{FileEntry, GraphEntry};
use drivewam_core::{Error, ErrorKind, Result};
use graph::{Data, Declared, Model, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// Largest file of a graph, bytes. The exporter's have at most a few MB, because weights lie in
/// files of their own.
pub(crate) const MAX_BYTES: u64 = 256 << 20;
/// N and S with which a graph is checked before those of the ride are known.
const ANY_N: usize = 8;
const ANY_S: usize = 40;

/// Proves that `onnx` is an ONNX model that the exporter could have written, with the tensors and
/// operator set that the manifest's `entry` of `graph` has; that its external weights lie inside
/// the files that the entry names; and that a pass with a small N and S fits. `files` are the
/// manifest's, for their lengths. The result proves the same of any other N and S.
///
/// # Errors
/// `Manifest`, with the file, and with the node or tensor where one is wrong.
pub fn check(graph: Graph, entry: &GraphEntry, onnx: &[u8], files: &BTreeMap<String, FileEntry>) -> Result<GraphSizes> {
    let named = |e: Error| e.at(format!("{:?}", entry.file));
    if entry.engine.is_some() {
        return Err(named(Error::new(ErrorKind::Manifest, "an engine of a vendor's library, and this one reads ONNX graphs"))
            .wanted("`engine.kind` tensorrt or tensorrt_rtx, or the folder that the engines were built from"));
    }
    if onnx.len() as u64 > MAX_BYTES {
        return Err(named(Error::new(ErrorKind::Manifest, "the graph's file is too large"))
            .got(format!("{} bytes", onnx.len()))
            .wanted(format!("at most {MAX_BYTES}: weights lie in files of their own")));
    }
    let model = Model::parse(onnx).map_err(named)?;
    if model.opset != Some(i64::from(entry.opset)) {
        return Err(named(Error::new(ErrorKind::Manifest, "the graph uses another operator set than the manifest names"))
            .got(model.opset.map_or_else(|| "none".to_owned(), |v| v.to_string()))
            .wanted(entry.opset));
    }
    agrees(graph, "input", &inputs(&model), &entry.inputs).map_err(named)?;
    agrees(graph, "output", &model.outputs.iter().map(report).collect::<Vec<_>>(), &entry.outputs).map_err(named)?;
    model.tensors().try_for_each(|tensor| weight(tensor, entry, files)).map_err(named)?;
    let sizes = GraphSizes::new(&model, entry).map_err(named)?;
    sizes.check(ANY_N, ANY_S).map_err(named)?;
    Ok(sizes)
}

/// The inputs that a caller must give. Older files list their weights among the inputs; those are
/// left out.
fn inputs(model: &Model<'_>) -> Vec<Reported> {
    let weights: BTreeSet<&str> = model.initializers.iter().map(|weight| weight.name).collect();
    model.inputs.iter().filter(|value| !weights.contains(value.name)).map(report).collect()
}

fn report(value: &Declared<'_>) -> Reported {
    let dtype = match value.dtype {
        Some(1) => Ok(DType::F32),
        Some(10) => Ok(DType::F16),
        Some(16) => Ok(DType::Bf16),
        Some(6) => Ok(DType::I32),
        Some(7) => Ok(DType::I64),
        Some(2) => Ok(DType::U8),
        Some(other) => Err(format!("ONNX type {other}")),
        None => Err("no tensor".to_owned()),
    };
    let fixed = |axis: &Option<i64>| axis.and_then(|len| usize::try_from(len).ok());
    Reported { name: value.name.to_owned(), dtype, shape: value.shape.as_ref().map(|shape| shape.iter().map(fixed).collect()) }
}

/// Proves that a weight with external data lies inside a file of the entry.
fn weight(tensor: &Tensor<'_>, entry: &GraphEntry, files: &BTreeMap<String, FileEntry>) -> Result<()> {
    let Data::Outside(place) = tensor.data else { return Ok(()) };
    let bad = |what: &str| Error::new(ErrorKind::Manifest, what).at(format!("weight {}", quoted(tensor.name)));
    let known = entry.weights.iter().find(|name| *name == place.file).and_then(|name| files.get(name));
    let Some(file) = known else {
        return Err(bad("lies in a file that the manifest does not name for this graph")
            .got(quoted(place.file))
            .wanted(format!("one of {:?}", entry.weights)));
    };
    match place.length.and_then(|length| place.offset.checked_add(length)) {
        Some(end) if end <= file.bytes => Ok(()),
        _ => Err(bad("reaches beyond the end of its file")
            .got(format!("offset {}, length {:?}", place.offset, place.length))
            .wanted(format!("within the {} bytes of {:?}", file.bytes, place.file))),
    }
}

/// Bytes of the weights of an ONNX file, each once. The file's length stands for the weights inside
/// it.
///
/// # Errors
/// `Manifest` for a file that [`check`] refuses as a model.
pub fn weight_bytes(onnx: &[u8]) -> Result<u64> {
    let model = Model::parse(onnx)?;
    let places: BTreeSet<_> = model
        .tensors()
        .filter_map(|tensor| match tensor.data {
            Data::Outside(place) => Some(place),
            _ => None,
        })
        .collect();
    let outside = places.iter().fold(0u64, |sum, place| sum.saturating_add(place.length.unwrap_or(0)));
    // Weights inside the file are at most as long as the file.
    Ok(outside.saturating_add(onnx.len() as u64))
}

#[cfg(test)]
pub(crate) mod tests;

//! Compares an ONNX file with its manifest before an engine loads it, so that every engine refuses
//! the same files with the same messages.
//!
//! Engine libraries are lenient: `rten` reads f16 inputs as f32, and ONNX Runtime reads weights
//! from any file beside the graph. This check reads the file's own tables: names, element types and
//! shapes of inputs and outputs, the operator set, and the location of each weight.

use crate::io_check::{Reported, agrees};
use drivewam_core::bindings::Graph;
use drivewam_core::dtype::DType;
use drivewam_core::manifest::{FileEntry, GraphEntry};
use drivewam_core::{Error, ErrorKind, Result};
use rten_onnx::onnx::{DataLocation, DataType, GraphProto, ModelProto, TensorProto, ValueInfoProto};
use std::collections::BTreeMap;

/// Proves that `onnx` is an ONNX model with the tensors and operator set that the manifest's
/// `entry` of `graph` has, and that its external weights lie inside the files that the entry names.
/// `files` are the manifest's, for their lengths.
///
/// # Errors
/// `Manifest`, with the file, and with the tensor where one is wrong.
pub fn check(graph: Graph, entry: &GraphEntry, onnx: &[u8], files: &BTreeMap<String, FileEntry>) -> Result<()> {
    let named = |e: Error| e.at(format!("{:?}", entry.file));
    if entry.engine.is_some() {
        return Err(named(Error::new(ErrorKind::Manifest, "an engine of a vendor's library, and this one reads ONNX graphs"))
            .wanted("`engine.kind` tensorrt or tensorrt_rtx, or the folder that the engines were built from"));
    }
    let not_onnx = || named(Error::new(ErrorKind::Manifest, "not an ONNX model"));
    let parsed = std::panic::catch_unwind(|| ModelProto::parse_buf(onnx));
    let model = match parsed {
        Ok(Ok(model)) => model,
        Ok(Err(e)) => return Err(not_onnx().caused_by(e)),
        Err(_panic) => return Err(not_onnx().got("a file that makes its parser panic")),
    };
    let onnx_graph = model.graph.as_ref().ok_or_else(|| not_onnx().got("a file without a graph"))?;
    let opset =
        model.opset_import.iter().find(|set| matches!(set.domain.as_deref(), None | Some("" | "ai.onnx"))).and_then(|set| set.version);
    if opset != Some(i64::from(entry.opset)) {
        return Err(named(Error::new(ErrorKind::Manifest, "another operator set"))
            .got(opset.map_or_else(|| "none".to_owned(), |v| v.to_string()))
            .wanted(entry.opset));
    }
    agrees(graph, "input", &inputs(onnx_graph), &entry.inputs).map_err(named)?;
    agrees(graph, "output", &onnx_graph.output.iter().map(report).collect::<Vec<_>>(), &entry.outputs).map_err(named)?;
    weights(onnx_graph, &Places { entry, files }).map_err(named)
}

/// The files that weights may lie in.
struct Places<'a> {
    entry: &'a GraphEntry,
    files: &'a BTreeMap<String, FileEntry>,
}

/// Checks every weight of a graph, and of the graphs inside its nodes.
fn weights(graph: &GraphProto, places: &Places<'_>) -> Result<()> {
    graph.initializer.iter().try_for_each(|tensor| weight(tensor, places))?;
    for attribute in graph.node.iter().flat_map(|node| &node.attribute) {
        attribute.t.as_ref().map_or(Ok(()), |tensor| weight(tensor, places))?;
        attribute.g.as_ref().map_or(Ok(()), |inner| weights(inner, places))?;
    }
    Ok(())
}

/// The inputs that a caller must give. Older files list their weights among the inputs; those are
/// left out.
fn inputs(graph: &GraphProto) -> Vec<Reported> {
    let is_weight = |value: &&ValueInfoProto| graph.initializer.iter().any(|weight| weight.name == value.name);
    graph.input.iter().filter(|value| !is_weight(value)).map(report).collect()
}

fn report(value: &ValueInfoProto) -> Reported {
    let tensor = value.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
    let dtype = match tensor.and_then(|tensor| tensor.elem_type) {
        Some(DataType::FLOAT) => Ok(DType::F32),
        Some(DataType::FLOAT16) => Ok(DType::F16),
        Some(DataType::BFLOAT16) => Ok(DType::Bf16),
        Some(DataType::INT32) => Ok(DType::I32),
        Some(DataType::INT64) => Ok(DType::I64),
        Some(DataType::UINT8) => Ok(DType::U8),
        Some(other) => Err(format!("ONNX type {}", other.0)),
        None => Err("no tensor".to_owned()),
    };
    let shape = tensor.and_then(|tensor| tensor.shape.as_ref()).map(|shape| {
        let fixed = |value: i64| usize::try_from(value).ok();
        shape.dim.iter().map(|axis| axis.dim_value.and_then(fixed)).collect()
    });
    Reported { name: value.name.clone().unwrap_or_default(), dtype, shape }
}

/// Proves that a weight with external data lies inside a file of the entry.
fn weight(tensor: &TensorProto, places: &Places<'_>) -> Result<()> {
    if tensor.data_location != Some(DataLocation::EXTERNAL) {
        return Ok(());
    }
    let name = tensor.name.as_deref().unwrap_or_default();
    let bad = |what: &str| Error::new(ErrorKind::Manifest, what).at(format!("weight {name:?}"));
    let value =
        |key: &str| tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some(key)).and_then(|entry| entry.value.as_deref());
    let number = |key: &str| value(key).and_then(|text| text.parse::<u64>().ok());
    let file = value("location").unwrap_or_default();
    let Some(len) = places.entry.weights.iter().find(|name| *name == file).and_then(|name| places.files.get(name)).map(|file| file.bytes)
    else {
        let known = &places.entry.weights;
        return Err(bad("lies in a file that the manifest does not name for this graph")
            .got(format!("{file:?}"))
            .wanted(format!("one of {known:?}")));
    };
    let place =
        number("offset").unwrap_or(0).checked_add(number("length").ok_or_else(|| bad("lies in a file, and its length is missing"))?);
    match place {
        Some(end) if end <= len => Ok(()),
        _ => Err(bad("reaches beyond the end of its file")
            .got(format!("offset {:?}, length {:?}", value("offset"), value("length")))
            .wanted(format!("within the {len} bytes of {file:?}"))),
    }
}

/// Bytes of the weights of an ONNX file, each once. The file's length stands for the weights inside
/// it.
///
/// # Errors
/// `Manifest` for a file that is not an ONNX model.
pub fn weight_bytes(onnx: &[u8]) -> Result<u64> {
    let not_onnx = || Error::new(ErrorKind::Manifest, "not an ONNX model");
    let parsed = std::panic::catch_unwind(|| ModelProto::parse_buf(onnx)).map_err(|_panic| not_onnx())?;
    let model = parsed.map_err(|e| not_onnx().caused_by(e))?;
    let weights = model.graph.iter().flat_map(|graph| &graph.initializer);
    let mut places = BTreeMap::new();
    for tensor in weights {
        let value = |key: &str| tensor.external_data.iter().find(|e| e.key.as_deref() == Some(key)).and_then(|e| e.value.as_deref());
        if tensor.data_location == Some(DataLocation::EXTERNAL) {
            let bytes = value("length").and_then(|text| text.parse().ok()).unwrap_or(0u64);
            places.insert((value("location"), value("offset")), bytes);
        }
    }
    let outside = places.values().fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
    // Weights inside the file are at most as long as the file.
    Ok(outside.saturating_add(onnx.len() as u64))
}

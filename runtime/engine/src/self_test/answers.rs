//! The reference's outputs for the self-test, as the exporter stores them.

use drivewam_core::bindings::Graph;
use drivewam_core::{Error, ErrorKind, Result};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;

/// One output of the reference.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReferenceOutput {
    /// Evenly spaced elements of the output.
    pub samples: Vec<f32>,
    /// Its Euclidean norm.
    pub norm: f32,
}

/// The outputs of `graph`, by `shape/output`.
///
/// # Errors
/// `Manifest` when `content` is not a safetensors file, has no output of the graph, or has one that
/// is not finite f32 with a norm.
pub(crate) fn read(content: &[u8], graph: Graph) -> Result<BTreeMap<String, ReferenceOutput>> {
    let bad = |what: &str| Error::new(ErrorKind::Manifest, what);
    let file = SafeTensors::deserialize(content).map_err(|e| bad("not a safetensors file").caused_by(e))?;
    let prefix = format!("{graph}/");
    let numbers = |name: &str| numbers(&file, name);
    let mut answers = BTreeMap::new();
    for name in file.names().into_iter().filter(|name| name.starts_with(&prefix) && !name.ends_with("/norm")) {
        let norm = numbers(&format!("{name}/norm"))?[0];
        if norm < 0.0 {
            return Err(bad("a norm below zero").at(format!("{name:?}")).got(norm));
        }
        answers.insert(name[prefix.len()..].to_owned(), ReferenceOutput { samples: numbers(name)?, norm });
    }
    if answers.is_empty() { Err(bad("has no answers of the graph").at(graph)) } else { Ok(answers) }
}

/// The numbers of the tensor `name`.
///
/// # Errors
/// `Manifest` when there is no such tensor, or it is not finite f32.
pub(super) fn numbers(file: &SafeTensors<'_>, name: &str) -> Result<Vec<f32>> {
    let bad = |what: &str| Error::new(ErrorKind::Manifest, what).at(format!("{name:?}"));
    let view = file.tensor(name).map_err(|e| bad("lacks a tensor").wanted("a bundle of this version's exporter").caused_by(e))?;
    let numbers: Vec<f32> = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    if view.dtype() != Dtype::F32 || numbers.is_empty() || numbers.iter().any(|x| !x.is_finite()) {
        return Err(bad("not finite f32 numbers"));
    }
    Ok(numbers)
}

//! The text embeddings of the route commands.

use drivewam_core::dims::Command;
use drivewam_core::manifest::Manifest;
use drivewam_core::{Error, ErrorKind, Result};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;

/// The text of a route command, as `context_text` reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandText {
    /// Real rows; the graph's other rows are padding.
    pub rows: usize,
    /// `[rows, Dt]` f32.
    pub values: Vec<f32>,
}

pub(super) fn read(manifest: &Manifest, content: &[u8]) -> Result<BTreeMap<Command, CommandText>> {
    let file = SafeTensors::deserialize(content).map_err(|e| Error::new(ErrorKind::Manifest, "not a safetensors file").caused_by(e))?;
    let dim = manifest.model.text.dim;
    let mut texts = BTreeMap::new();
    for (&command, &rows) in &manifest.commands.rows {
        let bad = |what: &str| Error::new(ErrorKind::Manifest, what).at(format!("tensor {:?}", command.as_str()));
        let tensor = file.tensor(command.as_str()).map_err(|e| bad("a command without a text").caused_by(e))?;
        if tensor.dtype() != Dtype::F32 {
            return Err(bad("the tensor has the wrong element type").got(format!("{:?}", tensor.dtype())).wanted("F32"));
        }
        if tensor.shape() != [rows, dim] {
            return Err(bad("the tensor has the wrong shape").got(format!("{:?}", tensor.shape())).wanted(format!("[{rows}, {dim}]")));
        }
        let values: Vec<f32> = tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(bad("not finite").got(format!("{} at element {at}", values.get(at).copied().unwrap_or(f32::NAN))));
        }
        texts.insert(command, CommandText { rows, values });
    }
    Ok(texts)
}

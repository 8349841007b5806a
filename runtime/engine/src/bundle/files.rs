//! The contents that an engine is loaded from.

use crate::bytes::Bytes;
use drivewam_core::manifest::GraphEntry;
use std::sync::Arc;

/// The files of one graph, read and hashed. Dropping it frees what neither the engine nor a graph
/// that is still to be loaded needs.
pub(crate) struct GraphFiles<'a> {
    pub entry: &'a GraphEntry,
    /// The graph's own file: an ONNX model, or an engine of a vendor's library.
    pub content: Arc<Bytes>,
    /// The weight files that the ONNX model points into, by name.
    pub weights: Vec<(&'a str, Arc<Bytes>)>,
}

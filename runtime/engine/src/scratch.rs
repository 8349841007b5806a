//! How many bytes of the arena engines on a GPU need to compute in.

use drivewam_core::bindings::Graph;
use drivewam_core::config::Config;
use drivewam_core::manifest::Manifest;
use drivewam_core::{Error, ErrorKind, Result};

/// Bytes of the scratch region that the engines of `graphs` share.
///
/// The engines run one after the other on one stream, so the region is as large as the largest need
/// of any of them, as the manifest records it, and not smaller than
/// `engine.tensorrt.scratch_bytes`. It is at least 1, since a region holds at least one element.
/// `None` for engines that compute on the host: they allocate their own scratch memory.
///
/// # Errors
/// `Config` when the manifest does not record the need of a graph (the engine was built without a
/// GPU) and `engine.tensorrt.scratch_bytes` is not set. `Capacity` when the bytes do not fit an
/// address.
pub fn scratch_bytes(config: &Config, manifest: &Manifest, graphs: &[Graph]) -> Result<Option<usize>> {
    if !config.engine.kind.on_gpu() {
        return Ok(None);
    }
    let mut most = config.engine.tensorrt.scratch_bytes.unwrap_or(0);
    for (graph, entry) in manifest.graphs.iter().filter(|(graph, _)| graphs.contains(graph)) {
        match entry.engine.as_ref().map(|engine| engine.scratch_bytes) {
            Some(Some(bytes)) => most = most.max(bytes),
            Some(None) if config.engine.tensorrt.scratch_bytes.is_none() => {
                return Err(Error::new(ErrorKind::Config, "the engine's scratch memory is unknown: it was built without a GPU")
                    .at("engine.tensorrt.scratch_bytes")
                    .at(format!("graph {graph}"))
                    .wanted("a number of bytes; Warm says how many are too few"));
            }
            _ => {}
        }
    }
    usize::try_from(most.max(1))
        .map(Some)
        .map_err(|_too_many| Error::new(ErrorKind::Capacity, "scratch memory beyond the address space").got(most))
}

//! A bundle in memory for the closed-form engine: a manifest with all graphs, and command texts of
//! four rows.

use crate::bundle::{EngineBundle, attest};
use crate::bytes::Bytes;
use drivewam_core::dims::Model;
use drivewam_core::manifest::{CommandTexts, FileRole, Manifest};
use drivewam_core::{Error, ErrorKind, Result};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use std::collections::BTreeMap;

const GRAPH_FILE: &str = "closed_form.txt";
const TEXTS_FILE: &str = "commands.safetensors";
/// Rows of each command's text, or fewer where the model reads fewer.
const TEXT_ROWS: usize = 4;

/// A bundle of `model` with every graph of the policy. The codec has one cache, `[3, Hz, Wz]`; its
/// decoder has none. The text of the i-th command is ((7·i + 3·r + c) mod 11 − 5) / 5 at row r,
/// channel c.
///
/// # Errors
/// `Config` for a model that contradicts itself.
pub fn bundle(model: &Model) -> Result<EngineBundle> {
    model.check()?;
    let caches = [vec![3, model.latent.height, model.latent.width]];
    let rows = TEXT_ROWS.min(model.text.max_rows);
    let contents = BTreeMap::from([
        (GRAPH_FILE.to_owned(), b"The arithmetic of these graphs is written in runtime/engine/src/closed_form.\n".to_vec()),
        (TEXTS_FILE.to_owned(), texts(model, rows)?),
    ]);
    let mut manifest = Manifest::by_contract(model, &caches);
    manifest.target = "closed-form".into();
    for entry in manifest.graphs.values_mut() {
        entry.file = GRAPH_FILE.into();
    }
    manifest.commands =
        CommandTexts { file: TEXTS_FILE.into(), rows: model.text.commands.iter().map(|&command| (command, rows)).collect() };
    manifest.files = contents
        .iter()
        .map(|(name, content)| (name.clone(), attest(content, if name == TEXTS_FILE { FileRole::Commands } else { FileRole::Graph })))
        .collect();
    let files = contents.into_iter().map(|(name, content)| Ok((name, Bytes::copy_of(&content)?))).collect::<Result<_>>()?;
    EngineBundle::in_memory(manifest, files)
}

fn texts(model: &Model, rows: usize) -> Result<Vec<u8>> {
    let cannot = |e: safetensors::SafeTensorError| Error::new(ErrorKind::Usage, "command texts cannot be written").caused_by(e);
    let dim = model.text.dim;
    let contents: Vec<(&str, Vec<u8>)> = model
        .text
        .commands
        .iter()
        .enumerate()
        .map(|(i, command)| {
            let number = |at: usize| ((7 * i + 3 * (at / dim) + at % dim) % 11) as f32 / 5.0 - 1.0;
            (command.as_str(), (0..rows * dim).flat_map(|at| number(at).to_le_bytes()).collect())
        })
        .collect();
    let views = contents
        .iter()
        .map(|(name, content)| Ok((*name, TensorView::new(Dtype::F32, vec![rows, dim], content)?)))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(cannot)?;
    serialize(views, None).map_err(cannot)
}

//! The files of a part: `PART.json`, `PART.md` and images, written under temporary names and
//! renamed together.

use super::args::{Args, Part};
use crate::table::Table;
use anyhow::{Context, Result};
use drivewam_console::print_line;
use drivewam_core::bindings::Graph;
use drivewam_core::manifest::Manifest;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Version of the keys of `PART.json`.
pub(super) const SCHEMA: u32 = 2;

/// The images of a part.
pub(super) struct Images<'a> {
    out: &'a Path,
    files: Vec<&'static str>,
}

impl<'a> Images<'a> {
    pub(super) fn new(out: &'a Path) -> Self {
        Self { out, files: Vec::new() }
    }

    /// Calls `draw` with the temporary path of the image `name`.
    ///
    /// # Errors
    /// Those of `draw`.
    pub(super) fn add(&mut self, name: &'static str, draw: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.files.push(name);
        draw(&partial(self.out, name))
    }

    /// Names of the images.
    pub(super) fn files(&self) -> &[&'static str] {
        &self.files
    }

    /// Removes what was written.
    pub(super) fn discard(self) {
        self.files.iter().for_each(|name| drop(fs::remove_file(partial(self.out, name))));
    }
}

/// Creates the output folder.
///
/// # Errors
/// It cannot be created.
pub(super) fn create(args: &Args) -> Result<()> {
    fs::create_dir_all(&args.out).with_context(|| format!("--out: cannot create {:?}", args.out))
}

/// Writes the report and the page, renames all files of the part, and prints the result.
///
/// # Errors
/// A file cannot be written or renamed.
pub(super) fn publish(args: &Args, report: &Value, page: &str, images: &[&str]) -> Result<ExitCode> {
    let (name, text) = (args.part.name(), serde_json::to_string_pretty(report)?);
    let (json, markdown) = (format!("{name}.json"), format!("{name}.md"));
    fs::write(partial(&args.out, &json), format!("{text}\n")).with_context(|| format!("cannot write {json:?}"))?;
    fs::write(partial(&args.out, &markdown), page).with_context(|| format!("cannot write {markdown:?}"))?;
    for name in images.iter().copied().chain([json.as_str(), markdown.as_str()]) {
        fs::rename(partial(&args.out, name), args.out.join(name)).with_context(|| format!("cannot rename the partial {name:?}"))?;
    }
    if args.json {
        print_line!("{}", serde_json::to_string(report)?);
    } else {
        print_line!("{page}");
        print_line!("written to {:?}", args.out);
    }
    Ok(ExitCode::SUCCESS)
}

/// The command line as given, without `--json`, which does not change the page.
pub(super) fn command() -> String {
    let quoted = |a: String| if a.contains(' ') { format!("'{a}'") } else { a };
    let words: Vec<String> = std::env::args().skip(1).filter(|a| a != "--json").map(quoted).collect();
    words.join(" ")
}

/// The page of a part that drives on engines: what was run, the table, the images.
pub(super) fn page(args: &Args, report: &Value, table: &Table, images: &[&str]) -> String {
    let name = args.part.name();
    let results = &report["results"];
    let short = |hash: &Value| hash.as_str().unwrap_or("?").get(..12).unwrap_or("?").to_owned();
    let weights = report["engine"]["weights_sha256"].as_object().into_iter().flatten();
    let weights: Vec<String> = weights.map(|(file, hash)| format!("- `{file}` {}", short(hash))).collect();
    let mut text = format!(
        "# Study: {name}\n\n```sh\n{}\n```\n\nEngines `{}`, manifest {}. SHA-256 of the weights:\n\n{}\n\nCounts: ",
        broken_at_options(&format!("drivewam {}", command())),
        report["engine"]["name"].as_str().unwrap_or("?"),
        short(&report["engine"]["manifest_sha256"]),
        weights.join("\n")
    );
    let counts: Vec<String> = ["worlds", "chunks_per_world", "chunks", "needed_chunks"]
        .iter()
        .filter_map(|key| results.get(*key).map(|v| format!("{} {v}", key.replace('_', " "))))
        .collect();
    let clusters = if args.part == Part::Hours { "blocks of ten minutes" } else { "worlds" };
    let _ = write!(text, "{}.\nIn brackets: 95 % bootstrap intervals over {clusters}.\n\n{}", counts.join(", "), table.markdown());
    for image in images {
        let _ = write!(text, "\n![{image}]({image})\n");
    }
    text
}

/// A command line of more than 100 columns with each option on a line of its own.
fn broken_at_options(command: &str) -> String {
    if command.chars().count() <= 100 { command.to_owned() } else { command.replace(" --", " \\\n    --") }
}

/// SHA-256 of each weight file of the graphs that a chunk runs, by name. Unlike the hash of the
/// manifest, it stays when the manifest's form changes.
pub(super) fn weights_sha256(manifest: &Manifest) -> BTreeMap<&str, &str> {
    let graphs = Graph::POLICY.iter().filter_map(|graph| manifest.graphs.get(graph));
    let names = graphs.flat_map(|entry| entry.weights.iter().chain(entry.engine.is_some().then_some(&entry.file)));
    names.filter_map(|name| Some((name.as_str(), manifest.files.get(name)?.sha256.as_str()))).collect()
}

/// The temporary path of a file. It keeps the extension, by which the image writer picks the
/// format.
fn partial(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("partial.{name}"))
}

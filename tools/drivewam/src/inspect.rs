//! `drivewam inspect`: what a folder of engines says of itself, and whether its files are what it vouches for.

use crate::shipped::ConfigArgs;
use anyhow::Result;
use clap::Args as ClapArgs;
use drivewam_core::manifest::{GraphEntry, Manifest};
use drivewam_engine::folder::{FileReport, FileStatus, Report};
use drivewam_engine::{Folder, Trust};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `drivewam inspect`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Folder of engines; without it the shipped configuration's.
    dir: Option<PathBuf>,
    /// Show every tensor of every graph, not only how many there are.
    #[arg(long)]
    tensors: bool,
    /// A public ed25519 key (64 hexadecimal digits) that must have signed the manifest; may be given again. Without it: those of the configuration's vehicle.
    #[arg(long = "trust", value_name = "KEY")]
    keys: Vec<String>,
    /// Print the manifest and the state of every file as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Inspects.
///
/// # Errors
/// Of the shipped configuration. A folder that is not whole is shown, and the exit code is 1.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut config = ConfigArgs::default().load()?.config;
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&config.engine.folder));
    config.vehicle.trusted_keys.extend_from_slice(&args.keys);
    let report = Folder::verify(&dir, &Trust::of(&config.vehicle)?, None);
    let whole = report.is_whole();
    if args.json {
        say!("{}", as_json(&report)?);
    } else if let Ok(manifest) = &report.manifest {
        print_manifest(manifest, args.tensors);
        print_files(&report.files);
    }
    if whole {
        return Ok(ExitCode::SUCCESS);
    }
    let faults = report.files.iter().filter(|f| matches!(f.status, FileStatus::Fault(_))).count();
    if let Some(first) = report.into_first_fault() {
        eprintln!("drivewam: {first}");
        if faults > 1 {
            eprintln!("drivewam: {} more files are not what the manifest vouches for", faults - 1);
        }
    }
    Ok(ExitCode::FAILURE)
}

fn word(status: &FileStatus) -> &'static str {
    match status {
        FileStatus::Whole => "ok",
        FileStatus::Fault(_) => "FAULT",
        FileStatus::Unvouched => "unvouched",
    }
}

fn as_json(report: &Report) -> Result<Value> {
    let files: Vec<Value> = report
        .files
        .iter()
        .map(|file| {
            let fault = match &file.status {
                FileStatus::Fault(error) => Some(error.to_string()),
                _ => None,
            };
            json!({"name": file.name, "status": word(&file.status).to_lowercase(), "fault": fault,
                "bytes": file.entry.as_ref().map(|e| e.bytes), "sha256": file.entry.as_ref().map(|e| e.sha256.clone())})
        })
        .collect();
    let (manifest, fault) = match &report.manifest {
        Ok(manifest) => (serde_json::to_value(manifest)?, None),
        Err(error) => (Value::Null, Some(error.to_string())),
    };
    Ok(json!({"whole": report.is_whole(), "fault": fault, "files": files, "manifest": manifest}))
}

fn print_manifest(manifest: &Manifest, tensors: bool) {
    let model = &manifest.model;
    say!("{} for {}", manifest.name, manifest.target);
    say!(
        "model      {} layers, {} heads of {}, width {}, feed-forward {}",
        model.layers,
        model.heads,
        model.head_dim,
        model.dim,
        model.ffn_dim
    );
    say!(
        "picture    {} x {} at {} Hz, {} frames a chunk; latent {} x {} x {}",
        model.image.width,
        model.image.height,
        model.image.frame_hz,
        model.image.frames_per_latent,
        model.latent.channels,
        model.latent.height,
        model.latent.width
    );
    say!(
        "tokens     {} video, {} action ({} increments at {} Hz), {} text rows, {} ego",
        model.video_tokens(),
        model.action_tokens(),
        model.poses(),
        model.action.rate_hz,
        model.text_rows(),
        model.ego.tokens
    );
    say!(
        "flow       {:?}; trained with shift {} (video), {} (action)",
        manifest.flow_direction,
        manifest.schedule.video.shift,
        manifest.schedule.action.shift
    );
    let q = &manifest.normalisation.action;
    say!("action     q01 {:?}, q99 {:?}", q.q01, q.q99);
    let commands: Vec<String> =
        manifest.commands.rows.iter().map(|(command, rows)| format!("{} ({rows} rows)", command.as_str())).collect();
    say!("commands   {}", commands.join(", "));
    say!("");
    say!("{:<18} {:<10} {:>5} {:>7} {:>8}  file", "graph", "precision", "opset", "inputs", "outputs");
    for (graph, entry) in &manifest.graphs {
        print_graph(graph.as_str(), entry, tensors);
    }
    if let Some(training) = manifest.training.as_object().filter(|t| !t.is_empty()) {
        say!("");
        say!("training");
        for (key, value) in training {
            say!("  {key}: {value}");
        }
    }
    say!("");
}

fn print_graph(name: &str, entry: &GraphEntry, tensors: bool) {
    say!(
        "{name:<18} {:<10} {:>5} {:>7} {:>8}  {} + {}",
        entry.precision,
        entry.opset,
        entry.inputs.len(),
        entry.outputs.len(),
        entry.file,
        entry.weights.join(", ")
    );
    if tensors {
        for (side, specs) in [("in ", &entry.inputs), ("out", &entry.outputs)] {
            for spec in specs {
                say!("    {side} {spec}");
            }
        }
    }
}

fn print_files(files: &[FileReport]) {
    let width = files.iter().map(|f| f.name.len()).max().unwrap_or(4).max(4);
    say!("{:<width$} {:>12}  {:<9} sha256", "file", "bytes", "state");
    for file in files {
        let (bytes, hash) = file.entry.as_ref().map_or((String::new(), ""), |e| (e.bytes.to_string(), e.sha256.as_str()));
        say!("{:<width$} {bytes:>12}  {:<9} {hash}", file.name, word(&file.status));
        if let FileStatus::Fault(error) = &file.status {
            say!("{:<width$} {:>12}  {error}", "", "");
        }
    }
}

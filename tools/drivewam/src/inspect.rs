//! `drivewam inspect`: prints the manifest of an engine folder and verifies its files.

use crate::config_args::ConfigArgs;
use anyhow::Result;
use clap::Args as ClapArgs;
use drivewam_console::{note, print_line};
use drivewam_core::bindings::Graph;
use drivewam_core::config::Config;
use drivewam_core::excerpt::printable;
use drivewam_core::manifest::{Built, GraphEntry, Manifest};
use drivewam_engine::bundle::{FileReport, FileStatus, Report, Signed};
use drivewam_engine::{EngineBundle, Trust};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Prints one line. What a manifest or a folder says reaches the terminal in no other way, so that
/// nothing of it is obeyed there.
macro_rules! show {
    ($($text:tt)*) => { print_line!("{}", printable(&format!($($text)*))) };
}

/// Options of `drivewam inspect`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Engine folder. Default: that of the default configuration.
    dir: Option<PathBuf>,
    /// Print every tensor of every graph, not only their number.
    #[arg(long)]
    tensors: bool,
    /// Public ed25519 key (64 hexadecimal digits); one of the trusted keys must have signed the
    /// manifest. Repeatable. Adds to the keys of the configuration's vehicle.
    #[arg(long = "trust", value_name = "KEY")]
    keys: Vec<String>,
    /// Print the manifest and the status of every file as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand. The exit code is 1 when a file or the manifest is not valid.
///
/// # Errors
/// The default configuration cannot be loaded; a key is malformed.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut config = ConfigArgs::default().load()?.config;
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&config.engine.folder));
    config.vehicle.trusted_keys.extend_from_slice(&args.keys);
    let report = EngineBundle::verify(&dir, &Trust::of(&config.vehicle)?, None);
    let is_whole = report.is_whole();
    let headers = headers(&report, &config);
    if args.json {
        print_line!("{}", json_text(&to_json(&report, &headers)?));
    } else if let Ok(manifest) = &report.manifest {
        print_manifest(manifest, args.tensors);
        if let Some(signed) = &report.signed {
            show!("signed     {}", describe_signature(signed));
        }
        if let Some(built) = &manifest.built {
            print_built(built, manifest, &headers);
        }
        show!("");
        print_files(&report.files);
    }
    if is_whole {
        return Ok(ExitCode::SUCCESS);
    }
    let faults = report.files.iter().filter(|f| matches!(f.status, FileStatus::Fault(_))).count();
    if let Some(first) = report.into_first_fault() {
        note!("drivewam: {}", printable(&first.to_string()));
        if faults > 1 {
            note!("drivewam: {} more files do not match the manifest", faults - 1);
        }
    }
    Ok(ExitCode::FAILURE)
}

fn status_name(status: &FileStatus) -> &'static str {
    match status {
        FileStatus::Whole => "ok",
        FileStatus::Fault(_) => "FAULT",
        FileStatus::Unlisted => "unlisted",
    }
}

fn to_json(report: &Report, headers: &Headers) -> Result<Value> {
    let files: Vec<Value> = report
        .files
        .iter()
        .map(|file| {
            let fault = match &file.status {
                FileStatus::Fault(error) => Some(error.to_string()),
                _ => None,
            };
            json!({"name": file.name, "status": status_name(&file.status).to_lowercase(), "fault": fault, "role": file.entry.as_ref().map(|e| e.role),
                "bytes": file.entry.as_ref().map(|e| e.bytes), "sha256": file.entry.as_ref().map(|e| e.sha256.clone())})
        })
        .collect();
    let (manifest, fault) = match &report.manifest {
        Ok(manifest) => (serde_json::to_value(manifest)?, None),
        Err(error) => (Value::Null, Some(error.to_string())),
    };
    let signed = report.signed.as_ref().map(describe_signature);
    Ok(json!({"whole": report.is_whole(), "fault": fault, "signed": signed, "headers": headers, "files": files, "manifest": manifest}))
}

/// JSON as ASCII. JSON itself escapes only the control characters of ASCII.
fn json_text(value: &Value) -> String {
    let mut text = String::new();
    for letter in value.to_string().chars() {
        match letter.is_ascii() {
            true => text.push(letter),
            false => letter.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    text
}

fn print_manifest(manifest: &Manifest, tensors: bool) {
    let model = &manifest.model;
    show!("{} for {}", manifest.name, manifest.target);
    show!(
        "model      {} layers, {} heads of {}, width {}, feed-forward {}",
        model.layers,
        model.heads,
        model.head_dim,
        model.dim,
        model.ffn_dim
    );
    show!(
        "image      {} x {} at {} Hz, {} frames per chunk; latent {} x {} x {}",
        model.image.width,
        model.image.height,
        model.image.frame_hz,
        model.image.frames_per_latent,
        model.latent.channels,
        model.latent.height,
        model.latent.width
    );
    show!(
        "tokens     {} video, {} action ({} increments at {} Hz), {} text rows, {} ego",
        model.video_tokens(),
        model.action_tokens(),
        model.poses(),
        model.action.rate_hz,
        model.text_rows(),
        model.ego.tokens
    );
    show!(
        "flow       {:?}; trained with shift {} (video), {} (action)",
        manifest.flow_direction,
        manifest.schedule.video.shift,
        manifest.schedule.action.shift
    );
    let q = &manifest.normalisation.action;
    show!("action     q01 {:?}, q99 {:?}", q.q01, q.q99);
    show!("{}", manifest.trained_text());
    let commands: Vec<String> =
        manifest.commands.rows.iter().map(|(command, rows)| format!("{} ({rows} rows)", command.as_str())).collect();
    show!("commands   {}", commands.join(", "));
    show!("");
    show!("{:<18} {:<10} {:>5} {:>7} {:>8}  file", "graph", "precision", "opset", "inputs", "outputs");
    for (graph, entry) in &manifest.graphs {
        print_graph(graph.as_str(), entry, tensors);
    }
    if let Some(training) = manifest.training.as_object().filter(|t| !t.is_empty()) {
        show!("");
        show!("training");
        for (key, value) in training {
            show!("  {key}: {value}");
        }
    }
    show!("");
    match &manifest.self_test {
        Some(test) => show!("self-test  {}", test.file),
        None => show!("self-test  none: only the closed-form engine can load this folder"),
    }
}

/// A description of the header of every engine file.
type Headers = BTreeMap<Graph, String>;

/// Reads the headers with the library that the engines were built by, if this program finds it.
#[cfg(feature = "tensorrt")]
fn headers(report: &Report, config: &Config) -> Headers {
    use drivewam_core::ErrorKind;
    use drivewam_core::config::{EngineConfig, EngineKind};
    use drivewam_core::manifest::Family;
    use drivewam_engine::check_library_source;
    use drivewam_engine::tensorrt::{Library, header};
    use std::io::Read;
    let Ok(manifest) = &report.manifest else { return Headers::new() };
    let Some(built) = &manifest.built else { return Headers::new() };
    let is_whole = |name: &str| report.files.iter().any(|file| file.name == name && matches!(file.status, FileStatus::Whole));
    let kind = match built.family {
        Family::Tensorrt => EngineKind::Tensorrt,
        Family::TensorrtRtx => EngineKind::TensorrtRtx,
    };
    let engine = EngineConfig { kind, ..config.engine.clone() };
    let named = report.signed.as_ref().map_or(Ok(()), |signed| check_library_source(&engine, signed));
    let library = named.and_then(|()| Library::open(built.family, config.engine.tensorrt.library.as_deref()));
    let first = |file: &str| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        drivewam_files::open(&report.path.join(file), ErrorKind::Io)?.take(4096).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let describe = |file: &str| match (&library, first(file)) {
        (Err(e), _) => e.to_string(),
        (_, Err(e)) => e.to_string(),
        (Ok(library), Ok(bytes)) => header(library, &bytes).map_or_else(|e| e.to_string(), |header| header.to_string()),
    };
    // Unverified bytes are not parsed.
    manifest.graphs.iter().filter(|(_, entry)| is_whole(&entry.file)).map(|(graph, entry)| (*graph, describe(&entry.file))).collect()
}

#[cfg(not(feature = "tensorrt"))]
fn headers(_: &Report, _: &Config) -> Headers {
    Headers::new()
}

fn describe_signature(signed: &Signed) -> String {
    match signed {
        Signed::No => "no".to_owned(),
        Signed::Unchecked => "yes, not verified: no trusted key was given (--trust KEY)".to_owned(),
        Signed::By(key) => format!("by the trusted key {key}"),
    }
}

fn print_built(built: &Built, manifest: &Manifest, headers: &Headers) {
    let gpu = built.gpu.as_deref().unwrap_or("a machine without a GPU");
    let driver = built.driver.map(|d| format!(", driver CUDA {d}")).unwrap_or_default();
    let gpus: Vec<String> = built.compatible.compute_capabilities.iter().map(ToString::to_string).collect();
    let flags = built.flags;
    let mut options = vec![format!("optimization level {}", flags.optimization_level)];
    for (is_set, name) in [
        (flags.tf32, "TF32"),
        (flags.version_compatible, "version compatible"),
        (flags.hardware_compatible, "hardware compatible"),
        (flags.weight_streaming, "weight streaming"),
        (flags.workspace_bytes > 0, "limited workspace"),
    ] {
        options.extend(is_set.then(|| name.to_owned()));
    }
    show!("built      by {} {} on {gpu}{driver}; {}", built.family, built.library, options.join(", "));
    show!(
        "loads      with {} to {}, on compute capability {}",
        built.compatible.library_from,
        built.compatible.library_to,
        gpus.join(", ")
    );
    show!("from       manifest {}", built.source_sha256);
    show!("");
    show!("{:<18} {:>12} {:>10}  {:<18} {:<38}  header", "engine", "weights", "scratch", "attention", "profiles (N over S)");
    for (graph, entry) in &manifest.graphs {
        let Some(engine) = &entry.engine else { continue };
        let profiles: Vec<String> = engine.profiles.iter().map(ToString::to_string).collect();
        let scratch = engine.scratch_bytes.map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string());
        let fusion = engine.fusion.to_string();
        let header = headers.get(graph).map_or("not read", String::as_str);
        show!("{:<18} {:>12} {scratch:>10}  {fusion:<18} {:<38}  {header}", graph.as_str(), engine.weight_bytes, profiles.join(", "));
    }
}

fn print_graph(name: &str, entry: &GraphEntry, tensors: bool) {
    let files: Vec<&str> = std::iter::once(&entry.file).chain(&entry.weights).map(String::as_str).collect();
    show!(
        "{name:<18} {:<10} {:>5} {:>7} {:>8}  {}",
        entry.precision,
        entry.opset,
        entry.inputs.len(),
        entry.outputs.len(),
        files.join(" + ")
    );
    if tensors {
        for (side, specs) in [("in ", &entry.inputs), ("out", &entry.outputs)] {
            for spec in specs {
                show!("    {side} {spec}");
            }
        }
    }
}

fn print_files(files: &[FileReport]) {
    let width = files.iter().map(|f| f.name.len()).max().unwrap_or(4).max(4);
    show!("{:<width$} {:>12}  {:<10} {:<9} sha256", "file", "bytes", "role", "status");
    for file in files {
        let entry = file.entry.as_ref().map(|e| (e.bytes.to_string(), e.role.to_string(), e.sha256.as_str()));
        let (bytes, role, hash) = entry.unwrap_or_default();
        show!("{:<width$} {bytes:>12}  {role:<10} {:<9} {hash}", file.name, status_name(&file.status));
        if let FileStatus::Fault(error) = &file.status {
            show!("{:<width$} {:>12}  {error}", "", "");
        }
    }
}

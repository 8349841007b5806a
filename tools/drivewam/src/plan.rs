//! `drivewam plan`: the arena's table, or why it does not fit; and, with `--target`, what a board has to hold and how fast it could be at best.

mod bytes;
mod floors;
mod target;

use crate::shipped::ConfigArgs;
use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use drivewam::{Plan, RideOptions, SourceCamera};
use drivewam_core::manifest::{FILE_NAME, Manifest};
use drivewam_core::{Error, ErrorKind};
use drivewam_engine::bundle::WarmPeak;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::ExitCode;

/// Options of `drivewam plan`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Plan for decoding the imagined frames too, as `drive --future` does.
    #[arg(long)]
    future: bool,
    /// Plan without an engine folder: graphs as the contract has them, the codec's causal cache unknown and left out.
    #[arg(long)]
    no_engines: bool,
    #[command(flatten)]
    target: target::Args,
    /// Print the plan as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Plans and prints. Reads the engines' manifest, and none of their files.
///
/// # Errors
/// Of the configuration, the manifest or the boards; a plan that does not fit the arena, or the board.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let named = args.config.load()?;
    let mut manifest = if args.no_engines {
        Manifest::by_contract(&named.config.model, &[])
    } else {
        read_manifest(Path::new(&named.config.engine.folder))?
    };
    let target = args.target.open(&mut manifest, args.no_engines)?;
    let camera = SourceCamera::of_model(&named.config.model);
    let options = RideOptions { decoder: args.future, ..RideOptions::default() };
    let plan = Plan::new(named.config.clone(), &manifest, camera, options)?;
    let arena = plan.arena();
    let report = target.map(|target| target.report(&named.config, &manifest, arena, args.no_engines)).transpose()?;
    if !args.json {
        say!("configuration {:?} {}", named.path, named.sha256);
        say!("{arena}");
        say!("{}", warm_line(plan.warm_peak()));
        if args.no_engines {
            say!("without the codec's causal cache: its size is the codec's affair, and no engine folder was read");
        }
        if let Some(report) = &report {
            say!("\n{}", report.text());
        }
        return fits(report.as_ref());
    }
    let regions: Vec<Value> = arena
        .rows()
        .iter()
        .map(|row| {
            let region = row.region;
            json!({"name": row.name, "owner": row.owner, "shape": row.shape, "dtype": region.dtype().to_string(), "bytes": region.bytes(),
                "offset": region.offset()})
        })
        .collect();
    let owners: Map<String, Value> = arena.owners().into_iter().map(|(owner, bytes)| (owner.to_owned(), json!(bytes))).collect();
    let (video, action, tail) = named.config.slots();
    let mut whole = json!({"configuration_sha256": named.sha256, "bytes": arena.bytes(), "capacity_bytes": arena.capacity_bytes(),
        "slots": {"video": video, "action": action, "tail": tail}, "by_owner": owners, "regions": regions});
    let peak = plan.warm_peak();
    whole["warm_peak"] =
        json!({"file_bytes": peak.file_bytes, "library_bytes": peak.library_bytes, "graph": peak.graph.map(|graph| graph.as_str())});
    if let Some(report) = &report {
        whole["target"] = report.json();
    }
    say!("{whole}");
    fits(report.as_ref())
}

/// The host memory that Warm needs for file contents.
fn warm_line(peak: WarmPeak) -> String {
    let WarmPeak { graph, file_bytes, library_bytes } = peak;
    match graph {
        Some(graph) => format!(
            "warm: {} bytes of host memory at most, while {graph} is loaded: files {file_bytes}, copies {library_bytes}",
            peak.bytes()
        ),
        None => "warm: no file is loaded".to_owned(),
    }
}

/// Nothing that a board cannot hold ends well.
fn fits(report: Option<&target::Report>) -> Result<ExitCode> {
    match report.and_then(target::Report::excess) {
        Some(excess) => bail!("{excess}"),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// The manifest of a folder, whose files are not looked at.
fn read_manifest(folder: &Path) -> drivewam_core::Result<Manifest> {
    let path = folder.join(FILE_NAME);
    let text = std::fs::read_to_string(&path)
        .map_err(|e| Error::new(ErrorKind::Manifest, "the engines' manifest cannot be read").at(format!("{path:?}")).caused_by(e))?;
    Manifest::parse(&text).map_err(|e| e.at(format!("{path:?}")))
}

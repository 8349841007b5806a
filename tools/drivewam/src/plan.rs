//! `drivewam plan`: sums up the arena, or says why it does not fit; with `--regions`, lists it
//! region by region. With `--target`, also the memory that a board needs and lower bounds of its
//! latency (docs/plan.md).

mod floors;
mod memory;
mod target;

use crate::config_args::ConfigArgs;
use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use drivewam::{Plan, RideOptions, SourceCamera, Trust};
use drivewam_console::print_line;
use drivewam_core::arena::ArenaPlan;
use drivewam_core::config::Config;
use drivewam_core::manifest::Manifest;
use drivewam_engine::bundle::{WarmPeak, read_manifest};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::ExitCode;

/// Options of `drivewam plan`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Include the decoder of imagined frames, as `drive --future` does.
    #[arg(long)]
    future: bool,
    /// Plan without an engine folder. Graphs are those of the contract; the causal cache of the
    /// codec is unknown and not included.
    #[arg(long)]
    no_engines: bool,
    /// List every region of the arena: owner, shape, element type, bytes, offset.
    #[arg(long)]
    regions: bool,
    #[command(flatten)]
    target: target::Args,
    /// Print the plan as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Version of the keys of `plan --json`.
const SCHEMA: u32 = 1;

/// Runs the subcommand. Reads the manifest of the engine folder and its signature, and no other
/// file of it.
///
/// # Errors
/// Invalid configuration, manifest or board; a manifest that the configuration does not trust; the
/// plan does not fit the arena or the board.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let loaded = args.config.load()?;
    let mut manifest = if args.no_engines {
        Manifest::by_contract(&loaded.config.model, &[])
    } else {
        read_manifest(Path::new(&loaded.config.engine.folder), &Trust::of_config(&loaded.config)?)?
    };
    let precision = args.target.precision(&mut manifest, args.no_engines)?;
    let target = args.target.open(precision)?;
    let camera = SourceCamera::of_model(&loaded.config.model);
    let options = RideOptions { decoder: args.future, ..RideOptions::EVALUATION };
    let plan = Plan::new(loaded.config.clone(), &manifest, camera, options)?;
    let arena = plan.arena();
    let report = target.map(|target| target.report(&loaded.config, &manifest, arena, args.no_engines)).transpose()?;
    if !args.json {
        print_line!("configuration {:?} {}", loaded.path, loaded.sha256);
        print_line!("precision     {} (keys and values {}), {}", precision.number, precision.number.cached(), precision.origin);
        print_summary(&loaded.config, arena);
        print_line!("{}", warm_line(plan.warm_peak()));
        print_line!("{}", manifest.trained_text());
        if args.no_engines {
            print_line!("not included: the causal cache of the codec; its size is known only from an engine folder");
        }
        if let Some(report) = &report {
            print_line!("\n{}", report.text());
        }
        if args.regions {
            print_line!("\n{arena}");
        }
        return check_fit(report.as_ref());
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
    let (video, action, tail) = loaded.config.slots();
    let mut object = json!({"schema": SCHEMA, "configuration_sha256": loaded.sha256, "precision": precision.number.as_str(), "bytes": arena.bytes(), "capacity_bytes": arena.capacity_bytes(),
        "slots": {"video": video, "action": action, "tail": tail}, "by_owner": owners, "regions": regions});
    let (lane, shared) = arena.lane_and_shared_bytes();
    object["lanes"] = json!({"count": loaded.config.lanes.count, "lane_bytes": lane, "shared_bytes": shared});
    let peak = plan.warm_peak();
    object["warm_peak"] =
        json!({"file_bytes": peak.file_bytes, "library_bytes": peak.library_bytes, "graph": peak.graph.map(|graph| graph.as_str())});
    object["trained_ranges"] = json!(manifest.trained_ranges);
    if let Some(report) = &report {
        object["target"] = report.json();
    }
    print_line!("{object}");
    check_fit(report.as_ref())
}

/// Prints what the arena holds and how much of its capacity that is.
fn print_summary(config: &Config, arena: &ArenaPlan) {
    let (video, action, tail) = config.slots();
    let policy = json!(config.memory.policy);
    let policy = policy.as_str().unwrap_or_default();
    print_line!("memory        {policy}: slots of {video} video, {action} action and {tail} predicted tokens a layer");
    let share = 100.0 * arena.bytes() as f64 / arena.capacity_bytes().max(1) as f64;
    let count = arena.rows().len();
    print_line!(
        "arena         {} of {} bytes ({share:.1} %) in {count} regions (--regions lists them)",
        arena.bytes(),
        arena.capacity_bytes()
    );
    for (owner, bytes) in arena.owners() {
        print_line!("  {owner:<11} {bytes:>14} bytes");
    }
    let (lane, shared) = arena.lane_and_shared_bytes();
    print_line!("lanes         {} of {lane} bytes each; {shared} bytes are shared", config.lanes.count);
}

/// The host memory that file contents take while Warm loads the engines.
fn warm_line(peak: WarmPeak) -> String {
    let WarmPeak { graph, file_bytes, library_bytes } = peak;
    match graph {
        Some(graph) => format!(
            "Warm takes at most {} bytes of host memory, while it loads {graph}: {file_bytes} of files, {library_bytes} of the library",
            peak.bytes()
        ),
        None => "Warm loads no file".to_owned(),
    }
}

/// Success, or an error when the plan does not fit the board.
fn check_fit(report: Option<&target::Report>) -> Result<ExitCode> {
    match report.and_then(target::Report::excess) {
        Some(excess) => bail!("{excess}"),
        None => Ok(ExitCode::SUCCESS),
    }
}

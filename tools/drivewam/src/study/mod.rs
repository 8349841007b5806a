//! `drivewam study`: evaluates a policy on simulated worlds held out of training (seeds 0 to 9999).
//!
//! Eight parts: `sight`, `guidance`, `memory`, `routes`, `harder`, `monitors`, `hours`, and
//! `table5`, which needs no engines. Each writes `PART.json` and `PART.md`; some also write images.

mod args;
mod charts;
mod episode;
mod guidance;
mod harder;
mod hours;
mod judgement;
mod memory;
mod monitors;
mod output;
mod parallel;
mod retention;
mod route;
mod routes;
mod setup;
mod sight;
mod stats;
mod steered_device;
mod table5;

pub(crate) use args::Args;

use crate::config_args::LoadedConfig;
use crate::table::Table;
use anyhow::{Context, Result, bail};
use args::{Part, Sizes};
use drivewam_console::StopFlag;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use output::{Images, SCHEMA};
use parallel::Parallel;
use serde_json::{Value, json};
use setup::Study;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs the subcommand.
///
/// # Errors
/// Invalid options or engines; a ride fails; the output cannot be written; Ctrl-C.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let sizes = args.sizes()?;
    let signals = StopFlag::on_signals().context("cannot install the handlers of signals")?;
    let stop = signals.flag();
    let loaded = args.config.load()?;
    match args.part {
        Part::Table5 => run_table5(args, &loaded, sizes.chunks, stop),
        Part::Sight => run_part(args, &loaded, sizes, stop, |study, parallel, _| sight::run(study, parallel)),
        Part::Guidance => run_part(args, &loaded, sizes, stop, |study, parallel, _| guidance::run(study, parallel)),
        Part::Memory => run_part(args, &loaded, sizes, stop, |study, parallel, images| {
            let (results, table, over_time) = memory::run(study, parallel)?;
            if !stop.load(Ordering::Relaxed) {
                images.add("memory-over-time.png", |path| charts::over_time(&over_time, path))?;
                images.add("memory-retention.png", |path| retention::draw(study, stop, path))?;
            }
            Ok((results, table))
        }),
        Part::Routes => run_part(args, &loaded, sizes, stop, |study, parallel, images| {
            let (results, table, tracks) = routes::run(study, parallel)?;
            images.add("routes-tracks.png", |path| charts::tracks(&tracks, path))?;
            Ok((results, table))
        }),
        Part::Harder => run_part(args, &loaded, sizes, stop, |study, parallel, _| harder::run(study, parallel)),
        Part::Monitors => run_part(args, &loaded, sizes, stop, |study, parallel, _| monitors::run(study, parallel)),
        Part::Hours => run_part(args, &loaded, sizes, stop, |study, parallel, _| hours::run(study, parallel)),
    }
}

fn progress_bar(args: &Args, length: usize, unit: &str) -> Result<ProgressBar> {
    let bar = ProgressBar::new(length as u64);
    bar.set_style(ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {unit}  {{msg}}  {{elapsed}} (left {{eta}})"))?);
    if args.json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    Ok(bar)
}

/// Runs a part that drives on engines: `part` drives, and returns results and a table.
fn run_part(
    args: &Args,
    loaded: &LoadedConfig,
    sizes: Sizes,
    stop: &AtomicBool,
    part: impl FnOnce(&Study<'_>, &Parallel<'_>, &mut Images<'_>) -> Result<(Value, Table)>,
) -> Result<ExitCode> {
    let study = Study::open(args, loaded, sizes)?;
    output::create(args)?;
    let rounds = match args.part {
        Part::Memory => memory::variants(),
        Part::Harder => harder::count(),
        Part::Monitors => monitors::rounds(args),
        _ => 1,
    };
    let bar = progress_bar(args, sizes.worlds * rounds, "drives")?;
    let parallel = Parallel { threads: args.threads.clamp(1, 64), bar: &bar, stop };
    let mut images = Images::new(&args.out);
    let (results, table) = part(&study, &parallel, &mut images)?;
    bar.finish_and_clear();
    if stop.load(Ordering::Relaxed) {
        images.discard();
        bail!("interrupted: no file of this part was written");
    }
    let (manifest, hash) = (study.bundle().manifest(), study.bundle().manifest_sha256());
    let report = json!({"schema": SCHEMA, "version": env!("CARGO_PKG_VERSION"), "part": args.part.name(),
        "configuration_sha256": loaded.sha256, "engine": {"name": manifest.name, "manifest_sha256": hash, "weights_sha256": output::weights_sha256(manifest)}, "results": results});
    let page = output::page(args, &report, &table, images.files());
    output::publish(args, &report, &page, images.files())
}

/// Runs `table5`, which needs only the shapes of the configuration.
fn run_table5(args: &Args, loaded: &LoadedConfig, chunks: usize, stop: &AtomicBool) -> Result<ExitCode> {
    output::create(args)?;
    let bar = progress_bar(args, chunks * table5::POLICIES.len(), "chunks")?;
    let Some((results, table)) = table5::run(&loaded.config, chunks, &Parallel { threads: 1, bar: &bar, stop })? else {
        bail!("interrupted: no file of this part was written");
    };
    bar.finish_and_clear();
    let report = json!({"schema": SCHEMA, "version": env!("CARGO_PKG_VERSION"), "part": args.part.name(),
        "configuration_sha256": loaded.sha256, "results": results});
    let page = format!(
        "# Study: table5\n\n`drivewam {}`; model `{}`.\n\n{}\n{}",
        output::command(),
        loaded.config.model.name,
        table.markdown(),
        table5::EXPLANATION
    );
    output::publish(args, &report, &page, &[])
}

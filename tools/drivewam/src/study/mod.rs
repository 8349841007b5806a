//! `drivewam study`: what a policy is worth, on drawn worlds whose seeds were held out of training (0 to 9999).
//!
//! Six parts: `sight`, `guidance`, `memory`, `routes`, `hours`, and `table5`, which needs no engines. Each writes `PART.json` and `PART.md`, and pictures where people would rather look.

mod chosen;
mod course;
mod crew;
mod guidance;
mod hours;
mod kept;
mod memory;
mod pictures;
mod routes;
mod sight;
mod stats;
mod table5;

use crate::shipped::{ConfigArgs, Named};
use crate::table::Table;
use anyhow::{Context, Result, bail};
use chosen::{Choice, ChosenDevice};
use clap::{Args as ClapArgs, ValueEnum};
use crew::Crew;
use drivewam::{Plan, Ride, RideOptions, SourceCamera};
use drivewam_core::config::Config;
use drivewam_engine::{EngineBundle, Trust, load};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Seeds from here on are trained on.
const HELD_OUT: usize = 5000;

/// Options of `drivewam study`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// What is asked.
    #[arg(value_enum)]
    part: Part,
    #[command(flatten)]
    config: ConfigArgs,
    /// Worlds, from seed 0 on; for `hours` there is one. Without it: 200 for sight and guidance, 40 for memory, 100 for routes.
    #[arg(long)]
    worlds: Option<usize>,
    /// Chunks of 4 s in each drive of memory and table5 (75 without it) and of hours (3600).
    #[arg(long)]
    chunks: Option<usize>,
    /// Other engines of the same shapes that `sight` rides beside the configured ones, by a name for the table: a network that was trained without
    /// sight, an ablation. May be given again.
    #[arg(long, value_parser = beside, value_name = "NAME=DIR")]
    beside: Vec<(String, PathBuf)>,
    /// Folder to write into.
    #[arg(long, default_value = "out/study")]
    out: PathBuf,
    /// Worlds at once, each on a thread of its own.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Print the figures as one JSON object.
    #[arg(long)]
    json: bool,
}

/// A part of the study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What the camera is worth: own, black, another world's; beside constant velocity and yaw rate.
    Sight,
    /// What a language model's words are worth: told nothing, the route command, or the words; over all chunks and where the route turns.
    Guidance,
    /// What each way of forgetting costs and keeps, over drives of 300 s.
    Memory,
    /// The closed loop: the policy moves the car along routes of 1 km.
    Routes,
    /// One ride of four hours.
    Hours,
    /// The paper's Table 5, memory and operations of full, fifo and selective, at the configuration's shapes; no engines are needed.
    Table5,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Sight => "sight",
            Self::Guidance => "guidance",
            Self::Memory => "memory",
            Self::Routes => "routes",
            Self::Hours => "hours",
            Self::Table5 => "table5",
        }
    }
}

/// What all parts share.
struct Study<'a> {
    args: &'a Args,
    folder: EngineBundle,
    /// Other engines, by name.
    beside: Vec<(String, EngineBundle)>,
    worlds: usize,
    chunks: usize,
}

impl Study<'_> {
    /// The configuration with `layer` on top. Rides of one process share an engine's threads: as many as there are rides.
    fn config(&self, layer: &str) -> Result<Config> {
        let Named { mut config, .. } = self.args.config.load_with(&[layer])?;
        (config.engine.threads, config.target.threads) = (self.args.threads.clamp(1, 64), 1);
        Ok(config)
    }

    fn plan(&self, config: Config, folder: &EngineBundle, closed_loop: bool) -> Result<Plan> {
        let camera = SourceCamera::of_model(&config.model);
        Ok(Plan::new(config, folder.manifest(), camera, RideOptions { closed_loop, ..RideOptions::default() })?)
    }

    fn ride(&self, config: Config) -> Result<Ride> {
        let closed_loop = self.args.part == Part::Routes;
        Ok(self.plan(config, &self.folder, closed_loop)?.warm(self.folder.clone())?)
    }

    /// A ride whose memory forgets what `choice` says.
    fn chosen(&self, config: Config, choice: Choice) -> Result<Ride> {
        let (engine, threads) = (config.engine.clone(), config.target.threads);
        let plan = self.plan(config, &self.folder, false)?;
        let device = |arena| Ok(Box::new(ChosenDevice::new(arena, threads, choice)?) as Box<_>);
        Ok(plan.warm_with(self.folder.clone(), device, |bundle, graph| load(&engine, bundle, graph))?)
    }

    /// A ride of other engines.
    fn ride_beside(&self, folder: &EngineBundle) -> Result<Ride> {
        let mut config = self.config("")?;
        config.engine.folder = folder.path().display().to_string();
        Ok(self.plan(config, folder, false)?.warm(folder.clone())?)
    }
}

fn beside(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, folder)) if !name.is_empty() && !folder.is_empty() => Ok((name.to_owned(), folder.into())),
        _ => Err("wanted NAME=DIR, for example 'without sight=out/blind'".to_owned()),
    }
}

/// Runs one part.
///
/// # Errors
/// Of the options, the engines, a ride or the output.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let worlds = args.worlds.unwrap_or(match args.part {
        Part::Sight | Part::Guidance => 200,
        Part::Memory => 40,
        Part::Routes => 100,
        Part::Hours | Part::Table5 => 1,
    });
    let chunks = args.chunks.unwrap_or(if args.part == Part::Hours { 4 * hours::HOUR } else { memory::CHUNKS });
    for (option, given, parts) in [
        ("--worlds", args.worlds.is_some(), &[Part::Sight, Part::Guidance, Part::Memory, Part::Routes][..]),
        ("--chunks", args.chunks.is_some(), &[Part::Memory, Part::Hours, Part::Table5]),
        ("--beside", !args.beside.is_empty(), &[Part::Sight]),
    ] {
        if given && !parts.contains(&args.part) {
            let names: Vec<&str> = parts.iter().map(|p| p.name()).collect();
            bail!("{option}: means nothing here (got {:?}, wanted {})", args.part.name(), names.join(" or "));
        }
    }
    if !(1..=HELD_OUT).contains(&worlds) {
        bail!("--worlds: out of range (got {worlds}, wanted 1 to {HELD_OUT}: seeds further up stand in for another world's camera)");
    }
    if !(1..=100_000).contains(&chunks) {
        bail!("--chunks: out of range (got {chunks}, wanted 1 to 100000)");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed)).context("Ctrl-C cannot be watched for")?;
    let named = args.config.load()?;
    let sizes = Sizes { worlds, chunks };
    match args.part {
        Part::Table5 => table5(args, &named, chunks, &stop),
        Part::Sight => ridden(args, &named, sizes, &stop, |study, crew, _| sight::run(study, crew)),
        Part::Guidance => ridden(args, &named, sizes, &stop, |study, crew, _| guidance::run(study, crew)),
        Part::Memory => ridden(args, &named, sizes, &stop, |study, crew, drawn| {
            let (figures, table, over_time) = memory::run(study, crew)?;
            if !stop.load(Ordering::Relaxed) {
                drawn.add("memory-over-time.png", |path| pictures::over_time(&over_time, path))?;
                drawn.add("memory-kept.png", |path| kept::draw(study, &stop, path))?;
            }
            Ok((figures, table))
        }),
        Part::Routes => ridden(args, &named, sizes, &stop, |study, crew, drawn| {
            let (figures, table, tracks) = routes::run(study, crew)?;
            drawn.add("routes-tracks.png", |path| pictures::tracks(&tracks, path))?;
            Ok((figures, table))
        }),
        Part::Hours => ridden(args, &named, sizes, &stop, |study, crew, _| hours::run(study, crew)),
    }
}

/// How much is driven.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    worlds: usize,
    chunks: usize,
}

/// The pictures of a part. Everything is written aside first and put in its place together, once nothing can interrupt it.
struct Drawn<'a> {
    out: &'a Path,
    files: Vec<&'static str>,
}

impl Drawn<'_> {
    fn add(&mut self, name: &'static str, how: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.files.push(name);
        how(&aside(self.out, name))
    }
}

/// A part that rides engines: `part` drives, and returns figures and a table.
fn ridden(
    args: &Args,
    named: &Named,
    sizes: Sizes,
    stop: &AtomicBool,
    part: impl FnOnce(&Study<'_>, &Crew<'_>, &mut Drawn<'_>) -> Result<(Value, Table)>,
) -> Result<ExitCode> {
    let trust = Trust::of(&named.config.vehicle)?;
    let folder = EngineBundle::open(named.config.engine.folder.as_ref(), &trust)?;
    fs::create_dir_all(&args.out).with_context(|| format!("--out {:?} cannot be written", args.out))?;
    let (manifest, hash) = (folder.manifest().name.clone(), folder.manifest_sha256().to_owned());
    let open = |(name, path): &(String, PathBuf)| Ok((name.clone(), EngineBundle::open(path, &trust)?));
    let beside = args.beside.iter().map(open).collect::<Result<_>>()?;
    let Sizes { worlds, chunks } = sizes;
    let study = Study { args, folder, beside, worlds, chunks };
    let rounds = if args.part == Part::Memory { memory::ways() } else { 1 };
    let bar = ProgressBar::new((worlds * rounds) as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} drives  {msg}  {elapsed} (left {eta})")?);
    if args.json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let crew = Crew { threads: args.threads.clamp(1, 64), bar: &bar, stop };
    let mut drawn = Drawn { out: &args.out, files: Vec::new() };
    let (figures, table) = part(&study, &crew, &mut drawn)?;
    let files = drawn.files;
    bar.finish_and_clear();
    if stop.load(Ordering::Relaxed) {
        files.iter().for_each(|name| drop(fs::remove_file(aside(&args.out, name))));
        bail!("interrupted: nothing of this part was written");
    }
    let name = args.part.name();
    let report = json!({"schema": 1, "version": env!("CARGO_PKG_VERSION"), "part": name, "configuration_sha256": named.sha256,
        "engine": {"name": manifest, "manifest_sha256": hash}, "figures": figures});
    let page = page(args, &report, &table, &files);
    publish(args, &report, &page, &files)
}

/// `table5`: what its configuration needs is shapes.
fn table5(args: &Args, named: &Named, chunks: usize, stop: &AtomicBool) -> Result<ExitCode> {
    fs::create_dir_all(&args.out).with_context(|| format!("--out {:?} cannot be written", args.out))?;
    let bar = ProgressBar::new((chunks * table5::WAYS.len()) as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} chunks  {msg}  {elapsed} (left {eta})")?);
    if args.json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let Some((figures, table)) = table5::run(&named.config, chunks, &Crew { threads: 1, bar: &bar, stop })? else {
        bail!("interrupted: nothing of this part was written");
    };
    bar.finish_and_clear();
    let report = json!({"schema": 1, "version": env!("CARGO_PKG_VERSION"), "part": args.part.name(), "configuration_sha256": named.sha256,
        "figures": figures});
    let page = format!(
        "# Study: table5\n\n`drivewam {}`; model `{}`.\n\n{}\n{}",
        command(),
        named.config.model.name,
        table.markdown(),
        table5::WHY
    );
    publish(args, &report, &page, &[])
}

/// Puts a part's files in their place together, and prints it.
fn publish(args: &Args, report: &Value, page: &str, pictures: &[&str]) -> Result<ExitCode> {
    let (name, text) = (args.part.name(), serde_json::to_string_pretty(report)?);
    let (json, markdown) = (format!("{name}.json"), format!("{name}.md"));
    fs::write(aside(&args.out, &json), format!("{text}\n")).with_context(|| format!("{json:?} cannot be written"))?;
    fs::write(aside(&args.out, &markdown), page).with_context(|| format!("{markdown:?} cannot be written"))?;
    for name in pictures.iter().copied().chain([json.as_str(), markdown.as_str()]) {
        fs::rename(aside(&args.out, name), args.out.join(name)).with_context(|| format!("{name:?} cannot be put in its place"))?;
    }
    if args.json {
        say!("{}", serde_json::to_string(report)?);
    } else {
        say!("{page}");
        say!("written to {:?}", args.out);
    }
    Ok(ExitCode::SUCCESS)
}

/// The command as it was given, without what changes nothing in the page.
fn command() -> String {
    let quoted = |a: String| if a.contains(' ') { format!("'{a}'") } else { a };
    let words: Vec<String> = std::env::args().skip(1).filter(|a| a != "--json").map(quoted).collect();
    words.join(" ")
}

/// The part's page: what was run, the table, the pictures.
fn page(args: &Args, report: &Value, table: &Table, pictures: &[&str]) -> String {
    let name = args.part.name();
    let figures = &report["figures"];
    let mut text = format!(
        "# Study: {name}\n\n`drivewam {}`; engines `{}`, manifest {}.\n",
        command(),
        report["engine"]["name"].as_str().unwrap_or("?"),
        report["engine"]["manifest_sha256"].as_str().unwrap_or("?").get(..12).unwrap_or("?")
    );
    let counts: Vec<String> = ["worlds", "chunks_per_world", "chunks", "needed_chunks"]
        .iter()
        .filter_map(|key| figures.get(*key).map(|v| format!("{} {v}", key.replace('_', " "))))
        .collect();
    let anew = if args.part == Part::Hours { "ten minutes at a time" } else { "worlds" };
    let _ = write!(text, "{}. In brackets: 95 % intervals, {anew} drawn anew.\n\n{}", counts.join(", "), table.markdown());
    for picture in pictures {
        let _ = write!(text, "\n![{picture}]({picture})\n");
    }
    text
}

/// Where a file is written before it is whole. The name keeps its ending, by which pictures are told apart.
fn aside(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("partial.{name}"))
}

//! Command-line arguments.

use anyhow::Result;
use clap::Parser;
use drivewam_core::config::{Config, Layer};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Profiles a ride on this machine: latency by stage with its tail, missed deadlines, memory,
/// energy, and the noise of repeated measurements.
///
/// The ride drives through a simulated world with the model's camera; drawing is not timed. Engines
/// with random weights (`export --checkpoint random:0`) cost the same as trained ones, so any size
/// can be profiled without a checkpoint.
#[derive(Debug, Clone, Parser)]
#[command(name = "profile_latency", version = concat!(env!("CARGO_PKG_VERSION"), " (DriveWAM Edge)"))]
pub(crate) struct Args {
    /// Configuration to profile.
    pub(crate) config: PathBuf,
    /// Overrides one key, for example --set engine.threads=1; may be repeated. The value is
    /// YAML.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Warm-up in chunks, or in seconds (10s): the policy's memory fills and clocks rise.
    #[arg(long, default_value = "12", value_parser = span)]
    pub(crate) warmup: Span,
    /// Measured window in chunks, or in seconds (60s).
    #[arg(long, default_value = "200", value_parser = span)]
    pub(crate) window: Span,
    /// Open loop: a chunk is due every SECONDS, whether the one before is done or not, as with
    /// a camera, and its response time counts from then. Without it chunks run back to back.
    /// The model's own period is 4 s.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) period: Option<Duration>,
    /// Seed of the simulated world.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Measure the same configuration in N fresh processes (A/A test). Their spread is the
    /// noise floor beside every figure.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100))]
    pub(crate) aa: Option<u32>,
    /// Compare with this configuration, in fresh processes that alternate.
    #[arg(long, value_name = "CONFIG2")]
    pub(crate) vs: Option<PathBuf>,
    /// Overrides one key of the other configuration, which is CONFIG itself without --vs; may
    /// be repeated.
    #[arg(long = "vs-set", value_name = "KEY=VALUE")]
    pub(crate) vs_set: Vec<String>,
    /// Rounds of the comparison, each with a fresh process of both configurations.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=100))]
    pub(crate) rounds: u32,
    /// Print the report as one JSON object instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the report as an HTML page.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write the file of trtexec's --exportTimes, with one entry per chunk.
    #[arg(long, value_name = "FILE")]
    pub(crate) export_times: Option<PathBuf>,
    /// Write the file of trtexec's --exportProfile, with one entry per stage and per
    /// transformer pass.
    #[arg(long, value_name = "FILE")]
    pub(crate) export_profile: Option<PathBuf>,
    /// Write a trace for chrome://tracing or ui.perfetto.dev.
    #[arg(long, value_name = "FILE")]
    pub(crate) export_trace: Option<PathBuf>,
    /// One measurement, in a process that this program started.
    #[arg(long, hide = true)]
    pub(crate) one: bool,
}

/// The length of the warm-up or of the window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Span {
    /// A number of chunks.
    Chunks(usize),
    /// Wall time.
    Time(Duration),
}

impl Span {
    /// Whether `chunks` chunks or the time `elapsed` reach the span.
    pub(crate) fn is_over(self, chunks: usize, elapsed: Duration) -> bool {
        match self {
            Self::Chunks(limit) => chunks >= limit,
            Self::Time(limit) => elapsed >= limit,
        }
    }

    /// Whether the span is zero.
    pub(crate) fn is_empty(self) -> bool {
        self.is_over(0, Duration::ZERO)
    }

    /// The span as a command-line argument.
    pub(crate) fn argument(self) -> String {
        match self {
            Self::Chunks(count) => count.to_string(),
            Self::Time(time) => format!("{}s", time.as_secs_f64()),
        }
    }
}

fn span(text: &str) -> Result<Span, String> {
    match text.strip_suffix('s') {
        Some(number) => Ok(Span::Time(duration(number).map_err(|e| format!("{e} (wanted seconds, for example 10s)"))?)),
        None => match text.parse() {
            Ok(count @ 0..=1_000_000) => Ok(Span::Chunks(count)),
            _ => Err("wanted a number of chunks, at most 1000000, or seconds, for example 10s".to_owned()),
        },
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let period = duration(text)?;
    if period.is_zero() { Err("wanted more than 0 seconds".to_owned()) } else { Ok(period) }
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("{e}"))?;
    if (0.0..=86_400.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err("wanted 0 to 86400 seconds".to_owned()) }
}

impl Args {
    /// Loads the configuration with the overrides of --set.
    ///
    /// # Errors
    /// A configuration or an override that cannot be read.
    pub(crate) fn configuration(&self) -> Result<Config> {
        let layers: Vec<Layer> = self.set.iter().map(|text| Layer::setting(text)).collect::<drivewam_core::Result<_>>()?;
        Ok(drivewam::load_config(&self.config, &layers)?)
    }

    /// The files to write, with their options.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let files = [
            ("--html", &self.html),
            ("--export-times", &self.export_times),
            ("--export-profile", &self.export_profile),
            ("--export-trace", &self.export_trace),
        ];
        files.into_iter().filter_map(|(option, path)| Some((option, path.as_deref()?)))
    }

    /// The arguments of the other configuration, if there is a comparison.
    pub(crate) fn other(&self) -> Option<Self> {
        if self.vs.is_none() && self.vs_set.is_empty() {
            return None;
        }
        let (config, set) = match &self.vs {
            Some(config) => (config.clone(), self.vs_set.clone()),
            None => (self.config.clone(), self.set.iter().chain(&self.vs_set).cloned().collect()),
        };
        Some(Self { config, set, vs: None, vs_set: Vec::new(), ..self.clone() })
    }

    /// The command line of a process that measures this configuration once.
    pub(crate) fn command_line(&self) -> Vec<std::ffi::OsString> {
        let mut words = vec![self.config.clone().into_os_string(), "--one".into(), "--seed".into(), self.seed.to_string().into()];
        words.extend(["--warmup".into(), self.warmup.argument().into(), "--window".into(), self.window.argument().into()]);
        self.set.iter().for_each(|set| words.extend(["--set".into(), set.into()]));
        if let Some(period) = self.period {
            words.extend(["--period".into(), period.as_secs_f64().to_string().into()]);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when an empty window, a negative time or a word is accepted as a span.
    #[test]
    fn windows_are_chunks_or_seconds() {
        assert_eq!(span("12"), Ok(Span::Chunks(12)));
        assert_eq!(span("1.5s"), Ok(Span::Time(Duration::from_millis(1500))));
        for invalid in ["", "s", "-1", "-1s", "nans", "1e9s", "many", "9999999"] {
            assert!(span(invalid).is_err(), "{invalid}");
        }
        assert!(seconds("0").is_err() && span("0").unwrap().is_empty() && span("0s").unwrap().is_empty());
    }

    /// Breaks when a child process is given other arguments than this one.
    #[test]
    fn a_process_of_its_own_is_asked_for_the_same() {
        let args = Args::parse_from(["p", "a.yaml", "--set", "x=1", "--window", "2s", "--period", "0.25", "--vs-set", "y=2", "--aa", "3"]);
        let words = args.command_line();
        let again = Args::parse_from(std::iter::once("p".into()).chain(words.clone()));
        assert!(again.one && again.command_line() == words && again.aa.is_none());
        let other = args.other().unwrap();
        assert_eq!(other.set, ["x=1", "y=2"]);
        assert_eq!(Args { vs: Some("b.yaml".into()), ..args }.other().unwrap().set, ["y=2"]);
    }
}

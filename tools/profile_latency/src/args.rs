//! What is asked for.

use anyhow::Result;
use clap::Parser;
use drivewam_core::config::{Config, Layer};
use std::path::PathBuf;
use std::time::Duration;

/// Profiles a ride on this machine: latency by stage with its tail, deadlines, memory, energy, and how far figures of the same thing lie apart.
///
/// The ride goes through a drawn world whose camera is the model's; drawing is not timed. Engines with random weights (`export --checkpoint random:0`) cost
/// what trained ones cost: any size can be profiled without a checkpoint.
#[derive(Debug, Clone, Parser)]
#[command(name = "profile_latency", version)]
pub(crate) struct Args {
    /// Configuration to profile.
    pub(crate) config: PathBuf,
    /// Overrides one key, for example --set engine.threads=1; may be given again. The value is YAML.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Chunks, or seconds (10s), driven before anything counts: the memory fills and clocks rise.
    #[arg(long, default_value = "12", value_parser = span)]
    pub(crate) warmup: Span,
    /// Chunks, or seconds (60s), that count.
    #[arg(long, default_value = "200", value_parser = span)]
    pub(crate) window: Span,
    /// Let a chunk begin every so many seconds, whether the one before is done or not, as the camera does; its time counts from when it should have
    /// begun. Without it chunks follow back to back. The model's own rate is one in 4 s.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) period: Option<Duration>,
    /// Seed of the drawn world.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Measure the same configuration in so many fresh processes: how far apart the same thing lies is the noise floor beside every figure.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100))]
    pub(crate) aa: Option<u32>,
    /// Compare with this configuration, in fresh processes that take turns.
    #[arg(long, value_name = "CONFIG2")]
    pub(crate) vs: Option<PathBuf>,
    /// Overrides one key of what is compared with; without --vs that is CONFIG itself. May be given again.
    #[arg(long = "vs-set", value_name = "KEY=VALUE")]
    pub(crate) vs_set: Vec<String>,
    /// Turns of the comparison, each a fresh process of both.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=100))]
    pub(crate) rounds: u32,
    /// Print the report as one JSON object instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the report as a page to look at.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write what trtexec's --exportTimes writes: one entry per chunk.
    #[arg(long, value_name = "FILE")]
    pub(crate) export_times: Option<PathBuf>,
    /// Write what trtexec's --exportProfile writes: one entry per stage, and per pass of the transformer.
    #[arg(long, value_name = "FILE")]
    pub(crate) export_profile: Option<PathBuf>,
    /// Write a trace for chrome://tracing or ui.perfetto.dev.
    #[arg(long, value_name = "FILE")]
    pub(crate) export_trace: Option<PathBuf>,
    /// One measurement, for a process that this program started itself.
    #[arg(long, hide = true)]
    pub(crate) one: bool,
}

/// How long something lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Span {
    /// So many chunks.
    Chunks(usize),
    /// So long by the wall.
    Time(Duration),
}

impl Span {
    /// Whether it is over.
    pub(crate) fn is_over(self, chunks: usize, elapsed: Duration) -> bool {
        match self {
            Self::Chunks(most) => chunks >= most,
            Self::Time(most) => elapsed >= most,
        }
    }

    /// Whether it is nothing at all.
    pub(crate) fn is_empty(self) -> bool {
        self.is_over(0, Duration::ZERO)
    }

    /// As the command line has it.
    pub(crate) fn word(self) -> String {
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
    if period.is_zero() { Err("wanted more than no time".to_owned()) } else { Ok(period) }
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("{e}"))?;
    if (0.0..=86_400.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err("wanted 0 to 86400 seconds".to_owned()) }
}

impl Args {
    /// The configuration, with what is set on top.
    ///
    /// # Errors
    /// Of the files and the settings.
    pub(crate) fn configuration(&self) -> Result<Config> {
        let layers: Vec<Layer> = self.set.iter().map(|text| Layer::setting(text)).collect::<drivewam_core::Result<_>>()?;
        Ok(drivewam::load_config(&self.config, &layers)?)
    }

    /// What is compared with, if anything is.
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

    /// The words that make another process of this program measure this once.
    pub(crate) fn words(&self) -> Vec<std::ffi::OsString> {
        let mut words = vec![self.config.clone().into_os_string(), "--one".into(), "--seed".into(), self.seed.to_string().into()];
        words.extend(["--warmup".into(), self.warmup.word().into(), "--window".into(), self.window.word().into()]);
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

    /// Breaks when a window of nothing, a negative time or a word is taken for a measure.
    #[test]
    fn windows_are_chunks_or_seconds() {
        assert_eq!(span("12"), Ok(Span::Chunks(12)));
        assert_eq!(span("1.5s"), Ok(Span::Time(Duration::from_millis(1500))));
        for odd in ["", "s", "-1", "-1s", "nans", "1e9s", "many", "9999999"] {
            assert!(span(odd).is_err(), "{odd}");
        }
        assert!(seconds("0").is_err() && span("0").unwrap().is_empty() && span("0s").unwrap().is_empty());
    }

    /// Breaks when another process is asked for something else than this one was.
    #[test]
    fn a_process_of_its_own_is_asked_for_the_same() {
        let args = Args::parse_from(["p", "a.yaml", "--set", "x=1", "--window", "2s", "--period", "0.25", "--vs-set", "y=2", "--aa", "3"]);
        let words = args.words();
        let again = Args::parse_from(std::iter::once("p".into()).chain(words.clone()));
        assert!(again.one && again.words() == words && again.aa.is_none());
        let other = args.other().unwrap();
        assert_eq!(other.set, ["x=1", "y=2"]);
        assert_eq!(Args { vs: Some("b.yaml".into()), ..args }.other().unwrap().set, ["y=2"]);
    }
}

//! Power over time: means, peaks, and energy by the trapezoid rule.

use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// What was measured from the start of a [`Meter`](super::Meter) to its end.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PowerReport {
    /// What was read, in words.
    pub(crate) source: String,
    pub(crate) rails: Vec<RailReport>,
    /// Over the rails that make the total; `None` where they were never all there.
    pub(crate) total: Option<Level>,
    /// From the first sample to the last; `None` where there were not two.
    pub(crate) energy_j: Option<f64>,
    /// Between those samples, in seconds.
    pub(crate) measured_s: f64,
    /// The longest time between two samples of the total: energy knows nothing shorter.
    pub(crate) longest_gap_s: f64,
    pub(crate) samples: u64,
    /// Samples in which something could not be read, and what the first was.
    pub(crate) failed: u64,
    pub(crate) first_error: Option<String>,
}

/// One rail.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RailReport {
    pub(crate) name: String,
    pub(crate) is_in_total: bool,
    /// `None` for a rail that could never be read.
    pub(crate) level: Option<Level>,
}

/// Power in mW. The mean is over the samples, as that of `tegrastats`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Level {
    pub(crate) last_mw: f64,
    pub(crate) mean_mw: f64,
    pub(crate) max_mw: f64,
    pub(crate) samples: u64,
}

impl PowerReport {
    /// The rails as `tegrastats` prints them, `NAME 3207mW/3105mW` for the last power and the mean. A rail that was never read is left out:
    /// the format has no word for it.
    pub(crate) fn tegrastats(&self) -> String {
        let rails = self.rails.iter().filter_map(|rail| rail.level.map(|level| (&rail.name, level)));
        let rails: Vec<String> = rails.map(|(name, level)| format!("{name} {:.0}mW/{:.0}mW", level.last_mw, level.mean_mw)).collect();
        rails.join(" ")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|e| Value::String(e.to_string()))
    }
}

/// The account of a meter, as samples come in.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rails: Vec<Sum>,
    total: Sum,
    /// When the total was last known.
    last: Option<Duration>,
    energy_mj: f64,
    measured: Duration,
    longest_gap: Duration,
    samples: u64,
    failed: u64,
    first_error: Option<String>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    last: f64,
    sum: f64,
    max: f64,
    samples: u64,
}

impl Tally {
    pub(super) fn new(rails: usize) -> Tally {
        Tally { rails: vec![Sum::default(); rails], ..Tally::default() }
    }

    /// Takes a sample: when, since the start; each rail and their total in mW, NaN for what is not known; what went wrong.
    ///
    /// Power is taken to go straight from one known total to the next, so a sample that failed is bridged.
    pub(super) fn take(&mut self, at: Duration, milliwatts: &[f64], total: f64, error: Option<String>) {
        self.samples += 1;
        if let Some(error) = error {
            self.failed += 1;
            self.first_error.get_or_insert(error);
        }
        for (sum, &power) in self.rails.iter_mut().zip(milliwatts) {
            sum.take(power);
        }
        if !total.is_finite() {
            return;
        }
        if let Some(last) = self.last {
            let gap = at.saturating_sub(last);
            // mW by seconds are mJ.
            self.energy_mj += f64::midpoint(self.total.last, total) * gap.as_secs_f64();
            self.measured += gap;
            self.longest_gap = self.longest_gap.max(gap);
        }
        self.last = Some(at);
        self.total.take(total);
    }

    /// Something went wrong besides the samples.
    pub(super) fn fail(&mut self, error: String) {
        self.failed += 1;
        self.first_error.get_or_insert(error);
    }

    /// Energy up to `now`, in mJ: after the last sample its power is taken to go on, for `at_most` so long.
    pub(super) fn energy_mj(&self, now: Duration, at_most: Duration) -> Option<f64> {
        let since = now.saturating_sub(self.last?).min(at_most);
        Some(self.energy_mj + self.total.last * since.as_secs_f64())
    }

    /// The account of rails with `names`, and whether each is in the total.
    pub(super) fn report<'a>(&self, source: String, names: impl Iterator<Item = (&'a str, bool)>) -> PowerReport {
        let rails = names.zip(&self.rails);
        PowerReport {
            source,
            rails: rails.map(|((name, is_in_total), sum)| RailReport { name: name.to_owned(), is_in_total, level: sum.level() }).collect(),
            total: self.total.level(),
            energy_j: (self.total.samples > 1).then_some(self.energy_mj / 1000.0),
            measured_s: self.measured.as_secs_f64(),
            longest_gap_s: self.longest_gap.as_secs_f64(),
            samples: self.samples,
            failed: self.failed,
            first_error: self.first_error.clone(),
        }
    }
}

impl Sum {
    fn take(&mut self, power: f64) {
        if !power.is_finite() {
            return;
        }
        self.max = if self.samples == 0 { power } else { self.max.max(power) };
        self.last = power;
        self.sum += power;
        self.samples += 1;
    }

    fn level(&self) -> Option<Level> {
        let mean_mw = self.sum / self.samples as f64;
        (self.samples > 0).then_some(Level { last_mw: self.last, mean_mw, max_mw: self.max, samples: self.samples })
    }
}

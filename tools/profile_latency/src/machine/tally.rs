//! Statistics of power samples: mean, peak, and energy by the trapezoidal rule.

use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// The result of a power meter.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PowerReport {
    /// Description of the source.
    pub(crate) source: String,
    pub(crate) rails: Vec<RailReport>,
    /// Sum of the rails of the total; `None` if they could never all be read.
    pub(crate) total: Option<Level>,
    /// Energy from the first to the last sample, J; `None` with fewer than two.
    pub(crate) energy_j: Option<f64>,
    /// Time between those samples, s.
    pub(crate) measured_s: f64,
    /// Longest time between two samples of the total, s: the resolution of the energy.
    pub(crate) longest_gap_s: f64,
    pub(crate) samples: u64,
    /// Samples with an error.
    pub(crate) failed: u64,
    pub(crate) first_error: Option<String>,
}

/// One rail.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RailReport {
    pub(crate) name: String,
    pub(crate) is_in_total: bool,
    /// `None` if the rail could never be read.
    pub(crate) level: Option<Level>,
}

/// Power in mW. The mean is that of the samples, as in `tegrastats`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Level {
    pub(crate) last_mw: f64,
    pub(crate) mean_mw: f64,
    pub(crate) max_mw: f64,
    pub(crate) samples: u64,
}

impl PowerReport {
    /// The rails in the format of `tegrastats`: `NAME 3207mW/3105mW` with the last power and
    /// the mean. Rails that were never read are left out, because the format cannot express
    /// them.
    pub(crate) fn tegrastats(&self) -> String {
        let rails = self.rails.iter().filter_map(|rail| rail.level.map(|level| (&rail.name, level)));
        let rails: Vec<String> = rails.map(|(name, level)| format!("{name} {:.0}mW/{:.0}mW", level.last_mw, level.mean_mw)).collect();
        rails.join(" ")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|e| Value::String(e.to_string()))
    }
}

/// Running statistics of a meter.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rails: Vec<Sum>,
    total: Sum,
    /// Time of the last known total.
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

    /// Adds a sample. `at`: time since the start; `milliwatts` and `total`: power of each rail
    /// and their total, NaN if unknown; `error`: the first error of the sample.
    ///
    /// Power is interpolated linearly between known totals, also across failed samples.
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
            // mW times s is mJ.
            self.energy_mj += f64::midpoint(self.total.last, total) * gap.as_secs_f64();
            self.measured += gap;
            self.longest_gap = self.longest_gap.max(gap);
        }
        self.last = Some(at);
        self.total.take(total);
    }

    /// Records an error outside of a sample.
    pub(super) fn fail(&mut self, error: String) {
        self.failed += 1;
        self.first_error.get_or_insert(error);
    }

    /// Energy up to `now`, in mJ. The power of the last sample is extrapolated for `at_most`.
    pub(super) fn energy_mj(&self, now: Duration, at_most: Duration) -> Option<f64> {
        let since = now.saturating_sub(self.last?).min(at_most);
        Some(self.energy_mj + self.total.last * since.as_secs_f64())
    }

    /// The report. `names`: for each rail its name and whether it is part of the total.
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

//! Statistics: distributions of times (count, mean, percentiles, maximum), medians and mean ratios.

use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The percentiles that a distribution may have, by their keys in the report.
pub(crate) const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];
/// One hour: longer times count as one hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Whether `count` samples support the quantile `share`: at least one of them lies beyond it. With
/// fewer, the quantile would be the maximum under another name.
pub(crate) fn supports(count: u64, share: f64) -> bool {
    count as f64 * (1.0 - share) > 1.0 - 1e-9
}

/// The number of samples from which on [`supports`] holds.
pub(crate) fn least_count(share: f64) -> u64 {
    (1.0 / (1.0 - share)).round() as u64
}

/// A histogram of times in nanoseconds, with three significant digits.
pub(crate) struct Times(Histogram<u64>);

impl Times {
    /// The histogram of `ns`.
    ///
    /// # Errors
    /// None with these bounds.
    pub(crate) fn of(ns: impl IntoIterator<Item = u64>) -> Result<Self> {
        let mut all = Histogram::new_with_bounds(1, LONGEST_NS, 3)?;
        ns.into_iter().for_each(|ns| all.saturating_record(ns.max(1)));
        Ok(Self(all))
    }

    /// The quantile `share`, in milliseconds; `None` without samples.
    pub(crate) fn at(&self, share: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(share) as f64 * 1e-6)
    }

    /// The distribution for the report, in milliseconds; without the percentiles that the number
    /// of samples does not support.
    pub(crate) fn json(&self) -> Value {
        let mut value = json!({"count": self.0.len()});
        if !self.0.is_empty() {
            value["mean"] = json!(self.0.mean() * 1e-6);
            value["max"] = json!(self.0.max() as f64 * 1e-6);
            let supported = PERCENTILES.iter().filter(|(_, share)| supports(self.0.len(), *share));
            supported.for_each(|(name, share)| value[name] = json!(self.at(*share)));
        }
        value
    }
}

/// The median of `values`; sorts them.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

/// Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom; 1.96 is used beyond.
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093,
    2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// The geometric mean of ratios and its 95 % confidence interval, from Student's t of their
/// logarithms.
pub(crate) fn mean_ratio(ratios: &[f64]) -> Value {
    let logs: Vec<f64> = ratios.iter().filter(|r| r.is_finite() && **r > 0.0).map(|r| r.ln()).collect();
    let count = logs.len();
    if count < 2 {
        return json!({"rounds": count});
    }
    let mean = logs.iter().sum::<f64>() / count as f64;
    let variance = logs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1) as f64;
    let half = T_95.get(count - 2).copied().unwrap_or(1.96) * (variance / count as f64).sqrt();
    json!({"rounds": count, "mean": mean.exp(), "low": (mean - half).exp(), "high": (mean + half).exp()})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when a percentile has another rank, the unit is not milliseconds, or a time
    /// beyond the limit is lost.
    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let times = Times::of((1..=1000).rev().map(|ms| ms * 1_000_000)).unwrap();
        let near = |got: &Value, wanted: f64| (got.as_f64().unwrap() / wanted - 1.0).abs() < 1e-3;
        let json = times.json();
        for (name, wanted) in [("p50", 500.0), ("p90", 900.0), ("p99", 990.0), ("p99_9", 999.0), ("max", 1000.0), ("mean", 500.5)] {
            assert!(near(&json[name], wanted), "{name}: {json}");
        }
        assert_eq!(Times::of([u64::MAX, 5]).unwrap().json()["count"], 2);
        assert_eq!(Times::of([]).unwrap().json(), json!({"count": 0}));
    }

    /// Breaks when a percentile is printed that is the maximum of its sample.
    #[test]
    fn a_percentile_needs_a_sample_beyond_it() {
        let names = |count: u64| -> Vec<&str> {
            let json = Times::of((1..=count).map(|ms| ms * 1_000_000)).unwrap().json();
            PERCENTILES.iter().map(|(name, _)| *name).filter(|name| json.get(name).is_some()).collect()
        };
        let all = ["p50", "p90", "p99", "p99_9"];
        for (count, supported) in [(1, 0), (2, 1), (9, 1), (10, 2), (99, 2), (100, 3), (999, 3), (1000, 4)] {
            assert_eq!(names(count), &all[..supported], "{count} samples");
        }
        for (_, share) in PERCENTILES {
            let least = least_count(share);
            assert!(supports(least, share) && !supports(least - 1, share), "{share}: {least}");
        }
    }

    /// Breaks when a ratio and its inverse do not cancel, the interval is not that of Student's
    /// t, or a single round gets an interval.
    #[test]
    fn ratios_are_averaged_as_logarithms() {
        let even = mean_ratio(&[2.0, 0.5]);
        assert!((even["mean"].as_f64().unwrap() - 1.0).abs() < 1e-12);
        let three = mean_ratio(&[1.0, 1.1, 1.21]);
        let half = 4.303 * 1.1f64.ln() / 3f64.sqrt();
        assert!((three["high"].as_f64().unwrap() - 1.1 * half.exp()).abs() < 1e-9, "{three}");
        assert_eq!(mean_ratio(&[1.0]), json!({"rounds": 1}));
        assert!((median(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12 && (median(&mut [4.0, 1.0]) - 2.5).abs() < 1e-12);
    }
}

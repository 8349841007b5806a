//! Means with 95 % intervals by cluster bootstrap: chunks of one world are not independent, so
//! worlds are resampled.

use serde_json::{Value, json};

/// Bootstrap resamples.
const RESAMPLES: usize = 2000;

/// The sum and the number of the values of one world.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Cluster {
    pub(super) sum: f64,
    pub(super) count: usize,
}

impl FromIterator<f64> for Cluster {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        values.into_iter().fold(Self::default(), |c, v| Self { sum: c.sum + v, count: c.count + 1 })
    }
}

/// A value and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Estimate {
    /// The estimate as JSON.
    pub(super) fn json(&self) -> Value {
        json!({"value": self.value, "low": self.low, "high": self.high})
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.value.is_finite() {
            return f.pad("-");
        }
        f.pad(&format!("{:.3} [{:.3}, {:.3}]", self.value, self.low, self.high))
    }
}

fn pooled(worlds: impl Iterator<Item = Cluster>) -> f64 {
    let all = worlds.fold(Cluster::default(), |a, b| Cluster { sum: a.sum + b.sum, count: a.count + b.count });
    all.sum / all.count as f64
}

/// Applies `of` to all worlds, and to [`RESAMPLES`] draws of worlds with replacement. The draws are
/// the same in every run.
fn bootstrap(worlds: usize, of: impl Fn(&mut dyn Iterator<Item = usize>) -> f64) -> Estimate {
    let mut rng = fastrand::Rng::with_seed(0);
    let mut values: Vec<f64> =
        (0..RESAMPLES).map(|_| of(&mut (0..worlds).map(|_| rng.usize(0..worlds)))).filter(|v| v.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get((share * values.len() as f64) as usize).copied().unwrap_or(f64::NAN);
    Estimate { value: of(&mut (0..worlds)), low: at(0.025), high: at(0.975) }
}

/// The mean over all values of all worlds.
pub(super) fn mean(worlds: &[Cluster]) -> Estimate {
    bootstrap(worlds.len(), |picks| pooled(picks.map(|i| worlds[i])))
}

/// The mean of `a` divided by the mean of `b`. Both have the same worlds in the same order.
pub(super) fn ratio(a: &[Cluster], b: &[Cluster]) -> Estimate {
    bootstrap(a.len().min(b.len()), |picks| {
        let picks: Vec<usize> = picks.collect();
        pooled(picks.iter().map(|&i| a[i])) / pooled(picks.iter().map(|&i| b[i]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_over_values_and_its_interval_over_worlds() {
        let worlds: Vec<Cluster> = [vec![1.0, 1.0], vec![4.0]].into_iter().map(Cluster::from_iter).collect();
        let figure = mean(&worlds);
        assert!((figure.value - 2.0).abs() < 1e-12);
        assert!((figure.low - 1.0).abs() < 1e-12 && (figure.high - 4.0).abs() < 1e-12, "{figure}");
    }

    /// Breaks when a ratio is not paired: each world here has the same ratio, so it has no
    /// interval.
    #[test]
    fn a_ratio_is_paired() {
        let a: Vec<Cluster> = (1..40).map(|i| Cluster { sum: f64::from(i), count: 2 }).collect();
        let b: Vec<Cluster> = a.iter().map(|c| Cluster { sum: 4.0 * c.sum, ..*c }).collect();
        let figure = ratio(&a, &b);
        assert!([figure.value, figure.low, figure.high].iter().all(|v| (v - 0.25).abs() < 1e-12), "{figure}");
    }

    #[test]
    fn nothing_has_no_mean() {
        assert_eq!(mean(&[Cluster::default()]).to_string(), "-");
    }
}

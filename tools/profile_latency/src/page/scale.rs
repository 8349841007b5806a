//! Chart axes: map values to pixels on linear, logarithmic and "nines" scales, with round ticks.

use super::read::grouped;

/// The kind of a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Linear,
    Log,
    /// Shares on a scale of −log₁₀(1 − share): 0.9, 0.99 and 0.999 are equally spaced.
    Nines,
}

/// An axis of a chart.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    kind: Kind,
    /// Ends as values.
    lo: f64,
    hi: f64,
    /// Distance between linear ticks.
    step: f64,
    /// Ends as pixels.
    px: (f64, f64),
}

/// Smallest range, in the unit of the axis; smaller ranges are widened.
const LEAST_RANGE: f64 = 1e-3;

/// Largest ratio of the highest to the lowest value for a linear axis; beyond it small values would
/// be invisible.
const LINEAR_UP_TO: f64 = 20.0;

impl Scale {
    /// A linear scale from `lo` to `hi`, extended to ticks, of which there are about `ticks`.
    pub(super) fn linear(lo: f64, hi: f64, ticks: usize, px: (f64, f64)) -> Self {
        // The range must not vanish in the floating-point precision of its ends.
        let least = LEAST_RANGE.max(hi.abs() * 1e-6);
        let hi = if hi - lo < least { lo + least } else { hi };
        let step = round_step((hi - lo) / ticks.max(1) as f64);
        Self { kind: Kind::Linear, lo: (lo / step).floor() * step, hi: (hi / step).ceil() * step, step, px }
    }

    /// A scale from `lo` to `hi`: logarithmic if their ratio is large, else linear. A `lo` that
    /// is not positive counts as a thousandth of `hi`.
    pub(super) fn spread(lo: f64, hi: f64, ticks: usize, px: (f64, f64)) -> Self {
        let hi = hi.max(LEAST_RANGE);
        let positive = if lo > 0.0 { lo } else { hi / 1000.0 };
        if hi / positive <= LINEAR_UP_TO {
            return Self::linear(lo, hi, ticks, px);
        }
        let below = MANTISSAS.iter().rev().map(|m| m * decade(positive)).find(|v| *v <= positive * (1.0 + 1e-9));
        let above = MANTISSAS.iter().chain(&[10.0]).map(|m| m * decade(hi)).find(|v| *v >= hi * (1.0 - 1e-9));
        Self { kind: Kind::Log, lo: below.unwrap_or(positive), hi: above.unwrap_or(hi), step: 0.0, px }
    }

    /// A scale by nines, from 0 to the first whole number of nines that shows `samples`
    /// samples.
    pub(super) fn nines(samples: usize, px: (f64, f64)) -> Self {
        let nines = (2.0 * samples.max(1) as f64).log10().ceil().clamp(2.0, 9.0);
        Self { kind: Kind::Nines, lo: 0.0, hi: 1.0 - 0.1f64.powf(nines), step: 0.0, px }
    }

    /// Whether the axis is logarithmic.
    pub(super) fn is_log(&self) -> bool {
        self.kind == Kind::Log
    }

    fn warp(&self, value: f64) -> f64 {
        match self.kind {
            Kind::Linear => value,
            Kind::Log => value.log10(),
            Kind::Nines => -(1.0 - value).log10(),
        }
    }

    /// The pixel of `value`, clamped to the axis.
    pub(super) fn at(&self, value: f64) -> f64 {
        let (lo, hi) = (self.warp(self.lo), self.warp(self.hi));
        let share = (self.warp(value.clamp(self.lo, self.hi)) - lo) / (hi - lo);
        self.px.0 + share * (self.px.1 - self.px.0)
    }

    /// Ticks: values and labels.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        match self.kind {
            Kind::Linear => {
                let decimals = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
                let count = ((self.hi - self.lo) / self.step).round() as usize;
                let values = (0..=count.min(100)).map(|i| self.lo + i as f64 * self.step);
                values.map(|v| (v, label(v, decimals))).collect()
            }
            Kind::Log => {
                let decades = self.hi.log10() - self.lo.log10();
                let mantissas = if decades > 3.0 { &MANTISSAS[..1] } else { &MANTISSAS[..] };
                let (first, last) = (self.lo.log10().floor() as i32, self.hi.log10().ceil() as i32);
                let all = (first..=last).flat_map(|e| mantissas.iter().map(move |m| (m * 10f64.powi(e), e)));
                let inside = all.filter(|(v, _)| *v >= self.lo * (1.0 - 1e-9) && *v <= self.hi * (1.0 + 1e-9));
                inside.map(|(v, e)| (v, label(v, usize::try_from(-e).unwrap_or(0)))).collect()
            }
            Kind::Nines => {
                let nines = self.warp(self.hi).round() as usize;
                let mut ticks = vec![(0.0, "0 %".to_owned()), (0.5, "50 %".to_owned())];
                ticks.extend((1..=nines).map(|n| (1.0 - 0.1f64.powf(n as f64), format!("{} %", nines_of(n)))));
                ticks
            }
        }
    }
}

const MANTISSAS: [f64; 3] = [1.0, 2.0, 5.0];

/// The label of a tick.
fn label(value: f64, decimals: usize) -> String {
    if decimals == 0 && value.abs() >= 10_000.0 { grouped(value) } else { format!("{value:.decimals$}") }
}

/// The largest power of ten not above a positive value.
fn decade(value: f64) -> f64 {
    10f64.powf(value.log10().floor())
}

/// The percentage with `n` nines: 90, 99, 99.9.
fn nines_of(n: usize) -> String {
    match n {
        0 => "0".to_owned(),
        1 => "90".to_owned(),
        2 => "99".to_owned(),
        _ => format!("99.{}", "9".repeat(n - 2)),
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `rough`.
fn round_step(rough: f64) -> f64 {
    let base = decade(rough);
    [1.0, 2.0, 5.0].iter().map(|m| m * base).find(|step| *step >= rough * (1.0 - 1e-9)).unwrap_or(10.0 * base)
}

/// Downsamples a line of points in order of x for `columns` pixels: indices of the first, lowest,
/// highest and last point of each pixel column. No spike is lost.
pub(super) fn downsample(points: &[(f64, f64)], columns: usize) -> Vec<usize> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let columns = columns.max(1);
    if points.len() <= 2 * columns {
        return (0..points.len()).collect();
    }
    let width = ((last.0 - first.0) / columns as f64).max(f64::MIN_POSITIVE);
    let column = |i: usize| ((points[i].0 - first.0) / width) as usize;
    let mut kept = Vec::new();
    let mut from = 0;
    while from < points.len() {
        let to = (from..points.len()).find(|&i| column(i) != column(from)).unwrap_or(points.len());
        let lowest = (from..to).min_by(|&a, &b| points[a].1.total_cmp(&points[b].1));
        let highest = (from..to).max_by(|&a, &b| points[a].1.total_cmp(&points[b].1));
        let mut of_column: Vec<usize> = [Some(from), lowest, highest, Some(to - 1)].into_iter().flatten().collect();
        of_column.sort_unstable();
        of_column.dedup();
        kept.extend(of_column);
        from = to;
    }
    kept
}

/// Moves labels so that neighbours are at least `gap` apart and none is below `floor`. Keeps the
/// order of `places`.
pub(super) fn separate(places: &[f64], gap: f64, floor: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&a, &b| places[a].total_cmp(&places[b]));
    let mut moved = places.to_vec();
    for pair in order.windows(2) {
        moved[pair[1]] = moved[pair[1]].max(moved[pair[0]] + gap);
    }
    let mut limit = floor;
    for &i in order.iter().rev() {
        moved[i] = moved[i].min(limit);
        limit = moved[i] - gap;
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::{Scale, downsample, separate};

    fn labels(scale: &Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, label)| label).collect()
    }

    /// Breaks if steps are not 1, 2 or 5, ends are no ticks, or a label shows a rounding error
    /// (0.30000000000000004).
    #[test]
    fn linear_ticks_are_round_and_hold_the_data() {
        assert_eq!(labels(&Scale::linear(0.0, 93.0, 5, (0.0, 1.0))), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&Scale::linear(0.31, 0.52, 3, (0.0, 1.0))), ["0.3", "0.4", "0.5", "0.6"]);
        assert_eq!(labels(&Scale::linear(0.0, 41_000.0, 3, (0.0, 1.0))), ["0", "20,000", "40,000", "60,000"]);
        let scale = Scale::linear(0.0, 100.0, 5, (200.0, 0.0));
        assert_eq!([scale.at(0.0), scale.at(25.0), scale.at(100.0), scale.at(1e9)], [200.0, 150.0, 0.0, 0.0]);
    }

    /// Breaks if an empty range divides by zero: equal values, zeros, the largest plausible
    /// numbers.
    #[test]
    fn a_range_of_nothing_still_has_an_axis() {
        for value in [0.0, 57.0, 1e15, -1e15, 1e-300] {
            let scale = Scale::linear(value, value, 6, (0.0, 10.0));
            assert!(scale.at(value).is_finite() && (0.0..=10.0).contains(&scale.at(value)), "{value}: {scale:?}");
            assert!((2..=12).contains(&scale.ticks().len()), "{value}: {:?}", scale.ticks());
            let spread = Scale::spread(value, value, 6, (0.0, 10.0));
            assert!(spread.at(value).is_finite(), "{value}: {spread:?}");
        }
    }

    /// Breaks if a long tail gets a linear axis, ticks are not 1, 2 or 5, or data lies outside
    /// of the axis.
    #[test]
    fn a_long_tail_gets_a_logarithmic_axis() {
        assert!(!Scale::spread(10.0, 200.0, 6, (0.0, 1.0)).is_log());
        let scale = Scale::spread(7.0, 180.0, 6, (0.0, 100.0));
        assert!(scale.is_log());
        assert_eq!(labels(&scale), ["5", "10", "20", "50", "100", "200"]);
        assert!(scale.at(7.0) > 0.0 && scale.at(180.0) < 100.0);
        assert_eq!(labels(&Scale::spread(0.01, 90.0, 6, (0.0, 1.0))), ["0.01", "0.1", "1", "10", "100"]);
        assert!(Scale::spread(0.0, 100.0, 6, (0.0, 1.0)).at(0.0).is_finite());
    }

    /// Breaks if the axis is linear in the share, or ends below the last sample.
    #[test]
    fn nines_are_equally_far_apart() {
        let scale = Scale::nines(200, (0.0, 300.0));
        assert_eq!(labels(&scale), ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
        for (share, wanted) in [(0.0, 0.0), (0.9, 100.0), (0.99, 200.0), (0.999, 300.0)] {
            assert!((scale.at(share) - wanted).abs() < 1e-6, "{share}: {}", scale.at(share));
        }
        assert!(scale.at(1.0 - 0.5 / 200.0) < 300.0);
        assert_eq!(labels(&Scale::nines(100_000, (0.0, 1.0))).last().map(String::as_str), Some("99.9999 %"));
    }

    /// Breaks if downsampling loses a single spike or dip among many points.
    #[test]
    fn a_spike_survives_thinning() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), 50.0 + f64::from(i % 7))).collect();
        points[43_217].1 = 900.0;
        points[71_003].1 = 1.0;
        let kept = downsample(&points, 800);
        assert!(kept.contains(&43_217) && kept.contains(&71_003));
        assert!(kept.len() <= 4 * 801, "{}", kept.len());
        assert!(kept.is_sorted() && kept.first() == Some(&0) && kept.last() == Some(&99_999));
        assert_eq!(downsample(&points[..100], 800).len(), 100, "few points all stay");
        assert!(downsample(&[], 800).is_empty());
        assert_eq!(downsample(&[(5.0, 1.0); 5000], 800).len(), 2, "all in one column");
    }

    /// Breaks if labels overlap or leave the chart.
    #[test]
    fn labels_are_moved_apart() {
        assert_eq!(separate(&[10.0, 100.0], 13.0, 200.0), [10.0, 100.0]);
        assert_eq!(separate(&[102.0, 100.0], 13.0, 200.0), [113.0, 100.0]);
        assert_eq!(separate(&[199.0, 200.0], 13.0, 200.0), [187.0, 200.0]);
    }
}

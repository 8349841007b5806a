//! The chart of the cumulative distribution of latency, on a scale that spreads the tail.

use super::chunks::Chunk;
use super::html::{html_section, placeholder};
use super::read::{figure, non_negative};
use super::scale::{Scale, downsample};
use super::svg::{Frame, Svg, WIDTH};
use super::timeline::DEADLINE_WITHIN;
use serde_json::Value;

const NAME: &str = "Share of chunks within a latency";
const FRAME: Frame = Frame { left: 76.0, right: WIDTH - 24.0, top: 34.0, bottom: 320.0 };
/// Height without the legend, px.
const HEIGHT: f64 = 368.0;
const LEGEND_LINE: f64 = 20.0;

/// Percentiles of a distribution in the report: key and share.
const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];

/// One curve.
struct Series {
    name: &'static str,
    class: &'static str,
    samples: usize,
    /// Latency in ms and cumulative share, both ascending.
    points: Vec<(f64, f64)>,
    /// The report has only percentiles, no samples.
    sparse: bool,
}

impl Series {
    /// The curve through all samples. The i-th of n is at (i + 1/2) / n, so that the slowest is
    /// below 1.
    fn of_samples(name: &'static str, class: &'static str, mut ms: Vec<f64>) -> Self {
        ms.sort_by(f64::total_cmp);
        let n = ms.len();
        let points = ms.into_iter().enumerate().map(|(i, ms)| (ms, (i as f64 + 0.5) / n as f64)).collect();
        Self { name, class, samples: n, points, sparse: false }
    }

    /// The curve through the percentiles that the number of samples supports.
    fn of_percentiles(name: &'static str, class: &'static str, of: &Value) -> Option<Self> {
        let samples = non_negative(&of["count"]).filter(|n| *n >= 1.0)?;
        let last = 1.0 - 0.5 / samples;
        let inner = PERCENTILES.iter().filter(|(_, share)| *share < last).map(|(key, share)| (non_negative(&of[*key]), *share));
        let all = inner.chain([(non_negative(&of["max"]), last)]).filter_map(|(ms, share)| ms.map(|ms| (ms, share)));
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (ms, share) in all {
            if points.last().is_none_or(|(before, _)| *before <= ms) {
                points.push((ms, share));
            }
        }
        (!points.is_empty()).then_some(Self { name, class, samples: samples as usize, points, sparse: true })
    }
}

/// The chart.
pub(super) fn section(report: &Value, chunks: &[Chunk]) -> String {
    let latency = &report["latency_ms"];
    let measured = Series::of_samples("chunk", "series", chunks.iter().map(|c| c.latency_ms).collect());
    let chunk = Some(measured).filter(|s| s.samples > 0).or_else(|| Series::of_percentiles("chunk", "series", &latency["chunk"]));
    let response = Series::of_percentiles("response", "series-two", &latency["response"]);
    let all: Vec<Series> = [chunk, response].into_iter().flatten().collect();
    let values = || all.iter().flat_map(|s| s.points.iter().map(|(ms, _)| *ms));
    let (Some(lo), Some(hi)) = (values().min_by(f64::total_cmp), values().max_by(f64::total_cmp)) else {
        return html_section(NAME, "", &placeholder("not measured: the report has neither chunks nor percentiles"));
    };
    let deadline = non_negative(&report["deadline"]["ms"]).filter(|ms| *ms <= DEADLINE_WITHIN * hi);
    let x = Scale::spread(lo, deadline.map_or(hi, |ms| ms.max(hi)), 10, (FRAME.left, FRAME.right));
    let samples = all.iter().map(|s| s.samples).max().unwrap_or(1);
    let y = Scale::nines(samples, (FRAME.bottom, FRAME.top));

    let mut svg = Svg::new("chart-cdf", HEIGHT + LEGEND_LINE * all.len() as f64);
    let x_name = if x.is_log() { "latency, ms (logarithmic)" } else { "latency, ms" };
    svg.axes(FRAME, (&x, x_name), (&y, "share of chunks at or below, by nines"));
    if let Some(ms) = deadline {
        let at = x.at(ms);
        svg.line("rule-deadline", (at, FRAME.top), (at, FRAME.bottom));
        svg.text("label end", (at - 6.0, FRAME.top + 14.0), &format!("deadline {} ms", figure(ms)));
    }
    for series in &all {
        let places: Vec<(f64, f64)> = series.points.iter().map(|(ms, share)| (x.at(*ms), y.at(*share))).collect();
        if series.sparse {
            svg.path(series.class, places.iter().copied(), false, "");
            for ((at_x, at_y), (ms, share)) in places.iter().zip(&series.points) {
                let tip = format!("{}: {:.4} % within {} ms", series.name, share * 100.0, figure(*ms));
                svg.rect("mark-two", (at_x - 3.5, at_y - 3.5), (7.0, 7.0), &tip);
            }
        } else {
            let kept = downsample(&places, (FRAME.right - FRAME.left) as usize);
            svg.path(series.class, steps(kept.iter().map(|&i| places[i])), false, "");
            if let Some((ms, _)) = series.points.last() {
                let at = places.last().copied().unwrap_or_default();
                svg.dot("dot", at, 3.0, &format!("{}: the slowest, {} ms", series.name, figure(*ms)));
            }
        }
    }
    legend(&mut svg, latency, &all);
    let desc: Vec<String> = all.iter().map(|s| describe(latency, s)).collect();
    let lead = if all.iter().any(|s| s.name == "response") {
        "Chunk: from the call to the plan. Response: from the time a chunk was due, so that waiting behind a slow one counts."
    } else {
        "From the call to the plan. 90 %, 99 % and 99.9 % are equally spaced, so that the tail can be read."
    };
    html_section(NAME, lead, &svg.finish(NAME, &desc.join(". ")))
}

/// A step curve that rises at each sample.
fn steps(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut out: Vec<(f64, f64)> = Vec::new();
    for (x, y) in points {
        out.push((x, out.last().map_or(FRAME.bottom, |(_, before)| *before)));
        out.push((x, y));
    }
    out
}

/// One curve as text.
fn describe(latency: &Value, series: &Series) -> String {
    let of = &latency[series.name];
    let known = PERCENTILES.iter().map(|(key, _)| *key).chain(["max"]);
    let figures: Vec<String> =
        known.filter_map(|key| non_negative(&of[key]).map(|ms| format!("{} {}", key.replace('_', "."), figure(ms)))).collect();
    let how = if series.sparse { ", drawn through its percentiles" } else { "" };
    format!("{}, {} samples: {} ms{how}", series.name, series.samples, figures.join(", "))
}

/// The legend below the chart.
fn legend(svg: &mut Svg, latency: &Value, all: &[Series]) {
    for (i, series) in all.iter().enumerate() {
        let (left, y) = (FRAME.left + 40.0, HEIGHT + LEGEND_LINE * i as f64 + 4.0);
        svg.path(series.class, [(FRAME.left, y - 4.0), (left - 10.0, y - 4.0)], false, "");
        if series.sparse {
            svg.rect("mark-two", (FRAME.left + 11.5, y - 7.5), (7.0, 7.0), "");
        }
        svg.text("label", (left, y), &describe(latency, series));
    }
}

#[cfg(test)]
mod tests {
    use super::{Series, steps};
    use serde_json::json;

    /// Breaks if the slowest sample gets the share 1, which the scale by nines cannot show, or
    /// the curve is not ascending.
    #[test]
    fn every_sample_has_a_place_below_one() {
        let series = Series::of_samples("chunk", "series", vec![3.0, 1.0, 2.0, 9.0]);
        assert_eq!(series.points, [(1.0, 0.125), (2.0, 0.375), (3.0, 0.625), (9.0, 0.875)]);
        assert_eq!(steps([(1.0, 5.0), (2.0, 3.0)].into_iter())[1..], [(1.0, 5.0), (2.0, 5.0), (2.0, 3.0)]);
    }

    /// Breaks if a percentile is drawn that the number of samples does not support: p99.9 of
    /// 200 samples is their maximum.
    #[test]
    fn percentiles_are_drawn_as_far_as_the_count_bears() {
        let of = json!({"count": 200, "p50": 10.0, "p90": 12.0, "p99": 20.0, "p99_9": 40.0, "max": 40.0});
        let points = Series::of_percentiles("response", "series-two", &of).map(|s| s.points).unwrap_or_default();
        assert_eq!(points, [(10.0, 0.5), (12.0, 0.9), (20.0, 0.99), (40.0, 0.9975)]);
        assert!(Series::of_percentiles("response", "series-two", &json!({"count": 0, "p50": 1.0})).is_none());
        assert!(Series::of_percentiles("response", "series-two", &json!({"p50": 1.0})).is_none());
    }
}

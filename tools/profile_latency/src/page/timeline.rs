//! The chart of latency over time.

use super::chunks::Chunk;
use super::html::{html_section, placeholder};
use super::read::{figure, non_negative, number};
use super::scale::{Scale, downsample, separate};
use super::svg::{Frame, Svg, WIDTH};
use serde_json::Value;

const NAME: &str = "Latency over time";
const FRAME: Frame = Frame { left: 64.0, right: WIDTH - 120.0, top: 34.0, bottom: 300.0 };
const HEIGHT: f64 = 344.0;

/// Most chunks that all get a dot; of more only the slowest do.
const DOTS: usize = 400;

/// A deadline above this multiple of the slowest chunk is given as text: drawing it would flatten
/// the data.
pub(super) const DEADLINE_WITHIN: f64 = 3.0;

/// The chart.
pub(super) fn section(report: &Value, chunks: &[Chunk]) -> String {
    let Some(slowest) = chunks.iter().map(|c| c.latency_ms).max_by(f64::total_cmp) else {
        return html_section(NAME, "", &placeholder("not measured: the report has no chunks"));
    };
    let fastest = chunks.iter().map(|c| c.latency_ms).min_by(f64::total_cmp).unwrap_or(slowest);
    let deadline = non_negative(&report["deadline"]["ms"]);
    let drawn_deadline = deadline.filter(|ms| *ms <= DEADLINE_WITHIN * slowest);
    let lead = match (deadline, drawn_deadline) {
        (None, _) => "No deadline was set.".to_owned(),
        (Some(ms), None) if slowest > 0.0 => {
            format!("The deadline of {} ms is {:.1} times the slowest chunk and lies above the chart.", figure(ms), ms / slowest)
        }
        _ => String::new(),
    };

    // By time if every chunk has one, else by index.
    let timed = chunks.iter().all(|c| c.start_s.is_some());
    let mut points: Vec<(f64, f64, &Chunk)> =
        chunks.iter().map(|c| (c.start_s.filter(|_| timed).unwrap_or(c.index as f64), c.latency_ms, c)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (from, to) = (points.first().map_or(0.0, |p| p.0), points.last().map_or(1.0, |p| p.0));
    let x = Scale::linear(from, to, 10, (FRAME.left, FRAME.right));
    let top = drawn_deadline.map_or(slowest, |ms| ms.max(slowest));
    let up = (FRAME.bottom, FRAME.top);
    // Logarithmic for a large ratio of slowest to fastest; else from zero, so that heights are
    // comparable.
    let by_ratio = Scale::spread(fastest, top, 6, up);
    let y = if by_ratio.is_log() { by_ratio } else { Scale::linear(0.0, top, 6, up) };

    let mut svg = Svg::new("chart-latency", HEIGHT);
    let y_name = if y.is_log() { "latency, ms (logarithmic)" } else { "latency, ms" };
    svg.axes(FRAME, (&x, if timed { "since the first measured chunk, s" } else { "chunk" }), (&y, y_name));

    let p99 = number(&report["latency_ms"]["chunk"]["p99"]);
    let p50 = number(&report["latency_ms"]["chunk"]["p50"]);
    let rules: Vec<(&str, f64, String)> =
        [("rule-p50", "p50", p50), ("rule-p99", "p99", p99), ("rule-deadline", "deadline", drawn_deadline)]
            .into_iter()
            .filter_map(|(class, name, ms)| ms.map(|ms| (class, ms, format!("{name} {} ms", figure(ms)))))
            .collect();
    let labels = separate(&rules.iter().map(|(_, ms, _)| y.at(*ms) + 4.0).collect::<Vec<_>>(), 15.0, FRAME.bottom + 4.0);
    let places: Vec<(f64, f64)> = points.iter().map(|(at, ms, _)| (x.at(*at), y.at(*ms))).collect();
    let columns = (FRAME.right - FRAME.left) as usize;
    let kept = downsample(&places, columns);
    svg.path("series", kept.iter().map(|&i| places[i]), false, "");
    for ((class, ms, label), place) in rules.iter().zip(labels) {
        svg.line(class, (FRAME.left, y.at(*ms)), (FRAME.right, y.at(*ms)));
        svg.text("label", (FRAME.right + 8.0, place), label);
    }
    let late = |c: &Chunk| c.late_ms.is_some() || deadline.is_some_and(|ms| c.latency_ms > ms);
    let odd = (0..points.len()).filter(|&i| points[i].2.other_verdict().is_some()).take(DOTS);
    let mut marked: Vec<usize> = kept.into_iter().chain(odd).collect();
    marked.sort_unstable();
    marked.dedup();
    let (mut any_late, mut any_other) = (false, false);
    for i in marked {
        let ((at_x, at_y), chunk) = (places[i], points[i].2);
        if late(chunk) {
            any_late = true;
            svg.path("late", [(at_x - 5.0, at_y + 4.0), (at_x + 5.0, at_y + 4.0), (at_x, at_y - 5.0)], true, &chunk.tip());
        } else if chunk.other_verdict().is_some() {
            any_other = true;
            svg.path("odd", [(at_x - 5.0, at_y), (at_x, at_y - 5.0), (at_x + 5.0, at_y), (at_x, at_y + 5.0)], true, &chunk.tip());
        } else if points.len() <= DOTS || p99.is_some_and(|ms| chunk.latency_ms > ms) {
            svg.dot("dot", (at_x, at_y), if points.len() > DOTS / 2 { 1.6 } else { 2.4 }, &chunk.tip());
        }
    }
    legend(&mut svg, any_late, any_other);
    let desc = format!(
        "{} chunks, from {} ms to {} ms{}{}",
        chunks.len(),
        figure(fastest),
        figure(slowest),
        p50.map_or_else(String::new, |ms| format!(", p50 {} ms", figure(ms))),
        p99.map_or_else(String::new, |ms| format!(", p99 {} ms", figure(ms)))
    );
    html_section(NAME, &lead, &svg.finish(NAME, &desc))
}

/// The legend of the marks that were drawn.
fn legend(svg: &mut Svg, any_late: bool, any_other: bool) {
    let mut at = FRAME.right - 330.0;
    let y = FRAME.top - 14.0;
    if any_late {
        svg.path("late", [(at - 5.0, y + 4.0), (at + 5.0, y + 4.0), (at, y - 5.0)], true, "");
        svg.text("label", (at + 10.0, y + 4.0), "after the deadline");
    }
    at += 150.0;
    if any_other {
        svg.path("odd", [(at - 5.0, y), (at, y - 5.0), (at + 5.0, y), (at, y + 5.0)], true, "");
        svg.text("label", (at + 10.0, y + 4.0), "verdict other than accepted");
    }
}

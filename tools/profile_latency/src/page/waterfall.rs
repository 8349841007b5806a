//! The chart of the stages within a chunk: for the median and for the slowest chunk.

use super::html::{html_section, placeholder};
use super::read::{figure, list, non_negative, number, text_or_absent, truncate};
use super::scale::Scale;
use super::svg::{Svg, WIDTH};
use serde_json::Value;

const NAME: &str = "Stages of a chunk";
const LEFT: f64 = 130.0;
const RIGHT: f64 = WIDTH - 190.0;
const ROW: f64 = 22.0;

/// Most rows of a panel; the number of further stages is given as text.
const ROWS: usize = 24;

/// One run of a stage within a chunk.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    start_ms: f64,
    ms: f64,
}

/// A chunk with its stages.
#[derive(Debug, PartialEq)]
struct Chunk {
    index: usize,
    latency_ms: f64,
    /// Name and runs, in order of the first start.
    stages: Vec<(String, Vec<Span>)>,
}

impl Chunk {
    fn read(index: usize, chunk: &Value) -> Option<Self> {
        let mut spans: Vec<(String, Span)> = list(&chunk["stages"])
            .iter()
            .filter_map(|s| {
                Some((text_or_absent(&s["stage"]), Span { start_ms: number(&s["start_ms"])?.max(0.0), ms: non_negative(&s["ms"])? }))
            })
            .collect();
        spans.sort_by(|a, b| a.1.start_ms.total_cmp(&b.1.start_ms));
        let mut stages: Vec<(String, Vec<Span>)> = Vec::new();
        for (name, span) in spans {
            match stages.iter_mut().find(|(known, _)| *known == name) {
                Some((_, runs)) => runs.push(span),
                None => stages.push((name, vec![span])),
            }
        }
        let latency_ms = non_negative(&chunk["latency_ms"])?;
        (!stages.is_empty()).then_some(Self { index, latency_ms, stages })
    }

    /// End of the last stage or of the chunk, ms.
    fn end_ms(&self) -> f64 {
        self.stages.iter().flat_map(|(_, runs)| runs).map(|s| s.start_ms + s.ms).fold(self.latency_ms, f64::max)
    }

    /// Time of the chunk without a running stage, ms.
    fn idle_ms(&self) -> f64 {
        let mut spans: Vec<Span> = self.stages.iter().flat_map(|(_, runs)| runs.iter().copied()).collect();
        spans.sort_by(|a, b| a.start_ms.total_cmp(&b.start_ms));
        let (mut covered, mut to) = (0.0, 0.0f64);
        for span in spans {
            let end = span.start_ms + span.ms;
            covered += (end - span.start_ms.max(to)).max(0.0);
            to = to.max(end);
        }
        (self.latency_ms - covered).max(0.0)
    }
}

/// The chunk of median latency and the slowest one, among those with stages.
fn median_and_slowest(chunks: &Value) -> Option<(Chunk, Chunk)> {
    let stages = |chunk: &Value| !list(&chunk["stages"]).is_empty();
    let latency = |chunk: &Value| non_negative(&chunk["latency_ms"]).unwrap_or(-1.0);
    let mut order: Vec<(usize, &Value)> = list(chunks).iter().enumerate().filter(|(_, c)| stages(c) && latency(c) >= 0.0).collect();
    order.sort_by(|a, b| latency(a.1).total_cmp(&latency(b.1)));
    let middle = order.get(order.len().checked_sub(1)? / 2)?;
    let slowest = order.last()?;
    Some((Chunk::read(middle.0, middle.1)?, Chunk::read(slowest.0, slowest.1)?))
}

/// The chart.
pub(super) fn section(chunks: &Value) -> String {
    let Some((middle, slowest)) = median_and_slowest(chunks) else {
        return html_section(NAME, "", &placeholder("not measured: no chunk of the report has its stages"));
    };
    // A common axis if the smaller panel stays readable.
    let shared = slowest.end_ms() <= 4.0 * middle.end_ms();
    let rows = |chunk: &Chunk| chunk.stages.len().min(ROWS + 1) as f64;
    let panel = |chunk: &Chunk| 30.0 + rows(chunk) * ROW + 44.0;
    let mut svg = Svg::new("chart-waterfall", 30.0 + panel(&middle) + panel(&slowest) - 20.0);
    legend(&mut svg);
    let end = |chunk: &Chunk| if shared { middle.end_ms().max(slowest.end_ms()) } else { chunk.end_ms() };
    draw(&mut svg, 30.0, "The median chunk", &middle, end(&middle));
    draw(&mut svg, 30.0 + panel(&middle), "The slowest chunk", &slowest, end(&slowest));
    let desc = [("median", &middle), ("slowest", &slowest)].map(|(which, chunk)| {
        let longest = chunk.stages.iter().max_by(|a, b| total(&a.1).total_cmp(&total(&b.1)));
        let longest = longest.map_or_else(String::new, |(name, runs)| format!(", longest stage {name} with {} ms", figure(total(runs))));
        format!("{which}: chunk {}, {} ms{longest}", chunk.index, figure(chunk.latency_ms))
    });
    let lead =
        if shared { "Both have the same time axis." } else { "The time axes differ: the durations are too far apart for a common one." };
    html_section(NAME, lead, &svg.finish(NAME, &desc.join("; ")))
}

fn total(runs: &[Span]) -> f64 {
    runs.iter().map(|s| s.ms).sum()
}

/// The CSS class of a stage's bars, by kind of work.
fn class(stage: &str) -> &'static str {
    match stage {
        "observe" | "video" | "action" => "bar-passes",
        "encode" => "bar-codec",
        _ => "bar-rest",
    }
}

fn legend(svg: &mut Svg) {
    let mut at = LEFT;
    for (class, label) in [("bar-passes", "transformer passes"), ("bar-codec", "codec"), ("bar-rest", "other")] {
        svg.rect(class, (at, 6.0), (12.0, 12.0), "");
        svg.text("label", (at + 18.0, 16.0), label);
        at += 40.0 + 6.8 * label.len() as f64;
    }
}

fn draw(svg: &mut Svg, top: f64, title: &str, chunk: &Chunk, end_ms: f64) {
    let idle = chunk.idle_ms();
    let between = if idle > 0.0 { format!(", {} ms of it in no stage", figure(idle)) } else { String::new() };
    svg.text("panel", (4.0, top + 16.0), &format!("{title}: number {}, {} ms{between}", chunk.index, figure(chunk.latency_ms)));
    let first = top + 30.0;
    let shown = &chunk.stages[..chunk.stages.len().min(ROWS)];
    let hidden = chunk.stages.len() - shown.len();
    let bottom = first + ROW * (shown.len() + usize::from(hidden > 0)) as f64;
    let x = Scale::linear(0.0, end_ms, 8, (LEFT, RIGHT));
    for (value, label) in x.ticks() {
        svg.line("grid", (x.at(value), first), (x.at(value), bottom));
        svg.text("tick mid", (x.at(value), bottom + 16.0), &label);
    }
    svg.line("axis", (LEFT, bottom), (RIGHT, bottom));
    svg.text("name", (RIGHT + 26.0, bottom + 16.0), "ms since the chunk began");
    for (i, (name, runs)) in shown.iter().enumerate() {
        let y = first + ROW * i as f64;
        svg.text("label end", (LEFT - 8.0, y + 15.0), &truncate(name, 17));
        for (span, count) in joined(runs, &x) {
            let (from, to) = (x.at(span.start_ms), x.at(span.start_ms + span.ms));
            let runs = if count > 1 { format!(", {count} runs") } else { String::new() };
            let tip = format!("{name}: from {} ms, {} ms{runs}", figure(span.start_ms), figure(span.ms));
            // At least one pixel, so that every run is visible.
            svg.rect(class(name), (from, y + 3.0), ((to - from).max(1.0), ROW - 6.0), &tip);
        }
        let sum = total(runs);
        svg.text("label end", (RIGHT + 74.0, y + 15.0), &format!("{} ms", figure(sum)));
        if chunk.latency_ms > 0.0 {
            svg.text("label end", (RIGHT + 126.0, y + 15.0), &format!("{:.1} %", 100.0 * sum / chunk.latency_ms));
        }
        if runs.len() > 1 {
            svg.text("label", (RIGHT + 136.0, y + 15.0), &format!("{} runs", runs.len()));
        }
    }
    if hidden > 0 {
        svg.text("label end", (LEFT - 8.0, bottom - 7.0), &format!("{hidden} more"));
    }
    svg.line("rule-end", (x.at(chunk.latency_ms), first), (x.at(chunk.latency_ms), bottom));
}

/// Merges runs that are less than half a pixel apart, and counts them.
fn joined(runs: &[Span], x: &Scale) -> Vec<(Span, usize)> {
    let mut out: Vec<(Span, usize)> = Vec::new();
    for run in runs {
        match out.last_mut() {
            Some((last, count)) if x.at(run.start_ms) - x.at(last.start_ms + last.ms) < 0.5 && run.start_ms >= last.start_ms => {
                last.ms = (run.start_ms + run.ms).max(last.start_ms + last.ms) - last.start_ms;
                *count += 1;
            }
            _ => out.push((*run, 1)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Chunk, median_and_slowest};
    use serde_json::json;

    /// Breaks if the median is not a chunk, a chunk without stages is chosen, or overlapping
    /// stages count twice.
    #[test]
    fn the_middle_and_the_slowest_are_chunks_with_stages() {
        let stage = |start: f64, ms: f64| json!({"stage": "video", "start_ms": start, "ms": ms});
        let chunks = json!([
            {"latency_ms": 30.0, "stages": [stage(0.0, 10.0), stage(5.0, 10.0)]},
            {"latency_ms": 90.0, "stages": []},
            {"latency_ms": 10.0, "stages": [stage(0.0, 10.0)]},
            {"latency_ms": 50.0, "stages": [stage(0.0, 10.0)]},
            {"stages": [stage(0.0, 10.0)]},
        ]);
        let found = median_and_slowest(&chunks).map(|(middle, slowest)| (middle.index, middle.idle_ms(), slowest.index));
        assert_eq!(found, Some((0, 15.0, 3)));
        assert_eq!(Chunk::read(0, &json!({"latency_ms": 3.0})), None);
    }
}

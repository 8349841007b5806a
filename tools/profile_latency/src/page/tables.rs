//! Tables: stages, passes, the comparison with another configuration, start-up, deadline, energy
//! and guidance.

use super::html::{escape, html_section, placeholder};
use super::read::{ABSENT, fields, figure, grouped, integer, list, ms, non_negative, not_measured, number, text_or_absent};
use crate::figures::{PERCENTILES, least_count, supports};
use drivewam::stages::Stage;
use serde_json::Value;
use std::fmt::Write as _;

/// Rows below the stages that are not stages.
const WHOLES: [&str; 3] = ["chunk", "response", "guidance"];

const COLUMNS: [(&str, &str); 6] = [("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p99_9", "p99.9"), ("max", "max"), ("mean", "mean")];

/// Most characters of a cell that holds one figure.
const FIGURE: usize = 30;

/// Explains `versus.ratio`.
const RATIO: &str = "Latency of the other configuration over the latency of this one: above 1, the other is slower.";

/// Adds a table row with a name and cells of figures.
fn row(out: &mut String, class: &str, name: &str, cells: &[String]) {
    // Figures stay on one line; long words wrap.
    let class_of = |cell: &String| if cell.chars().count() > FIGURE { "n words" } else { "n" };
    let cells: String = cells.iter().map(|cell| format!("<td class=\"{}\">{}</td>", class_of(cell), escape(cell))).collect();
    let _ = writeln!(out, "<tr class=\"{class}\"><th scope=\"row\">{}</th>{cells}</tr>", escape(name));
}

/// A table. All columns but the first hold figures.
fn table(columns: &[String], rows: &str) -> String {
    let (first, rest) = columns.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let rest: String = rest.iter().map(|name| format!("<th scope=\"col\" class=\"n\">{}</th>", escape(name))).collect();
    format!(
        "<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">{}</th>{rest}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n",
        escape(first)
    )
}

/// The interval of a ratio, with three decimals.
fn interval(of: &Value) -> Option<String> {
    Some(format!("{:.3} to {:.3}", number(&of["low"])?, number(&of["high"])?))
}

/// The noise floor of a row as text. The ratios of the chunk are those without a metric's name.
fn noise(aa: &Value, of: &str) -> String {
    let ratio = if of == "chunk" && aa["ratio"]["p50"].is_object() { &aa["ratio"] } else { &aa["ratio"][of] };
    let intervals: Vec<String> = COLUMNS.iter().filter_map(|(key, name)| Some(format!("{name} {}", interval(&ratio[*key])?))).collect();
    if intervals.is_empty() { ABSENT.to_owned() } else { intervals.join("; ") }
}

/// Cells of a distribution: count, percentiles, maximum and mean.
fn distribution(of: &Value) -> Vec<String> {
    [integer(&of["count"])].into_iter().chain(COLUMNS.iter().map(|(key, _)| ms(&of[*key]))).collect()
}

/// The column titles of a [`distribution`].
fn columns(first: &str) -> Vec<String> {
    [first, "count"].into_iter().chain(COLUMNS.iter().map(|(_, name)| *name)).map(str::to_owned).collect()
}

/// The table of latency by stage.
pub(super) fn stages(report: &Value) -> String {
    const NAME: &str = "Latency by stage";
    let latency = &report["latency_ms"];
    if !latency.is_object() {
        return html_section(NAME, "", &placeholder(&not_measured(latency)));
    }
    let aa = &report["aa"];
    let stages = Stage::ALL.map(Stage::as_str);
    let known = |name: &str| stages.contains(&name) || WHOLES.contains(&name);
    let others = fields(latency).map(|(name, _)| name).filter(|name| !known(name));
    let mut rows = String::new();
    for name in stages.into_iter().chain(others).chain(WHOLES).filter(|name| latency[*name].is_object()) {
        let of = &latency[name];
        let mut cells = distribution(of);
        if aa.is_object() {
            cells.push(noise(aa, name));
        }
        row(&mut rows, if WHOLES.contains(&name) { "whole" } else { "" }, name, &cells);
    }
    let mut columns = columns("stage, ms");
    let mut lead = String::new();
    if aa.is_object() {
        columns.push("noise floor, ratio".to_owned());
        lead = format!(
            "Noise floor: {} runs of the same configuration in fresh processes differ by these ratios; smaller differences are noise. ",
            integer(&aa["runs"])
        );
    }
    if let Some(count) = non_negative(&latency["chunk"]["count"]) {
        let missing = PERCENTILES.iter().filter(|(_, share)| !supports(count as u64, *share));
        let missing: Vec<String> =
            missing.map(|(name, share)| format!("{} from {} on", name.replace('_', "."), grouped(least_count(*share) as f64))).collect();
        if !missing.is_empty() {
            let _ = write!(lead, "A percentile stands where at least one of the {count:.0} chunks lies beyond it: {}.", missing.join(", "));
        }
    }
    html_section(NAME, lead.trim(), &table(&columns, &rows))
}

/// The table of single transformer passes in the order of a chunk; empty without passes in the
/// report.
pub(super) fn passes(report: &Value) -> String {
    let passes = list(&report["latency_ms"]["passes"]);
    if passes.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for pass in passes {
        row(&mut rows, "", &text_or_absent(&pass["pass"]), &distribution(pass));
    }
    let lead = "The single runs of the stages observe, video and action, in the order of a chunk.";
    html_section("Latency by transformer pass", lead, &table(&columns("pass, ms"), &rows))
}

/// The conclusion from the interval of a ratio and the noise floor.
fn verdict(of: &Value, noise: &Value) -> &'static str {
    let [Some(low), Some(high)] = [number(&of["low"]), number(&of["high"])] else { return ABSENT };
    let (least, most) = (number(&noise["low"]).unwrap_or(1.0), number(&noise["high"]).unwrap_or(1.0));
    if low > most {
        "other slower"
    } else if high < least {
        "other faster"
    } else {
        "no difference found"
    }
}

/// The comparison with another configuration, if there is one.
pub(super) fn versus(report: &Value) -> String {
    let versus = &report["versus"];
    if !versus.is_object() {
        return String::new();
    }
    let noise = &report["aa"]["ratio"];
    let mut rows = String::new();
    for (key, of) in ordered(&versus["ratio"]) {
        let known = COLUMNS.iter().find(|(known, _)| *known == key).map_or(key, |(_, name)| name);
        let mean = number(&of["mean"]).map_or_else(|| ABSENT.to_owned(), |v| format!("{v:.3}"));
        let absent = || ABSENT.to_owned();
        let cells =
            [mean, interval(of).unwrap_or_else(absent), interval(&noise[key]).unwrap_or_else(absent), verdict(of, &noise[key]).to_owned()];
        row(&mut rows, "", known, &cells);
    }
    let other = &versus["configuration"];
    let set: Vec<String> = list(&other["set"]).iter().map(text_or_absent).collect();
    let name =
        format!("Compared with {}", [vec![text_or_absent(if other.is_object() { &other["path"] } else { other })], set].concat().join(" "));
    let columns = ["chunk", "mean ratio", "low to high", "noise floor", "reading"].map(str::to_owned);
    let lead = format!(
        "{RATIO} {} alternating rounds. Other configuration: sha256 {}.",
        integer(&versus["rounds"]),
        text_or_absent(&other["sha256"])
    );
    html_section(&name, &lead, &table(&columns, &rows))
}

/// Fields of a distribution or of ratios: the known ones in their usual order, then the others.
fn ordered(of: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let place = |name: &str| ["count", "p50", "p90", "p99", "p99_9", "max"].iter().position(|known| *known == name).unwrap_or(usize::MAX);
    let mut all: Vec<(&str, &Value)> = fields(of).collect();
    all.sort_by_key(|(name, _)| place(name));
    all.into_iter()
}

/// The small sections: start-up, deadline, energy and guidance.
pub(super) fn rest(report: &Value) -> String {
    format!(
        "<div class=\"small\">\n{}{}{}{}</div>\n",
        startup(&report["startup_ms"]),
        deadline(&report["deadline"]),
        energy(&report["energy"]),
        guidance(&report["guidance"])
    )
}

fn startup(startup: &Value) -> String {
    const NAME: &str = "Start-up";
    if !startup.is_object() {
        return html_section(NAME, "", &placeholder(&not_measured(startup)));
    }
    let ordered = ["open", "plan", "load", "warm", "first_trajectory"];
    let others = fields(startup).map(|(name, _)| name).filter(|name| !ordered.contains(name));
    let mut rows = String::new();
    for name in ordered.into_iter().chain(others) {
        row(&mut rows, "", &name.replace('_', " "), &[ms(&startup[name])]);
    }
    html_section(NAME, "", &table(&["step".to_owned(), "ms".to_owned()], &rows))
}

fn deadline(deadline: &Value) -> String {
    const NAME: &str = "Deadline";
    let Some(at) = non_negative(&deadline["ms"]) else { return html_section(NAME, "", &placeholder(&not_measured(&Value::Null))) };
    let uncovered = &deadline["uncovered_ms"];
    let lead = format!(
        "{} ms. Chunks that missed it: {}. Time without a valid plan: {} ms in {} chunks, at most {} ms.",
        figure(at),
        integer(&deadline["misses"]),
        ms(&uncovered["total"]),
        integer(&uncovered["count"]),
        ms(&uncovered["max"])
    );
    html_section(NAME, &lead, "")
}

fn energy(energy: &Value) -> String {
    const NAME: &str = "Energy";
    let joules = &energy["joules_per_chunk"];
    if !joules.is_object() {
        return html_section(NAME, "", &placeholder(&not_measured(energy)));
    }
    let mut rows = String::new();
    for (key, value) in ordered(joules) {
        row(&mut rows, "", &format!("{key}, J per chunk"), &[ms(value)]);
    }
    for rail in list(&energy["rails"]) {
        let level = &rail["level"];
        row(
            &mut rows,
            "",
            &format!("{}, mW", text_or_absent(&rail["name"])),
            &[format!("{} mean, {} at most", ms(&level["mean_mw"]), ms(&level["max_mw"]))],
        );
    }
    let mut lead = format!("Measured by {}.", text_or_absent(&energy["source"]));
    if let Some(line) = energy["tegrastats"].as_str() {
        let _ = write!(lead, " As tegrastats writes it: {line}");
    }
    html_section(NAME, &lead, &table(&["what".to_owned(), "value".to_owned()], &rows))
}

fn guidance(guidance: &Value) -> String {
    const NAME: &str = "Guidance";
    if !guidance.is_object() {
        return html_section(NAME, "", &placeholder(&not_measured(guidance)));
    }
    let mut rows = String::new();
    for (source, chunks) in fields(&guidance["sources"]) {
        row(&mut rows, "", &format!("chunks with guidance by {source}"), &[integer(chunks)]);
    }
    row(&mut rows, "", "answers rejected", &[integer(&guidance["rejects"])]);
    for (key, value) in ordered(&guidance["age_ms"]) {
        row(
            &mut rows,
            "",
            &format!("age of an answer, {}", if key == "count" { key.to_owned() } else { format!("{key}, ms") }),
            &[ms(value)],
        );
    }
    html_section(NAME, "", &table(&["what".to_owned(), "value".to_owned()], &rows))
}

#[cfg(test)]
mod tests {
    use super::{noise, verdict, versus};
    use serde_json::json;

    /// Breaks if an interval that overlaps the noise counts as a difference.
    #[test]
    fn only_what_lies_outside_of_the_noise_is_a_difference() {
        let of = |low: f64, high: f64| json!({"low": low, "high": high});
        let floor = of(0.97, 1.03);
        assert_eq!(verdict(&of(1.04, 1.08), &floor), "other slower");
        assert_eq!(verdict(&of(0.90, 0.96), &floor), "other faster");
        assert_eq!(verdict(&of(1.02, 1.08), &floor), "no difference found");
        assert_eq!(verdict(&json!({}), &floor), "-");
    }

    /// Breaks if the rows of a comparison stand in the order of their names, the maximum first.
    #[test]
    fn the_rows_of_a_comparison_rise_to_the_maximum() {
        let of = json!({"mean": 1.1, "low": 1.0, "high": 1.2});
        let page = versus(&json!({"versus": {"ratio": {"max": of, "p50": of, "p90": of, "p99": of, "p99_9": of, "zz": of}}}));
        let at = ["p50", "p90", "p99", "p99.9", "max", "zz"].map(|name| page.find(&format!(">{name}</th>")).unwrap());
        assert!(at.is_sorted(), "{page}");
    }

    /// Breaks if a stage without a noise floor gets that of the chunk.
    #[test]
    fn a_stage_without_a_noise_floor_has_none() {
        let aa = json!({"ratio": {"p50": {"low": 0.98, "high": 1.03}, "p99": {"low": 0.9}}});
        assert_eq!(noise(&aa, "chunk"), "p50 0.980 to 1.030");
        assert_eq!(noise(&aa, "video"), "-");
    }
}

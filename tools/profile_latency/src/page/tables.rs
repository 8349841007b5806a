//! Tables of the report: stages, another configuration, and what is neither time of a chunk nor memory.

use super::read::{ABSENT, amount, fields, figure, list, ms, not_measured, number, told, whole};
use super::{escape, nothing, section as part};
use drivewam::stages::Stage;
use serde_json::Value;
use std::fmt::Write as _;

/// Whole things, below the stages.
const WHOLES: [&str; 3] = ["chunk", "response", "guidance"];

const COLUMNS: [(&str, &str); 6] = [("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p99_9", "p99.9"), ("max", "max"), ("mean", "mean")];

/// What `versus.ratio` divides. A ratio alone does not say which of two is slower.
const RATIO: &str = "Latency of the other configuration over the latency of this one: above 1, the other is slower.";

/// A row of cells; the first names it, the rest are figures.
fn row(out: &mut String, class: &str, name: &str, cells: &[String]) {
    let cells: String = cells.iter().map(|cell| format!("<td class=\"n\">{}</td>", escape(cell))).collect();
    let _ = writeln!(out, "<tr class=\"{class}\"><th scope=\"row\">{}</th>{cells}</tr>", escape(name));
}

/// A table; all its columns but the first hold figures.
fn table(columns: &[String], rows: &str) -> String {
    let (first, rest) = columns.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let rest: String = rest.iter().map(|name| format!("<th scope=\"col\" class=\"n\">{}</th>", escape(name))).collect();
    format!(
        "<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">{}</th>{rest}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n",
        escape(first)
    )
}

/// Two decimals more than a percentage, which is what a ratio is read for.
fn interval(of: &Value) -> Option<String> {
    Some(format!("{:.3} to {:.3}", number(&of["low"])?, number(&of["high"])?))
}

/// How far the same configuration is from itself over fresh processes: of a row, or of the chunk, whose are the ratios without a name.
fn noise(aa: &Value, of: &str) -> String {
    let ratio = if of == "chunk" && aa["ratio"]["p50"].is_object() { &aa["ratio"] } else { &aa["ratio"][of] };
    let told: Vec<String> = COLUMNS.iter().filter_map(|(key, name)| Some(format!("{name} {}", interval(&ratio[*key])?))).collect();
    if told.is_empty() { ABSENT.to_owned() } else { told.join("; ") }
}

/// Count, percentiles and what comes after them.
fn distribution(of: &Value) -> Vec<String> {
    [whole(&of["count"])].into_iter().chain(COLUMNS.iter().map(|(key, _)| ms(&of[*key]))).collect()
}

/// What stands above a [`distribution`] and its name.
fn columns(first: &str) -> Vec<String> {
    [first, "count"].into_iter().chain(COLUMNS.iter().map(|(_, name)| *name)).map(str::to_owned).collect()
}

/// Latency by stage.
pub(super) fn stages(report: &Value) -> String {
    const NAME: &str = "Latency by stage";
    let latency = &report["latency_ms"];
    if !latency.is_object() {
        return part(NAME, "", &nothing(&not_measured(latency)));
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
            "Noise floor: {} runs of the same configuration in fresh processes differ by these ratios; a smaller difference means nothing. ",
            whole(&aa["runs"])
        );
    }
    if let Some(count) = amount(&latency["chunk"]["count"]).filter(|count| *count < 1000.0) {
        let _ = write!(lead, "p99.9 of {count:.0} chunks is their maximum.");
    }
    part(NAME, lead.trim(), &table(&columns, &rows))
}

/// The passes of the transformer one by one, in the order in which they run; nothing where the report does not know them.
pub(super) fn passes(report: &Value) -> String {
    let passes = list(&report["latency_ms"]["passes"]);
    if passes.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for pass in passes {
        row(&mut rows, "", &told(&pass["pass"]), &distribution(pass));
    }
    let lead = "The runs of the stages observe, video and action, each by itself, in the order in which they run in a chunk.";
    part("Latency by pass of the transformer", lead, &table(&columns("pass, ms"), &rows))
}

/// What a ratio means, given what noise alone does.
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

/// Another configuration beside this one, where one was measured.
pub(super) fn versus(report: &Value) -> String {
    let versus = &report["versus"];
    if !versus.is_object() {
        return String::new();
    }
    let noise = &report["aa"]["ratio"];
    let mut rows = String::new();
    for (key, of) in fields(&versus["ratio"]) {
        let known = COLUMNS.iter().find(|(known, _)| *known == key).map_or(key, |(_, name)| name);
        let mean = number(&of["mean"]).map_or_else(|| ABSENT.to_owned(), |v| format!("{v:.3}"));
        let absent = || ABSENT.to_owned();
        let cells =
            [mean, interval(of).unwrap_or_else(absent), interval(&noise[key]).unwrap_or_else(absent), verdict(of, &noise[key]).to_owned()];
        row(&mut rows, "", known, &cells);
    }
    let other = &versus["configuration"];
    let set: Vec<String> = list(&other["set"]).iter().map(told).collect();
    let name = format!("Beside {}", [vec![told(if other.is_object() { &other["path"] } else { other })], set].concat().join(" "));
    let columns = ["chunk", "mean", "low to high", "noise floor", "reading"].map(str::to_owned);
    let lead =
        format!("{RATIO} {} rounds, taking turns. Other configuration: sha256 {}.", whole(&versus["rounds"]), told(&other["sha256"]));
    part(&name, &lead, &table(&columns, &rows))
}

/// Fields of a distribution from the count and the percentiles up, then whatever else there is.
fn ordered(of: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let place = |name: &str| ["count", "p50", "p90", "p99", "p99_9", "max"].iter().position(|known| *known == name).unwrap_or(usize::MAX);
    let mut all: Vec<(&str, &Value)> = fields(of).collect();
    all.sort_by_key(|(name, _)| place(name));
    all.into_iter()
}

/// Start, deadline, energy and guidance, side by side.
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
    const NAME: &str = "Start";
    if !startup.is_object() {
        return part(NAME, "", &nothing(&not_measured(startup)));
    }
    let ordered = ["open", "plan", "load", "warm", "first_trajectory"];
    let others = fields(startup).map(|(name, _)| name).filter(|name| !ordered.contains(name));
    let mut rows = String::new();
    for name in ordered.into_iter().chain(others) {
        row(&mut rows, "", &name.replace('_', " "), &[ms(&startup[name])]);
    }
    part(NAME, "", &table(&["step".to_owned(), "ms".to_owned()], &rows))
}

fn deadline(deadline: &Value) -> String {
    const NAME: &str = "Deadline";
    let Some(at) = amount(&deadline["ms"]) else { return part(NAME, "", &nothing(&not_measured(&Value::Null))) };
    let uncovered = &deadline["uncovered_ms"];
    let lead = format!(
        "{} ms. Chunks that missed it: {}. Times without a valid plan: {}, the longest {} ms.",
        figure(at),
        whole(&deadline["misses"]),
        whole(&uncovered["count"]),
        ms(&uncovered["max"])
    );
    part(NAME, &lead, "")
}

fn energy(energy: &Value) -> String {
    const NAME: &str = "Energy";
    let joules = &energy["joules_per_chunk"];
    if !joules.is_object() {
        return part(NAME, "", &nothing(&not_measured(energy)));
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
            &format!("{}, mW", told(&rail["name"])),
            &[format!("{} mean, {} at most", ms(&level["mean_mw"]), ms(&level["max_mw"]))],
        );
    }
    let mut lead = format!("Measured by {}.", told(&energy["source"]));
    if let Some(line) = energy["tegrastats"].as_str() {
        let _ = write!(lead, " As tegrastats writes it: {line}");
    }
    part(NAME, &lead, &table(&["what".to_owned(), "value".to_owned()], &rows))
}

fn guidance(guidance: &Value) -> String {
    const NAME: &str = "Guidance";
    if !guidance.is_object() {
        return part(NAME, "", &nothing(&not_measured(guidance)));
    }
    let mut rows = String::new();
    for (voice, chunks) in fields(&guidance["voices"]) {
        row(&mut rows, "", &format!("chunks told by {voice}"), &[whole(chunks)]);
    }
    row(&mut rows, "", "answers refused", &[whole(&guidance["refusals"])]);
    for (key, value) in ordered(&guidance["age_ms"]) {
        row(
            &mut rows,
            "",
            &format!("age of an answer, {}", if key == "count" { key.to_owned() } else { format!("{key}, ms") }),
            &[ms(value)],
        );
    }
    part(NAME, "", &table(&["what".to_owned(), "value".to_owned()], &rows))
}

#[cfg(test)]
mod tests {
    use super::{noise, verdict};
    use serde_json::json;

    /// Broken by reading a difference out of an interval that the noise reaches into.
    #[test]
    fn only_what_lies_outside_of_the_noise_is_a_difference() {
        let of = |low: f64, high: f64| json!({"low": low, "high": high});
        let floor = of(0.97, 1.03);
        assert_eq!(verdict(&of(1.04, 1.08), &floor), "other slower");
        assert_eq!(verdict(&of(0.90, 0.96), &floor), "other faster");
        assert_eq!(verdict(&of(1.02, 1.08), &floor), "no difference found");
        assert_eq!(verdict(&json!({}), &floor), "-");
    }

    /// Broken by giving the noise of the chunk to a stage that has none of its own.
    #[test]
    fn a_stage_without_a_noise_floor_has_none() {
        let aa = json!({"ratio": {"p50": {"low": 0.98, "high": 1.03}, "p99": {"low": 0.9}}});
        assert_eq!(noise(&aa, "chunk"), "p50 0.980 to 1.030");
        assert_eq!(noise(&aa, "video"), "-");
    }
}

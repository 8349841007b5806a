//! The head of the page: warnings, key figures, and what was measured on which machine.

use super::chunks::Chunk;
use super::html::{escape, html_section};
use super::read::{ABSENT, as_text, bytes, fields, figure, integer, list, ms, non_negative, text_or_absent};
use serde_json::Value;
use std::fmt::Write as _;

/// Warnings, key figures, and what was measured.
pub(super) fn head(report: &Value, chunks: &[Chunk]) -> String {
    format!("{}{}{}", warning_box(report, chunks), tiles(report), measured(report))
}

/// Reasons why the figures may mislead.
fn warnings(report: &Value, chunks: &[Chunk]) -> Vec<String> {
    let mut out = Vec::new();
    if report["interrupted"].as_bool() == Some(true) {
        out.push(format!("Interrupted: the window was stopped after {} chunks.", chunks.len()));
    }
    if chunks.is_empty() {
        out.push("The report has no measured chunk.".to_owned());
    }
    for change in list(&report["machine"]["changed"]) {
        out.push(format!("The machine changed during the measurement: {}.", text_or_absent(change)));
    }
    let misses = non_negative(&report["deadline"]["misses"]).unwrap_or(0.0);
    if misses > 0.0 {
        let of = integer(&report["latency_ms"]["chunk"]["count"]);
        out.push(format!("{misses:.0} of {of} chunks missed the deadline of {} ms.", ms(&report["deadline"]["ms"])));
    }
    let uncovered = &report["deadline"]["uncovered_ms"];
    if non_negative(&uncovered["count"]).is_some_and(|count| count > 0.0) {
        out.push(format!(
            "The car had no valid plan for {} ms in all, in {} chunks, at most {} ms at a time.",
            ms(&uncovered["total"]),
            integer(&uncovered["count"]),
            ms(&uncovered["max"])
        ));
    }
    let mut graphs = fields(&report["engine"]["graphs"]).peekable();
    if graphs.peek().is_some() && graphs.all(|(_, how)| how.as_str().is_some_and(|how| how.contains("CPU"))) {
        out.push("No GPU: every graph ran on the CPU. These figures do not apply to a board with a GPU.".to_owned());
    }
    if let Some(weights) = report["weights"].as_str().filter(|weights| *weights != "manifest") {
        out.push(format!("The weights are not those of the manifest: {weights}."));
    }
    out
}

fn warning_box(report: &Value, chunks: &[Chunk]) -> String {
    let warnings = warnings(report, chunks);
    if warnings.is_empty() {
        // An empty list means no change; a missing list means that nothing was compared.
        let known = report["machine"]["changed"].is_array();
        let changes = if known { "the machine did not change during the measurement" } else { "changes of the machine were not checked" };
        return format!("<p class=\"calm\">No warnings; {changes}.</p>\n");
    }
    let items: String = warnings.iter().map(|w| format!("<li>{}</li>\n", escape(w))).collect();
    format!("<div class=\"warnings\" role=\"alert\"><h2>Before you read on</h2>\n<ul>\n{items}</ul></div>\n")
}

/// The key figures.
fn tiles(report: &Value) -> String {
    let chunk = &report["latency_ms"]["chunk"];
    let count = integer(&chunk["count"]);
    let response = &report["latency_ms"]["response"];
    let deadline = &report["deadline"];
    let misses = match non_negative(&deadline["ms"]) {
        Some(ms) => format!("of {count}, deadline {} ms", figure(ms)),
        None => "no deadline".to_owned(),
    };
    let uncovered = &deadline["uncovered_ms"];
    let mut tiles = vec![
        ("missed deadlines", integer(&deadline["misses"]), misses),
        (
            "time without a valid plan",
            ms(&uncovered["total"]),
            format!("ms in {} chunks, at most {} ms", integer(&uncovered["count"]), ms(&uncovered["max"])),
        ),
        ("p50 of a chunk", ms(&chunk["p50"]), "ms".to_owned()),
        ("p99 of a chunk", ms(&chunk["p99"]), if chunk["p99"].is_null() { "too few chunks for it" } else { "ms" }.to_owned()),
        ("slowest chunk", ms(&chunk["max"]), format!("ms, of {count}")),
    ];
    if response.is_object() {
        tiles.push(("p99 of the response", ms(&response["p99"]), "ms since it was due".to_owned()));
    }
    tiles.extend([
        ("chunks per second", ms(&report["throughput_chunks_per_s"]), format!("{} passes each", integer(&report["passes_per_chunk"]))),
        ("arena", bytes(&report["memory_bytes"]["arena"]), format!("process at most {}", bytes(&report["memory_bytes"]["peak_resident"]))),
        ("first trajectory", ms(&report["startup_ms"]["first_trajectory"]), "ms after the start".to_owned()),
    ]);
    let mut out = "<dl class=\"tiles\">\n".to_owned();
    for (name, value, unit) in &tiles {
        let _ = writeln!(out, "<div><dt>{}</dt><dd><b>{}</b> {}</dd></div>", escape(name), escape(value), escape(unit));
    }
    out.push_str("</dl>\n");
    out
}

/// Quotes a word for a shell where necessary.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The table of what was measured: command, hashes, engines and machine.
fn measured(report: &Value) -> String {
    let command: Vec<String> = list(&report["command"]).iter().map(|word| shell(&text_or_absent(word))).collect();
    let command = if command.is_empty() { ABSENT.to_owned() } else { command.join(" ") };
    let window = &report["window"];
    let pacing = match window["pacing"].as_str() {
        Some("back_to_back") => "back to back".to_owned(),
        Some("open_loop") => format!("open loop, a chunk is due every {} ms", ms(&window["period_ms"])),
        _ => text_or_absent(&window["pacing"]),
    };
    let window = format!(
        "{} chunks in {} s after {} warm-up chunks; {pacing}",
        integer(&window["chunks"]),
        ms(&window["seconds"]),
        integer(&window["warmup_chunks"])
    );
    let engine = &report["engine"];
    let tool =
        format!("{} {}, schema {}", text_or_absent(&report["tool"]), text_or_absent(&report["version"]), text_or_absent(&report["schema"]));
    let mut rows = vec![
        ("command".to_owned(), command),
        ("began".to_owned(), text_or_absent(&report["began"])),
        ("window".to_owned(), window),
        (
            "configuration".to_owned(),
            format!("{} sha256 {}", text_or_absent(&report["configuration"]["path"]), text_or_absent(&report["configuration"]["sha256"])),
        ),
        (
            "engine".to_owned(),
            format!(
                "{}, {}, manifest sha256 {}",
                text_or_absent(&engine["name"]),
                text_or_absent(&engine["precision"]),
                text_or_absent(&engine["manifest_sha256"])
            ),
        ),
    ];
    rows.extend(fields(&engine["graphs"]).map(|(name, how)| (format!("graph {name}"), text_or_absent(how))));
    rows.push(("weights".to_owned(), text_or_absent(&report["weights"])));
    rows.push(("written by".to_owned(), tool));
    rows.push(("machine".to_owned(), machine(report)));
    let mut out = "<table class=\"facts\">\n<tbody>\n".to_owned();
    for (name, value) in &rows {
        let value = if name == "command" { format!("<code>{}</code>", escape(value)) } else { escape(value).replace('\n', "<br>") };
        let _ = writeln!(out, "<tr><th scope=\"row\">{}</th><td>{value}</td></tr>", escape(name));
    }
    out.push_str("</tbody>\n</table>\n");
    html_section("What was measured", "", &out)
}

/// The lines that describe the machine.
fn machine(report: &Value) -> String {
    let lines: Vec<String> = list(&report["machine"]["lines"]).iter().filter_map(as_text).collect();
    if lines.is_empty() { ABSENT.to_owned() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::{shell, warnings};
    use serde_json::json;

    /// Breaks if the command does something else when it is pasted into a shell.
    #[test]
    fn the_command_can_be_pasted() {
        let cases = [("configs/tiny.yaml", "configs/tiny.yaml"), ("", "''"), ("two words", "'two words'"), ("it's;rm", r"'it'\''s;rm'")];
        for (word, wanted) in cases {
            assert_eq!(shell(word), wanted);
        }
    }

    /// Breaks if one of these warnings is missing.
    #[test]
    fn each_flaw_is_warned_of() {
        let cases = [
            (json!({"interrupted": true}), "Interrupted"),
            (json!({"machine": {"changed": ["throttle counter rose by 3"]}}), "throttle counter rose by 3"),
            (json!({"deadline": {"ms": 500.0, "misses": 2}}), "2 of - chunks missed the deadline of 500 ms"),
            (
                json!({"deadline": {"uncovered_ms": {"count": 2, "total": 30.0, "max": 20.0}}}),
                "no valid plan for 30 ms in all, in 2 chunks",
            ),
            (json!({"engine": {"graphs": {"dit": "rten 0.27, CPU, f32"}}}), "No GPU"),
            (json!({"weights": "random"}), "not those of the manifest: random"),
        ];
        let quiet =
            json!({"engine": {"graphs": {"dit": "TensorRT 10.3", "vae": "rten, CPU"}}, "deadline": {"misses": 0}, "weights": "manifest"});
        assert_eq!(warnings(&quiet, &[]), ["The report has no measured chunk."]);
        for (report, wanted) in cases {
            let got = warnings(&report, &[]);
            assert!(got.iter().any(|w| w.contains(wanted)), "{wanted}: {got:?}");
            assert_eq!(got.len(), 2, "{got:?}");
        }
    }
}

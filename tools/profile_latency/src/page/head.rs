//! What a reader must know first: warnings, the figures that matter, and what exactly was measured, where and how.

use super::chunks::Chunk;
use super::read::{ABSENT, amount, bytes, fields, figure, list, ms, told, whole, words};
use super::{escape, section as part};
use serde_json::Value;
use std::fmt::Write as _;

/// Warnings, then figures, then what was measured.
pub(super) fn head(report: &Value, chunks: &[Chunk]) -> String {
    format!("{}{}{}", warned(report, chunks), tiles(report), measured(report))
}

/// What makes the figures worth less than they look.
fn warnings(report: &Value, chunks: &[Chunk]) -> Vec<String> {
    let mut out = Vec::new();
    if report["interrupted"].as_bool() == Some(true) {
        out.push(format!("Interrupted: the window was ended by hand after {} chunks.", chunks.len()));
    }
    if chunks.is_empty() {
        out.push("The report has no measured chunk.".to_owned());
    }
    for change in list(&report["machine"]["changed"]) {
        out.push(format!("The machine changed while it was measured: {}.", told(change)));
    }
    let misses = amount(&report["deadline"]["misses"]).unwrap_or(0.0);
    if misses > 0.0 {
        let of = whole(&report["latency_ms"]["chunk"]["count"]);
        out.push(format!("{misses:.0} of {of} chunks came after the deadline of {} ms.", ms(&report["deadline"]["ms"])));
    }
    let mut graphs = fields(&report["engine"]["graphs"]).peekable();
    if graphs.peek().is_some() && graphs.all(|(_, how)| how.as_str().is_some_and(|how| how.contains("CPU"))) {
        out.push("No GPU: every graph ran on the CPU. These figures say nothing of a board with one.".to_owned());
    }
    if let Some(weights) = report["weights"].as_str().filter(|weights| *weights != "manifest") {
        out.push(format!("The weights are not those of the manifest: {weights}."));
    }
    out
}

fn warned(report: &Value, chunks: &[Chunk]) -> String {
    let warnings = warnings(report, chunks);
    if warnings.is_empty() {
        // An empty list was looked for and not found; no list was not looked for.
        let known = report["machine"]["changed"].is_array();
        let words =
            if known { "the machine did not change while it was measured" } else { "but nobody looked whether the machine changed" };
        return format!("<p class=\"calm\">Nothing to warn of: {words}.</p>\n");
    }
    let items: String = warnings.iter().map(|w| format!("<li>{}</li>\n", escape(w))).collect();
    format!("<div class=\"warnings\" role=\"alert\"><h2>Before you read on</h2>\n<ul>\n{items}</ul></div>\n")
}

/// The figures that matter most.
fn tiles(report: &Value) -> String {
    let chunk = &report["latency_ms"]["chunk"];
    let count = whole(&chunk["count"]);
    let response = &report["latency_ms"]["response"];
    let deadline = &report["deadline"];
    let misses = match amount(&deadline["ms"]) {
        Some(ms) => format!("of {count}, deadline {} ms", figure(ms)),
        None => "no deadline".to_owned(),
    };
    let mut tiles = vec![
        ("p50 of a chunk", ms(&chunk["p50"]), "ms".to_owned()),
        ("p99 of a chunk", ms(&chunk["p99"]), "ms".to_owned()),
        ("slowest chunk", ms(&chunk["max"]), format!("ms, of {count}")),
    ];
    if response.is_object() {
        tiles.push(("p99 of the response", ms(&response["p99"]), "ms since it was due".to_owned()));
    }
    tiles.extend([
        ("missed deadlines", whole(&deadline["misses"]), misses),
        ("chunks per second", ms(&report["throughput_chunks_per_s"]), format!("{} passes each", whole(&report["passes_per_chunk"]))),
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

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The command and the hashes.
fn measured(report: &Value) -> String {
    let command: Vec<String> = list(&report["command"]).iter().map(|word| shell(&told(word))).collect();
    let command = if command.is_empty() { ABSENT.to_owned() } else { command.join(" ") };
    let window = &report["window"];
    let pacing = match window["pacing"].as_str() {
        Some("back_to_back") => "one chunk after the other, without a pause".to_owned(),
        Some("open_loop") => format!("a chunk is due every {} ms, whether the one before is done or not", ms(&window["period_ms"])),
        _ => told(&window["pacing"]),
    };
    let window = format!(
        "{} chunks in {} s after {} to warm up; {pacing}",
        whole(&window["chunks"]),
        ms(&window["seconds"]),
        whole(&window["warmup_chunks"])
    );
    let engine = &report["engine"];
    let tool = format!("{} {}, schema {}", told(&report["tool"]), told(&report["version"]), told(&report["schema"]));
    let mut rows = vec![
        ("command".to_owned(), command),
        ("began".to_owned(), told(&report["began"])),
        ("window".to_owned(), window),
        (
            "configuration".to_owned(),
            format!("{} sha256 {}", told(&report["configuration"]["path"]), told(&report["configuration"]["sha256"])),
        ),
        (
            "engine".to_owned(),
            format!("{}, {}, manifest sha256 {}", told(&engine["name"]), told(&engine["precision"]), told(&engine["manifest_sha256"])),
        ),
    ];
    rows.extend(fields(&engine["graphs"]).map(|(name, how)| (format!("graph {name}"), told(how))));
    rows.push(("weights".to_owned(), told(&report["weights"])));
    rows.push(("written by".to_owned(), tool));
    rows.push(("machine".to_owned(), machine(report)));
    let mut out = "<table class=\"facts\">\n<tbody>\n".to_owned();
    for (name, value) in &rows {
        let value = if name == "command" { format!("<code>{}</code>", escape(value)) } else { escape(value).replace('\n', "<br>") };
        let _ = writeln!(out, "<tr><th scope=\"row\">{}</th><td>{value}</td></tr>", escape(name));
    }
    out.push_str("</tbody>\n</table>\n");
    part("What was measured", "", &out)
}

/// The machine in its own lines.
fn machine(report: &Value) -> String {
    let lines: Vec<String> = list(&report["machine"]["lines"]).iter().filter_map(words).collect();
    if lines.is_empty() { ABSENT.to_owned() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::{shell, warnings};
    use serde_json::json;

    /// Broken by a command that does something else when it is pasted.
    #[test]
    fn the_command_can_be_pasted() {
        let cases = [("configs/tiny.yaml", "configs/tiny.yaml"), ("", "''"), ("two words", "'two words'"), ("it's;rm", r"'it'\''s;rm'")];
        for (word, wanted) in cases {
            assert_eq!(shell(word), wanted);
        }
    }

    /// Broken by a warning that is lost: each of these alone makes a figure worth less.
    #[test]
    fn each_flaw_is_warned_of() {
        let cases = [
            (json!({"interrupted": true}), "Interrupted"),
            (json!({"machine": {"changed": ["throttle counter rose by 3"]}}), "throttle counter rose by 3"),
            (json!({"deadline": {"ms": 500.0, "misses": 2}}), "2 of - chunks came after the deadline of 500 ms"),
            (json!({"engine": {"graphs": {"dit": "rten 0.27, CPU, f32"}}}), "No GPU"),
            (json!({"weights": "random"}), "not those of the manifest: random"),
        ];
        let quiet =
            json!({"engine": {"graphs": {"dit": "TensorRT 10.3", "vae": "rten, CPU"}}, "deadline": {"misses": 0}, "weights": "manifest"});
        let calm = warnings(&quiet, &[]);
        assert_eq!(calm, ["The report has no measured chunk."]);
        for (report, wanted) in cases {
            let got = warnings(&report, &[]);
            assert!(got.iter().any(|w| w.contains(wanted)), "{wanted}: {got:?}");
            assert_eq!(got.len(), 2, "{got:?}");
        }
    }
}

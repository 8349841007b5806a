//! A report as one page of HTML: figures, charts and tables, for a browser or for paper.
//!
//! The page is whole: its style and its drawings are inside, it has no script, and its policy forbids it to load or to run anything. Every word of
//! the report is taken as hostile and escaped. A field that is absent is shown as `-` or as not measured, with the reason where the report gives one.

mod cdf;
mod chunks;
mod head;
mod memory;
mod read;
mod regions;
mod scale;
mod svg;
mod tables;
mod timeline;
mod waterfall;

#[cfg(test)]
mod tests;

use read::told;
use serde_json::Value;

/// Forbids whatever the page does not need: all but its own style.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The report as a page.
pub(crate) fn page(report: &Value) -> String {
    let title = format!("Latency of {}", told(&report["configuration"]["path"]));
    let chunks = chunks::read(&report["chunks"]);
    let parts = [
        head::head(report, &chunks),
        timeline::section(report, &chunks),
        cdf::section(report, &chunks),
        waterfall::section(&report["chunks"]),
        tables::stages(report),
        tables::passes(report),
        tables::versus(report),
        memory::section(&report["memory_bytes"]),
        tables::rest(report),
    ];
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{}</title>
<style>
{}</style>
</head>
<body>
<h1>{}</h1>
{}</body>
</html>
"#,
        escape(&title),
        include_str!("page.css"),
        escape(&title),
        parts.concat()
    )
}

/// Words as HTML shows them, in text and within quotes. Characters that are not shown, or that turn the direction of others, become U+FFFD.
pub(crate) fn escape(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for letter in words.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(letter),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A part of the page: its name, one sentence, and what it shows. `lead` is not escaped yet, `body` is HTML.
fn section(name: &str, lead: &str, body: &str) -> String {
    let lead = if lead.is_empty() { String::new() } else { format!("<p class=\"lead\">{}</p>\n", escape(lead)) };
    format!("<section>\n<h2>{}</h2>\n{lead}{body}</section>\n", escape(name))
}

/// What stands in the place of a chart that there is no data for.
fn nothing(why: &str) -> String {
    format!("<p class=\"absent\">{}</p>\n", escape(why))
}

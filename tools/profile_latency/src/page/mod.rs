//! Renders a report as one HTML page with figures, charts and tables, for the screen and for print.
//!
//! The page is self-contained: style and drawings are inline, there is no script, and its content
//! security policy forbids it to load or run anything. All text of the report is untrusted and
//! escaped. A missing field is shown as `-` or as not measured, with the reason if the report has
//! one.

mod cdf;
mod chunks;
mod head;
mod html;
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

use html::escape;
use read::text_or_absent;
use serde_json::Value;

/// Content security policy: allows inline style only.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The report as an HTML page.
pub(crate) fn page(report: &Value) -> String {
    let title = format!("Latency of {}", text_or_absent(&report["configuration"]["path"]));
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

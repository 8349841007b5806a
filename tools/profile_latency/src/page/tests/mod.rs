//! The page as text, for hostile and incomplete reports. [`browser`] tests how it looks.

mod browser;
mod probe;
mod sample;

use super::html::escape;
use super::page;
use sample::{HOSTILE, full, hostile};
use serde_json::{Value, json};

/// The charts of a page.
const CHARTS: [&str; 4] = ["chart-latency", "chart-cdf", "chart-waterfall", "chart-memory"];

/// Breaks if a character can end a text or a quoted attribute, or change the writing direction.
#[test]
fn no_character_can_end_its_place() {
    assert_eq!(escape("<script>\"&'"), "&lt;script&gt;&quot;&amp;&#39;");
    assert_eq!(escape("a\0b\u{1b}[31m\u{202e}c\u{9b}"), "a\u{fffd}b\u{fffd}[31m\u{fffd}c\u{fffd}");
    assert_eq!(escape("größer\n\t4 µs"), "größer\n\t4 µs");
}

/// Breaks if text of the report is written unescaped anywhere: every string and key of this report
/// tries to leave its place.
#[test]
fn a_hostile_report_stays_text() {
    let page = page(&hostile());
    assert!(page.contains("&lt;script&gt;hit()"), "the text is shown");
    for forbidden in ["<script", "<img", "</style></", "<!--", "\u{202e}"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    // Quotes of the report are escaped, so every tag has an even number of quotes.
    let tags: Vec<&str> = page.split('<').skip(1).filter_map(|rest| rest.split('>').next()).collect();
    assert!(tags.iter().all(|tag| tag.matches('"').count() % 2 == 0), "a quote of the report is in a tag");
    assert!(!tags.iter().any(|tag| tag.contains("hit")), "text of the report is in a tag");
    assert!(HOSTILE.contains("</title>"));
}

/// Breaks if the page loads anything: a font, a script, an image.
#[test]
fn the_page_needs_nothing_from_outside() {
    let page = page(&full(300));
    for forbidden in ["http:", "https:", "//", "url(", "@import", "<script", "<link", "<img", "src=", "href="] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("default-src 'none'"));
    assert!(CHARTS.iter().all(|chart| page.matches(&format!("id=\"{chart}\"")).count() == 1));
}

/// The paths of all values of a report.
fn paths(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| paths(value, &format!("{at}/{key}"), out)),
        Value::Array(values) => values.iter().take(2).enumerate().for_each(|(i, value)| paths(value, &format!("{at}/{i}"), out)),
        _ => {}
    }
    if !at.is_empty() {
        out.push(at.to_owned());
    }
}

/// Breaks if a field that is null, of another type or absurd causes a panic, NaN or infinity.
#[test]
fn any_field_may_be_missing_or_absurd() {
    let report = full(12);
    let mut all = Vec::new();
    paths(&report, "", &mut all);
    assert!(all.len() > 150, "{}", all.len());
    for path in all {
        for with in [json!(null), json!("words"), json!([]), json!({}), json!(-1.0), json!(0), json!(1e300), json!(1e15)] {
            let mut changed = report.clone();
            if let Some(place) = changed.pointer_mut(&path) {
                *place = with.clone();
            }
            let page = page(&changed);
            assert!(!page.contains("NaN") && !page.contains("\"inf") && !page.contains(">inf"), "{path} is {with}");
        }
    }
}

/// Breaks if an empty report causes a panic, or missing values are not shown as such.
#[test]
fn an_empty_report_says_what_was_not_measured() {
    for report in [json!({}), json!(null), json!([1, 2]), json!({"chunks": [{}], "memory_bytes": {}, "latency_ms": {}})] {
        let page = page(&report);
        assert!(page.matches("not measured").count() >= 4, "{report}");
        assert!(CHARTS.iter().all(|chart| !page.contains(&format!("id=\"{chart}\""))), "{report}: a chart of nothing");
    }
    assert!(page(&json!({"energy": {"not_measured": "no power sensor"}})).contains("not measured: no power sensor"));
}

/// Breaks if a pass is missing, out of order or has another's figures; or if there is an empty
/// table without passes.
#[test]
fn every_pass_has_a_row() {
    let mut report = full(300);
    let passes = report["latency_ms"]["passes"].as_array().unwrap().clone();
    assert_eq!(passes.len(), 14);
    let whole = page(&report);
    let mut rest = whole.split_once("Latency by transformer pass").unwrap().1.split_once("</table>").unwrap().0;
    for pass in &passes {
        let name = format!("<th scope=\"row\">{}</th><td class=\"n\">300</td>", pass["pass"].as_str().unwrap());
        let (_, row) = rest.split_once(&name).unwrap_or_else(|| panic!("{name} is not behind the pass before"));
        let (row, behind) = row.split_once("</tr>").unwrap();
        // p99.9 is not supported by 300 chunks.
        let figure =
            |key: &str| format!("<td class=\"n\">{}</td>", pass[key].as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}")));
        assert!(pass["p99_9"].is_null() && pass["p99"].is_f64());
        assert!(["p50", "p90", "p99", "p99_9", "max", "mean"].iter().all(|key| row.contains(&figure(key))), "{row}: {pass}");
        rest = behind;
    }
    assert!(!rest.contains("<tr"), "{rest}");
    report["latency_ms"]["passes"] = json!(null);
    assert!(!page(&report).contains("Latency by transformer pass"));
}

/// Breaks if a warning is below the figures.
#[test]
fn warnings_come_first() {
    let page = page(&full(300));
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text:?} is not on the page"));
    assert!(at("throttle counter rose by 3") < at("class=\"tiles\""));
    assert!(at("No GPU") < at("class=\"tiles\""));
    assert!(at("class=\"tiles\"") < at("chart-latency"));
}

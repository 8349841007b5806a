//! The page in a real browser: it is drawn, readable, and neither runs nor loads anything.

use super::probe::{HEIGHT, Rendered, Scheme, WIDTH, render};
use super::sample::{full, hostile};
use super::{CHARTS, page};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Asserts what holds for every page.
fn assert_page_is_sound(rendered: &Rendered) {
    let found = &rendered.found;
    assert_eq!(rendered.complaints, Vec::<String>::new());
    assert_eq!(found["errors"], json!([]));
    assert_eq!(
        (&found["hits"], &found["pictures"], &found["handlers"]),
        (&json!(0), &json!(0), &json!(0)),
        "text of the report ran as code"
    );
    assert_eq!(found["scripts"], 1, "a script beside the probe");
    assert_eq!(found["requests"], 0, "the page loaded something");
    assert_eq!(found["overflow_px"], 0, "the page is wider than the window");
    assert_eq!(found["cut"], json!([]), "something is cut off at {WIDTH} px");
    let height = found["height_px"].as_f64().unwrap();
    assert!(height > 400.0 && height <= f64::from(HEIGHT), "{height} px are not all in the picture");
    for chart in found["charts"].as_array().unwrap() {
        let id = &chart["id"];
        assert_eq!(chart["outside"], json!([]), "{id}: text outside of the chart");
        assert_eq!(chart["over"], json!([]), "{id}: overlapping text");
        assert!(chart["smallest_px"].as_f64() >= Some(11.0), "{id}: {}", chart["smallest_px"]);
        assert_eq!(chart["named"], true, "{id}: nothing for a screen reader");
    }
}

/// The colours of a chart's pixels, with their counts.
fn colours(rendered: &Rendered, chart: &Value) -> BTreeMap<[u8; 3], usize> {
    let [left, top, right, bottom] = ["left", "top", "right", "bottom"].map(|side| chart[side].as_f64().unwrap() as u32);
    assert!(left < right && right <= WIDTH && top < bottom && bottom <= HEIGHT, "{chart}");
    let mut colours: BTreeMap<[u8; 3], usize> = BTreeMap::new();
    for y in top..bottom {
        for x in left..right {
            *colours.entry(rendered.picture.get_pixel(x, y).0).or_default() += 1;
        }
    }
    colours
}

/// Parses a colour as a browser writes it.
fn rgb(paint: &str) -> Option<[u8; 3]> {
    let mut parts = paint.strip_prefix("rgb(")?.strip_suffix(')')?.split(", ").map(str::parse);
    Some([parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?])
}

/// Asserts that all four charts are in the document and in the picture.
fn assert_all_charts_are_drawn(rendered: &Rendered) {
    let charts = rendered.found["charts"].as_array().unwrap();
    assert_eq!(charts.iter().map(|c| c["id"].as_str().unwrap()).collect::<Vec<_>>(), CHARTS);
    for chart in charts {
        let id = chart["id"].as_str().unwrap();
        assert!(rendered.document.contains(&format!("<svg id=\"{id}\"")), "{id}");
        let size = |a: &str, b: &str| chart[b].as_f64().unwrap() - chart[a].as_f64().unwrap();
        assert!(size("left", "right") >= 900.0 && size("top", "bottom") >= 150.0, "{chart}");
        assert!(chart["shapes"].as_u64().unwrap() >= 3 && chart["texts"].as_u64().unwrap() >= 8, "{chart}");
        let colours = colours(rendered, chart);
        let drawn = colours.values().sum::<usize>() - colours.values().max().unwrap();
        assert!(drawn > 5000, "{id}: {drawn} pixels are not its ground");
        for paint in chart["paints"].as_array().unwrap() {
            let wanted = rgb(paint.as_str().unwrap()).unwrap_or_else(|| panic!("{id}: a shape painted with {paint}"));
            // Edges are blended with the background.
            let near = |c: &[u8; 3]| c.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 24);
            let pixels: usize = colours.iter().filter(|(colour, _)| near(colour)).map(|(_, count)| count).sum();
            assert!(pixels >= 4, "{id}: {pixels} pixels of {paint}");
        }
    }
}

/// Brightness of the page's background, 0 to 255.
fn background(rendered: &Rendered) -> u32 {
    rendered.picture.get_pixel(2, 2).0.iter().map(|c| u32::from(*c)).sum::<u32>() / 3
}

/// Breaks if a chart is empty, labels overlap or are cut off, text is too small, or the browser
/// logs an error.
#[test]
fn the_charts_can_be_read_in_a_browser() {
    let rendered = render(&page(&full(300)), Scheme::Light);
    assert_page_is_sound(&rendered);
    assert_all_charts_are_drawn(&rendered);
    assert_eq!((&rendered.found["dark"], background(&rendered) > 240), (&json!(false), true));
}

/// Breaks if the dark scheme has a bright background, or text without contrast.
#[test]
fn a_dark_room_gets_a_dark_page() {
    let rendered = render(&page(&full(300)), Scheme::Dark);
    assert_page_is_sound(&rendered);
    assert_all_charts_are_drawn(&rendered);
    assert_eq!((&rendered.found["dark"], background(&rendered) < 60), (&json!(true), true));
    assert_ne!(rendered.found["ink"], rendered.found["paper"]);
}

/// Breaks if text of the report becomes an element or an attribute in a real browser's parser.
#[test]
fn hostile_words_run_nothing_in_a_browser() {
    let rendered = render(&page(&hostile()), Scheme::Light);
    assert_page_is_sound(&rendered);
    assert_all_charts_are_drawn(&rendered);
}

/// Breaks if the charts cannot show many chunks, a spike of a hundred times the median, or a far
/// deadline.
#[test]
fn thousands_of_chunks_with_a_long_tail_can_be_read() {
    let mut report = full(300);
    let chunks: Vec<Value> = (0..5000)
        .map(|i| {
            let mut chunk = report["chunks"][i % 300].clone();
            chunk["start_ms"] = json!(i as f64 * 60.0);
            if i == 3210 {
                chunk["latency_ms"] = json!(6000.0);
            }
            chunk
        })
        .collect();
    report["chunks"] = json!(chunks);
    report["deadline"]["ms"] = json!(40_000.0);
    report["latency_ms"]["response"] = json!(null);
    let rendered = render(&page(&report), Scheme::Light);
    assert_page_is_sound(&rendered);
    assert_all_charts_are_drawn(&rendered);
}

/// Breaks if the browser fails on the page of an empty report.
#[test]
fn an_empty_report_is_a_page_without_charts() {
    let rendered = render(&page(&json!({})), Scheme::Light);
    assert_page_is_sound(&rendered);
    assert_eq!(rendered.found["charts"], json!([]));
    assert!(rendered.document.contains("not measured"));
}

//! The page in a real browser: that it is drawn, that it can be read, and that it neither runs nor loads anything.

use super::probe::{HEIGHT, Scheme, Seen, WIDTH, look};
use super::sample::{full, hostile};
use super::{CHARTS, page};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Holds what is true of every page.
fn holds_its_promises(seen: &Seen) {
    let found = &seen.found;
    assert_eq!(seen.complaints, Vec::<String>::new());
    assert_eq!(found["errors"], json!([]));
    assert_eq!((&found["hits"], &found["pictures"], &found["handlers"]), (&json!(0), &json!(0), &json!(0)), "words of the report ran");
    assert_eq!(found["scripts"], 1, "a script beside the probe");
    assert_eq!(found["requests"], 0, "the page loaded something");
    assert_eq!(found["overflow_px"], 0, "the page is wider than the window");
    let height = found["height_px"].as_f64().unwrap();
    assert!(height > 400.0 && height <= f64::from(HEIGHT), "{height} px are not all in the picture");
    for chart in found["charts"].as_array().unwrap() {
        let id = &chart["id"];
        assert_eq!(chart["outside"], json!([]), "{id}: words outside of the chart");
        assert_eq!(chart["over"], json!([]), "{id}: words over words");
        assert!(chart["smallest_px"].as_f64() >= Some(11.0), "{id}: {}", chart["smallest_px"]);
        assert_eq!(chart["named"], true, "{id}: nothing for a screen reader");
    }
}

/// Colours of a chart's pixels.
fn colours(seen: &Seen, chart: &Value) -> BTreeMap<[u8; 3], usize> {
    let [left, top, right, bottom] = ["left", "top", "right", "bottom"].map(|side| chart[side].as_f64().unwrap() as u32);
    assert!(left < right && right <= WIDTH && top < bottom && bottom <= HEIGHT, "{chart}");
    let mut colours: BTreeMap<[u8; 3], usize> = BTreeMap::new();
    for y in top..bottom {
        for x in left..right {
            *colours.entry(seen.picture.get_pixel(x, y).0).or_default() += 1;
        }
    }
    colours
}

/// A colour as a browser writes it.
fn rgb(paint: &str) -> Option<[u8; 3]> {
    let mut parts = paint.strip_prefix("rgb(")?.strip_suffix(')')?.split(", ").map(str::parse);
    Some([parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?])
}

/// The four charts stand in the document and in the picture.
fn has_all_charts(seen: &Seen) {
    let charts = seen.found["charts"].as_array().unwrap();
    assert_eq!(charts.iter().map(|c| c["id"].as_str().unwrap()).collect::<Vec<_>>(), CHARTS);
    for chart in charts {
        let id = chart["id"].as_str().unwrap();
        assert!(seen.document.contains(&format!("<svg id=\"{id}\"")), "{id}");
        let size = |a: &str, b: &str| chart[b].as_f64().unwrap() - chart[a].as_f64().unwrap();
        assert!(size("left", "right") >= 900.0 && size("top", "bottom") >= 150.0, "{chart}");
        assert!(chart["shapes"].as_u64().unwrap() >= 3 && chart["texts"].as_u64().unwrap() >= 8, "{chart}");
        let colours = colours(seen, chart);
        let drawn = colours.values().sum::<usize>() - colours.values().max().unwrap();
        assert!(drawn > 5000, "{id}: {drawn} pixels are not its ground");
        for paint in chart["paints"].as_array().unwrap() {
            let wanted = rgb(paint.as_str().unwrap()).unwrap_or_else(|| panic!("{id}: a shape painted with {paint}"));
            // Edges are mixed with what lies under them.
            let near = |c: &[u8; 3]| c.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 24);
            let pixels: usize = colours.iter().filter(|(colour, _)| near(colour)).map(|(_, count)| count).sum();
            assert!(pixels >= 4, "{id}: {pixels} pixels of {paint}");
        }
    }
}

/// Brightness of the page's ground, 0 to 255.
fn ground(seen: &Seen) -> u32 {
    seen.picture.get_pixel(2, 2).0.iter().map(|c| u32::from(*c)).sum::<u32>() / 3
}

/// Broken by a chart that is empty or has no size, by labels that cover each other or are cut off, by small print, and by whatever the browser
/// complains of.
#[test]
fn the_charts_can_be_read_in_a_browser() {
    let seen = look(&page(&full(300)), Scheme::Light);
    holds_its_promises(&seen);
    has_all_charts(&seen);
    assert_eq!((&seen.found["dark"], ground(&seen) > 240), (&json!(false), true));
}

/// Broken by a page that is white in the dark, or dark letters on a dark ground.
#[test]
fn a_dark_room_gets_a_dark_page() {
    let seen = look(&page(&full(300)), Scheme::Dark);
    holds_its_promises(&seen);
    has_all_charts(&seen);
    assert_eq!((&seen.found["dark"], ground(&seen) < 60), (&json!(true), true));
    assert_ne!(seen.found["ink"], seen.found["paper"]);
}

/// Broken by an element or an attribute that words of the report made: the browser's own parser is the judge.
#[test]
fn hostile_words_run_nothing_in_a_browser() {
    let seen = look(&page(&hostile()), Scheme::Light);
    holds_its_promises(&seen);
    has_all_charts(&seen);
}

/// Broken by charts that cannot hold many chunks, or very unlike ones: a spike of a hundred times, no deadline in sight.
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
    let seen = look(&page(&report), Scheme::Light);
    holds_its_promises(&seen);
    has_all_charts(&seen);
}

/// Broken by an empty report that a browser stumbles over.
#[test]
fn an_empty_report_is_a_page_without_charts() {
    let seen = look(&page(&json!({})), Scheme::Light);
    holds_its_promises(&seen);
    assert_eq!(seen.found["charts"], json!([]));
    assert!(seen.document.contains("not measured"));
}

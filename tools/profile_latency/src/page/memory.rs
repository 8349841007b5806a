//! The memory map: the arena as rows of equal length, from the first byte to the last, coloured by
//! owner.

use super::html::{escape, html_section, placeholder};
use super::read::{ABSENT, bytes, grouped, non_negative, not_measured, size, truncate};
use super::regions::{Arena, Run, runs};
use super::svg::{Svg, WIDTH};
use serde_json::Value;
use std::fmt::Write as _;

const NAME: &str = "Memory map";
const LEFT: f64 = 84.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 30.0;
const ROW: f64 = 30.0;
const PITCH: f64 = 36.0;

/// Approximate number of rows of a map of many regions.
const ROWS: f64 = 6.0;

/// Owners with their own colour; the others share one.
const COLOURS: usize = 7;

/// Most regions that the table lists.
const LISTED: usize = 5000;

/// The map, the bytes of each owner, and the table of regions.
pub(super) fn section(memory: &Value) -> String {
    if !memory.is_object() {
        return html_section(NAME, "", &placeholder(&not_measured(memory)));
    }
    let arena = Arena::read(memory);
    let share = match (non_negative(&memory["arena"]), non_negative(&memory["capacity"])) {
        (Some(arena), Some(capacity)) if capacity > 0.0 => format!(" ({:.1} %)", 100.0 * arena / capacity),
        _ => String::new(),
    };
    let (gaps, lost) = arena.gaps();
    let lead = format!(
        "One allocation of {} of the {} that the target allows{share}; {} regions, {} gaps of together {}. Resident memory of the process: {}, at most {}.",
        bytes(&memory["arena"]),
        bytes(&memory["capacity"]),
        arena.regions.len(),
        gaps,
        size(lost),
        bytes(&memory["resident"]),
        bytes(&memory["peak_resident"])
    );
    let map =
        if arena.regions.is_empty() || arena.bytes <= 0.0 { placeholder("not measured: the report has no regions") } else { draw(&arena) };
    html_section(NAME, &lead, &format!("{map}{}{}", legend(&arena, lost), table(&arena)))
}

/// The CSS class of an owner.
fn class(owner: usize) -> String {
    format!("o{}", owner.min(COLOURS))
}

/// Bytes per row: 1 or 1.5 times a power of two, so that the rows begin at round offsets.
fn row_bytes(arena: f64, rows: f64) -> f64 {
    let mut power = 64.0;
    loop {
        for times in [1.0, 1.5] {
            if power * times * rows >= arena {
                return power * times;
            }
        }
        power *= 2.0;
    }
}

fn draw(arena: &Arena) -> String {
    let of_row = row_bytes(arena.bytes, if arena.regions.len() <= 8 { 2.0 } else { ROWS });
    let rows = (arena.bytes / of_row).ceil().max(1.0);
    let a_pixel = of_row / (RIGHT - LEFT);
    let x = |in_row: f64| LEFT + in_row / a_pixel;
    let mut svg = Svg::new("chart-memory", TOP + rows * PITCH + 12.0);
    for eighth in 0..=4 {
        let at = f64::from(eighth) / 4.0;
        let anchor = ["tick", "tick mid", "tick mid", "tick mid", "tick end"][eighth as usize];
        svg.text(anchor, (LEFT + at * (RIGHT - LEFT), TOP - 8.0), &format!("+ {}", size(at * of_row)));
    }
    svg.text("name", (4.0, TOP - 8.0), "offset");
    for row in 0..rows as usize {
        let (from, y) = (row as f64 * of_row, TOP + row as f64 * PITCH);
        svg.text("tick end", (LEFT - 8.0, y + ROW / 2.0 + 4.0), &size(from));
        let end = (arena.bytes - from).min(of_row);
        // The background, visible where no region is.
        svg.rect("gap", (LEFT, y), (x(end) - LEFT, ROW), "not used: a gap");
    }
    for run in runs(&arena.regions, 5.0 * a_pixel, a_pixel) {
        let tip = tip(arena, &run);
        let class = class(run.owner);
        let (first, last) = ((run.from / of_row).floor(), (run.to / of_row).ceil() - 1.0);
        let mut row = first;
        while row <= last.max(first) {
            let (from, to) = ((run.from - row * of_row).max(0.0), (run.to - row * of_row).min(of_row));
            let (left, y) = (x(from), TOP + row * PITCH);
            let width = x(to) - left;
            // A border between neighbours, if there is room.
            let edge = if width > 4.0 { " edge" } else { "" };
            svg.rect(&format!("{class}{edge}"), (left, y), (width, ROW), &tip);
            if let Some(name) = label(arena, &run, ((width - 8.0) / 6.9).max(0.0) as usize) {
                svg.text(&format!("ink-{class} mid"), (left + width / 2.0, y + ROW / 2.0 + 4.0), &name);
            }
            row += 1.0;
        }
    }
    // A notch above each gap, however small; one for several gaps in a pixel.
    let mut notched = f64::NEG_INFINITY;
    for region in arena.regions.iter().filter(|region| region.gap > 0.0) {
        let at = region.offset + region.bytes;
        if at - notched >= a_pixel {
            notched = at;
            let row = (at / of_row).floor();
            let (left, y) = (x(at - row * of_row), TOP + row * PITCH);
            let tip = format!("a gap of {} bytes behind {}", grouped(region.gap), region.name);
            svg.path("notch", [(left - 2.5, y - 4.0), (left + 2.5, y - 4.0), (left, y + 1.0)], true, &tip);
        }
    }
    let owners: Vec<String> = arena.owners.iter().map(|(name, bytes)| format!("{name} {}", size(*bytes))).collect();
    svg.finish(NAME, &format!("{} in {} regions by owner: {}", size(arena.bytes), arena.regions.len(), owners.join(", ")))
}

/// A label of at most `letters` characters for a box, if one fits.
fn label(arena: &Arena, run: &Run, letters: usize) -> Option<String> {
    let (name, shorter) = if run.first == run.last {
        let name = &arena.regions[run.first].name;
        (name.clone(), (letters >= 6).then(|| truncate(name, letters)))
    } else {
        let count = run.last - run.first + 1;
        (format!("{count} regions"), Some(format!("{count}×")))
    };
    [Some(name), shorter].into_iter().flatten().find(|label| label.chars().count() <= letters)
}

fn tip(arena: &Arena, run: &Run) -> String {
    let owner = arena.owners.get(run.owner).map_or(ABSENT, |(name, _)| name.as_str());
    let (first, last) = (&arena.regions[run.first], &arena.regions[run.last]);
    if run.first == run.last {
        return format!(
            "{}, {owner}: {} bytes at {}, {} {}",
            first.name,
            grouped(first.bytes),
            grouped(first.offset),
            first.shape,
            first.dtype
        );
    }
    let count = run.last - run.first + 1;
    format!("{count} regions from {} to {}, {owner}: {} bytes at {}", first.name, last.name, grouped(run.to - run.from), grouped(run.from))
}

/// The legend: owners with their colours and bytes.
fn legend(arena: &Arena, lost: f64) -> String {
    let mut out = "<ul class=\"owners\">\n".to_owned();
    let share = |bytes: f64| if arena.bytes > 0.0 { format!(", {:.1} %", 100.0 * bytes / arena.bytes) } else { String::new() };
    for (i, (name, bytes)) in arena.owners.iter().enumerate() {
        let line = format!("{} {}{}", name, size(*bytes), share(*bytes));
        let _ = writeln!(out, "<li><span class=\"swatch {}\"></span>{}</li>", class(i), escape(&line));
    }
    if !arena.regions.is_empty() {
        let _ = writeln!(
            out,
            "<li><span class=\"swatch gap\"></span>gaps {}{}, each with a notch above</li>",
            escape(&size(lost)),
            share(lost)
        );
    }
    out.push_str("</ul>\n");
    out
}

fn table(arena: &Arena) -> String {
    if arena.regions.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "<details><summary>All {} regions</summary>\n<div class=\"wide\"><table>\n<thead><tr><th>region</th><th>owner</th><th class=\"n\">offset</th>\
         <th class=\"n\">bytes</th><th class=\"n\">gap after</th><th>shape</th><th>type</th></tr></thead>\n<tbody>\n",
        arena.regions.len()
    );
    for region in arena.regions.iter().take(LISTED) {
        let owner = arena.owners.get(region.owner).map_or(ABSENT, |(name, _)| name.as_str());
        let [name, owner, shape, dtype] = [&region.name, owner, &region.shape, &region.dtype].map(escape);
        let [offset, bytes, gap] = [region.offset, region.bytes, region.gap].map(grouped);
        let _ = writeln!(
            out,
            "<tr><th>{name}</th><td>{owner}</td><td class=\"n\">{offset}</td><td class=\"n\">{bytes}</td><td class=\"n\">{gap}</td><td>{shape}</td><td>{dtype}</td></tr>"
        );
    }
    out.push_str("</tbody>\n</table></div>\n");
    if arena.regions.len() > LISTED {
        let _ = writeln!(out, "<p>The first {LISTED} regions; the report has all.</p>");
    }
    out.push_str("</details>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::row_bytes;

    /// Breaks if the rows do not cover the arena, or do not begin at round offsets.
    #[test]
    fn rows_are_round_and_hold_the_arena() {
        assert_eq!(row_bytes(2_022_400.0, 6.0), 384.0 * 1024.0);
        assert_eq!(row_bytes(1.0, 6.0), 64.0);
        for arena in [1.0, 1e3, 123_456_789.0, 1e15] {
            assert!(row_bytes(arena, 6.0) * 6.0 >= arena);
        }
    }
}

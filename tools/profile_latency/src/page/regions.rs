//! The arena of a report: its regions, their gaps, and the boxes that a chart can show.

use super::read::{fields, list, non_negative, text_or_absent};
use serde_json::Value;
use std::collections::BTreeMap;

/// One region of the arena.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Region {
    pub(super) name: String,
    /// Index into the owners.
    pub(super) owner: usize,
    pub(super) offset: f64,
    pub(super) bytes: f64,
    pub(super) shape: String,
    pub(super) dtype: String,
    /// Bytes from the end of the region to the next region or the end of the arena.
    pub(super) gap: f64,
}

/// The arena with its owners and regions.
#[derive(Debug, PartialEq)]
pub(super) struct Arena {
    /// Names and bytes, largest first.
    pub(super) owners: Vec<(String, f64)>,
    /// In ascending order of offset.
    pub(super) regions: Vec<Region>,
    pub(super) bytes: f64,
}

impl Arena {
    /// Reads the arena of a report.
    pub(super) fn read(memory: &Value) -> Self {
        let raw: Vec<(&Value, f64, f64)> =
            list(&memory["regions"]).iter().filter_map(|r| Some((r, non_negative(&r["offset"])?, non_negative(&r["bytes"])?))).collect();
        let mut bytes_of: BTreeMap<String, f64> = BTreeMap::new();
        for (region, _, bytes) in &raw {
            *bytes_of.entry(text_or_absent(&region["owner"])).or_default() += bytes;
        }
        // `by_owner` includes alignment gaps, so it is used only for owners without
        // regions.
        for (owner, bytes) in fields(&memory["by_owner"]) {
            if let Some(bytes) = non_negative(bytes) {
                bytes_of.entry(owner.to_owned()).or_insert(bytes);
            }
        }
        let mut owners: Vec<(String, f64)> = bytes_of.into_iter().collect();
        owners.sort_by(|a, b| b.1.total_cmp(&a.1));
        let index: BTreeMap<&str, usize> = owners.iter().enumerate().map(|(i, (name, _))| (name.as_str(), i)).collect();
        let mut regions: Vec<Region> = raw
            .into_iter()
            .map(|(region, offset, bytes)| Region {
                name: text_or_absent(&region["name"]),
                owner: index.get(text_or_absent(&region["owner"]).as_str()).copied().unwrap_or(usize::MAX),
                offset,
                bytes,
                shape: shape(&region["shape"]),
                dtype: text_or_absent(&region["dtype"]),
                gap: 0.0,
            })
            .collect();
        regions.sort_by(|a, b| a.offset.total_cmp(&b.offset));
        let used = regions.iter().map(|r| r.offset + r.bytes).fold(0.0, f64::max);
        let bytes = non_negative(&memory["arena"]).map_or(used, |arena| arena.max(used));
        for i in 0..regions.len() {
            let next = regions.get(i + 1).map_or(bytes, |next| next.offset);
            regions[i].gap = (next - regions[i].offset - regions[i].bytes).max(0.0);
        }
        Self { owners, regions, bytes }
    }

    /// Number of gaps and their total bytes, including a gap before the first region.
    pub(super) fn gaps(&self) -> (usize, f64) {
        let first = self.regions.first().map_or(0.0, |r| r.offset);
        let gaps = || self.regions.iter().map(|r| r.gap).chain([first]).filter(|gap| *gap > 0.0);
        (gaps().count(), gaps().sum())
    }
}

fn shape(shape: &Value) -> String {
    match shape {
        Value::Array(axes) => format!("[{}]", axes.iter().map(text_or_absent).collect::<Vec<_>>().join(", ")),
        other => text_or_absent(other),
    }
}

/// Regions that are drawn as one box because they are too narrow to draw separately.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub(super) owner: usize,
    pub(super) from: f64,
    pub(super) to: f64,
    /// Indices of the first and the last region.
    pub(super) first: usize,
    pub(super) last: usize,
}

/// Merges regions into boxes. Neighbours of one owner are merged if both are smaller than `narrow`
/// bytes; anything smaller than `least` bytes is invisible and merged with its neighbour. Gaps of
/// `least` bytes or more remain.
pub(super) fn runs(regions: &[Region], narrow: f64, least: f64) -> Vec<Run> {
    let mut out: Vec<(Run, f64)> = Vec::new();
    for (i, region) in regions.iter().enumerate() {
        let end = region.offset + region.bytes;
        if let Some((run, largest)) = out.last_mut() {
            let close = region.offset - run.to < least;
            let same = region.owner == run.owner && region.bytes < narrow && *largest < narrow;
            let unseen = end - run.from < least;
            if close && (same || unseen) {
                // The owner of the largest region determines the colour.
                if region.bytes > *largest {
                    run.owner = region.owner;
                    *largest = region.bytes;
                }
                run.to = run.to.max(end);
                run.last = i;
                continue;
            }
        }
        out.push((Run { owner: region.owner, from: region.offset, to: end, first: i, last: i }, region.bytes));
    }
    out.into_iter().map(|(run, _)| run).collect()
}

#[cfg(test)]
mod tests {
    use super::{Arena, runs};
    use serde_json::json;

    fn arena() -> Arena {
        Arena::read(&json!({"arena": 10_000, "regions": [
            {"name": "wide", "owner": "memory", "offset": 0, "bytes": 4000, "shape": [4, 1000], "dtype": "u8"},
            {"name": "b", "owner": "sampler", "offset": 4096, "bytes": 10},
            {"name": "c", "owner": "sampler", "offset": 4608, "bytes": 20},
            {"name": "far", "owner": "sampler", "offset": 9000, "bytes": 30},
            {"name": "no offset", "owner": "sampler", "bytes": 30},
        ]}))
    }

    /// Breaks if a gap is not counted, such as the one at the end, or a region without an
    /// offset is drawn.
    #[test]
    fn gaps_are_what_no_region_holds() {
        let arena = arena();
        assert_eq!(arena.owners, [("memory".to_owned(), 4000.0), ("sampler".to_owned(), 60.0)]);
        assert_eq!(arena.regions.iter().map(|r| r.gap).collect::<Vec<_>>(), [96.0, 502.0, 4372.0, 970.0]);
        assert_eq!(arena.gaps(), (4, 10_000.0 - 4060.0));
        assert_eq!((arena.regions[0].shape.as_str(), arena.regions[1].shape.as_str()), ("[4, 1000]", "-"));
    }

    /// Breaks if thousands of invisible boxes are drawn, or a gap is covered.
    #[test]
    fn narrow_neighbours_are_one_box_and_a_hole_stays() {
        let arena = arena();
        let boxes = |narrow, least| runs(&arena.regions, narrow, least).iter().map(|r| (r.first, r.last)).collect::<Vec<_>>();
        assert_eq!(boxes(100.0, 600.0), [(0, 0), (1, 2), (3, 3)]);
        assert_eq!(boxes(1.0, 1.0), [(0, 0), (1, 1), (2, 2), (3, 3)]);
        assert_eq!(boxes(1e9, 1e9), [(0, 3)]);
    }
}

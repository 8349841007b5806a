//! The chunks of a report, for charts.

use super::read::{as_text, list, non_negative, number};
use serde_json::Value;

/// One chunk, with the fields that the latency charts use.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chunk {
    /// Its index in the report.
    pub(super) index: usize,
    pub(super) start_s: Option<f64>,
    pub(super) latency_ms: f64,
    pub(super) late_ms: Option<f64>,
    pub(super) verdict: Option<String>,
}

impl Chunk {
    /// The guard's verdict if it is not `accepted`.
    pub(super) fn other_verdict(&self) -> Option<&str> {
        self.verdict.as_deref().filter(|verdict| *verdict != "accepted")
    }

    /// The tooltip.
    pub(super) fn tip(&self) -> String {
        use super::read::figure;
        let mut tip = format!("chunk {}: {} ms", self.index, figure(self.latency_ms));
        if let Some(late) = self.late_ms {
            tip += &format!(", {} ms late", figure(late));
        }
        if let Some(verdict) = &self.verdict {
            tip += &format!(", {verdict}");
        }
        tip
    }
}

/// The chunks that have a latency.
pub(super) fn read(chunks: &Value) -> Vec<Chunk> {
    let all = list(chunks).iter().enumerate();
    all.filter_map(|(index, chunk)| {
        Some(Chunk {
            index,
            start_s: number(&chunk["start_ms"]).map(|ms| ms / 1000.0),
            latency_ms: non_negative(&chunk["latency_ms"])?,
            late_ms: number(&chunk["late_ms"]).filter(|ms| *ms > 0.0),
            verdict: as_text(&chunk["verdict"]),
        })
    })
    .collect()
}

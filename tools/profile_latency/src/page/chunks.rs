//! The chunks of a report as points of a chart.

use super::read::{amount, list, number, words};
use serde_json::Value;

/// One chunk, as far as charts of latency want it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chunk {
    /// Its place in the report.
    pub(super) index: usize,
    pub(super) start_s: Option<f64>,
    pub(super) latency_ms: f64,
    pub(super) late_ms: Option<f64>,
    pub(super) verdict: Option<String>,
}

impl Chunk {
    /// The verdict, where it is another than the one of a good plan.
    pub(super) fn odd_verdict(&self) -> Option<&str> {
        self.verdict.as_deref().filter(|verdict| *verdict != "accepted")
    }

    /// What is shown where the pointer rests.
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
            latency_ms: amount(&chunk["latency_ms"])?,
            late_ms: number(&chunk["late_ms"]).filter(|ms| *ms > 0.0),
            verdict: words(&chunk["verdict"]),
        })
    })
    .collect()
}

//! One chunk of a drive: its outcome, the path driven after it, and its line in
//! `trajectories.jsonl` (docs/output.md).

use crate::horizons::HORIZONS_S;
use anyhow::Result;
use drivewam::guard::{Cause, Verdict};
use drivewam::guidance::status::RejectReason;
use drivewam::outcome::{Outcome, Restart};
use drivewam::stages::Stage;
use drivewam_core::pose::Pose2;
use drivewam_core::trajectory::{Displacement, Trajectory};
use serde_json::{Value, json};

/// Version of the keys of `trajectories.jsonl` and `summary.json` (docs/output.md).
pub(super) const SCHEMA: u32 = 2;
/// Errors at [`HORIZONS_S`].
pub(super) type Errors = [Displacement; HORIZONS_S.len()];

/// A chunk of a drive.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) outcome: Outcome,
    /// Speed at t0 of the policy's plan, m/s; without one, at the anchor.
    pub(super) speed_mps: f64,
    /// The baseline: constant velocity and yaw rate from the same time on.
    pub(super) constant: Trajectory,
    /// The path driven after t0 of the policy's plan, in the ego frame then. `None` without such a
    /// plan, where the drive ended before the path was complete, or where the plan itself moved the
    /// car (closed loop).
    pub(super) truth: Option<Vec<Pose2>>,
}

impl Row {
    /// Errors of the policy and of the baseline. `None` without `truth`.
    ///
    /// # Errors
    /// The trajectory is shorter than a horizon.
    pub(super) fn errors(&self) -> Result<Option<(Errors, Errors)>> {
        let Some(truth) = &self.truth else { return Ok(None) };
        let of = |trajectory: &Trajectory| -> Result<Errors> {
            let [a, b] = HORIZONS_S.map(|horizon| trajectory.displacement(truth, horizon));
            Ok([a?, b?])
        };
        Ok(Some((of(&self.outcome.trajectory)?, of(&self.constant)?)))
    }

    /// The line of `trajectories.jsonl`.
    ///
    /// # Errors
    /// As [`Row::errors`].
    pub(super) fn json(&self) -> Result<Value> {
        let o = &self.outcome;
        let mut line = json!({
            "schema": SCHEMA,
            "lane": o.lane,
            "chunk": o.chunk,
            "rollout": o.rollout,
            "t0_ns": o.t0_ns,
            "anchor_ns": o.anchor_ns,
            "policy_t0_ns": o.policy_t0_ns,
            "published_ns": o.published_ns,
            "valid_until_ns": o.valid_until_ns,
            "uncovered_ms": o.uncovered_ms,
            "pose": o.pose.map(|p| [p.x_m, p.y_m, p.yaw_rad]),
            "speed_mps": self.speed_mps,
            "command": o.command.as_str(),
            "guidance": {
                "source": o.guidance.source.as_str(),
                "text": o.guidance.text,
                "age_ms": o.guidance.age_ms,
                "generate_ms": o.guidance.generate_ms,
                "rejected": o.guidance.rejected.map(RejectReason::as_str),
                "rejects": o.guidance.reject_count,
            },
            "verdict": o.verdict.as_str(),
            "reason": o.cause.map(|cause| cause.to_string()),
            "cause": o.cause.map(|cause| json!({cause.as_str(): figures(&cause)})),
            "continuity_error_m": o.continuity_error_m,
            "ages_ms": {"ego": o.ages.ego_ms, "pose": o.ages.pose_ms, "command": o.ages.command_ms},
            "monitors": o.monitors.iter().map(|(monitor, found)| {
                (monitor.as_str().to_owned(), json!({"value": found.value, "threshold": found.threshold}))
            }).collect::<serde_json::Map<_, _>>(),
            "degraded": degraded(o),
            "restarted": restarted(o.restarted),
            "memory": {"video": o.memory.video, "action": o.memory.action, "tail": o.memory.tail},
            "passes": o.stages.passes(),
            "latency_ms": o.stages.total_ns() as f64 * 1e-6,
            "stages_ms": Stage::ALL.map(|stage| (stage.as_str(), json!(o.stages.ns(stage) as f64 * 1e-6))).into_iter()
                .map(|(name, ms)| (name.to_owned(), ms)).collect::<serde_json::Map<_, _>>(),
            "poses": poses(&o.published),
        });
        if let Some(line) = line.as_object_mut() {
            if o.verdict != Verdict::Accepted {
                line.insert("policy_poses".into(), poses(&o.trajectory));
            }
            if let Some((policy, constant)) = self.errors()? {
                line.insert(
                    "errors_m".into(),
                    json!({"policy": errors_json(&policy), "constant_velocity_and_yaw_rate": errors_json(&constant)}),
                );
            }
        }
        Ok(line)
    }
}

/// Errors as ADE and FDE at each horizon.
pub(super) fn errors_json(errors: &Errors) -> Value {
    let mut map = serde_json::Map::new();
    for (horizon, error) in HORIZONS_S.iter().zip(errors) {
        map.insert(format!("ade_{horizon:.0}s"), json!(error.mean_m));
        map.insert(format!("fde_{horizon:.0}s"), json!(error.last_m));
    }
    Value::Object(map)
}

fn poses(trajectory: &Trajectory) -> Value {
    trajectory.points().iter().map(|p| json!([p.x_m, p.y_m, p.yaw_rad, p.v_mps])).collect()
}

/// Degradations of a chunk by name, each with its figures; empty if there are none.
pub(super) fn degraded(outcome: &Outcome) -> Value {
    Value::Object(outcome.degraded.iter().map(|cause| (cause.as_str().to_owned(), figures(&cause))).collect())
}

/// The figures of a cause. A value that is not finite is null.
fn figures(cause: &Cause) -> Value {
    json!({"value": cause.value, "threshold": cause.threshold, "unit": cause.kind.row().unit, "in_a_row": cause.in_a_row})
}

fn restarted(restart: Option<Restart>) -> Value {
    match restart {
        None => Value::Null,
        Some(Restart::MissingFrame { expected_ns, got_ns }) => {
            json!({"reason": "missing_frame", "expected_ns": expected_ns, "got_ns": got_ns})
        }
        Some(Restart::Asked) => json!({"reason": "requested"}),
        Some(Restart::ClockSetBack) => json!({"reason": "clock_set_back"}),
        Some(Restart::Fault(kind)) => json!({"reason": "fault", "kind": kind.as_str()}),
    }
}

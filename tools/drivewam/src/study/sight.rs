//! `study sight`: the effect of the camera on the errors. The policy with its own camera, a black
//! one and another world's; constant velocity and yaw rate; and other engines (`--compare`), such
//! as a network of the same size that was trained without images. There are two truths: what the
//! expert then drove, who reacts to what nobody could foresee, and its plan at t0 without
//! foresight.

use super::args::MAX_WORLDS;
use super::episode::{Chunk, Episode};
use super::output::weights_sha256;
use super::parallel::Parallel;
use super::setup::Study;
use super::stats::{Cluster, Estimate, mean, ratio};
use super::steered_device::SharedSign;
use crate::table::Table;
use anyhow::Result;
use drivewam_core::config::Config;
use drivewam_core::trajectory::Displacement;
use drivewam_simulation::{CameraFault, FaultKind};
use drivewam_world::{Options, World};
use serde_json::{Map, Value, json};
use std::iter::once;

/// Chunks per world: 40 s.
const CHUNKS: usize = 10;
const OWN: &str = "policy";
const CONSTANT: &str = "constant velocity and yaw rate";

/// Length of the other world's drive, seconds: longer than this one's.
const SECONDS: u64 = 60;
/// What is wrong with the camera in the world of a seed.
type FaultOf = fn(&Config, u64) -> Option<CameraFault>;
/// Selects one error of those against what was driven, and against the expert's plan without
/// foresight; each at both horizons.
type ErrorOf = fn(&[Displacement; 2], &[Displacement; 2]) -> f64;

/// The reported errors of a plan.
const ERRORS: [(&str, ErrorOf); 6] = [
    ("ADE@3s", |driven, _| driven[0].mean_m),
    ("FDE@3s", |driven, _| driven[0].last_m),
    ("ADE@4s", |driven, _| driven[1].mean_m),
    ("FDE@4s", |driven, _| driven[1].last_m),
    ("ADE@3s to the plan", |_, plan| plan[0].mean_m),
    ("ADE@4s to the plan", |_, plan| plan[1].mean_m),
];

/// Runs the part.
///
/// # Errors
/// A ride fails; a trajectory is not finite.
pub(super) fn run(study: &Study<'_>, parallel: &Parallel<'_>) -> Result<(Value, Table)> {
    let cameras: [(&str, FaultOf); 3] = [
        (OWN, |_, _| None),
        ("policy, camera black", |_, _| Some(CameraFault::new(FaultKind::Level(0), 0, Vec::new()))),
        ("policy, another world's camera", |config, seed| {
            let other = World::new(seed + MAX_WORLDS as u64, Options::default());
            Some(CameraFault::new(FaultKind::Foreign, 0, CameraFault::pictures_of(config, &other, SECONDS)))
        }),
    ];
    let rides = || Ok((study.ride(study.config("")?)?, study.compared.iter().map(|(_, f)| study.ride_of(f)).collect::<Result<Vec<_>>>()?));
    let worlds = parallel.map(study.worlds, rides, |(ride, others), seed| {
        let episode =
            Episode { seed: seed as u64, options: Options::default(), chunks: CHUNKS, fault: None, reset_every: None, routed: true };
        let mut results = Vec::with_capacity(cameras.len() + others.len());
        for (_, fault) in cameras {
            let fault = fault(ride.config(), seed as u64);
            let Some(chunks) = (Episode { fault, ..episode.clone() }).drive(ride, &SharedSign::default(), parallel.stop)? else {
                return Ok(None);
            };
            results.push(chunks);
        }
        for other in others {
            let Some(chunks) = episode.drive(other, &SharedSign::default(), parallel.stop)? else { return Ok(None) };
            results.push(chunks);
        }
        Ok(Some(results))
    })?;
    let mut names: Vec<&str> = cameras.iter().map(|(name, _)| *name).collect();
    names.extend(study.compared.iter().map(|(name, _)| name.as_str()));
    let clusters = |who: usize, of: &dyn Fn(&Chunk) -> f64| -> Vec<Cluster> {
        worlds.iter().map(|results| results[who].iter().map(of).collect()).collect()
    };
    let errors_of = |who: usize| ERRORS.map(|(_, of)| clusters(who, &|c| of(&c.policy, &c.policy_to_plan)));
    let mut rows: Vec<(&str, [Vec<Cluster>; 6])> = names.iter().enumerate().map(|(who, name)| (*name, errors_of(who))).collect();
    rows.push((CONSTANT, ERRORS.map(|(_, of)| clusters(0, &|c| of(&c.constant, &c.constant_to_plan)))));
    let own = rows[0].1[2].clone();
    let columns = ERRORS.map(|(name, _)| format!("{name}, m"));
    let columns = once("").chain(columns.iter().map(String::as_str)).chain(once("ADE@4s of policy / this"));
    let mut table = Table::new(&columns.collect::<Vec<_>>());
    let mut json = Map::new();
    for (name, errors) in &rows {
        let means: Vec<Estimate> = errors.iter().map(|e| mean(e)).collect();
        let relative = ratio(&own, &errors[2]);
        let mut cells = vec![(*name).to_owned()];
        cells.extend(means.iter().map(ToString::to_string));
        cells.push(relative.to_string());
        table.row(cells);
        let mut entry: Map<String, Value> = ERRORS.iter().zip(&means).map(|((e, _), f)| ((*e).to_owned(), f.json())).collect();
        entry.insert("ratio_of_policy".to_owned(), relative.json());
        json.insert((*name).to_owned(), Value::Object(entry));
    }
    let manifests: Map<String, Value> = study.compared.iter().map(|(name, f)| (name.clone(), f.manifest_sha256().into())).collect();
    let weights: Map<String, Value> = study.compared.iter().map(|(name, f)| (name.clone(), json!(weights_sha256(f.manifest())))).collect();
    Ok((
        json!({"worlds": worlds.len(), "chunks_per_world": CHUNKS, "compared_manifest_sha256": manifests,
            "compared_weights_sha256": weights, "policies": json}),
        table,
    ))
}

//! `study sight`: what the camera is worth. The policy with its own camera, with none, and with another world's; constant velocity and yaw rate;
//! and other engines, such as a network of the same size that was trained without sight (`--beside`).

use super::chosen::Signs;
use super::course::{Chunk, Course};
use super::crew::Crew;
use super::stats::{Cluster, Figure, mean, ratio};
use super::{HELD_OUT, Study, Table};
use anyhow::Result;
use drivewam_core::trajectory::Displacement;
use drivewam_simulation::CameraSource;
use drivewam_world::Options;
use serde_json::{Map, Value, json};

/// Ten chunks a world: 40 s.
const CHUNKS: usize = 10;
const OWN: &str = "policy";
const CONSTANT: &str = "constant velocity and yaw rate";

/// What the camera shows in the world of a seed.
type View = fn(u64) -> CameraSource;
/// One error of a plan, of those at both horizons.
type Error = fn(&[Displacement; 2]) -> f64;

/// The errors that are reported of a plan.
const ERRORS: [(&str, Error); 4] =
    [("ADE@3s", |d| d[0].mean_m), ("FDE@3s", |d| d[0].last_m), ("ADE@4s", |d| d[1].mean_m), ("FDE@4s", |d| d[1].last_m)];

/// Runs it.
///
/// # Errors
/// Of a ride.
pub(super) fn run(study: &Study<'_>, crew: &Crew<'_>) -> Result<(Value, Table)> {
    let cameras: [(&str, View); 3] = [
        (OWN, |_| CameraSource::Own),
        ("policy, camera black", |_| CameraSource::Black),
        ("policy, another world's camera", |seed| CameraSource::Other(seed + HELD_OUT as u64)),
    ];
    let rides =
        || Ok((study.ride(study.config("")?)?, study.beside.iter().map(|(_, f)| study.ride_beside(f)).collect::<Result<Vec<_>>>()?));
    let worlds = crew.each(study.worlds, rides, |(ride, others), seed| {
        let course = Course {
            seed: seed as u64,
            options: Options::default(),
            chunks: CHUNKS,
            camera: CameraSource::Own,
            anew_every: None,
            routed: true,
        };
        let mut answers = Vec::with_capacity(cameras.len() + others.len());
        for (_, camera) in cameras {
            let Some(chunks) = (Course { camera: camera(seed as u64), ..course }).drive(ride, &Signs::default(), crew.stop)? else {
                return Ok(None);
            };
            answers.push(chunks);
        }
        for other in others {
            let Some(chunks) = course.drive(other, &Signs::default(), crew.stop)? else { return Ok(None) };
            answers.push(chunks);
        }
        Ok(Some(answers))
    })?;
    let mut names: Vec<&str> = cameras.iter().map(|(name, _)| *name).collect();
    names.extend(study.beside.iter().map(|(name, _)| name.as_str()));
    let clusters = |who: usize, of: &dyn Fn(&Chunk) -> f64| -> Vec<Cluster> {
        worlds.iter().map(|answers| answers[who].iter().map(of).collect()).collect()
    };
    let mut rows: Vec<(&str, [Vec<Cluster>; 4])> =
        names.iter().enumerate().map(|(who, name)| (*name, ERRORS.map(|(_, of)| clusters(who, &|c| of(&c.policy))))).collect();
    rows.push((CONSTANT, ERRORS.map(|(_, of)| clusters(0, &|c| of(&c.constant)))));
    let own = rows[0].1[2].clone();
    let mut table = Table::new(&["", "ADE@3s, m", "FDE@3s, m", "ADE@4s, m", "FDE@4s, m", "policy's ADE@4s as a share of it"]);
    let mut json = Map::new();
    for (name, errors) in &rows {
        let figures: Vec<Figure> = errors.iter().map(|e| mean(e)).collect();
        let share = ratio(&own, &errors[2]);
        let mut cells = vec![(*name).to_owned()];
        cells.extend(figures.iter().map(ToString::to_string));
        cells.push(share.to_string());
        table.row(cells);
        let mut entry: Map<String, Value> = ERRORS.iter().zip(&figures).map(|((e, _), f)| ((*e).to_owned(), f.json())).collect();
        entry.insert("policy_share".to_owned(), share.json());
        json.insert((*name).to_owned(), Value::Object(entry));
    }
    let manifests: Map<String, Value> = study.beside.iter().map(|(name, f)| (name.clone(), f.manifest_sha256().into())).collect();
    Ok((json!({"worlds": worlds.len(), "chunks_per_world": CHUNKS, "beside_manifest_sha256": manifests, "who": json}), table))
}

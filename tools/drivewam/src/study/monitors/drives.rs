//! Drives of all worlds: by the expert, and by the policy.

use super::super::parallel::Parallel;
use super::super::route::{Conditions, Driver, Route, drive};
use super::super::setup::Study;
use super::cameras::Case;
use super::watch::{Chunk, watch};
use anyhow::Result;

/// The expert drives each world, and the ride sees through the camera of `case`.
pub(super) fn expert_drives(study: &Study<'_>, parallel: &Parallel<'_>, case: &Case, layer: &str) -> Result<Vec<Vec<Chunk>>> {
    let make = || study.ride(study.config(layer)?);
    parallel.map(study.worlds, make, |ride, i| watch(ride, case, study.first_world() + i as u64, parallel))
}

/// The policy drives a route in each world, on which its camera becomes that of `case`.
pub(super) fn policy_drives(study: &Study<'_>, parallel: &Parallel<'_>, case: &Case, layer: &str) -> Result<Vec<Route>> {
    let make = || Ok([study.following_ride(study.config(layer)?)?]);
    parallel.map(study.worlds, make, |rides, i| {
        let fault = case.kind.map(|kind| (kind, case.pictures.clone()));
        let conditions = Conditions { fault, ..Conditions::default() };
        drive(Driver::Policy(0), rides, study.first_world() + i as u64, &conditions, parallel.stop)
    })
}

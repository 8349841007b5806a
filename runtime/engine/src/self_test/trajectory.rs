//! The trajectories of the self-test: what an engine's tensors do not show.
//!
//! The decoded one needs no engine: the actions of a rule, undone with the manifest's normalisation
//! and summed, must be the exporter's. The predicted one is that of a short rollout, which the ride
//! repeats in Warm with all its engines.

use super::answers::numbers;
use super::rule::{fnv1a, uniform};
use drivewam_core::action::{ActionRows, Increment};
use drivewam_core::bindings::Graph;
use drivewam_core::dims::Model;
use drivewam_core::manifest::Manifest;
use drivewam_core::trajectory::{Point, Trajectory};
use drivewam_core::{Error, ErrorKind, Result};
use safetensors::SafeTensors;

/// How far a decoded pose may be from the exporter's, m and rad: the rounding of f32. A change of
/// the normalisation that moves no pose by more is not noticed.
const DECODED_TOLERANCE: f64 = 1e-5;

/// The rollout of the self-test: its inputs, and the trajectory that the reference predicts.
#[derive(Debug, Clone, PartialEq)]
pub struct TrajectoryTest {
    /// The latent of chunk 0, `[Cz, Hz, Wz]`.
    pub latent: Vec<f32>,
    /// The noise of the video of chunk 1, token rows `[Nv, W]`.
    pub noise: Vec<f32>,
    /// x m, y m and yaw rad of each pose.
    pub wanted: Vec<[f64; 3]>,
    /// How far a pose may be from it, m and rad.
    pub tolerance: f64,
}

/// Proves that the manifest's normalisation decodes the rule's actions to the exporter's
/// trajectory.
///
/// # Errors
/// `Manifest` for another trajectory, with the pose; for a self-test without one.
pub(crate) fn check_decoded(manifest: &Manifest, content: &[u8]) -> Result<()> {
    let wanted = poses(&manifest.model, content, "trajectory/decoded")?;
    let got = decode(&manifest.model, manifest, &rule("actions", 3 * manifest.model.poses()))?;
    compare(&got, &wanted, DECODED_TOLERANCE).map_err(|e| e.at("normalisation.action: the trajectory of the self-test's actions"))
}

/// Compares points with the reference's poses.
///
/// # Errors
/// `Manifest`, with the pose that is farthest off.
pub(crate) fn compare(got: &[Point], wanted: &[[f64; 3]], tolerance: f64) -> Result<()> {
    let off = |(point, wanted): (&Point, &[f64; 3])| {
        let apart = [point.x_m - wanted[0], point.y_m - wanted[1], point.yaw_rad - wanted[2]].map(f64::abs);
        // A NaN is the worst of all.
        apart.into_iter().fold(0.0, |worst: f64, d| if d.is_nan() { f64::INFINITY } else { worst.max(d) })
    };
    let all = got.iter().zip(wanted).map(off).enumerate();
    let (pose, worst) = all.fold((0, 0.0), |worst: (usize, f64), next| if next.1 > worst.1 { next } else { worst });
    if worst <= tolerance {
        return Ok(());
    }
    let show = |[x, y, yaw]: [f64; 3]| format!("({x:.6} m, {y:.6} m, {yaw:.6} rad)");
    let point = got.get(pose).copied().unwrap_or_default();
    Err(Error::new(ErrorKind::Manifest, "another trajectory than the reference's")
        .got(format!("pose {pose} at {}, off by {worst:.1e}", show([point.x_m, point.y_m, point.yaw_rad])))
        .wanted(format!("{}, to {tolerance:.0e} m and rad", show(wanted.get(pose).copied().unwrap_or_default()))))
}

impl TrajectoryTest {
    /// The rollout of a bundle whose self-test has this content.
    ///
    /// # Errors
    /// `Manifest` when the bundle cannot be driven, or its self-test has no rollout.
    pub(crate) fn new(manifest: &Manifest, content: &[u8]) -> Result<Self> {
        let model = &manifest.model;
        let (width, used) = (model.token_width(), model.video_channels());
        let drawn = rule("noise", model.video_tokens() * used);
        let mut noise = vec![0.0; model.video_tokens() * width];
        for (row, drawn) in noise.chunks_exact_mut(width).zip(drawn.chunks_exact(used)) {
            row.iter_mut().zip(drawn).for_each(|(to, from)| *to = (3f64.sqrt() * f64::from(*from)) as f32);
        }
        // Actions that are all 1 lead this far. An engine's error is relative to their size.
        let q = &manifest.normalisation.action;
        let reach = model.poses() as f64 * (q.q99[0] - q.q01[0]).max(q.q99[1] - q.q01[1]) / 2.0;
        let tolerance = manifest.graph(Graph::Dit)?.tolerance * reach;
        Ok(Self { latent: rule("latent", model.latent_len()), noise, wanted: poses(model, content, "trajectory/predicted")?, tolerance })
    }

    /// Proves that `got` is the reference's trajectory.
    ///
    /// # Errors
    /// `Manifest`, with the pose that is farthest off.
    pub fn check(&self, got: &[Point]) -> Result<()> {
        compare(got, &self.wanted, self.tolerance).map_err(|e| e.at("self-test: the trajectory of a short rollout"))
    }
}

/// The rule's numbers of the tensor `name`.
fn rule(name: &str, len: usize) -> Vec<f32> {
    let seed = fnv1a(name);
    (0..len).map(|i| uniform(seed, i)).collect()
}

/// The trajectory of normalised increments `[poses, 3]`.
fn decode(model: &Model, manifest: &Manifest, normalised: &[f32]) -> Result<Vec<Point>> {
    let rows = ActionRows::new(model, manifest.normalisation.action);
    let mut tokens = vec![0.0; rows.rows_len()];
    let used = rows.used_channels();
    for (row, values) in tokens.chunks_exact_mut(model.token_width()).zip(normalised.chunks_exact(used.len())) {
        used.iter().zip(values).for_each(|(&channel, value)| row[channel] = *value);
    }
    let mut increments = vec![Increment::default(); rows.increments_len()];
    rows.decode(&tokens, &mut increments)?;
    let mut trajectory = Trajectory::new(model.poses(), model.pose_period_ns())?;
    trajectory.set_increments(&increments)?;
    Ok(trajectory.points().to_vec())
}

/// The poses of the tensor `name`, `[poses, 3]`.
fn poses(model: &Model, content: &[u8], name: &str) -> Result<Vec<[f64; 3]>> {
    let bad = |what: &str| Error::new(ErrorKind::Manifest, what);
    let file = SafeTensors::deserialize(content).map_err(|e| bad("not a safetensors file").caused_by(e))?;
    let numbers = numbers(&file, name)?;
    let (poses, rest) = numbers.as_chunks::<3>();
    if poses.len() != model.poses() || !rest.is_empty() {
        return Err(bad("the tensor has the wrong length").at(format!("{name:?}")).got(numbers.len()).wanted(3 * model.poses()));
    }
    Ok(poses.iter().map(|pose| pose.map(f64::from)).collect())
}

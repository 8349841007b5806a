//! What the small policy's picture can show: how far each thing is seen, and whether something nearer stands before it.
//!
//! Limits of distance are chosen for 112 x 64 pixels and 90 degrees, the smallest picture that the world is trained with: at its limit a thing is
//! still one to two pixels high. What lies beyond is not there for a caption, whatever the labels say.

use crate::render::{self, CAMERA_AHEAD_M, CAMERA_HEIGHT_M, LIGHT_ASIDE_M, LIGHT_BEHIND_M, LIGHT_BOARD_M, SIGN_ASIDE_M, SIGN_FACE_M};
use crate::road::Fixture;
use crate::scene::{LEAD_REAR_M, Light};
use crate::{SPEED_LIMITS_MPS, World};
use drivewam_core::pose::Pose2;

/// Distances from the camera up to which a thing is told, metres.
const LIGHT_M: f64 = 36.0;
const SIGN_M: f64 = 40.0;
const LEAD_M: f64 = 40.0;
const PEDESTRIAN_M: f64 = 32.0;
const JUNCTION_M: f64 = 25.0;
/// Brake lamps glow visibly up to here.
const BRAKE_M: f64 = 18.0;
/// A lead or a light nearer than this is close.
const CLOSE_M: f64 = 12.0;
/// Nothing is told that stands nearer than this: it leaves the picture at the side.
const NEAREST_M: f64 = 2.0;
/// Tangents to the sides and up, a little within the picture.
const ASIDE: f64 = 0.95;
const UP: f64 = 32.0 / 56.0;
/// The road bends when it turns by more than this over [`LOOK_M`], radians.
const BEND_RAD: f64 = 0.25;
const LOOK_M: f64 = 25.0;

/// The road ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoadAhead {
    /// No bend to speak of.
    Straight,
    /// Bends to the left.
    Left,
    /// Bends to the right.
    Right,
    /// A road crosses, here or ahead.
    Junction,
}

/// The light in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LightView {
    pub(crate) shows: Light,
    pub(crate) is_close: bool,
}

/// The lead in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeadView {
    pub(crate) is_close: bool,
    /// Its brake lamps glow, and are near enough to be seen.
    pub(crate) is_braking: bool,
}

/// An upright thing in camera axes: metres forward, tangents to the right and up of its edges.
#[derive(Debug, Clone, Copy)]
struct Shape {
    forward_m: f64,
    left: f64,
    bottom: f64,
    right: f64,
    top: f64,
}

impl Shape {
    fn new(at: Pose2, camera: &Pose2, [left, bottom, right, top]: [f64; 4]) -> Self {
        let local = at.relative_to(camera);
        let (x_m, right_m) = (local.x_m.max(0.1), -local.y_m);
        let up = |height_m: f64| (height_m - CAMERA_HEIGHT_M) / x_m;
        Self { forward_m: local.x_m, left: (right_m + left) / x_m, bottom: up(bottom), right: (right_m + right) / x_m, top: up(top) }
    }

    fn middle(&self) -> (f64, f64) {
        (0.5 * (self.left + self.right), 0.5 * (self.bottom.max(-UP) + self.top.min(UP)))
    }

    fn covers(&self, (aside, up): (f64, f64)) -> bool {
        self.left < aside && aside < self.right && self.bottom < up && up < self.top
    }
}

/// Lead, pedestrians and signs ahead, as the picture shows them: what a caption speaks of and what may stand before it.
pub(crate) struct Sight<'a> {
    world: &'a World,
    camera: Pose2,
    s_m: f64,
    shapes: Vec<Shape>,
}

impl<'a> Sight<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let camera = world.ego().pose.compose(&Pose2::new(CAMERA_AHEAD_M, 0.0, 0.0));
        let mut sight = Self { world, camera, s_m: world.place().0, shapes: Vec::new() };
        let lead = sight.lead_shape();
        sight.shapes = lead.into_iter().chain(sight.pedestrian_shapes()).chain(sight.signs().map(|(_, shape)| shape)).collect();
        sight
    }

    fn shape(&self, s_m: f64, aside_m: f64, face: [f64; 4]) -> Shape {
        Shape::new(self.world.road().at(s_m).pose.compose(&Pose2::new(0.0, aside_m, 0.0)), &self.camera, face)
    }

    fn lead_shape(&self) -> Option<Shape> {
        let rear = self.world.scene().lead_pose(self.world.road())?.compose(&Pose2::new(-LEAD_REAR_M, 0.0, 0.0));
        Some(Shape::new(rear, &self.camera, render::LEAD_M))
    }

    fn pedestrian_shapes(&self) -> impl Iterator<Item = Shape> + use<'_, 'a> {
        self.world.scene().pedestrians.iter().map(|p| self.shape(p.s_m, p.d_m, render::PEDESTRIAN_M))
    }

    fn signs(&self) -> impl Iterator<Item = (usize, Shape)> + use<'_, 'a> {
        self.world.road().fixtures().filter(|p| p.s_m > self.s_m).filter_map(|p| match p.what {
            Fixture::Sign { limit, reveal_m } if p.s_m - self.s_m < reveal_m => Some((limit, self.shape(p.s_m, SIGN_ASIDE_M, SIGN_FACE_M))),
            _ => None,
        })
    }

    /// Whether the middle of `shape` is in the picture, nearer than `far_m`, and nothing stands before it.
    fn sees(&self, shape: &Shape, far_m: f64) -> bool {
        let (aside, up) = shape.middle();
        let is_inside = shape.forward_m > NEAREST_M && shape.forward_m < far_m && aside.abs() < ASIDE && up.abs() < UP;
        is_inside
            && !self
                .shapes
                .iter()
                .any(|other| other.forward_m < shape.forward_m - 0.01 && other.forward_m > NEAREST_M && other.covers((aside, up)))
    }

    /// A junction is told from here until the car has left it.
    pub(crate) fn road(&self) -> RoadAhead {
        let road = self.world.road();
        let is_junction = |j: &crate::road::Junction| j.s_m - self.s_m - CAMERA_AHEAD_M < JUNCTION_M && self.s_m < j.end_m;
        if road.junctions().any(is_junction) {
            return RoadAhead::Junction;
        }
        let turn = drivewam_core::pose::wrap(road.at(self.s_m + LOOK_M).pose.yaw_rad - self.world.ego().pose.yaw_rad);
        match turn {
            turn if turn > BEND_RAD => RoadAhead::Left,
            turn if turn < -BEND_RAD => RoadAhead::Right,
            _ => RoadAhead::Straight,
        }
    }

    /// The nearest light in the picture. One whose lit lamp has left it at the top is told by the lamps that are dark.
    pub(crate) fn light(&self) -> Option<LightView> {
        self.world.road().fixtures().filter(|p| p.s_m > self.s_m && matches!(p.what, Fixture::Light { .. })).find_map(|placed| {
            let shape = self.shape(placed.s_m + LIGHT_BEHIND_M, LIGHT_ASIDE_M, LIGHT_BOARD_M);
            let view = LightView { shows: self.world.scene().light(placed, self.world.time_s()), is_close: shape.forward_m < CLOSE_M };
            self.sees(&shape, LIGHT_M).then_some(view)
        })
    }

    /// The lead, unless it has left the lane.
    pub(crate) fn lead(&self) -> Option<LeadView> {
        let lead = self.world.scene().lead.as_ref().filter(|lead| lead.is_in_lane())?;
        let shape = self.lead_shape().filter(|shape| self.sees(shape, LEAD_M))?;
        Some(LeadView { is_close: shape.forward_m < CLOSE_M, is_braking: lead.lamps_glow() && shape.forward_m < BRAKE_M })
    }

    /// Whether a pedestrian is in the picture; all of them are on their way across.
    pub(crate) fn pedestrian(&self) -> bool {
        self.pedestrian_shapes().any(|shape| self.sees(&shape, PEDESTRIAN_M))
    }

    /// Class of the nearest limit sign in the picture, below the number of [`SPEED_LIMITS_MPS`].
    pub(crate) fn sign(&self) -> Option<usize> {
        self.signs().find(|(_, shape)| self.sees(shape, SIGN_M)).map(|(limit, _)| limit % SPEED_LIMITS_MPS.len())
    }
}

//! What the image of the small policy can show: the distance up to which each thing is visible, and
//! whether a nearer thing hides it.
//!
//! The distances fit 112 x 64 pixels and 90 degrees, the smallest image that training uses: at its
//! limit a thing is still one to two pixels high. A caption ignores what lies beyond, whatever the
//! labels say.

use crate::dimensions::{self, CAMERA_AHEAD_M, CAMERA_HEIGHT_M, LIGHT_ASIDE_M, LIGHT_BEHIND_M, LIGHT_BOARD_M, SIGN_ASIDE_M, SIGN_FACE_M};
use crate::road::{Fixture, Junction, SPEED_LIMITS_MPS};
use crate::scene::{LEAD_REAR_M, Light};
use crate::world::World;
use drivewam_core::pose::{Pose2, wrap};

/// Distances from the camera up to which things are visible, metres.
const LIGHT_M: f64 = 36.0;
const SIGN_M: f64 = 40.0;
const LEAD_M: f64 = 40.0;
const PEDESTRIAN_M: f64 = 32.0;
const JUNCTION_M: f64 = 25.0;
/// Distance up to which brake lamps are visible, metres.
const BRAKE_M: f64 = 18.0;
/// A lead or a traffic light nearer than this is close, metres.
const CLOSE_M: f64 = 12.0;
/// Things nearer than this leave the image at its side and do not count, metres.
const NEAREST_M: f64 = 2.0;
/// Tangents of the image's borders to the side and up, a little within the image.
const ASIDE: f64 = 0.95;
const UP: f64 = 32.0 / 56.0;
/// The road bends if it turns by more than this over [`LOOK_M`], radians.
const BEND_RAD: f64 = 0.25;
const LOOK_M: f64 = 25.0;

/// The road ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoadAhead {
    /// No considerable bend.
    Straight,
    /// Bends to the left.
    Left,
    /// Bends to the right.
    Right,
    /// A road crosses, here or ahead.
    Junction,
}

/// The traffic light in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LightView {
    pub(crate) shows: Light,
    pub(crate) is_close: bool,
}

/// The lead in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeadView {
    pub(crate) is_close: bool,
    /// Whether its brake lamps are on and near enough to be visible.
    pub(crate) is_braking: bool,
}

/// An upright thing as the camera sees it: metres forward, and tangents of its edges to the right
/// and up.
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

/// What the image shows of a world. `shapes` are the lead, pedestrians and signs ahead, which may
/// hide one another.
pub(crate) struct Visibility<'a> {
    world: &'a World,
    camera: Pose2,
    s_m: f64,
    shapes: Vec<Shape>,
}

impl<'a> Visibility<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let camera = world.ego().pose.compose(&Pose2::new(CAMERA_AHEAD_M, 0.0, 0.0));
        let mut visibility = Self { world, camera, s_m: world.place().0, shapes: Vec::new() };
        let lead = visibility.lead_shape();
        visibility.shapes =
            lead.into_iter().chain(visibility.pedestrian_shapes()).chain(visibility.signs().map(|(_, shape)| shape)).collect();
        visibility
    }

    fn shape(&self, s_m: f64, aside_m: f64, face: [f64; 4]) -> Shape {
        Shape::new(self.world.road().at(s_m).pose.compose(&Pose2::new(0.0, aside_m, 0.0)), &self.camera, face)
    }

    fn lead_shape(&self) -> Option<Shape> {
        let rear = self.world.scene().lead_pose(self.world.road())?.compose(&Pose2::new(-LEAD_REAR_M, 0.0, 0.0));
        Some(Shape::new(rear, &self.camera, dimensions::LEAD_M))
    }

    fn pedestrian_shapes(&self) -> impl Iterator<Item = Shape> + use<'_, 'a> {
        self.world.scene().pedestrians.iter().map(|p| self.shape(p.s_m, p.d_m, dimensions::PEDESTRIAN_M))
    }

    fn signs(&self) -> impl Iterator<Item = (usize, Shape)> + use<'_, 'a> {
        self.world.road().fixtures().filter(|p| p.s_m > self.s_m).filter_map(|p| match p.what {
            Fixture::Sign { limit, reveal_m } if p.s_m - self.s_m < reveal_m => Some((limit, self.shape(p.s_m, SIGN_ASIDE_M, SIGN_FACE_M))),
            _ => None,
        })
    }

    /// Whether the middle of `shape` is in the image, nearer than `far_m`, and not hidden.
    fn sees(&self, shape: &Shape, far_m: f64) -> bool {
        let (aside, up) = shape.middle();
        let is_inside = shape.forward_m > NEAREST_M && shape.forward_m < far_m && aside.abs() < ASIDE && up.abs() < UP;
        is_inside
            && !self
                .shapes
                .iter()
                .any(|other| other.forward_m < shape.forward_m - 0.01 && other.forward_m > NEAREST_M && other.covers((aside, up)))
    }

    /// The road ahead. A junction counts from [`JUNCTION_M`] until the car has left it.
    pub(crate) fn road(&self) -> RoadAhead {
        let road = self.world.road();
        let is_junction = |j: &Junction| j.s_m - self.s_m - CAMERA_AHEAD_M < JUNCTION_M && self.s_m < j.end_m;
        if road.junctions().any(is_junction) {
            return RoadAhead::Junction;
        }
        let turn = wrap(road.at(self.s_m + LOOK_M).pose.yaw_rad - self.world.ego().pose.yaw_rad);
        match turn {
            turn if turn > BEND_RAD => RoadAhead::Left,
            turn if turn < -BEND_RAD => RoadAhead::Right,
            _ => RoadAhead::Straight,
        }
    }

    /// The nearest traffic light in the image. If the lit lamp has left the image at the top, the
    /// dark lamps still tell the state.
    pub(crate) fn light(&self) -> Option<LightView> {
        self.world.road().fixtures().filter(|p| p.s_m > self.s_m && matches!(p.what, Fixture::Light { .. })).find_map(|placed| {
            let shape = self.shape(placed.s_m + LIGHT_BEHIND_M, LIGHT_ASIDE_M, LIGHT_BOARD_M);
            let view = LightView { shows: self.world.scene().light(placed, self.world.time_s()), is_close: shape.forward_m < CLOSE_M };
            self.sees(&shape, LIGHT_M).then_some(view)
        })
    }

    /// The lead in the image, unless it has left the lane.
    pub(crate) fn lead(&self) -> Option<LeadView> {
        let lead = self.world.scene().lead.as_ref().filter(|lead| lead.is_in_lane())?;
        let shape = self.lead_shape().filter(|shape| self.sees(shape, LEAD_M))?;
        Some(LeadView { is_close: shape.forward_m < CLOSE_M, is_braking: lead.lamps_glow() && shape.forward_m < BRAKE_M })
    }

    /// Whether a pedestrian is in the image; all of them cross the road.
    pub(crate) fn pedestrian(&self) -> bool {
        self.pedestrian_shapes().any(|shape| self.sees(&shape, PEDESTRIAN_M))
    }

    /// Class of the nearest speed limit sign in the image: an index of [`SPEED_LIMITS_MPS`].
    pub(crate) fn sign(&self) -> Option<usize> {
        self.signs().find(|(_, shape)| self.sees(shape, SIGN_M)).map(|(limit, _)| limit % SPEED_LIMITS_MPS.len())
    }
}

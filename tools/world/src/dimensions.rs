//! Positions and sizes of what the camera draws. The visibility of things follows them too.
//!
//! An outline `[left, bottom, right, top]` is in metres around the foot of a thing, right positive.

/// Height of the camera above the road, metres. It looks straight ahead and level.
pub const CAMERA_HEIGHT_M: f64 = 1.5;
/// Position of the camera ahead of the car's reference point, metres.
pub const CAMERA_AHEAD_M: f64 = 1.5;

/// Position of a sign beside the centre line, left positive.
pub(crate) const SIGN_ASIDE_M: f64 = -3.6;
/// Outline of a sign's face.
pub(crate) const SIGN_FACE_M: [f64; 4] = [-1.1, 1.2, 1.1, 3.4];
/// Position of a traffic light behind its stop line.
pub(crate) const LIGHT_BEHIND_M: f64 = 1.0;
/// Position of a traffic light beside the centre line, left positive.
pub(crate) const LIGHT_ASIDE_M: f64 = -3.1;
/// Outline of a traffic light's board.
pub(crate) const LIGHT_BOARD_M: [f64; 4] = [-0.75, 1.9, 0.75, 4.7];
/// Outline of a pedestrian.
pub(crate) const PEDESTRIAN_M: [f64; 4] = [-0.45, 0.0, 0.45, 2.0];
/// Outline of a lead's rear.
pub(crate) const LEAD_M: [f64; 4] = [-0.95, 0.0, 0.95, 1.6];

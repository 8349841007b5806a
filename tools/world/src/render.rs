//! The front camera. For the ground, each pixel's ray is intersected with the ground plane; upright
//! things are drawn over it, far to near.
//!
//! Edges are softened by the footprint of a pixel, so that far markings fade and do not flicker.
//! The camera is a pinhole that looks straight ahead, [`CAMERA_HEIGHT_M`] above the road.

use crate::canvas::{Canvas, CentreLinePoint, Rgb, mixed, ramp, stripe};
use crate::dimensions::{
    CAMERA_AHEAD_M, CAMERA_HEIGHT_M, LEAD_M, LIGHT_ASIDE_M, LIGHT_BEHIND_M, LIGHT_BOARD_M, PEDESTRIAN_M, SIGN_ASIDE_M, SIGN_FACE_M,
};
use crate::options::Options;
use crate::rng::mix;
use crate::road::{AHEAD_M, Fixture, Sample};
use crate::scene::{LEAD_REAR_M, Light};
use crate::world::World;
use drivewam_core::dims::Intrinsics;
use drivewam_core::pose::Pose2;

/// Distance up to which the ground is drawn, metres.
const FAR_M: f64 = 75.0;
/// Upright things nearer than this are not drawn, metres.
const NEAR_M: f64 = 0.6;
/// Edges of the road beside the lane's centre, left positive, metres.
const RIGHT_EDGE_M: f64 = -2.1;
const LEFT_EDGE_M: f64 = 5.4;

const WHITE: Rgb = [235.0, 235.0, 230.0];
const SIGN_COLOURS: [Rgb; 3] = [[235.0, 40.0, 40.0], [250.0, 210.0, 30.0], [40.0, 90.0, 240.0]];

/// A number from 0 to 1 that depends on the cell of the plane in which a point lies.
fn grain(x_m: f64, y_m: f64, cell_m: f64) -> f64 {
    let (x, y) = (libm::floor(x_m / cell_m) as i64, libm::floor(y_m / cell_m) as i64);
    (mix((x as u64).wrapping_mul(0x9e37_79b9) ^ (y as u64).rotate_left(32)) >> 40) as f64 / (1u64 << 24) as f64
}

/// A speed limit sign in an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignView {
    /// Identifies the sign among those of its world.
    pub id: u64,
    /// Left, top, right, bottom of its face in fractional pixels, clipped to the image.
    pub face: [f64; 4],
}

impl World {
    /// Draws the front camera.
    pub fn render(&self, canvas: &mut Canvas) {
        draw(self, canvas);
        self.options().palette.apply(&mut canvas.rgb);
    }

    /// Where the image of `canvas` shows the nearest visible speed limit sign.
    pub fn sign_in(&self, canvas: &Canvas) -> Option<SignView> {
        sign(self, canvas)
    }
}

/// The pose of the camera in the world's plane, and its height, metres.
fn camera(world: &World) -> (Pose2, f64) {
    let Options { camera_offset_m: [left_m, up_m], camera_yaw_rad, .. } = *world.options();
    (world.ego().pose.compose(&Pose2::new(CAMERA_AHEAD_M, left_m, camera_yaw_rad)), CAMERA_HEIGHT_M + up_m)
}

fn draw(world: &World, canvas: &mut Canvas) {
    let (camera, height_m) = camera(world);
    let (s_m, _) = world.place();
    canvas.centre_line.clear();
    for (at_m, Sample { pose, .. }) in world.road().between(s_m - 2.0, s_m + FAR_M + 8.0) {
        let local = pose.relative_to(&camera);
        let (sin, cos) = libm::sincos(local.yaw_rad);
        canvas.centre_line.push(CentreLinePoint { s_m: at_m, x_m: local.x_m, y_m: local.y_m, sin, cos });
    }
    sky(canvas, &camera);
    ground(world, canvas, &camera, height_m);
    upright(world, canvas, &camera, height_m);
}

fn sky(canvas: &mut Canvas, camera: &Pose2) {
    let Intrinsics { fx_px, cx_px, cy_px, .. } = canvas.intrinsics;
    let horizon = (cy_px.ceil().max(0.0) as usize).min(canvas.height);
    for column in 0..canvas.width {
        let azimuth = camera.yaw_rad - libm::atan2(column as f64 + 0.5 - cx_px, fx_px);
        let cell = libm::floor(azimuth / 0.12);
        let roof = 0.03 + 0.09 * grain(cell, 3.0, 1.0);
        let tint = grain(cell, 7.0, 1.0);
        for row in 0..horizon {
            let elevation = (cy_px - row as f64 - 0.5) / canvas.intrinsics.fy_px;
            let blue = mixed([190.0, 205.0, 225.0], [95.0, 140.0, 205.0], ramp(elevation, 0.0, 0.5));
            let house = mixed([95.0, 85.0, 80.0], [150.0, 135.0, 120.0], tint);
            let colour = mixed(blue, house, ramp(roof - elevation, -0.009, 0.009));
            canvas.blend(column, row, colour, 1.0);
        }
    }
}

fn ground(world: &World, canvas: &mut Canvas, camera: &Pose2, height_m: f64) {
    let Intrinsics { fx_px, fy_px, cx_px, cy_px } = canvas.intrinsics;
    let (sin, cos) = libm::sincos(camera.yaw_rad);
    let (s_m, _) = world.place();
    let near = std::mem::take(&mut canvas.centre_line);
    let lines: Vec<f64> =
        world.road().fixtures().filter(|p| matches!(p.what, Fixture::Light { .. }) && p.s_m > s_m - 3.0).map(|p| p.s_m).collect();
    let crosswalks: Vec<f64> =
        world.road().fixtures().filter(|p| matches!(p.what, Fixture::Pedestrian { .. }) && p.s_m > s_m - 4.0).map(|p| p.s_m).collect();
    let crossings: Vec<Pose2> = world.road().junctions().map(|j| j.centre.relative_to(camera)).collect();
    for row in (cy_px.ceil().max(0.0) as usize)..canvas.height {
        let below = (row as f64 + 0.5 - cy_px) / fy_px;
        let x_m = height_m / below.max(1e-3);
        let haze = ramp(x_m, 30.0, FAR_M);
        let (soft_side, soft_deep) = ((x_m / fx_px).max(0.02), (x_m * x_m / (height_m * fy_px)).max(0.02));
        let mut hint = 0;
        for column in 0..canvas.width {
            let y_m = -(column as f64 + 0.5 - cx_px) / fx_px * x_m;
            let world_x = camera.x_m + cos * x_m - sin * y_m;
            let world_y = camera.y_m + sin * x_m + cos * y_m;
            let grass = mixed([70.0, 105.0, 55.0], [105.0, 140.0, 75.0], grain(world_x, world_y, 2.5));
            let mut colour = grass;
            let asphalt = mixed([88.0, 88.0, 92.0], [104.0, 104.0, 107.0], grain(world_x, world_y, 1.3));
            for crossing in &crossings {
                let (cross_sin, cross_cos) = libm::sincos(crossing.yaw_rad);
                let (dx, dy) = (x_m - crossing.x_m, y_m - crossing.y_m);
                let along = cross_cos * dx + cross_sin * dy;
                let aside = cross_cos * dy - cross_sin * dx;
                let square = stripe(along, 0.0, 5.5, soft_side) * ramp(45.0 - aside.abs(), -1.0, 1.0);
                let through = stripe(aside, 1.6, 3.9, soft_side) * ramp(45.0 - along.abs(), -1.0, 1.0);
                colour = mixed(colour, asphalt, square.max(through));
            }
            if x_m < FAR_M
                && let Some((along_m, aside_m)) = nearest(&near, x_m, y_m, &mut hint)
            {
                let road = ramp(aside_m - RIGHT_EDGE_M, -0.5 * soft_side, 0.5 * soft_side)
                    * ramp(LEFT_EDGE_M - aside_m, -0.5 * soft_side, 0.5 * soft_side);
                colour = mixed(colour, asphalt, road);
                let dash = ramp(0.5 - (libm::fmod(along_m, 6.0) / 6.0 - 0.5).abs(), 0.2, 0.3);
                let edge = stripe(aside_m, RIGHT_EDGE_M + 0.25, 0.13, soft_side).max(stripe(aside_m, LEFT_EDGE_M - 0.25, 0.13, soft_side));
                let in_junction = world.road().junctions().any(|j| along_m > j.s_m && along_m < j.end_m);
                let paint = if in_junction { 0.0 } else { edge.max(dash * stripe(aside_m, 1.75, 0.13, soft_side)) };
                colour = mixed(colour, WHITE, paint);
                for &line in &lines {
                    let cover = stripe(along_m, line, 0.35, soft_deep) * stripe(aside_m, -0.1, 1.85, soft_side);
                    colour = mixed(colour, WHITE, cover);
                }
                for &line in &crosswalks {
                    let bars = if libm::floor((aside_m + 20.0) / 0.6) % 2.0 == 0.0 { road } else { 0.0 };
                    colour = mixed(colour, WHITE, bars * stripe(along_m, line, 1.3, soft_deep));
                }
            }
            colour = mixed(colour, [165.0, 178.0, 185.0], 0.75 * haze);
            canvas.blend(column, row, colour, 1.0);
        }
    }
    canvas.centre_line = near;
}

/// Arc length and lateral offset of a ground point, from the nearest point of the centre line.
/// `hint` is the index found for the neighbouring pixel.
fn nearest(near: &[CentreLinePoint], x_m: f64, y_m: f64, hint: &mut usize) -> Option<(f64, f64)> {
    let squared = |n: &CentreLinePoint| (n.x_m - x_m) * (n.x_m - x_m) + (n.y_m - y_m) * (n.y_m - y_m);
    let mut best = (*hint, squared(near.get(*hint)?));
    // Every fourth point finds the right part of the road, then its neighbours the nearest point.
    for i in (0..near.len()).step_by(4) {
        let distance = squared(&near[i]);
        if distance < best.1 {
            best = (i, distance);
        }
    }
    let low = best.0.saturating_sub(3);
    for (i, sample) in near.iter().enumerate().take(best.0 + 4).skip(low) {
        let distance = squared(sample);
        if distance < best.1 {
            best = (i, distance);
        }
    }
    *hint = best.0;
    let n = &near[best.0];
    let (dx, dy) = (x_m - n.x_m, y_m - n.y_m);
    Some((n.s_m + n.cos * dx + n.sin * dy, n.cos * dy - n.sin * dx))
}

/// Projects an outline `[left, bottom, right, top]` around a foot at `[forward, right]` to the
/// image of a camera `height_m` above it: left, top, right, bottom, pixels.
fn project(intrinsics: &Intrinsics, height_m: f64, [forward_m, right_m]: [f64; 2], [left, bottom, right, top]: [f64; 4]) -> [f64; 4] {
    let (wide, high) = (intrinsics.fx_px / forward_m, intrinsics.fy_px / forward_m);
    [
        intrinsics.cx_px + (right_m + left) * wide,
        intrinsics.cy_px + (height_m - top) * high,
        intrinsics.cx_px + (right_m + right) * wide,
        intrinsics.cy_px + (height_m - bottom) * high,
    ]
}

fn sign(world: &World, canvas: &Canvas) -> Option<SignView> {
    let (camera, height_m) = camera(world);
    let (s_m, _) = world.place();
    world.road().fixtures().filter(|p| p.s_m > s_m).find_map(|placed| {
        let Fixture::Sign { reveal_m, .. } = placed.what else { return None };
        let foot = world.road().at(placed.s_m).pose.compose(&Pose2::new(0.0, SIGN_ASIDE_M, 0.0)).relative_to(&camera);
        if placed.s_m - s_m >= reveal_m || foot.x_m <= NEAR_M {
            return None;
        }
        let [left, top, right, bottom] = project(&canvas.intrinsics, height_m, [foot.x_m, -foot.y_m], SIGN_FACE_M);
        let (width, height) = (canvas.width as f64, canvas.height as f64);
        let face = [left.clamp(0.0, width), top.clamp(0.0, height), right.clamp(0.0, width), bottom.clamp(0.0, height)];
        (face[0] < face[2] && face[1] < face[3]).then_some(SignView { id: placed.id, face })
    })
}

/// One upright thing: its foot, and the outlines and colours of its parts.
struct Upright {
    forward_m: f64,
    right_m: f64,
    parts: Vec<([f64; 4], Rgb)>,
}

/// Draws bushes, signs, traffic lights, pedestrians and the lead, far to near.
fn upright(world: &World, canvas: &mut Canvas, camera: &Pose2, height_m: f64) {
    let road = world.road();
    let (s_m, _) = world.place();
    let mut things: Vec<Upright> = Vec::with_capacity(48);
    let mut add = |at: Pose2, parts: Vec<([f64; 4], Rgb)>| {
        let local = at.relative_to(camera);
        if local.x_m > NEAR_M && local.x_m < FAR_M + 10.0 {
            things.push(Upright { forward_m: local.x_m, right_m: -local.y_m, parts });
        }
    };
    for (at_m, sample) in road.between(s_m - 1.0, s_m + FAR_M) {
        let index = libm::floor(at_m) as i64;
        if index % 9 != 0 {
            continue;
        }
        for (side, d_m) in [(1u64, -4.2), (2, 7.4)] {
            let hue = mix(index as u64 ^ (side << 40));
            let height = 0.8 + 1.6 * ((hue >> 8) & 255) as f64 / 255.0;
            let colour = [60.0 + (hue & 63) as f64, 70.0 + ((hue >> 16) & 63) as f64, 40.0 + ((hue >> 24) & 31) as f64];
            let at = sample.pose.compose(&Pose2::new(0.0, d_m, 0.0));
            if !road.junctions().any(|j| at_m > j.s_m - 6.0 && at_m < j.end_m + 6.0) {
                add(at, vec![([-0.3, 0.0, 0.3, height], colour)]);
            }
        }
    }
    for placed in road.fixtures().filter(|p| p.s_m > s_m && p.s_m < s_m + AHEAD_M.min(FAR_M)) {
        match placed.what {
            Fixture::Sign { limit, reveal_m } if placed.s_m - s_m < reveal_m => {
                let at = road.at(placed.s_m).pose.compose(&Pose2::new(0.0, SIGN_ASIDE_M, 0.0));
                let face = SIGN_COLOURS[limit % 3];
                // Colour and number of dark bars show the class.
                let mut parts = vec![([-0.1, 0.0, 0.1, 1.4], [90.0; 3]), (SIGN_FACE_M, WHITE), ([-0.95, 1.35, 0.95, 3.25], face)];
                for bar in 0..=limit {
                    let bottom = 1.6 + 0.55 * bar as f64;
                    parts.push(([-0.6, bottom, 0.6, bottom + 0.25], [20.0; 3]));
                }
                add(at, parts);
            }
            Fixture::Light { .. } => {
                let at = road.at(placed.s_m + LIGHT_BEHIND_M).pose.compose(&Pose2::new(0.0, LIGHT_ASIDE_M, 0.0));
                let state = world.scene().light(placed, world.time_s());
                let mut parts = vec![([-0.1, 0.0, 0.1, 2.0], [70.0; 3]), (LIGHT_BOARD_M, [25.0; 3])];
                let (bottom, colour) = match state {
                    Light::Red => (3.75, [255.0, 30.0, 20.0]),
                    Light::Amber => (2.9, [255.0, 180.0, 0.0]),
                    Light::Green => (2.0, [30.0, 255.0, 90.0]),
                };
                parts.push(([-0.55, bottom, 0.55, bottom + 0.85], colour));
                add(at, parts);
            }
            _ => {}
        }
    }
    for walker in &world.scene().pedestrians {
        let at = road.at(walker.s_m).pose.compose(&Pose2::new(0.0, walker.d_m, 0.0));
        add(
            at,
            vec![
                ([-0.4, PEDESTRIAN_M[1], 0.4, 0.9], [35.0, 35.0, 110.0]),
                ([PEDESTRIAN_M[0], 0.9, PEDESTRIAN_M[2], 1.6], [255.0, 120.0, 200.0]),
                ([-0.25, 1.6, 0.25, PEDESTRIAN_M[3]], [225.0, 180.0, 150.0]),
            ],
        );
    }
    if let (Some(at), Some(lead)) = (world.scene().lead_pose(road), &world.scene().lead) {
        let rear = at.compose(&Pose2::new(-LEAD_REAR_M, 0.0, 0.0));
        let brake = if lead.lamps_glow() { [255.0, 20.0, 20.0] } else { [110.0, 15.0, 15.0] };
        add(
            rear,
            vec![
                ([LEAD_M[0], 0.25, LEAD_M[2], 1.0], [60.0, 60.0, 150.0]),
                ([-0.8, 1.0, 0.8, LEAD_M[3]], [25.0, 30.0, 45.0]),
                ([-0.95, 0.65, -0.45, 0.95], brake),
                ([0.45, 0.65, 0.95, 0.95], brake),
                ([LEAD_M[0], LEAD_M[1], LEAD_M[2], 0.25], [15.0; 3]),
            ],
        );
    }
    things.sort_by(|a, b| b.forward_m.total_cmp(&a.forward_m));
    for thing in &things {
        for &(part, colour) in &thing.parts {
            let haze = ramp(thing.forward_m, 35.0, 90.0);
            let [left, top, right, bottom] = project(&canvas.intrinsics, height_m, [thing.forward_m, thing.right_m], part);
            canvas.rectangle(left, top, right, bottom, mixed(colour, [165.0, 178.0, 185.0], 0.6 * haze));
        }
    }
}

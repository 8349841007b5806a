//! The plot shows direction, distance and speed of the past motion, and nothing else.

use super::*;

/// A path of `seconds` at a constant turn rate and a speed that changes linearly, relative to its
/// last pose.
fn past(seconds: f64, speeds_mps: [f64; 2], turn_radps: f64) -> Vec<PathSample> {
    let steps = (seconds * 20.0) as usize;
    let mut poses = vec![PathSample { speed_mps: speeds_mps[0], ..PathSample::default() }];
    for step in 1..=steps {
        let before = poses[step - 1].pose;
        let speed_mps = speeds_mps[0] + (speeds_mps[1] - speeds_mps[0]) * step as f64 / steps as f64;
        poses.push(PathSample { pose: before.compose(&Pose2::new(speed_mps / 20.0, 0.0, turn_radps / 20.0)), speed_mps });
    }
    let end = poses[steps].pose;
    poses.into_iter().map(|sample| PathSample { pose: sample.pose.relative_to(&end), ..sample }).collect()
}

fn pixel(plot: &BevPlot, row: f64, column: f64) -> [u8; 3] {
    let at = (row as usize * plot.width() + column as usize) * 3;
    plot.canvas.pixels[at..at + 3].try_into().unwrap()
}

/// The pixel of a position, in a view that reaches `behind_m`.
fn pixel_at(plot: &BevPlot, behind_m: f64, x_m: f64, y_m: f64) -> [u8; 3] {
    let scale = plot.layout.behind() / behind_m;
    pixel(plot, plot.layout.ego_row - x_m * scale, plot.width() as f64 / 2.0 - y_m * scale)
}

/// Columns, from the ego to the right, of the pixels that the path covers: their sum and count.
fn drawn(plot: &mut BevPlot, path: &[PathSample]) -> (f64, usize) {
    plot.draw(path);
    let width = plot.width();
    let columns = plot.near.iter().enumerate().filter(|(_, near)| near.distance_px.is_finite()).map(|(at, _)| (at % width) as f64 + 0.5);
    columns.fold((0.0, 0), |(sum, count), column| (sum + column - width as f64 / 2.0, count + 1))
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Breaks if a position is drawn elsewhere, or in another colour than that of its speed.
#[test]
fn a_position_of_the_path_has_the_colour_of_its_speed() {
    for (height, width) in [(448, 448), (56, 56), (64, 112), (640, 360)] {
        let mut plot = BevPlot::new(height, width).unwrap();
        for (speed, behind) in [(10.0, 50.0), (20.0, 100.0), (4.0, 20.0)] {
            plot.draw(&past(4.0, [speed, speed], 0.0));
            for seconds in [1.5, 2.5, 3.5] {
                assert_eq!(pixel_at(&plot, behind, -speed * seconds, 0.0), speed_colour(speed), "{speed} m/s, {height} x {width}");
            }
        }
        // From 20 m/s to a standstill in 4 s: 10 m/s where a quarter of the 40 m is left.
        plot.draw(&past(4.0, [20.0, 0.0], 0.0));
        let (got, wanted) = (pixel_at(&plot, 50.0, -10.0, 0.0), speed_colour(10.0));
        assert!(got.iter().zip(wanted).all(|(got, wanted)| got.abs_diff(wanted) < 24), "{got:?}, wanted {wanted:?}");
    }
}

/// Breaks if the colour scale is not clamped, not symmetric, or its lightness does not rise.
#[test]
fn a_faster_speed_is_lighter_and_the_scale_ends_where_it_says() {
    let light = |speed: f64| {
        let [red, green, blue] = speed_colour(speed).map(f64::from);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    };
    assert!((0..40).all(|half| light(f64::from(half) / 2.0) < light(f64::from(half + 1) / 2.0)));
    assert_eq!(speed_colour(0.0), [68, 1, 84]);
    assert_eq!(speed_colour(20.0), [253, 231, 37]);
    assert_eq!(speed_colour(10.0), [33, 144, 141]);
    assert_eq!(speed_colour(f64::MAX), speed_colour(20.0));
    assert_eq!(speed_colour(-5.0), speed_colour(5.0));
}

/// Breaks if left and right, or forward and back, are swapped: the path of a left turn lies to the
/// left of the ego.
#[test]
fn a_left_turn_bends_left() {
    let mut plot = BevPlot::new(448, 448).unwrap();
    let (left, count) = drawn(&mut plot, &past(4.0, [6.0, 6.0], 0.4));
    assert!(left / (count as f64) < -20.0);
    let (right, count) = drawn(&mut plot, &past(4.0, [6.0, 6.0], -0.4));
    assert!(right / (count as f64) > 20.0);
    // The path goes up from the oldest position to the newest.
    plot.draw(&past(4.0, [6.0, 6.0], 0.0));
    assert_ne!(pixel_at(&plot, 50.0, -20.0, 0.0), GROUND);
    assert_eq!(
        plot.near.iter().position(|near| near.distance_px.is_finite()).map(|at| at / 448),
        Some((plot.layout.ego_row - plot.layout.edge()) as usize)
    );
}

/// Breaks if the left and the right half differ by a bit.
#[test]
fn the_mirror_of_a_path_is_the_mirror_of_its_plot() {
    for (height, width) in [(448, 448), (56, 56), (64, 112), (57, 61)] {
        let path = past(4.0, [3.0, 9.0], 0.35);
        let mirror = |sample: &PathSample| {
            let Pose2 { x_m, y_m, yaw_rad } = sample.pose;
            PathSample { pose: Pose2::new(x_m, -y_m, -yaw_rad), ..*sample }
        };
        let mut plot = BevPlot::new(height, width).unwrap();
        let mirrored: Vec<PathSample> = path.iter().map(mirror).collect();
        let other = plot.draw(&mirrored).to_vec();
        let ground = plot.layout.ground;
        let pixels = plot.draw(&path);
        for (row, (ours, theirs)) in pixels.chunks(width * 3).zip(other.chunks(width * 3)).take(ground).enumerate() {
            assert!(ours.chunks(3).eq(theirs.chunks(3).rev()), "row {row} of {height} x {width}");
        }
    }
}

/// Breaks if an empty path, a single sample, or a sample that is not finite changes the plot.
#[test]
fn what_cannot_be_drawn_is_left_out() {
    let mut plot = BevPlot::new(112, 112).unwrap();
    let empty = plot.draw(&[]).to_vec();
    assert_eq!(pixel(&plot, plot.layout.ego_row, 56.0), MARKER);
    assert_eq!(plot.draw(&[PathSample::default()]), empty, "a car that stands is its marker");
    let path = past(4.0, [8.0, 8.0], 0.1);
    let wanted = plot.draw(&path).to_vec();
    assert_ne!(wanted, empty);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 1.0e5] {
        let at = |x_m, y_m, yaw_rad, speed_mps| PathSample { pose: Pose2::new(x_m, y_m, yaw_rad), speed_mps };
        let mut broken = vec![at(bad, 0.0, 0.0, 1.0)];
        broken.extend(&path[..40]);
        broken.push(at(0.0, bad, 0.0, 1.0));
        broken.extend(&path[40..]);
        if !bad.is_finite() {
            broken.extend([at(1.0, 1.0, bad, 1.0), at(1.0, 1.0, 0.0, bad)]);
        }
        assert!(plot.draw(&broken) == wanted, "{bad}");
        assert!(plot.draw(&[at(bad, bad, 0.0, 1.0)]) == empty, "{bad}");
    }
}

/// Breaks if the view does not contain the path, or a smaller one would.
#[test]
fn the_view_is_the_smallest_that_the_path_fits_in() {
    struct Case {
        path: Vec<PathSample>,
        behind_m: f64,
    }
    let at = |x_m, y_m| vec![PathSample { pose: Pose2::new(x_m, y_m, 0.0), speed_mps: 5.0 }, PathSample::default()];
    let cases = [
        Case { path: vec![], behind_m: 10.0 },
        Case { path: at(-10.0, 0.0), behind_m: 10.0 },
        Case { path: at(-10.1, 0.0), behind_m: 20.0 },
        Case { path: at(-1.0, 7.0), behind_m: 20.0 },
        Case { path: at(-1.0, -7.0), behind_m: 20.0 },
        Case { path: at(5.0, 0.0), behind_m: 20.0 },
        Case { path: at(-30.0, 2.0), behind_m: 30.0 },
        Case { path: at(-300.0, 0.0), behind_m: 500.0 },
        Case { path: at(-900.0, 4000.0), behind_m: 500.0 },
    ];
    let plot = BevPlot::new(448, 448).unwrap();
    for Case { path, behind_m } in cases {
        assert_eq!(plot.view_of(&path).behind_m, behind_m, "{path:?}");
    }
}

/// Breaks if the widest view does not contain 4 s at motorway speed, or if a longer path is drawn
/// over the strip below.
#[test]
fn a_long_path_is_drawn_and_what_leaves_the_ground_is_cut_off() {
    let mut plot = BevPlot::new(448, 448).unwrap();
    plot.draw(&past(4.0, [75.0, 75.0], 0.0));
    assert_eq!(pixel_at(&plot, 500.0, -290.0, 0.0), speed_colour(20.0));
    let strip = plot.layout.ground * 448 * 3;
    let wanted = plot.canvas.pixels[strip..].to_vec();
    let far = [PathSample { pose: Pose2::new(-9000.0, -3000.0, 0.0), speed_mps: 20.0 }, PathSample::default()];
    assert!(plot.draw(&far)[strip..] == wanted, "the strip of the widest view");
}

/// Breaks if the image changes by a bit, on purpose or by another machine's arithmetic. Look at the
/// new image before changing the hashes.
#[test]
fn the_same_path_gives_the_same_bits() {
    let path = past(4.0, [3.0, 14.0], 0.3);
    for (height, width, wanted) in [(448, 448, 10410940204119526891), (64, 112, 351647671142969946)] {
        let mut plot = BevPlot::new(height, width).unwrap();
        plot.draw(&past(4.0, [20.0, 1.0], -0.5));
        assert_eq!(fnv(plot.draw(&path)), wanted, "{height} x {width}");
    }
}

/// Breaks if an invalid size is accepted, or a valid one is refused or draws outside its image.
#[test]
fn every_size_is_drawn_or_refused() {
    for (height, width) in [(0, 448), (31, 448), (448, 31), (usize::MAX, usize::MAX), (4097, 64)] {
        let error = BevPlot::new(height, width).unwrap_err();
        assert_eq!((error.kind(), error.place()), (ErrorKind::Config, Some("plot")));
    }
    for height in (32..400).step_by(23) {
        for width in (32..400).step_by(29) {
            let mut plot = BevPlot::new(height, width).unwrap();
            assert_eq!(plot.draw(&past(4.0, [3.0, 14.0], 0.3)).len(), height * width * 3);
            assert_eq!((plot.height(), plot.width()), (height, width));
            assert!(plot.layout.legend.is_none_or(|[from, to]| from < to && to < width as f64));
        }
    }
}

/// With `DRIVEWAM_LOOK` set to a folder, writes plots there as PNG for inspection.
#[test]
fn plots_to_look_at() {
    let Some(folder) = std::env::var_os("DRIVEWAM_LOOK").map(std::path::PathBuf::from) else { return };
    let paths = [
        ("standing", past(4.0, [0.0, 0.0], 0.0)),
        ("left", past(4.0, [9.0, 4.0], 0.35)),
        ("right_tight", past(4.0, [3.0, 5.0], -0.5)),
        ("motorway", past(4.0, [33.0, 30.0], 0.02)),
        ("braking", past(4.0, [15.0, 0.0], 0.0)),
        ("accelerating", past(4.0, [1.0, 16.0], -0.1)),
        ("reversing", past(4.0, [-1.5, -1.0], 0.2)),
        ("long", past(4.0, [75.0, 75.0], -0.03)),
    ];
    for (height, width) in [(448, 448), (224, 224), (160, 288), (112, 112), (64, 112), (56, 56)] {
        let mut plot = BevPlot::new(height, width).unwrap();
        for (name, path) in &paths {
            let file = folder.join(format!("{name}_{height}x{width}.png"));
            image::save_buffer(file, plot.draw(path), width as u32, height as u32, image::ExtendedColorType::Rgb8).unwrap();
        }
    }
}

//! What a recording accepts, what it refuses and with which message, and the numbers of PandaSet.

use crate::format::{self, CameraHeader, FrameFormat, FramesHeader, RecordingHeader, SCHEMA};
use crate::{Distortion, Event, Limits, Recording};
use drivewam_core::ErrorKind;
use drivewam_core::dims::Command;
use std::fs;
use std::path::Path;

mod whole;

const LIMITS: Limits = Limits { max_image_pixels: 1 << 22, max_pose_gap_ms: 150, min_drive_ns: 0 };

/// Writes 2 s of poses and ego states at 10 Hz, and one image of 4 x 2 pixels each second.
fn write_folder(dir: &Path) {
    fs::create_dir_all(dir.join("frames")).unwrap();
    let (mut poses, mut ego) = ("stamp_ns,x_m,y_m,yaw_rad\n".to_owned(), "stamp_ns,speed_mps,acceleration_mps2,curvature_1pm\n".to_owned());
    for i in 0..=20 {
        let stamp = 1_000_000_000u64 + i * 100_000_000;
        poses += &format!("{stamp},{},0,0\n", i as f64 * 0.5);
        ego += &format!("{stamp},5,0,0\n");
    }
    let mut frames = "stamp_ns,file\n".to_owned();
    for i in 0..3u8 {
        frames += &format!("{},{i}.png\n", 1_000_000_000 + u64::from(i) * 1_000_000_000);
        image::save_buffer(dir.join(format!("frames/{i}.png")), &[i; 24], 4, 2, image::ColorType::Rgb8).unwrap();
    }
    let header = "schema: 1\ncamera: {width: 4, height: 2, fx_px: 2.0, fy_px: 2.0, cx_px: 2.0, cy_px: 1.0}\nframes: {format: files}\n";
    for (name, text) in [
        ("input.yaml", header.to_owned()),
        ("frames.csv", frames),
        ("poses.csv", poses),
        ("ego.csv", ego),
        ("commands.csv", "stamp_ns,command\n1000000000,straight\n2500000000,left\n".to_owned()),
    ] {
        fs::write(dir.join(name), text).unwrap();
    }
}

#[test]
fn events_come_in_order_of_stamp_and_command_ego_pose_frame_at_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path());
    let recording = Recording::open(dir.path(), LIMITS).unwrap();
    let events: Vec<_> = recording.events(0).collect();
    assert_eq!(events.len(), 21 + 21 + 3 + 2);
    assert!(events.windows(2).all(|w| w[0].0 <= w[1].0));
    let kinds: Vec<u8> = events.iter().take(4).map(|e| kind(&e.1)).collect();
    assert_eq!(kinds, [0, 1, 2, 3]);
    let late: Vec<_> = recording.events(2).collect();
    assert_eq!(late[0].0, 1_900_000_000, "poses of the second before the first frame belong to the ride");
    assert!(late.contains(&(2_500_000_000, Event::Command(Command::Left))), "the command in force at the first frame belongs to the ride");
    assert_eq!(late.iter().filter(|e| kind(&e.1) == 3).count(), 1);
    let mut rgb = Vec::new();
    recording.decode(2, &mut rgb).unwrap();
    assert_eq!(rgb, [2; 24]);
    assert_eq!(recording.decode(3, &mut rgb).unwrap_err().kind(), ErrorKind::Input);
}

fn kind(event: &Event) -> u8 {
    match event {
        Event::Command(_) => 0,
        Event::Ego(_) => 1,
        Event::Pose(_) => 2,
        Event::Frame(_) => 3,
    }
}

#[test]
fn what_was_driven_is_known_only_where_all_of_it_is() {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path());
    let recording = Recording::open(dir.path(), LIMITS).unwrap();
    let driven = recording.poses().driven_from(1_050_000_000, 100_000_000, 10).unwrap();
    assert!((driven[9].x_m - 5.0).abs() < 1e-9 && (driven[0].x_m - 0.5).abs() < 1e-9, "{driven:?}");
    assert!(recording.poses().driven_from(2_050_000_000, 100_000_000, 10).is_none());
    assert!(recording.poses().driven_from(950_000_000, 100_000_000, 10).is_none());
}

/// Replaces `from` by `to` in `file` of a valid folder, and the words that the error then contains.
struct Case {
    file: &'static str,
    from: &'static str,
    to: &'static str,
    words: &'static [&'static str],
}

#[test]
fn a_folder_that_is_not_whole_is_refused_with_file_line_got_and_wanted() {
    let cases = [
        Case { file: "input.yaml", from: "schema: 1", to: "schema: 2", words: &["input.yaml", "schema", "got 2", "wanted 1"] },
        Case { file: "input.yaml", from: "fx_px", to: "fx_mm", words: &["input.yaml", "fx_mm"] },
        Case { file: "input.yaml", from: "fx_px: 2.0", to: "fx_px: -2.0", words: &["camera.fx_px", "got -2", "positive"] },
        Case { file: "input.yaml", from: "width: 4", to: "width: 90000", words: &["camera.width", "got 90000"] },
        Case {
            file: "input.yaml",
            from: "width: 4, height: 2",
            to: "width: 6000, height: 6000",
            words: &["6000x6000", "ingest.max_image_pixels"],
        },
        Case { file: "input.yaml", from: "files", to: "video", words: &["input.yaml", "video"] },
        Case { file: "frames.csv", from: "stamp_ns,file", to: "stamp_ns,name", words: &["frames.csv", "line 1", "column file is missing"] },
        Case { file: "frames.csv", from: "1.png", to: "7.png", words: &["frames.csv", "line 3", "missing", "7.png"] },
        Case { file: "frames.csv", from: "1.png", to: "../1.png", words: &["frames.csv", "line 3", "not a file name below"] },
        Case { file: "frames.csv", from: "2000000000,", to: "1000000000,", words: &["line 3", "the stamp repeats", "got 1000000000"] },
        Case { file: "frames.csv", from: "3000000000,", to: "1500000000,", words: &["line 4", "goes back", "above 2000000000"] },
        Case { file: "frames.csv", from: "2000000000,1", to: ",1", words: &["line 3", "stamp_ns", "not an integer"] },
        Case { file: "frames.csv", from: "2000000000,1", to: "-5,1", words: &["line 3", "out of range", "got -5"] },
        Case { file: "poses.csv", from: ",yaw_rad", to: ",yaw_deg", words: &["poses.csv", "line 1", "yaw_rad", "yaw_deg"] },
        Case {
            file: "poses.csv",
            from: "1500000000,2.5,0,0\n",
            to: "",
            words: &["a gap in the poses", "1400000000 to 1600000000", "0.200 s", "0.150 s"],
        },
        Case { file: "poses.csv", from: "1500000000,2.5,0,0", to: "1500000000,NaN,0,0", words: &["line 7", "x_m", "NaN", "finite"] },
        Case { file: "poses.csv", from: "1500000000,2.5,0,0", to: "1500000000,2.5,0", words: &["line 7", "got 3", "wanted 4"] },
        Case { file: "ego.csv", from: "1500000000,5,", to: "1500000000,NaN,", words: &["ego.csv", "line 7", "speed_mps", "NaN"] },
        Case { file: "ego.csv", from: "1500000000,5,", to: "1500000000,inf,", words: &["ego.csv", "line 7", "inf"] },
        Case { file: "ego.csv", from: "1500000000,5,", to: "1400000000,5,", words: &["ego.csv", "line 7", "repeats"] },
        Case { file: "ego.csv", from: "speed_mps", to: "speed_kmh", words: &["ego.csv", "line 1", "speed_mps", "speed_kmh"] },
        Case { file: "commands.csv", from: "straight", to: "up", words: &["commands.csv", "line 2", "\"up\"", "left, straight, right"] },
    ];
    let mut failures = Vec::new();
    for Case { file, from, to, words } in cases {
        let dir = tempfile::tempdir().unwrap();
        write_folder(dir.path());
        let path = dir.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        match Recording::open(dir.path(), LIMITS) {
            Ok(_) => failures.push(format!("{file}: {from:?} to {to:?}: accepted")),
            Err(error) => {
                let said = error.to_string();
                if error.kind() != ErrorKind::Input || !words.iter().all(|w| said.contains(w)) {
                    failures.push(format!("{file}: {from:?} to {to:?}: {said}"));
                }
            }
        }
    }
    for file in ["frames.csv", "poses.csv", "ego.csv", "commands.csv", "frames/1.png"] {
        let dir = tempfile::tempdir().unwrap();
        write_folder(dir.path());
        fs::remove_file(dir.path().join(file)).unwrap();
        let said = Recording::open(dir.path(), LIMITS).map(|_| ()).unwrap_err().to_string();
        if !(said.contains(file) && said.contains("missing")) {
            failures.push(format!("{file} removed: {said}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// A PNG whose header claims `side` x `side` pixels, with its checksum and no pixels.
fn claims(side: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(side.to_be_bytes());
    chunk.extend(side.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let crc = chunk
        .iter()
        .fold(!0u32, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 }));
    let mut png = vec![0x89, b'P', b'N', b'G', 13, 10, 26, 10, 0, 0, 0, 13];
    png.extend(chunk);
    png.extend((!crc).to_be_bytes());
    png.extend([0, 0, 0, 0, b'I', b'D', b'A', b'T', 0x35, 0xaf, 0x06, 0x1e]);
    png
}

/// Breaks when an image is decoded before its size is checked, or when a truncated one is filled up
/// silently.
#[test]
fn an_image_that_is_huge_wrongly_sized_or_corrupt_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path());
    let recording = Recording::open(dir.path(), LIMITS).unwrap();
    let (mut rgb, path) = (Vec::new(), dir.path().join("frames/1.png"));
    let good = fs::read(&path).unwrap();
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new(&mut jpeg).encode(&[9; 24], 4, 2, image::ExtendedColorType::Rgb8).unwrap();
    fs::write(&path, &jpeg).unwrap();
    recording.decode(1, &mut rgb).unwrap();
    let mut small = Vec::new();
    image::codecs::jpeg::JpegEncoder::new(&mut small).encode(&[9; 12], 2, 2, image::ExtendedColorType::Rgb8).unwrap();
    for (bytes, words) in [
        (claims(50_000), ["1.png", "50000x50000", "ingest.max_image_pixels"]),
        (small, ["1.png", "got 2x2", "wanted 4x2"]),
        (good[..good.len() / 2].to_vec(), ["1.png", "corrupt", ""]),
        (jpeg[..jpeg.len() - 4].to_vec(), ["1.png", "cut short", ""]),
        (b"BM not one of ours".to_vec(), ["1.png", "not an image", "PNG or JPEG"]),
        (Vec::new(), ["1.png", "not an image", ""]),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = recording.decode(1, &mut rgb).unwrap_err();
        let said = error.to_string();
        assert!(error.kind() == ErrorKind::Input && words.iter().all(|w| said.contains(w)), "{words:?}: {said}");
    }
}

#[test]
fn a_raw_file_that_is_too_short_is_refused_and_a_whole_one_is_read_by_index() {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path());
    let header = fs::read_to_string(dir.path().join("input.yaml")).unwrap().replace("files", "rgb8");
    fs::write(dir.path().join("input.yaml"), header).unwrap();
    fs::write(dir.path().join("frames.csv"), "stamp_ns,file\n1000000000,2\n2000000000,0\n").unwrap();
    fs::write(dir.path().join("frames.rgb"), [7; 71]).unwrap();
    let said = Recording::open(dir.path(), LIMITS).unwrap_err().to_string();
    assert!(said.contains("frames.rgb") && said.contains("got 71 bytes") && said.contains("3 frames of 24 bytes"), "{said}");
    let bytes: Vec<u8> = (0..72).collect();
    fs::write(dir.path().join("frames.rgb"), bytes).unwrap();
    let recording = Recording::open(dir.path(), LIMITS).unwrap();
    let mut rgb = Vec::new();
    recording.decode(0, &mut rgb).unwrap();
    assert_eq!(rgb, (48..72).collect::<Vec<u8>>());
}

/// Breaks when writer and reader of the header disagree, or when an absent optional key is written.
#[test]
fn a_header_that_is_written_reads_back_and_a_missing_source_is_none() {
    let camera = CameraHeader {
        width: 4,
        height: 2,
        fx_px: 2.0,
        fy_px: 2.5,
        cx_px: 2.0,
        cy_px: 1.0,
        ahead_m: None,
        height_m: Some(1.5),
        pitch_rad: None,
        yaw_rad: Some(-0.01),
        roll_rad: None,
        distortion: Some(Distortion::OpencvFisheye { k1: 0.1, k2: 0.0, k3: 0.0, k4: -0.01 }),
    };
    let header = RecordingHeader {
        schema: SCHEMA,
        camera,
        frames: FramesHeader { format: FrameFormat::Rgb8 },
        source: serde_json::json!({"kind": "world", "seed": 7}),
    };
    let text = header.to_yaml().unwrap();
    assert!(
        !text.contains("ahead_m") && !text.contains("roll_rad") && text.contains("height_m: 1.5") && text.contains("opencv_fisheye"),
        "{text}"
    );
    assert_eq!(serde_saphyr::from_str::<RecordingHeader>(&text).unwrap(), header);
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path());
    let text = fs::read_to_string(dir.path().join(format::HEADER_FILE)).unwrap();
    assert!(serde_saphyr::from_str::<RecordingHeader>(&text).unwrap().source.is_null());
}

#[test]
fn a_folder_of_neither_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let said = Recording::open(dir.path(), LIMITS).unwrap_err().to_string();
    assert!(
        said.contains("not an input folder")
            && said.contains("docs/input.md")
            && said.contains("input.yaml")
            && said.contains("camera/front_camera"),
        "{said}"
    );
}

/// The clip starts from standstill, reaches 5.6 m/s and covers 21.7 m.
#[test]
fn pandaset_poses_give_the_speed_and_the_way_that_the_car_drove() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/pandaset_002");
    if !dir.is_dir() {
        println!("skipped: {dir:?} is not there");
        return;
    }
    let recording = Recording::open(&dir, LIMITS).unwrap();
    assert_eq!((recording.frames().len(), recording.camera().width, recording.camera().height), (80, 1920, 1080));
    let (first, last) = (recording.ego()[0].1, recording.ego()[79].1);
    assert!(first.speed_mps.abs() < 0.2 && (last.speed_mps - 5.6).abs() < 0.15, "{first:?} {last:?}");
    let way: f64 = recording.poses().as_slice().windows(2).map(|w| w[0].1.distance_m(&w[1].1)).sum();
    assert!((way - 21.7).abs() < 0.1, "{way}");
    for pair in recording.poses().as_slice().windows(11).skip(40) {
        let moved = pair[10].1.relative_to(&pair[0].1);
        assert!(moved.x_m > 1.0 && moved.y_m.abs() < 0.1 * moved.x_m, "the car drives where it looks: {moved:?}");
    }
    // The camera's stamps lie 50 ms before the poses': the first frame has no pose.
    assert_eq!(recording.first_frame().unwrap(), 1);
    let mount = recording.mount();
    assert!((mount.position_m[0] - 0.85).abs() < 0.02 && (mount.position_m[2] - 2.1).abs() < 0.05, "{mount:?}");
    let mut rgb = Vec::new();
    recording.decode(79, &mut rgb).unwrap();
    assert_eq!(rgb.len(), 1920 * 1080 * 3);
}

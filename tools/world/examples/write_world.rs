//! Writes worlds for training and says how fast: `cargo run --release -p drivewam-world --example write_world -- A..B OUT SECONDS HZ KIND [disturb]`.

use drivewam_core::dims::Intrinsics;
use drivewam_world::{FrameFormat, Kind, Options, WriteOptions, write_seeds};
use std::sync::atomic::AtomicBool;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (from, to) = args[0].split_once("..").ok_or("A..B")?;
    let kind = match args[4].as_str() {
        "ordinary" => Kind::Ordinary,
        "memory" => Kind::Memory,
        _ => Kind::Mixed,
    };
    let options = WriteOptions {
        world: Options { kind, disturb: args.get(5).is_some() },
        seconds: args[2].parse()?,
        camera_hz: args[3].parse()?,
        width: 112,
        height: 64,
        intrinsics: Intrinsics { fx_px: 56.0, fy_px: 56.0, cx_px: 56.0, cy_px: 32.0 },
        format: FrameFormat::Rgb8,
        threads: 2,
    };
    let written = write_seeds(from.parse()?..to.parse()?, &options, args[1].as_ref(), &|_| {}, &AtomicBool::new(false))?;
    println!("{written:?}: {:.0} frames/s", written.frames as f64 / written.seconds);
    Ok(())
}

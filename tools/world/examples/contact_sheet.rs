//! Writes a contact sheet of a world and prints what its expert did:
//! `cargo run --release -p drivewam-world --example contact_sheet -- SEED KIND OUT.png`.

use drivewam_core::dims::Intrinsics;
use drivewam_world::{Canvas, Kind, Options, World};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let seed = args.next().map_or(Ok(1), |s| s.parse())?;
    let kind = match args.next().as_deref() {
        Some("ordinary") => Kind::Ordinary,
        Some("memory") => Kind::Memory,
        _ => Kind::Mixed,
    };
    let out = args.next().unwrap_or_else(|| "contact_sheet.png".into());
    let (width, height, columns, rows) = (224usize, 128usize, 6usize, 8usize);
    let intrinsics = Intrinsics { fx_px: 112.0, fy_px: 112.0, cx_px: 112.0, cy_px: 64.0 };
    let mut canvas = Canvas::new(width, height, intrinsics);
    let mut world = World::new(seed, Options { kind, ..Options::default() });
    let mut sheet = vec![0u8; width * height * columns * rows * 3];
    for cell in 0..columns * rows {
        world.render(&mut canvas);
        let (x, y) = (cell % columns * width, cell / columns * height);
        for row in 0..height {
            let at = ((y + row) * width * columns + x) * 3;
            sheet[at..at + width * 3].copy_from_slice(&canvas.rgb[row * width * 3..(row + 1) * width * 3]);
        }
        println!("{:6.1} s {:5.2} m/s {:?} {:?}", world.time_s(), world.ego().speed_mps, world.command(), world.labels());
        for _ in 0..20 {
            world.step(world.expert());
        }
    }
    println!("{:?}", world.violations());
    image::save_buffer(out, &sheet, (width * columns) as u32, (height * rows) as u32, image::ColorType::Rgb8)?;
    Ok(())
}

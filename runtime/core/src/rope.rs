//! Rotary position tables: the cosine and sine that a graph reads, computed in f64 from absolute times.
//!
//! A head's D channels are split between time, height and width (`model.rope.split`); pair j of an axis of width s turns by
//! position · θ^(−2j/s). A video token of chunk c stands at (c, row, column); action token i of Na at (c + (i + 1)/(Na + 1), −1, −1), between two
//! frames (LingBot-VA `get_mesh_id`; spec section 1). `export/drivewam_export/rope.py` is the same arithmetic.

use crate::dims::Model;
use crate::error::{Error, ErrorKind, Result};

/// Numbers of one token's row of the table, (D/2)·2.
pub fn row_len(model: &Model) -> usize {
    model.head_dim
}

/// Writes the rows `[Nv, D/2, 2]` of the video tokens of `chunk`, raster order.
///
/// # Errors
/// `Usage` when `out` has another length.
pub fn video(model: &Model, chunk: u64, out: &mut [f32]) -> Result<()> {
    check(model, model.video_tokens(), out)?;
    let columns = model.latent.width / model.patch[2];
    for (i, row) in out.chunks_exact_mut(row_len(model)).enumerate() {
        write(model, [chunk as f64, (i / columns) as f64, (i % columns) as f64], row);
    }
    Ok(())
}

/// Writes the rows `[Na, D/2, 2]` of the action tokens of `chunk`.
///
/// # Errors
/// `Usage` when `out` has another length.
pub fn action(model: &Model, chunk: u64, out: &mut [f32]) -> Result<()> {
    check(model, model.action_tokens(), out)?;
    let parts = (model.action_tokens() + 1) as f64;
    for (i, row) in out.chunks_exact_mut(row_len(model)).enumerate() {
        write(model, [chunk as f64 + (i + 1) as f64 / parts, -1.0, -1.0], row);
    }
    Ok(())
}

fn check(model: &Model, tokens: usize, out: &[f32]) -> Result<()> {
    if out.len() == tokens * row_len(model) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, "a rotary table of another length").at("rope").got(out.len()).wanted(tokens * row_len(model)))
}

fn write(model: &Model, position: [f64; 3], row: &mut [f32]) {
    let mut pairs = row.chunks_exact_mut(2);
    for (position, &width) in position.into_iter().zip(&model.rope.split) {
        for (j, pair) in (0..width / 2).zip(pairs.by_ref()) {
            let angle = position * libm::pow(model.rope.theta, -2.0 * j as f64 / width as f64);
            let (sin, cos) = libm::sincos(angle);
            pair[0] = cos as f32;
            pair[1] = sin as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::tiny;

    #[test]
    fn an_action_token_stands_between_two_frames_and_outside_of_the_picture() {
        let model = tiny();
        let mut out = vec![0.0; 8 * 32];
        action(&model, 3, &mut out).unwrap();
        let row = &out[32..64];
        let time: f64 = 3.0 + 2.0 / 9.0;
        assert!((f64::from(row[0]) - time.cos()).abs() < 1e-6 && (f64::from(row[1]) - time.sin()).abs() < 1e-6);
        // The first pair of the height axis follows the six pairs of the time axis.
        assert!((f64::from(row[12]) - (-1.0f64).cos()).abs() < 1e-6 && (f64::from(row[13]) - (-1.0f64).sin()).abs() < 1e-6);
    }

    #[test]
    fn video_tokens_run_in_raster_order() {
        let model = tiny();
        let mut out = vec![0.0; 28 * 32];
        video(&model, 0, &mut out).unwrap();
        let token = 7 + 2; // row 1, column 2
        let row = &out[token * 32..(token + 1) * 32];
        assert_eq!((row[0], row[1]), (1.0, 0.0));
        assert!((row[13] - 1f32.sin()).abs() < 1e-6 && (row[23] - 2f32.sin()).abs() < 1e-6);
    }

    #[test]
    fn four_hours_later_a_table_still_differs_between_neighbours() {
        let model = tiny();
        let (mut a, mut b) = (vec![0.0; 28 * 32], vec![0.0; 28 * 32]);
        video(&model, 3600, &mut a).unwrap();
        video(&model, 3601, &mut b).unwrap();
        assert!((a[0] - b[0]).abs() > 0.1);
        assert!(video(&model, 0, &mut a[1..]).is_err());
    }
}

//! Rotary position tables: the cosines and sines that `dit` reads, computed in f64 from absolute
//! times.
//!
//! The D channels of a head are split between time, height and width (`model.rope.split`); pair j
//! of an axis of width s turns by position · θ^(−2j/s). A video token of chunk c has the position
//! (c, row, column). Action token i of Na has (c + (i + 1)/(Na + 1), −1, −1), between two frames
//! (`get_mesh_id` of LingBot-VA). `export/drivewam_export/rope.py` is the same arithmetic.

use crate::dims::Model;
use crate::error::{Error, ErrorKind, Result};

/// Computes the rotation of any token of any chunk without allocating. A plain value that users
/// clone.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeTable {
    /// θ^(−2j/s) of the pairs of time, height and width.
    frequencies: [Vec<f64>; 3],
    video_tokens: usize,
    columns: usize,
    action_tokens: usize,
}

impl RopeTable {
    /// The table of `model`, which must have passed [`Model::check`].
    pub fn new(model: &Model) -> Self {
        let axis = |width: usize| (0..width / 2).map(|j| libm::pow(model.rope.theta, -2.0 * j as f64 / width as f64)).collect();
        Self {
            frequencies: model.rope.split.map(axis),
            video_tokens: model.video_tokens(),
            columns: model.latent.width / model.patch[2],
            action_tokens: model.action_tokens(),
        }
    }

    /// D, the numbers of one token's row: (D/2)·2.
    pub fn row_len(&self) -> usize {
        2 * self.frequencies.iter().map(Vec::len).sum::<usize>()
    }

    /// Pairs of the time, height and width axes.
    pub fn pairs(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.frequencies[axis].len())
    }

    /// The angle of each pair for one step, in units of 2^-64 of a turn: `[2, D/2]`, video then
    /// action tokens. A step is one chunk, row or column; for the time of action tokens, Na + 1
    /// steps make a chunk. Devices compute rows from these integers without f64.
    pub fn turns(&self) -> Vec<u64> {
        // Less than one turn, so the product fits.
        let fixed = |turns: f64| (turns * 18_446_744_073_709_551_616.0) as u64;
        let axes = |steps: f64| {
            let [time, height, width] = &self.frequencies;
            let time = time.iter().map(move |f| f / steps);
            time.chain(height.iter().chain(width).copied()).map(|f| fixed(f / std::f64::consts::TAU)).collect::<Vec<_>>()
        };
        [axes(1.0), axes((self.action_tokens + 1) as f64)].concat()
    }

    /// Token columns of the image.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Na.
    pub fn action_tokens(&self) -> usize {
        self.action_tokens
    }

    /// Writes the row `[D/2, 2]` (cos, sin) of video token `token` (raster order) of `chunk`; `row`
    /// has [`Self::row_len`] numbers.
    pub fn video(&self, chunk: u64, token: usize, row: &mut [f32]) {
        self.write([chunk as f64, (token / self.columns) as f64, (token % self.columns) as f64], row);
    }

    /// Writes the row `[D/2, 2]` (cos, sin) of action token `token` of `chunk`; `row` has
    /// [`Self::row_len`] numbers.
    pub fn action(&self, chunk: u64, token: usize, row: &mut [f32]) {
        let time = chunk as f64 + (token + 1) as f64 / (self.action_tokens + 1) as f64;
        self.write([time, -1.0, -1.0], row);
    }

    /// Writes the rows `[Nv, D/2, 2]` of all video tokens of `chunk`.
    ///
    /// # Errors
    /// `Usage` when `out` has another length.
    pub fn video_rows(&self, chunk: u64, out: &mut [f32]) -> Result<()> {
        self.check(self.video_tokens, out)?;
        for (token, row) in out.chunks_exact_mut(self.row_len()).enumerate() {
            self.video(chunk, token, row);
        }
        Ok(())
    }

    /// Writes the rows `[Na, D/2, 2]` of all action tokens of `chunk`.
    ///
    /// # Errors
    /// `Usage` when `out` has another length.
    pub fn action_rows(&self, chunk: u64, out: &mut [f32]) -> Result<()> {
        self.check(self.action_tokens, out)?;
        for (token, row) in out.chunks_exact_mut(self.row_len()).enumerate() {
            self.action(chunk, token, row);
        }
        Ok(())
    }

    fn check(&self, tokens: usize, out: &[f32]) -> Result<()> {
        let wanted = tokens * self.row_len();
        if out.len() == wanted {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Usage, "a rotary table of another length").at("rope").got(out.len()).wanted(wanted))
    }

    fn write(&self, position: [f64; 3], row: &mut [f32]) {
        debug_assert_eq!(row.len(), self.row_len());
        let angles = position.iter().zip(&self.frequencies).flat_map(|(&p, axis)| axis.iter().map(move |f| p * f));
        for (pair, angle) in row.chunks_exact_mut(2).zip(angles) {
            let (sin, cos) = libm::sincos(angle);
            pair[0] = cos as f32;
            pair[1] = sin as f32;
        }
    }
}

/// Rotates the neighbouring pairs of `key` `[D]` by the angles of `row` `[D/2, 2]` (cos, sin), as
/// the graphs do.
pub fn rotate(row: &[f32], key: &mut [f32]) {
    turn(row, key, 1.0);
}

/// The inverse of [`rotate`].
pub fn unrotate(row: &[f32], key: &mut [f32]) {
    turn(row, key, -1.0);
}

fn turn(row: &[f32], key: &mut [f32], sense: f32) {
    debug_assert_eq!(row.len(), key.len());
    for (pair, angle) in key.chunks_exact_mut(2).zip(row.chunks_exact(2)) {
        let (even, odd, cos, sin) = (pair[0], pair[1], angle[0], sense * angle[1]);
        pair[0] = even * cos - odd * sin;
        pair[1] = even * sin + odd * cos;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::tiny;

    #[test]
    fn an_action_token_stands_between_two_frames_and_outside_of_the_picture() {
        let mut out = vec![0.0; 8 * 32];
        RopeTable::new(&tiny()).action_rows(3, &mut out).unwrap();
        let row = &out[32..64];
        let time: f64 = 3.0 + 2.0 / 9.0;
        assert!((f64::from(row[0]) - time.cos()).abs() < 1e-6 && (f64::from(row[1]) - time.sin()).abs() < 1e-6);
        // The first pair of the height axis follows the six pairs of the time axis.
        assert!((f64::from(row[12]) - (-1.0f64).cos()).abs() < 1e-6 && (f64::from(row[13]) - (-1.0f64).sin()).abs() < 1e-6);
    }

    #[test]
    fn video_tokens_run_in_raster_order() {
        let mut out = vec![0.0; 28 * 32];
        RopeTable::new(&tiny()).video_rows(0, &mut out).unwrap();
        let token = 7 + 2; // row 1, column 2
        let row = &out[token * 32..(token + 1) * 32];
        assert_eq!((row[0], row[1]), (1.0, 0.0));
        assert!((row[13] - 1f32.sin()).abs() < 1e-6 && (row[23] - 2f32.sin()).abs() < 1e-6);
    }

    #[test]
    fn four_hours_later_a_table_still_differs_between_neighbours() {
        let table = RopeTable::new(&tiny());
        let (mut a, mut b) = (vec![0.0; 28 * 32], vec![0.0; 28 * 32]);
        table.video_rows(3600, &mut a).unwrap();
        table.video_rows(3601, &mut b).unwrap();
        assert!((a[0] - b[0]).abs() > 0.1);
        assert!(table.video_rows(0, &mut a[1..]).is_err());
    }

    #[test]
    fn unrotate_undoes_rotate_and_a_product_of_rotated_keys_knows_only_their_distance() {
        let table = RopeTable::new(&tiny());
        let mut rows = [[0.0f32; 32]; 4];
        for (row, (chunk, token)) in rows.iter_mut().zip([(2, 0), (5, 0), (12, 0), (15, 0)]) {
            table.video(chunk, token, row);
        }
        let key: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7).sin()).collect();
        let query: Vec<f32> = (0..32).map(|i| (i as f32 * 1.3).cos()).collect();
        let turned = |row: &[f32; 32], x: &[f32]| {
            let mut x = x.to_vec();
            rotate(row, &mut x);
            x
        };
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let (near, far) =
            (dot(&turned(&rows[0], &query), &turned(&rows[1], &key)), dot(&turned(&rows[2], &query), &turned(&rows[3], &key)));
        assert!((near - far).abs() < 1e-5 && (near - dot(&query, &key)).abs() > 0.01, "{near} {far}");
        let mut back = turned(&rows[3], &key);
        unrotate(&rows[3], &mut back);
        assert!(back.iter().zip(&key).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

//! Counter-based noise: the same seed, chunk, stream and element give the same bits on every
//! machine, in any order.
//!
//! Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), keyed by the
//! seed. The counter holds the chunk, the stream with its sample, and the block of four elements.
//! Box–Muller turns pairs of words into standard normals; only `libm` computes logarithm and
//! cosine.

/// What the noise is for. It is part of the counter, so streams share no numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The latent of a chunk.
    Video,
    /// The actions of a chunk; the number distinguishes the samples of one chunk.
    Action {
        /// 0 for a single sample.
        sample: u16,
    },
}

impl Stream {
    fn word(self) -> u32 {
        match self {
            Self::Video => 0,
            Self::Action { sample } => 0x0001_0000 | u32::from(sample),
        }
    }
}

/// Fills `out` with standard normals for `stream` of `chunk` under `seed`. Element i does not
/// depend on the length of `out`.
pub fn standard_normal(seed: u64, chunk: u64, stream: Stream, out: &mut [f32]) {
    for (block, four) in (0u32..).zip(out.chunks_mut(4)) {
        let words = philox([block, stream.word(), chunk as u32, (chunk >> 32) as u32], [seed as u32, (seed >> 32) as u32]);
        let normals = [box_muller(words[0], words[1]), box_muller(words[2], words[3])];
        for (value, normal) in four.iter_mut().zip(normals.into_iter().flatten()) {
            *value = normal;
        }
    }
}

/// Two standard normals from two random words: radius √(−2 ln u), angle 2π·w, u in (0, 1].
fn box_muller(a: u32, b: u32) -> [f32; 2] {
    const SCALE: f64 = 1.0 / 4_294_967_296.0;
    let radius = libm::sqrt(-2.0 * libm::log((f64::from(a) + 1.0) * SCALE));
    let (sin, cos) = libm::sincos(std::f64::consts::TAU * f64::from(b) * SCALE);
    [(radius * cos) as f32, (radius * sin) as f32]
}

/// Ten rounds of Philox4x32.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u64; 2] = [0xd251_1f53, 0xcd9e_8d57];
    const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
    for _ in 0..10 {
        let (p0, p1) = (MULTIPLIERS[0] * u64::from(counter[0]), MULTIPLIERS[1] * u64::from(counter[2]));
        counter = [(p1 >> 32) as u32 ^ counter[1] ^ key[0], p1 as u32, (p0 >> 32) as u32 ^ counter[3] ^ key[1], p0 as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors' Random123 library publishes for philox4x32 with ten
    /// rounds.
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox(pi, [0xa409_3822, 0x299f_31d0]), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn an_element_does_not_depend_on_how_many_are_asked_for() {
        let (mut long, mut short) = ([0.0f32; 103], [0.0f32; 7]);
        standard_normal(9, 4, Stream::Video, &mut long);
        standard_normal(9, 4, Stream::Video, &mut short);
        assert_eq!(long[..7], short);
    }

    #[test]
    fn seeds_chunks_streams_and_samples_share_no_numbers() {
        let draw = |seed, chunk, stream| {
            let mut out = [0.0f32; 64];
            standard_normal(seed, chunk, stream, &mut out);
            out
        };
        let all = [
            draw(1, 1, Stream::Video),
            draw(2, 1, Stream::Video),
            draw(1 << 32, 1, Stream::Video),
            draw(1, 2, Stream::Video),
            draw(1, 1 << 32, Stream::Video),
            draw(1, 1, Stream::Action { sample: 0 }),
            draw(1, 1, Stream::Action { sample: 1 }),
        ];
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                assert!(a.iter().zip(b).all(|(a, b)| a.to_bits() != b.to_bits()));
            }
        }
    }

    #[test]
    fn the_numbers_are_standard_normal_to_the_fourth_moment() {
        let mut out = vec![0.0f32; 1 << 18];
        standard_normal(7, 3, Stream::Action { sample: 2 }, &mut out);
        let moment = |p: i32| out.iter().map(|&x| f64::from(x).powi(p)).sum::<f64>() / out.len() as f64;
        for (p, wanted, slack) in [(1, 0.0, 0.01), (2, 1.0, 0.02), (3, 0.0, 0.04), (4, 3.0, 0.1)] {
            assert!((moment(p) - wanted).abs() < slack, "moment {p}: {}", moment(p));
        }
        assert!(out.iter().all(|x| x.is_finite()));
    }
}

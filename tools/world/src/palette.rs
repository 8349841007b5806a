//! How a picture looks: by day, at night or in rain. Applied to the finished picture.

use crate::canvas::{Rgb, mixed, ramp};

/// How pictures look. The training's are by day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// As drawn.
    Day,
    /// Dark, except what glows: lamps, and colours as strong as theirs.
    Night,
    /// Grey and of low contrast.
    Rain,
}

impl Palette {
    /// Changes the pixels of a picture, packed RGB.
    pub(crate) fn apply(self, rgb: &mut [u8]) {
        if self == Self::Day {
            return;
        }
        for pixel in rgb.chunks_exact_mut(3) {
            let colour: Rgb = [f64::from(pixel[0]), f64::from(pixel[1]), f64::from(pixel[2])];
            for (byte, value) in pixel.iter_mut().zip(self.of(colour)) {
                *byte = (value + 0.5).clamp(0.0, 255.0) as u8;
            }
        }
    }

    fn of(self, colour: Rgb) -> Rgb {
        match self {
            Self::Day => colour,
            Self::Night => {
                let (most, least) = (colour.iter().copied().fold(0.0, f64::max), colour.iter().copied().fold(255.0, f64::min));
                let glow = ramp(most - least, 110.0, 190.0);
                mixed([0.28 * colour[0], 0.28 * colour[1], 0.34 * colour[2]], colour, glow)
            }
            Self::Rain => mixed(colour, [150.0, 155.0, 160.0], 0.45),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks if a night darkens a red lamp, or rain keeps the contrast.
    #[test]
    fn lamps_glow_at_night_and_rain_takes_contrast() {
        assert_eq!(Palette::Night.of([255.0, 30.0, 20.0]), [255.0, 30.0, 20.0]);
        assert!(Palette::Night.of([100.0; 3]).iter().all(|v| *v < 35.0));
        let [dark, bright] = [[20.0; 3], [235.0; 3]].map(|colour| Palette::Rain.of(colour)[0]);
        assert!((bright - dark - 0.55 * 215.0).abs() < 1e-9);
    }
}

//! What a recording's pictures are replaced by, to see what the policy takes from them.

use drivewam_simulation::mirror;

/// The pictures that the policy is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pictures {
    /// Those of the recording.
    AsTaken,
    /// Half brightness everywhere.
    Grey,
    /// Left and right exchanged.
    Mirrored,
    /// No light anywhere.
    Black,
}

impl Pictures {
    /// What the true pictures are compared with.
    pub(super) const CONTROLS: [Self; 3] = [Self::Grey, Self::Mirrored, Self::Black];

    /// The name in `summary.json` and tables.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AsTaken => "as_taken",
            Self::Grey => "grey",
            Self::Mirrored => "mirrored",
            Self::Black => "black",
        }
    }

    /// Alters a picture of packed RGB rows, `width` pixels each.
    pub(super) fn alter(self, rgb: &mut [u8], width: usize) {
        match self {
            Self::AsTaken => {}
            Self::Grey => rgb.fill(128),
            Self::Black => rgb.fill(0),
            Self::Mirrored => mirror(rgb, width),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pictures;

    /// Breaks when a mirrored picture exchanges its colours, or rows instead of columns.
    #[test]
    fn a_picture_is_mirrored_by_pixels_and_filled_whole() {
        let picture: Vec<u8> = (1..=12).collect();
        for (pictures, wanted) in [
            (Pictures::AsTaken, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
            (Pictures::Mirrored, [4, 5, 6, 1, 2, 3, 10, 11, 12, 7, 8, 9]),
            (Pictures::Grey, [128; 12]),
            (Pictures::Black, [0; 12]),
        ] {
            let mut rgb = picture.clone();
            pictures.alter(&mut rgb, 2);
            assert_eq!(rgb, wanted, "{pictures:?}");
        }
    }
}

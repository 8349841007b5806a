//! Clips lines and polygons to a rectangle: parts outside are removed, not moved to its border.

/// A point in an image, pixels.
pub(super) type Place = (f64, f64);

/// The rectangle to clip to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Frame {
    /// Signed distance of a point from border `i`, positive inside.
    fn inside(&self, i: usize, (x, y): Place) -> f64 {
        [x - self.left, self.right - x, y - self.top, self.bottom - y].get(i).copied().unwrap_or(0.0)
    }

    /// The part of a polygon inside the rectangle (Sutherland-Hodgman).
    pub(super) fn area(&self, outline: &[Place]) -> Vec<Place> {
        let mut inside: Vec<Place> = outline.to_vec();
        for border in 0..4 {
            let mut next = Vec::with_capacity(inside.len() + 4);
            let before = inside.iter().cycle().skip(inside.len().saturating_sub(1));
            for (&from, &to) in before.zip(&inside) {
                let (a, b) = (self.inside(border, from), self.inside(border, to));
                if (a < 0.0) != (b < 0.0) {
                    next.push(between(from, to, a / (a - b)));
                }
                if b >= 0.0 {
                    next.push(to);
                }
            }
            inside = next;
        }
        inside
    }

    /// The parts of a polyline inside the rectangle.
    pub(super) fn line(&self, points: &[Place]) -> Vec<Vec<Place>> {
        let mut parts: Vec<Vec<Place>> = Vec::new();
        for pair in points.windows(2) {
            let &[from, to] = pair else { continue };
            let (mut enter, mut leave) = (0.0f64, 1.0f64);
            for border in 0..4 {
                let (a, b) = (self.inside(border, from), self.inside(border, to));
                if a < 0.0 && b < 0.0 {
                    leave = -1.0;
                } else if a < 0.0 {
                    enter = enter.max(a / (a - b));
                } else if b < 0.0 {
                    leave = leave.min(a / (a - b));
                }
            }
            if enter >= leave {
                continue;
            }
            let (start, end) = (between(from, to, enter), between(from, to, leave));
            match parts.last_mut().filter(|part| enter == 0.0 && part.last() == Some(&start)) {
                Some(part) => part.push(end),
                None => parts.push(vec![start, end]),
            }
        }
        parts
    }

    /// Whether a point lies inside.
    pub(super) fn contains(&self, place: Place) -> bool {
        (0..4).all(|border| self.inside(border, place) >= 0.0)
    }
}

fn between(from: Place, to: Place, share: f64) -> Place {
    if share == 0.0 {
        return from;
    }
    (from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame { left: 0.0, top: 0.0, right: 10.0, bottom: 10.0 };

    #[test]
    fn a_line_that_leaves_and_comes_back_becomes_two_parts_that_end_at_the_border() {
        let parts = FRAME.line(&[(5.0, 5.0), (15.0, 5.0), (15.0, 8.0), (5.0, 8.0), (2.0, 8.0)]);
        assert_eq!(parts, vec![vec![(5.0, 5.0), (10.0, 5.0)], vec![(10.0, 8.0), (5.0, 8.0), (2.0, 8.0)]]);
        assert!(FRAME.line(&[(-5.0, -1.0), (15.0, -1.0)]).is_empty());
        assert_eq!(FRAME.line(&[(-10.0, 5.0), (20.0, 5.0)]), vec![vec![(0.0, 5.0), (10.0, 5.0)]]);
    }

    #[test]
    fn an_area_keeps_what_is_inside_and_nothing_else() {
        let inside = FRAME.area(&[(5.0, 5.0), (15.0, 5.0), (15.0, 15.0), (5.0, 15.0)]);
        let twice: f64 = inside.iter().zip(inside.iter().cycle().skip(1)).map(|(a, b)| a.0 * b.1 - b.0 * a.1).sum();
        assert!((twice.abs() - 50.0).abs() < 1e-9, "{inside:?}");
        assert!(FRAME.area(&[(11.0, 0.0), (12.0, 0.0), (12.0, 5.0)]).is_empty());
    }
}

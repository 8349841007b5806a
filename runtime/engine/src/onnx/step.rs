//! One step of a pass, the shapes of its tensors, and arithmetic on shapes.

use super::operators::Operator;
use drivewam_core::Error;
use drivewam_core::excerpt::quoted;

/// A node, with numbers in the place of names.
#[derive(Debug)]
pub(super) struct Step {
    pub operator: &'static Operator,
    pub name: String,
    pub inputs: Vec<Option<usize>>,
    pub outputs: Vec<usize>,
    pub settings: Vec<(&'static str, Setting)>,
    /// The attribute `value`.
    pub value: Option<Known>,
}

/// An attribute on which a size may depend.
#[derive(Debug)]
pub(super) enum Setting {
    Int(i64),
    Ints(Vec<i64>),
    /// Of another type. No size depends on it.
    Other,
}

impl Step {
    pub(super) fn setting(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub(super) fn at(&self, e: Error) -> Error {
        e.at(format!("{} {}", self.operator.name, quoted(&self.name)))
    }
}

/// A tensor of which the shape is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub shape: Vec<u64>,
    /// The elements of a small tensor of integers, if they do not depend on the graph's inputs.
    pub ints: Option<Vec<i64>>,
}

impl Known {
    pub(super) fn of(shape: Vec<u64>) -> Self {
        Self { shape, ints: None }
    }
}

/// A result, or a description of what is wrong.
pub(super) type Shaped<T> = std::result::Result<T, String>;

/// The number of elements of a shape.
pub(super) fn elements(shape: &[u64]) -> Shaped<u64> {
    shape.iter().try_fold(1u64, |all, len| all.checked_mul(*len)).ok_or_else(|| format!("{shape:?} is larger than any memory"))
}

pub(super) fn misfit(what: &str, shapes: &[&[u64]]) -> String {
    format!("{what}: {}", shapes.iter().map(|shape| format!("{shape:?}")).collect::<Vec<_>>().join(", "))
}

/// A place among `axes`, counted from the end when negative.
pub(super) fn axis(place: i64, axes: usize) -> Shaped<usize> {
    let axes = axes as i64;
    let from_start = if place < 0 { place.saturating_add(axes) } else { place };
    usize::try_from(from_start).ok().filter(|_| from_start < axes).ok_or_else(|| format!("axis {place} of {axes}"))
}

/// The axes that an input or nothing names.
pub(super) fn axes(list: Option<&[i64]>, rank: usize) -> Shaped<Vec<usize>> {
    let mut all = list.unwrap_or_default().iter().map(|&place| axis(place, rank)).collect::<Shaped<Vec<_>>>()?;
    all.sort_unstable();
    match all.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(format!("axes {list:?} repeat one")),
        false => Ok(all),
    }
}

/// Integers as lengths.
pub(super) fn lengths(list: &[i64]) -> Shaped<Vec<u64>> {
    list.iter().map(|&len| u64::try_from(len)).collect::<std::result::Result<_, _>>().map_err(|_negative| format!("lengths {list:?}"))
}

/// The shape that all `shapes` are repeated to.
pub(super) fn broadcast(shapes: &[&[u64]]) -> Shaped<Vec<u64>> {
    let rank = shapes.iter().map(|shape| shape.len()).max().ok_or("no inputs")?;
    let mut out = vec![1; rank];
    for shape in shapes {
        for (to, &len) in out.iter_mut().rev().zip(shape.iter().rev()) {
            match (*to, len) {
                (_, 1) => {}
                (1, len) => *to = len,
                (to, len) if to == len => {}
                _ => return Err(misfit("shapes that do not fit", shapes)),
            }
        }
    }
    Ok(out)
}

//! The inputs and attributes of a step.

use super::step::{Known, Setting, Shaped, Step};

/// The inputs of a node; `None` for one that is left out.
pub(super) struct Inputs<'a> {
    pub step: &'a Step,
    pub known: Vec<Option<&'a Known>>,
}

impl<'a> Inputs<'a> {
    pub(super) fn get(&self, place: usize) -> Shaped<&'a Known> {
        self.known.get(place).copied().flatten().ok_or_else(|| format!("input {place} is missing"))
    }

    pub(super) fn shape(&self, place: usize) -> Shaped<&'a [u64]> {
        self.get(place).map(|known| known.shape.as_slice())
    }

    /// The integers of an input that sizes depend on; `None` where it is left out.
    pub(super) fn ints(&self, place: usize) -> Shaped<Option<&'a [i64]>> {
        let Some(known) = self.known.get(place).copied().flatten() else { return Ok(None) };
        match &known.ints {
            Some(ints) => Ok(Some(ints)),
            None => Err(format!("a size depends on input {place}, whose content is not known before the run")),
        }
    }

    pub(super) fn needed_ints(&self, place: usize) -> Shaped<&'a [i64]> {
        self.ints(place)?.ok_or_else(|| format!("input {place} is missing"))
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Shaped<i64> {
        match self.step.setting(name) {
            None => Ok(default),
            Some(Setting::Int(value)) => Ok(*value),
            Some(other) => Err(format!("attribute {name}: {other:?}, an integer wanted")),
        }
    }

    pub(super) fn list(&self, name: &str) -> Shaped<Option<&[i64]>> {
        match self.step.setting(name) {
            None => Ok(None),
            Some(Setting::Ints(values)) => Ok(Some(values)),
            Some(other) => Err(format!("attribute {name}: {other:?}, integers wanted")),
        }
    }
}

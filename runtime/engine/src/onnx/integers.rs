//! The integers that small tensors hold, from which sizes are computed.

use super::inputs::Inputs;
use super::moves::parts;
use super::step::Known;

/// Most elements of a tensor whose content is followed. Sizes need a few for each axis.
pub(super) const MAX_INTEGERS: u64 = 64;

/// The integers of the node's only output, of shape `shape`. `None` where they are not known before
/// the run, or are not needed for any size.
///
/// `rten` computes with 32 bits and cuts longer numbers, other libraries with 64. So arithmetic
/// with a number beyond 32 bits is not followed: a size that depends on it is refused.
pub(super) fn of(inputs: &Inputs<'_>, shape: &[u64]) -> Option<Vec<i64>> {
    let count = shape.iter().try_fold(1u64, |all, len| all.checked_mul(*len)).filter(|count| *count <= MAX_INTEGERS)?;
    let operand =
        |place: usize| Some((inputs.known.get(place).copied().flatten()?, inputs.known.get(place).copied().flatten()?.ints.as_ref()?));
    let pick = |place: usize, from: &dyn Fn(&mut Vec<u64>, &Known) -> Option<()>| -> Option<Vec<i64>> {
        let (known, ints) = operand(place)?;
        (0..count)
            .map(|flat| {
                let mut index = unravel(flat, shape);
                from(&mut index, known)?;
                ints.get(ravel(&index, &known.shape)?).copied()
            })
            .collect()
    };
    let repeated = |place: usize| {
        pick(place, &|index, known| {
            index.drain(..index.len().checked_sub(known.shape.len())?);
            index.iter_mut().zip(&known.shape).filter(|(_, len)| **len == 1).for_each(|(place, _)| *place = 0);
            Some(())
        })
    };
    let arithmetic = |result: fn(i64, i64) -> Option<i64>| -> Option<Vec<i64>> {
        let (a, b) = (repeated(0)?, repeated(1)?);
        a.into_iter().zip(b).map(|(a, b)| short(result(short(a)?, short(b)?)?)).collect()
    };
    match inputs.step.operator.name {
        "ConstantOfShape" => {
            let [value] = inputs.step.value.as_ref()?.ints.as_deref()? else { return None };
            Some(vec![*value; usize::try_from(count).ok()?])
        }
        "Shape" => inputs.shape(0).ok()?.iter().map(|&len| i64::try_from(len).ok()).collect(),
        "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "Identity" => Some(operand(0)?.1.clone()),
        "Cast" => {
            let from = operand(0)?.1.iter();
            match inputs.int("to", 0).ok()? {
                // Boolean, 32 and 64 bits.
                9 => Some(from.map(|&value| i64::from(value != 0)).collect()),
                6 => from.map(|&value| short(value)).collect(),
                7 => Some(from.copied().collect()),
                _ => None,
            }
        }
        "Concat" if inputs.int("axis", 0).ok()? == 0 => {
            (0..inputs.known.len()).try_fold(Vec::new(), |all, place| Some([all, operand(place)?.1.clone()].concat()))
        }
        "Gather" => {
            let axis = usize::try_from(inputs.int("axis", 0).ok()?).ok()?;
            let (indices, chosen) = operand(1)?;
            pick(0, &|index, known| {
                let rank = indices.shape.len();
                let at = index.get(axis..axis + rank)?;
                let chosen = *chosen.get(ravel(at, &indices.shape)?)?;
                let len = i64::try_from(*known.shape.get(axis)?).ok()?;
                let place = u64::try_from(if chosen < 0 { chosen.checked_add(len)? } else { chosen }).ok()?;
                index.splice(axis..axis + rank, [place]);
                Some(())
            })
        }
        "Slice" => {
            let parts = parts(inputs).ok()?;
            pick(0, &|index, _| {
                for part in &parts {
                    let place = index.get_mut(part.axis)?;
                    *place = u64::try_from(part.start + part.step * i128::from(*place)).ok()?;
                }
                Some(())
            })
        }
        "Transpose" => {
            let order = inputs.order(shape.len()).ok()?;
            pick(0, &|index, _| {
                let turned = index.clone();
                order.iter().zip(turned).try_for_each(|(&from, place)| index.get_mut(from).map(|to| *to = place))
            })
        }
        "Expand" => repeated(0),
        "Range" => {
            let number = |place: usize| match operand(place)?.1.as_slice() {
                [one] => short(*one),
                _ => None,
            };
            let (start, step) = (number(0)?, number(2)?);
            (0..count).map(|i| short(start + step * i64::try_from(i).ok()?)).collect()
        }
        "Add" => arithmetic(|a, b| Some(a + b)),
        "Sub" => arithmetic(|a, b| Some(a - b)),
        "Mul" => arithmetic(|a, b| Some(a * b)),
        "Div" => arithmetic(i64::checked_div),
        // The sign of the divisor. With `fmod` it is another, which nothing needs.
        "Mod" if inputs.int("fmod", 0).ok()? == 0 => arithmetic(|a, b| Some((a.checked_rem(b)? + b) % b)),
        "Equal" => arithmetic(|a, b| Some(i64::from(a == b))),
        "Greater" => arithmetic(|a, b| Some(i64::from(a > b))),
        "Where" => {
            let (choice, a, b) = (repeated(0)?, repeated(1)?, repeated(2)?);
            Some(choice.into_iter().zip(a.into_iter().zip(b)).map(|(first, (a, b))| if first != 0 { a } else { b }).collect())
        }
        _ => None,
    }
}

/// The number, if it has at most 32 bits.
fn short(number: i64) -> Option<i64> {
    i32::try_from(number).ok().map(i64::from)
}

/// The place on each axis of the element number `flat`.
fn unravel(mut flat: u64, shape: &[u64]) -> Vec<u64> {
    let mut index = vec![0; shape.len()];
    for (place, &len) in index.iter_mut().zip(shape).rev() {
        *place = flat % len.max(1);
        flat /= len.max(1);
    }
    index
}

/// The number of the element at the place `index`; `None` outside of the tensor.
fn ravel(index: &[u64], shape: &[u64]) -> Option<usize> {
    let flat = index.iter().zip(shape).try_fold(0u64, |flat, (&place, &len)| {
        (place < len).then_some(())?;
        flat.checked_mul(len)?.checked_add(place)
    })?;
    usize::try_from(flat).ok().filter(|_| index.len() == shape.len())
}

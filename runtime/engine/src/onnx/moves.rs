//! Shapes of what only moves elements: cuts, joins, turns and repeats of tensors.

use super::inputs::Inputs;
use super::step::{Known, Shaped, axes, axis, elements, lengths, misfit};

impl Inputs<'_> {
    pub(super) fn concat(&self) -> Shaped<Vec<u64>> {
        let mut joined = self.shape(0)?.to_vec();
        let at = axis(self.int("axis", 0)?, joined.len())?;
        for place in 1..self.known.len() {
            let part = self.shape(place)?;
            let fits = part.len() == joined.len() && (0..part.len()).all(|i| i == at || part[i] == joined[i]);
            if !fits {
                return Err(misfit("parts that do not fit", &[&joined, part]));
            }
            joined[at] = joined[at].checked_add(part[at]).ok_or("too long")?;
        }
        Ok(joined)
    }

    pub(super) fn depth_to_space(&self) -> Shaped<Vec<u64>> {
        let shape = self.shape(0)?;
        let block = u64::try_from(self.int("blocksize", 0)?).unwrap_or(0);
        let ([batch, depth, height, width], Some(square)) = (shape, block.checked_mul(block).filter(|square| *square > 0)) else {
            return Err(misfit(&format!("blocks of {block}"), &[shape]));
        };
        if depth % square != 0 {
            return Err(misfit(&format!("blocks of {block}"), &[shape]));
        }
        let times = |len: &u64| len.checked_mul(block).ok_or("too long");
        Ok(vec![*batch, depth / square, times(height)?, times(width)?])
    }

    pub(super) fn flatten(&self) -> Shaped<Vec<u64>> {
        let shape = self.shape(0)?;
        let at = axis(self.int("axis", 1)?, shape.len() + 1)?;
        Ok(vec![elements(&shape[..at])?, elements(&shape[at..])?])
    }

    pub(super) fn gather(&self) -> Shaped<Vec<u64>> {
        let (data, indices) = (self.shape(0)?, self.shape(1)?);
        let at = axis(self.int("axis", 0)?, data.len())?;
        Ok([&data[..at], indices, &data[at + 1..]].concat())
    }

    pub(super) fn reshape(&self) -> Shaped<Vec<u64>> {
        let (shape, wanted) = (self.shape(0)?, self.needed_ints(1)?);
        let keeps_zero = self.int("allowzero", 0)? != 0;
        let mut out = Vec::new();
        let mut open = None;
        for (i, &len) in wanted.iter().enumerate() {
            out.push(match len {
                -1 if open.replace(i).is_none() => 1,
                0 if !keeps_zero => *shape.get(i).ok_or_else(|| misfit(&format!("reshaped to {wanted:?}"), &[shape]))?,
                _ => u64::try_from(len).map_err(|_negative| misfit(&format!("reshaped to {wanted:?}"), &[shape]))?,
            });
        }
        let (has, rest) = (elements(shape)?, elements(&out)?);
        if let Some(open) = open {
            out[open] = has.checked_div(rest).ok_or_else(|| misfit(&format!("reshaped to {wanted:?}"), &[shape]))?;
        }
        if elements(&out)? != has {
            return Err(misfit(&format!("reshaped to {wanted:?}"), &[shape]));
        }
        Ok(out)
    }

    pub(super) fn slice(&self) -> Shaped<Vec<u64>> {
        let mut out = self.shape(0)?.to_vec();
        for part in parts(self)? {
            out[part.axis] = part.count;
        }
        Ok(out)
    }

    /// The starts, ends, axes and steps of a slice.
    pub(super) fn slice_lists(&self) -> Shaped<[Vec<i64>; 4]> {
        let (starts, ends) = (self.needed_ints(1)?.to_vec(), self.needed_ints(2)?.to_vec());
        let on = self.ints(3)?.map_or_else(|| (0..starts.len() as i64).collect(), <[i64]>::to_vec);
        let steps = self.ints(4)?.map_or_else(|| vec![1; starts.len()], <[i64]>::to_vec);
        axes(Some(&on), self.shape(0)?.len())?;
        match ends.len() == starts.len() && on.len() == starts.len() && steps.len() == starts.len() {
            true => Ok([starts, ends, on, steps]),
            false => Err(format!("a slice from {starts:?} to {ends:?} on {on:?} by {steps:?}")),
        }
    }

    pub(super) fn split(&self) -> Shaped<(Vec<Known>, u64)> {
        let shape = self.shape(0)?;
        let at = axis(self.int("axis", 0)?, shape.len())?;
        let parts = self.step.outputs.len() as u64;
        let sizes = match self.ints(1)? {
            Some(sizes) => lengths(sizes)?,
            None => {
                let even = shape[at].div_ceil(parts.max(1));
                (0..parts).map(|i| even.min(shape[at].saturating_sub(even.saturating_mul(i)))).collect()
            }
        };
        if sizes.iter().try_fold(0u64, |sum, len| sum.checked_add(*len)) != Some(shape[at]) {
            return Err(misfit(&format!("split into {sizes:?}"), &[shape]));
        }
        let part = |len: &u64| Known::of([&shape[..at], &[*len], &shape[at + 1..]].concat());
        Ok((sizes.iter().map(part).collect(), 0))
    }

    pub(super) fn squeeze(&self) -> Shaped<Vec<u64>> {
        let shape = self.shape(0)?;
        let away = match self.ints(1)? {
            Some(named) => axes(Some(named), shape.len())?,
            None => (0..shape.len()).filter(|&i| shape[i] == 1).collect(),
        };
        match away.iter().all(|&i| shape[i] == 1) {
            true => Ok((0..shape.len()).filter(|i| !away.contains(i)).map(|i| shape[i]).collect()),
            false => Err(misfit(&format!("axes {away:?} are not 1"), &[shape])),
        }
    }

    pub(super) fn tile(&self) -> Shaped<Vec<u64>> {
        let (shape, repeats) = (self.shape(0)?, lengths(self.needed_ints(1)?)?);
        if repeats.len() != shape.len() {
            return Err(misfit("tiled", &[shape, &repeats]));
        }
        shape.iter().zip(&repeats).map(|(len, times)| len.checked_mul(*times).ok_or_else(|| misfit("tiled", &[shape, &repeats]))).collect()
    }

    pub(super) fn transpose(&self) -> Shaped<Vec<u64>> {
        let shape = self.shape(0)?;
        self.order(shape.len())?.into_iter().map(|from| shape.get(from).copied().ok_or_else(|| misfit("turned", &[shape]))).collect()
    }

    /// The order of the axes that a transposition puts out.
    pub(super) fn order(&self, rank: usize) -> Shaped<Vec<usize>> {
        let Some(order) = self.list("perm")? else { return Ok((0..rank).rev().collect()) };
        match axes(Some(order), rank)?.len() == rank {
            true => order.iter().map(|&place| axis(place, rank)).collect(),
            false => Err(format!("perm {order:?} of {rank} axes")),
        }
    }

    pub(super) fn unsqueeze(&self) -> Shaped<Vec<u64>> {
        let (shape, named) = (self.shape(0)?, self.needed_ints(1)?);
        let rank = shape.len() + named.len();
        let new = axes(Some(named), rank)?;
        let mut old = shape.iter();
        Ok((0..rank).map(|i| if new.contains(&i) { 1 } else { old.next().copied().unwrap_or(1) }).collect())
    }
}

/// One axis of a slice: `count` places from `start`, `step` apart.
pub(super) struct Part {
    pub axis: usize,
    pub start: i128,
    pub step: i128,
    pub count: u64,
}

/// The axes that a slice cuts.
pub(super) fn parts(inputs: &Inputs<'_>) -> Shaped<Vec<Part>> {
    let shape = inputs.shape(0)?;
    let [starts, ends, on, steps] = inputs.slice_lists()?;
    let mut parts = Vec::new();
    for i in 0..starts.len() {
        let axis = axis(on[i], shape.len())?;
        let (len, step) = (i128::from(shape[axis]), i128::from(steps[i]));
        let within = |place: i64, least: i128, most: i128| {
            let place = i128::from(place);
            if place < 0 { place + len } else { place }.clamp(least, most.max(least))
        };
        let (start, end) = match step {
            0 => return Err("a slice of step 0".to_owned()),
            1.. => (within(starts[i], 0, len), within(ends[i], 0, len)),
            _ => (within(starts[i], 0, len - 1), within(ends[i], -1, len - 1)),
        };
        let distance = if step > 0 { end - start } else { start - end };
        let apart = step.abs();
        let count = (distance.max(0) + apart - 1) / apart;
        parts.push(Part { axis, start, step, count: u64::try_from(count).map_err(|e| e.to_string())? });
    }
    Ok(parts)
}

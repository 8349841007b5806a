//! Shapes of what computes new elements: sums and products, filters, sums along axes, ranges.

use super::inputs::Inputs;
use super::step::{Known, Shaped, axes, broadcast, elements, lengths, misfit};

impl Inputs<'_> {
    pub(super) fn broadcast(&self) -> Shaped<Vec<u64>> {
        let shapes = self.known.iter().flatten().map(|known| known.shape.as_slice()).collect::<Vec<_>>();
        broadcast(&shapes)
    }

    pub(super) fn conv(&self) -> Shaped<(Vec<Known>, u64)> {
        let (data, weight) = (self.shape(0)?, self.shape(1)?);
        let [batch, channels, area @ ..] = data else { return Err(misfit("no image", &[data])) };
        let [filters, depth, kernel @ ..] = weight else { return Err(misfit("no filter", &[weight])) };
        let group = u64::try_from(self.int("group", 1)?).unwrap_or(0);
        if group == 0 || depth.checked_mul(group) != Some(*channels) || filters % group != 0 || area.len() != kernel.len() {
            return Err(misfit(&format!("a filter that does not fit, in {group} groups"), &[data, weight]));
        }
        if let Some(named) = self.list("kernel_shape")?
            && lengths(named)?.as_slice() != kernel
        {
            return Err(misfit("another kernel_shape", &[kernel]));
        }
        let list = |name: &str, len: usize, default: u64| match self.list(name)? {
            None => Ok(vec![default; len]),
            Some(list) if list.len() == len => lengths(list),
            Some(list) => Err(format!("{name} {list:?} for {} axes", area.len())),
        };
        let (pads, strides, dilations) =
            (list("pads", 2 * area.len(), 0)?, list("strides", area.len(), 1)?, list("dilations", area.len(), 1)?);
        let mut out = vec![*batch, *filters];
        for i in 0..area.len() {
            let span = || kernel[i].checked_sub(1)?.checked_mul(dilations[i])?.checked_add(1);
            let padded = || area[i].checked_add(pads[i])?.checked_add(pads[i + area.len()]);
            let room = padded().zip(span()).and_then(|(padded, span)| padded.checked_sub(span));
            let steps = room
                .and_then(|room| room.checked_div(strides[i]))
                .ok_or_else(|| misfit("a filter larger than the image", &[data, weight]))?;
            out.push(steps.checked_add(1).ok_or("too long")?);
        }
        // A library may write out every patch of one image.
        let patch = elements(&weight[1..])?;
        let columns = elements(&out[2..])?.checked_mul(patch).and_then(|one| one.checked_mul(group)).ok_or("too large")?;
        Ok((vec![Known::of(out)], columns))
    }

    pub(super) fn gemm(&self) -> Shaped<Vec<u64>> {
        let turned = |shape: &[u64], flag: i64| match (shape, flag) {
            ([a, b], 0) => Ok([*a, *b]),
            ([a, b], _) => Ok([*b, *a]),
            _ => Err(misfit("no matrix", &[shape])),
        };
        let [rows, inner] = turned(self.shape(0)?, self.int("transA", 0)?)?;
        let [depth, columns] = turned(self.shape(1)?, self.int("transB", 0)?)?;
        let out = vec![rows, columns];
        if inner != depth {
            return Err(misfit("a product that does not fit", &[&[rows, inner], &[depth, columns]]));
        }
        match self.known.get(2).copied().flatten() {
            Some(bias) if broadcast(&[&bias.shape, &out])? != out => Err(misfit("a bias that does not fit", &[&bias.shape, &out])),
            _ => Ok(out),
        }
    }

    pub(super) fn pad(&self) -> Shaped<Vec<u64>> {
        let (shape, pads) = (self.shape(0)?, self.needed_ints(1)?);
        let on = match self.ints(3)? {
            Some(named) => axes(Some(named), shape.len())?,
            None => (0..shape.len()).collect(),
        };
        // One library would cut longer numbers.
        if pads.len() != 2 * on.len() || pads.iter().any(|pad| i32::try_from(*pad).is_err()) {
            return Err(format!("pads {pads:?} for {} axes", on.len()));
        }
        let mut out = shape.to_vec();
        for (i, at) in on.iter().enumerate() {
            let len = i128::from(out[*at]) + i128::from(pads[i]) + i128::from(pads[i + on.len()]);
            out[*at] = u64::try_from(len).map_err(|_negative| misfit(&format!("pads {pads:?}"), &[shape]))?;
        }
        Ok(out)
    }

    pub(super) fn range(&self) -> Shaped<u64> {
        let number = |place: usize| match self.needed_ints(place)? {
            [one] => Ok(i128::from(*one)),
            other => Err(format!("a limit of a range: {other:?}, a number wanted")),
        };
        let (start, limit, step) = (number(0)?, number(1)?, number(2)?);
        if step == 0 {
            return Err("a range of step 0".to_owned());
        }
        let (distance, step) = if step > 0 { (limit - start, step) } else { (start - limit, -step) };
        u64::try_from((distance.max(0) + step - 1) / step).map_err(|e| e.to_string())
    }

    pub(super) fn reduce(&self) -> Shaped<Vec<u64>> {
        let shape = self.shape(0)?;
        let mut over = axes(self.ints(1)?, shape.len())?;
        if over.is_empty() && self.int("noop_with_empty_axes", 0)? == 0 {
            over = (0..shape.len()).collect();
        }
        let keep = self.int("keepdims", 1)? != 0;
        let kept = shape.iter().enumerate().filter(|(i, _)| keep || !over.contains(i));
        Ok(kept.map(|(i, len)| if over.contains(&i) { 1 } else { *len }).collect())
    }
}

pub(super) fn matmul(a: &[u64], b: &[u64]) -> Shaped<Vec<u64>> {
    let misfit = || misfit("a product that does not fit", &[a, b]);
    let (wide_a, wide_b) = (if a.len() == 1 { &[1, a[0]] } else { a }, if b.len() == 1 { &[b[0], 1] } else { b });
    let ([outer_a @ .., rows, inner], [outer_b @ .., depth, columns]) = (wide_a, wide_b) else { return Err(misfit()) };
    if inner != depth {
        return Err(misfit());
    }
    let mut out = broadcast(&[outer_a, outer_b])?;
    out.extend((a.len() > 1).then_some(*rows));
    out.extend((b.len() > 1).then_some(*columns));
    Ok(out)
}

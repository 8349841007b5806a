//! Checks of regions, commits and weights that every device shares, with the same error texts.

use crate::kv::{Commit, KvLayout, KvRegions, PassKv};
use crate::picture::Pictures;
use crate::resample::ResampleWeights;
use drivewam_core::arena::{ArenaPlan, apart};
use drivewam_core::dtype::DType;
use drivewam_core::{Error, ErrorKind, Result};
use std::ops::Range;

fn usage(what: &str, got: impl std::fmt::Display, wanted: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Usage, what).at("memory").got(got).wanted(wanted)
}

/// Checks that the regions of each lane belong to `plan` and have the shapes of `layout`, that all
/// have one type, and that none overlaps another. Returns the type of keys and values.
///
/// # Errors
/// `Usage`, also without a lane; `Config` for a scoring option out of range.
pub(crate) fn memory(plan: &ArenaPlan, layout: &KvLayout, lanes: &[KvRegions]) -> Result<DType> {
    lane(0, lanes.len())?;
    layout.scoring.check()?;
    if layout.rope.row_len() != layout.head_dim {
        return Err(usage("the rotations have another head width", layout.rope.row_len(), layout.head_dim));
    }
    let row = layout.heads * layout.head_dim;
    if row == 0 {
        return Err(usage("the memory has no heads or no head width", row, 1));
    }
    let dtype = lanes.iter().find_map(|regions| regions.k.first()).map_or(DType::F32, |region| region.dtype());
    let mut all = Vec::new();
    for regions in lanes {
        for (name, list) in [("mem_k", &regions.k), ("mem_v", &regions.v)] {
            if list.len() != layout.layers {
                return Err(usage(name, list.len(), layout.layers));
            }
            for region in list {
                plan.holds(*region)?;
                if region.len() != row * layout.slots() || region.dtype() != dtype {
                    return Err(usage(name, format!("{} {}", region.len(), region.dtype()), format!("{} {dtype}", row * layout.slots())));
                }
            }
        }
        plan.holds(regions.bias)?;
        if regions.bias.len() != layout.slots() || regions.bias.dtype() != DType::F32 {
            return Err(usage("mem_bias", regions.bias.len(), layout.slots()));
        }
        all.extend(regions.k.iter().chain(&regions.v).chain([&regions.bias]).copied());
    }
    apart(&[], &all)?;
    Ok(dtype)
}

/// Checks that `rows` lie in `pass`, and that the pass has the layout's shape and the memory's type
/// `dtype` and does not overlap the memory.
///
/// # Errors
/// `Usage`.
pub(crate) fn pass(
    plan: &ArenaPlan,
    (layout, regions, dtype): (&KvLayout, &KvRegions, DType),
    pass: &PassKv,
    rows: &Range<usize>,
) -> Result<()> {
    if rows.start > rows.end || rows.end > pass.tokens || pass.tokens > layout.pass_tokens {
        return Err(usage(
            "the rows lie outside their pass",
            format!("{rows:?} of {}", pass.tokens),
            format!("rows of a pass of at most {}", layout.pass_tokens),
        ));
    }
    let wanted = layout.heads * pass.tokens * layout.head_dim;
    for (name, list) in [("k", &pass.k), ("v", &pass.v), ("q", &pass.q)] {
        let wrong =
            |got: String| Error::new(ErrorKind::Usage, "the pass has another shape than the memory").at(format!("memory: {name}")).got(got);
        if list.len() != layout.layers {
            return Err(wrong(format!("{} layers", list.len())).wanted(layout.layers));
        }
        for region in list {
            plan.holds(*region)?;
            if region.len() != wanted || region.dtype() != dtype {
                return Err(wrong(format!("{} elements of {}", region.len(), region.dtype())).wanted(format!("{wanted} of {dtype}")));
            }
            if regions.k.iter().chain(&regions.v).any(|memory| memory.overlaps(region)) {
                return Err(wrong("a region that overlaps the memory".to_owned()));
            }
        }
    }
    Ok(())
}

/// Checks that no pool is named twice.
///
/// # Errors
/// `Usage`.
pub(crate) fn pools(commits: &[Commit<'_>]) -> Result<()> {
    for (i, commit) in commits.iter().enumerate() {
        if commits[..i].iter().any(|earlier| earlier.pool == commit.pool) {
            return Err(usage("a pool is named twice", format!("{:?}", commit.pool), "each pool at most once"));
        }
    }
    Ok(())
}

/// Checks that predicted tokens fit the tail.
///
/// # Errors
/// `Usage`.
pub(crate) fn tail(layout: &KvLayout, rows: &Range<usize>) -> Result<()> {
    if rows.len() > layout.tail_slots {
        return Err(usage("the predicted tokens do not fit the tail", rows.len(), format!("at most {}", layout.tail_slots)));
    }
    Ok(())
}

/// Checks that the weights of a camera read inside its pictures. Returns the bytes of one picture.
///
/// # Errors
/// `Usage`.
pub(crate) fn camera(pictures: &Pictures, columns: &ResampleWeights, rows: &ResampleWeights) -> Result<usize> {
    let Pictures { width, height, .. } = *pictures;
    if !columns.is_consistent() || !rows.is_consistent() || columns.inputs() > width || rows.inputs() > height {
        return Err(Error::new(ErrorKind::Usage, "the resampling weights read outside the picture")
            .at("camera")
            .got(format!("{} x {} pixels", columns.inputs(), rows.inputs()))
            .wanted(format!("within {width} x {height}")));
    }
    pictures.bytes()
}

/// The error for a region or a list of another length than wanted.
pub(crate) fn length(got: usize, wanted: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Usage, "a region or a list has the wrong length").at("device").got(got).wanted(wanted)
}

/// The error for KV operations before `kv_open`.
pub(crate) fn kv_is_closed() -> Error {
    Error::new(ErrorKind::Usage, "the KV memory is not open").at("memory").wanted("kv_open first")
}

/// The error for a second `kv_open`.
pub(crate) fn kv_is_open() -> Error {
    Error::new(ErrorKind::Usage, "the KV memory is open already").at("memory")
}

/// Proves that a memory of `lanes` lanes has lane `lane`.
pub(crate) fn lane(lane: usize, lanes: usize) -> Result<()> {
    if lane < lanes {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, "the memory has no such lane").at("memory").got(lane).wanted(format!("below {lanes}")))
}

/// The error for a layer that the memory does not have.
pub(crate) fn no_layer(layer: usize, layers: usize) -> Error {
    Error::new(ErrorKind::Usage, "the memory has no such layer").at("memory").got(layer).wanted(format!("below {layers}"))
}

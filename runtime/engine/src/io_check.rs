//! Checks of tensors that all engines share, so that they refuse the same faults with the same
//! messages.
//!
//! At load, [`agrees`] compares the tensors of a graph's file with the manifest. At bind, [`check`]
//! compares names, shapes, types and regions with the manifest.

use crate::engine::{Binding, BoundTensor, Io};
use drivewam_core::arena::Region;
use drivewam_core::bindings::Graph;
use drivewam_core::dtype::DType;
use drivewam_core::manifest::GraphEntry;
use drivewam_core::tensor::{Axis, DynamicDim, TensorSpec};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::{Device, HostMemory};

/// A tensor as a graph's file declares it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reported {
    pub name: String,
    /// `Err` names a type that the contract does not have.
    pub dtype: std::result::Result<DType, String>,
    /// `None` for an axis without a fixed length, and for a file that gives no shape.
    pub shape: Option<Vec<Option<usize>>>,
}

/// Proves that the tensors of a graph's file are those of the manifest.
pub(crate) fn agrees(graph: Graph, side: &str, reported: &[Reported], specs: &[TensorSpec]) -> Result<()> {
    let bad = |what: &str, name: &str| Error::new(ErrorKind::Manifest, what).at(format!("graph {graph}: {side} {name:?}"));
    for spec in specs {
        let Some(have) = reported.iter().find(|r| r.name == spec.name) else {
            return Err(bad("the manifest names a tensor that the graph's file does not have", &spec.name).wanted(spec));
        };
        match &have.dtype {
            Ok(dtype) if *dtype == spec.dtype => {}
            Ok(dtype) => return Err(bad("the graph's file has another element type", &spec.name).got(dtype).wanted(spec.dtype)),
            Err(word) => return Err(bad("the graph's file has another element type", &spec.name).got(word).wanted(spec.dtype)),
        }
        let Some(shape) = &have.shape else { continue };
        let same = shape.len() == spec.shape.len()
            && shape.iter().zip(&spec.shape).all(|(have, want)| match (have, want) {
                (Some(have), Axis::Fixed(want)) => have == want,
                (Some(_), Axis::Dynamic(_)) => false,
                (None, _) => true,
            });
        if !same {
            let axes: Vec<String> = shape.iter().map(|axis| axis.map_or_else(|| "?".into(), |len| len.to_string())).collect();
            return Err(bad("the graph's file has another shape", &spec.name).got(format!("[{}]", axes.join(", "))).wanted(spec));
        }
    }
    match reported.iter().find(|r| specs.iter().all(|spec| spec.name != r.name)) {
        Some(extra) => Err(bad("the graph's file has a tensor that the manifest does not name", &extra.name)),
        None => Ok(()),
    }
}

/// Proves that `io` binds every input of the graph and no tensor that the graph does not have; that
/// types and shapes are right, with one N and one S throughout; that regions are long enough; and
/// that an output overlaps no other tensor.
pub(crate) fn check(graph: Graph, entry: &GraphEntry, io: &Io) -> Result<()> {
    let mut dims = [None; 2];
    check_side(graph, "input", &entry.inputs, &io.inputs, &mut dims)?;
    check_side(graph, "output", &entry.outputs, &io.outputs, &mut dims)?;
    for spec in &entry.inputs {
        if io.inputs.iter().all(|bound| bound.name != spec.name) {
            return Err(Error::new(ErrorKind::Manifest, "an input is not bound").at(place(graph, "input", &spec.name)).wanted(spec));
        }
    }
    for (i, output) in io.outputs.iter().enumerate() {
        let others = io.inputs.iter().chain(io.outputs.iter().take(i));
        if let Some(other) = others.into_iter().find(|other| other.region.overlaps(&output.region)) {
            return Err(Error::new(ErrorKind::Usage, "an output lies over another tensor")
                .at(place(graph, "output", &output.name))
                .got(format!("bytes {} to {}", output.region.offset(), output.region.offset() + output.region.bytes()))
                .wanted(format!("apart from {:?}", other.name)));
        }
    }
    Ok(())
}

fn place(graph: Graph, side: &str, name: &str) -> String {
    format!("graph {graph}: {side} {name:?}")
}

fn check_side(graph: Graph, side: &str, specs: &[TensorSpec], bound: &[BoundTensor], dims: &mut [Option<usize>; 2]) -> Result<()> {
    for (i, tensor) in bound.iter().enumerate() {
        let bad = |kind: ErrorKind, what: &str| Error::new(kind, what).at(place(graph, side, &tensor.name));
        let Some(spec) = specs.iter().find(|spec| spec.name == tensor.name) else {
            return Err(bad(ErrorKind::Manifest, "not a tensor of this graph"));
        };
        if bound.iter().take(i).any(|other| other.name == tensor.name) {
            return Err(bad(ErrorKind::Usage, "bound twice"));
        }
        if tensor.region.dtype() != spec.dtype {
            return Err(bad(ErrorKind::Manifest, "the tensor has the wrong element type").got(tensor.region.dtype()).wanted(spec.dtype));
        }
        let wrong_shape = || bad(ErrorKind::Manifest, "the tensor has the wrong shape").got(format!("{:?}", tensor.shape)).wanted(spec);
        if tensor.shape.len() != spec.shape.len() {
            return Err(wrong_shape());
        }
        for (&len, axis) in tensor.shape.iter().zip(&spec.shape) {
            let wanted = match axis {
                Axis::Fixed(wanted) => *wanted,
                Axis::Dynamic(DynamicDim::N) => *dims[0].get_or_insert(len),
                Axis::Dynamic(DynamicDim::S) => *dims[1].get_or_insert(len),
            };
            if len != wanted || len == 0 {
                return Err(match axis {
                    Axis::Fixed(_) => wrong_shape(),
                    Axis::Dynamic(dim) => wrong_shape().at(format!("with {dim:?} = {wanted}")),
                });
            }
        }
        let len = tensor.shape.iter().try_fold(1usize, |len, &axis| len.checked_mul(axis));
        if len.is_none_or(|len| len > tensor.region.len()) {
            return Err(bad(ErrorKind::Usage, "the region is too short")
                .got(format!("{} elements", tensor.region.len()))
                .wanted(format!("{:?}", tensor.shape)));
        }
    }
    Ok(())
}

/// N and S of a checked `io`; 0 for a dimension that the graph does not have.
pub(crate) fn dynamic_dims(entry: &GraphEntry, io: &Io) -> (usize, usize) {
    let mut found = (0, 0);
    for (spec, bound) in entry.inputs.iter().filter_map(|spec| Some((spec, io.inputs.iter().find(|bound| bound.name == spec.name)?))) {
        for (axis, &len) in spec.shape.iter().zip(&bound.shape) {
            match axis {
                Axis::Dynamic(DynamicDim::N) => found.0 = len,
                Axis::Dynamic(DynamicDim::S) => found.1 = len,
                Axis::Fixed(_) => {}
            }
        }
    }
    found
}

/// The error for a binding of another engine.
pub(crate) fn foreign(graph: Graph, binding: Binding) -> Error {
    Error::new(ErrorKind::Usage, "a binding that this engine did not make").at(format!("graph {graph}")).got(format!("{binding:?}"))
}

/// The arena of a device whose memory the host can address. Allocates only for an error.
pub(crate) fn host(device: &mut dyn Device, graph: Graph) -> Result<&mut dyn HostMemory> {
    if device.host_arena().is_none() {
        return Err(Error::new(ErrorKind::Device, "this engine computes on the host and cannot reach the device's memory")
            .at(format!("graph {graph}"))
            .got(device.describe()));
    }
    device.host_arena().ok_or_else(|| Error::new(ErrorKind::Device, "the device's memory is gone").at(format!("graph {graph}")))
}

/// The regions of a checked `io`, inputs and outputs, cut to the lengths of their shapes.
pub(crate) fn exact(io: &Io) -> Result<(Vec<Region>, Vec<Region>)> {
    let cut = |bound: &[BoundTensor]| bound.iter().map(|t| t.region.part(0, t.shape.iter().product())).collect::<Result<Vec<_>>>();
    Ok((cut(&io.inputs)?, cut(&io.outputs)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::closed_form::{ClosedForm, Options, bundle};
    use crate::tests::{Bench, tiny};
    use drivewam_core::arena::Planner;

    fn bound<'a>(io: &'a mut Io, name: &str) -> &'a mut BoundTensor {
        io.inputs.iter_mut().chain(&mut io.outputs).find(|b| b.name == name).unwrap()
    }

    #[test]
    fn a_tensor_that_does_not_fit_the_graph_is_refused_by_name_and_leaves_no_binding() {
        struct Case {
            name: &'static str,
            spoil: fn(&mut Io),
            kind: ErrorKind,
            words: &'static [&'static str],
        }
        use ErrorKind::{Manifest, Usage};
        let cases = [
            Case {
                name: "unknown input",
                spoil: |io| bound(io, "tokens").name = "token".into(),
                kind: Manifest,
                words: &["\"token\"", "not a tensor"],
            },
            Case {
                name: "unknown output",
                spoil: |io| bound(io, "k.5").name = "k.6".into(),
                kind: Manifest,
                words: &["\"k.6\"", "not a tensor"],
            },
            Case {
                name: "missing input",
                spoil: |io| io.inputs.retain(|b| b.name != "mem_k.3"),
                kind: Manifest,
                words: &["\"mem_k.3\"", "not bound"],
            },
            Case {
                name: "bound twice",
                spoil: |io| {
                    let again = bound(io, "tokens").clone();
                    io.inputs.push(again);
                },
                kind: Usage,
                words: &["\"tokens\"", "twice"],
            },
            Case {
                name: "rank",
                spoil: |io| bound(io, "rope").shape = vec![8, 32],
                kind: Manifest,
                words: &["\"rope\"", "[8, 32]", "[N, 16, 2]"],
            },
            Case {
                name: "fixed axis",
                spoil: |io| bound(io, "tokens").shape[1] = 95,
                kind: Manifest,
                words: &["\"tokens\"", "[8, 95]", "[N, 96]"],
            },
            Case {
                name: "two N",
                spoil: |io| bound(io, "velocity").shape[0] = 7,
                kind: Manifest,
                words: &["\"velocity\"", "N = 8", "[7, 96]"],
            },
            Case { name: "two S", spoil: |io| bound(io, "mem_v.0").shape[1] = 39, kind: Manifest, words: &["\"mem_v.0\"", "S = 40"] },
            Case {
                name: "element type",
                spoil: |io| bound(io, "tokens").region = Planner::new().add("x", "x", DType::F16, &[8, 96]).unwrap(),
                kind: Manifest,
                words: &["\"tokens\"", "element type", "got f16, wanted f32"],
            },
            Case {
                name: "short region",
                spoil: |io| {
                    let tokens = bound(io, "tokens");
                    tokens.region = tokens.region.part(0, 8 * 96 - 1).unwrap();
                },
                kind: Usage,
                words: &["\"tokens\"", "too short", "767"],
            },
            Case {
                name: "output over an input",
                spoil: |io| bound(io, "velocity").region = bound(io, "tokens").region,
                kind: Usage,
                words: &["\"velocity\"", "\"tokens\""],
            },
            Case {
                name: "output over an output",
                spoil: |io| bound(io, "k.1").region = bound(io, "k.0").region,
                kind: Usage,
                words: &["\"k.1\"", "\"k.0\""],
            },
        ];
        let bundle = bundle(&tiny()).unwrap();
        let mut failed = Vec::new();
        for case in &cases {
            let mut engine = ClosedForm::open(&bundle, Graph::Dit, Options::default()).unwrap();
            let mut bench = Bench::new(bundle.manifest().graph(Graph::Dit).unwrap(), 8, 40);
            (case.spoil)(&mut bench.io);
            match bench.bind(&mut engine) {
                Ok(_) => failed.push(format!("{}: taken", case.name)),
                Err(e) => {
                    let text = e.to_string();
                    if e.kind() != case.kind || !case.words.iter().all(|word| text.contains(word)) || !text.contains("dit") {
                        failed.push(format!("{}: {text}", case.name));
                    }
                }
            }
            assert_eq!(bench.run(&mut engine, Binding(0)).unwrap_err().kind(), Usage, "{}", case.name);
        }
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

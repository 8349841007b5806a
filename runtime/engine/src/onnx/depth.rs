//! How far engine libraries would have to descend into a graph.
//!
//! `rten` plans a pass by recursion along the inputs of nodes, on the caller's stack. Its optimizer
//! unfolds sums and products into the list of their terms, in which a tensor that is used twice
//! stands twice: forty additions of a tensor to itself have 2^40 terms.

use super::operators::Rule;
use super::step::Step;
use drivewam_core::{Error, ErrorKind, Result};

/// Most nodes on a way through the graph. The longest of the exporter's have 141 for each layer of
/// a transformer in half precision: 4,230 for the paper's.
const MAX_DEPTH: u32 = 6144;
/// Most terms of a sum or product.
const MAX_TERMS: u64 = 1 << 16;

/// Proves that no way through the graph is too long and no sum has too many terms.
pub(super) fn check(steps: &[Step], tensors: usize) -> Result<()> {
    // Of each tensor: the nodes before it, and the terms that it is made of by one operator.
    let mut depths = vec![0u32; tensors];
    let mut terms = vec![("", 1u64); tensors];
    for step in steps {
        let inputs = || step.inputs.iter().flatten();
        let depth = inputs().map(|input| depths[*input]).max().unwrap_or(0) + 1;
        let name = step.operator.name;
        let own = |input: &usize| if terms[*input].0 == name { terms[*input].1 } else { 1 };
        let count = match step.operator.rule {
            Rule::Broadcast => inputs().map(own).fold(0, u64::saturating_add),
            _ => 1,
        };
        for (what, got, most) in [("nodes in a row", u64::from(depth), u64::from(MAX_DEPTH)), ("terms", count, MAX_TERMS)] {
            if got > most {
                return Err(step.at(Error::new(ErrorKind::Manifest, "the graph is too deep")
                    .got(format!("{got} {what}"))
                    .wanted(format!("at most {most}"))));
            }
        }
        for output in &step.outputs {
            depths[*output] = depth;
            terms[*output] = (name, count);
        }
    }
    Ok(())
}

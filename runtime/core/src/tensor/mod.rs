//! A tensor at the boundary of a graph: name, element type, shape and role.

mod role;

pub use role::{
    DEEPSTACK, EGO, FLOW_TIME, FRAMES, IDS, IMAGE, INCREMENTS, IS_ACTION, IS_IMAGE, LATENT, LOGITS, MEM_BIAS, PAD_BIAS, PATCHES, ROPE,
    SELF_SCALE, TEXT, TEXT_BIAS, TOKENS, TensorRole, UNFAMILIAR, VELOCITY,
};

use crate::dtype::DType;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The additive attention bias that hides a key. It is finite in half precision.
pub const MASKED: f32 = -30000.0;

/// One axis of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Axis {
    /// A length that is known when the graph is exported.
    Fixed(usize),
    /// A length that is chosen when the graph is bound.
    Dynamic(DynamicDim),
}

/// The name of a dynamic dimension. All axes of a graph with the same name have equal lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DynamicDim {
    /// Tokens of a pass.
    N,
    /// Memory slots.
    S,
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(n) => write!(f, "{n}"),
            Self::Dynamic(dim) => write!(f, "{dim:?}"),
        }
    }
}

/// A tensor at the boundary of a graph, as the manifest lists it. The manifest does not contain the
/// role, which follows from the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct TensorSpec {
    /// The name inside the graph.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The shape.
    pub shape: Vec<Axis>,
    /// What the tensor is; `None` for a name that no graph of the contract has.
    pub role: Option<TensorRole>,
}

/// A [`TensorSpec`] as a manifest writes it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    dtype: DType,
    shape: Vec<Axis>,
}

impl From<Written> for TensorSpec {
    fn from(Written { name, dtype, shape }: Written) -> Self {
        Self { role: TensorRole::of_name(&name), name, dtype, shape }
    }
}

impl From<TensorSpec> for Written {
    fn from(TensorSpec { name, dtype, shape, .. }: TensorSpec) -> Self {
        Self { name, dtype, shape }
    }
}

impl TensorSpec {
    /// A tensor of the contract, under the name of its role.
    pub fn new(role: TensorRole, dtype: DType, shape: &[Axis]) -> Self {
        Self { name: role.to_string(), dtype, shape: shape.to_vec(), role: Some(role) }
    }

    /// A tensor of the contract with element type f32.
    pub fn f32(role: TensorRole, shape: &[Axis]) -> Self {
        Self::new(role, DType::F32, shape)
    }

    /// Whether any axis is dynamic.
    pub fn is_dynamic(&self) -> bool {
        self.shape.iter().any(|axis| matches!(axis, Axis::Dynamic(_)))
    }

    /// The shape for given lengths `n` and `s` of the two dynamic dimensions.
    pub fn resolve(&self, n: usize, s: usize) -> Vec<usize> {
        self.shape
            .iter()
            .map(|axis| match axis {
                Axis::Fixed(len) => *len,
                Axis::Dynamic(DynamicDim::N) => n,
                Axis::Dynamic(DynamicDim::S) => s,
            })
            .collect()
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} [", self.name, self.dtype)?;
        for (i, axis) in self.shape.iter().enumerate() {
            write!(f, "{}{axis}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

/// The inputs and outputs of a graph, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signature {
    /// Inputs.
    pub inputs: Vec<TensorSpec>,
    /// Outputs.
    pub outputs: Vec<TensorSpec>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks if a role is written under a name that is read back as another role, or if a name
    /// that looks almost like one of the contract gets a role.
    #[test]
    fn every_role_is_read_back_from_its_own_name_and_other_names_have_none() {
        for role in TensorRole::all(3) {
            assert_eq!(TensorRole::of_name(&role.to_string()), Some(role));
        }
        for name in ["", "token", "tokens.0", "mem_k", "mem_k.", "mem_k.x", "mem_k.+1", "mem_k.01", "cache_in.0.1", "q.-1"] {
            assert_eq!(TensorRole::of_name(name), None, "{name:?}");
        }
    }

    #[test]
    fn the_role_of_a_tensor_is_not_written() {
        let spec = TensorSpec::f32(TensorRole::MemK(2), &[Axis::Fixed(4), Axis::Dynamic(DynamicDim::S)]);
        let written = serde_json::to_string(&spec).unwrap();
        assert_eq!(written, r#"{"name":"mem_k.2","dtype":"f32","shape":[4,"S"]}"#);
        assert_eq!(serde_json::from_str::<TensorSpec>(&written).unwrap(), spec);
        assert!(serde_json::from_str::<TensorSpec>(r#"{"name":"q.0","dtype":"f32","shape":[],"role":"Q"}"#).is_err());
    }
}

//! Counts the attention blocks that the builder fused into one kernel.

use anyhow::{Context, Result};
use serde_json::Value;

/// How TensorRT-RTX 1.7 names a kernel of fused attention inside an engine.
const KERNEL: &[u8] = b"name=_gemm_mha";
/// Parts of the names of fused attention kernels in layer reports of both families.
const FUSED: [&str; 4] = ["mha", "flash_att", "flashatt", "fused_att"];

/// Counts the layers of a layer report that are fused attention.
///
/// # Errors
/// A report that is not JSON with a list `Layers`.
pub(crate) fn count(report: &str) -> Result<usize> {
    let report: Value = serde_json::from_str(report).context("the layer report is not JSON")?;
    let layers = report["Layers"].as_array().context("the layer report has no list \"Layers\"")?;
    Ok(layers.iter().filter(|layer| is_fused(layer)).count())
}

/// Counts the fused attention kernels that the bytes of an engine name. TensorRT-RTX lists its
/// kernels there in plain text. This is undocumented, so the manifest distinguishes it
/// (`Fusion::Named`) from a count by the library's inspector (`Fusion::Fused`).
pub(crate) fn named(engine: &[u8]) -> usize {
    engine.windows(KERNEL.len()).filter(|window| *window == KERNEL).count()
}

/// Whether a layer is fused attention. A layer is an object, or a string with its name where the
/// engine holds no details.
fn is_fused(layer: &Value) -> bool {
    let names = match layer {
        Value::String(name) => vec![name.as_str()],
        layer => ["Name", "LayerType", "TacticName"].iter().filter_map(|key| layer[key].as_str()).collect(),
    };
    names.iter().map(|name| name.to_lowercase()).any(|name| FUSED.iter().any(|part| name.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks if an engine whose attention is six separate kernels counts as fused, or one whose
    /// kernels are named only by tactic does not.
    #[test]
    fn fused_attention_is_found_by_any_of_its_names() {
        let report = r#"{"Layers": [
            {"Name": "__myl_MatMul_0", "LayerType": "gemm", "TacticName": "sm80_xmma_gemm_f16f16"},
            {"Name": "__mye_attn_1", "LayerType": "kgen", "TacticName": "_gemm_mha_v2_0x12ab"},
            {"Name": "softmax_3", "LayerType": "SoftMax"},
            "{ForeignNode[FlashAttention_7]}"], "Bindings": []}"#;
        assert_eq!(count(report).unwrap(), 2);
        assert_eq!(count(r#"{"Layers": [{"Name": "/blocks.0/attn1/MatMul"}]}"#).unwrap(), 0);
        assert_eq!(named(b"\0name=_gemm_mha_v2 \0struct _gemm_mha_v2_params\0name=_gemm_v2\0name=_gemm_mha_v2"), 2);
        assert!(count("{}").is_err() && count("").is_err());
    }
}

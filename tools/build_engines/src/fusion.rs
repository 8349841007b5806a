//! Which attention blocks became one kernel, by the library's own report of layers.

use anyhow::{Context, Result};
use serde_json::Value;

/// How TensorRT-RTX 1.7 begins a kernel of fused attention.
const KERNEL: &[u8] = b"name=_gemm_mha";
/// Parts of the names that both families give to kernels of fused attention.
const FUSED: [&str; 4] = ["mha", "flash_att", "flashatt", "fused_att"];

/// Counts the layers of a report that are fused attention.
///
/// # Errors
/// A report that is not JSON with a list of layers: then nobody knows.
pub(crate) fn count(report: &str) -> Result<usize> {
    let report: Value = serde_json::from_str(report).context("the library's report of layers is not JSON")?;
    let layers = report["Layers"].as_array().context("the library's report has no list of layers")?;
    Ok(layers.iter().filter(|layer| is_fused(layer)).count())
}

/// Counts the kernels of fused attention that are named in an engine's bytes. TensorRT-RTX lists its kernels there in plain text; nothing documents that,
/// so it is told as what it is, and not as the inspector's word.
pub(crate) fn named(engine: &[u8]) -> usize {
    engine.windows(KERNEL.len()).filter(|window| *window == KERNEL).count()
}

/// A layer is an object, or only its name where the engine holds no more.
fn is_fused(layer: &Value) -> bool {
    let words = match layer {
        Value::String(name) => vec![name.as_str()],
        layer => ["Name", "LayerType", "TacticName"].iter().filter_map(|key| layer[key].as_str()).collect(),
    };
    words.iter().map(|word| word.to_lowercase()).any(|word| FUSED.iter().any(|part| word.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks if an engine whose attention is six separate kernels counts as fused, or one whose kernels are named only by tactic does not.
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

"""ONNX export of every graph of the contract (runtime/core/src/bindings.rs), and the manifest.

A checkpoint folder holds `policy.safetensors` (the state dict of `DriveWam`), `codec.safetensors`
(of `Codec`), `commands.safetensors` (one `[rows, Dt]` tensor per route command),
`normalisation.yaml` (`action: {q01, q99, epsilon}`) and `training.yaml` (a free-form record).

An exported folder is a checkpoint folder too: its ONNX files hold no weights but point into the
safetensors files beside them. Its manifest lists the hash of every file. Its
`self_test.safetensors` holds the expected outputs for inputs that a rule generates (self_test.py).
A folder in f16 or bf16 has the same names and shapes (precision.py).
"""

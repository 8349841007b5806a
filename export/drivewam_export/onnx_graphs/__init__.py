"""ONNX export of every graph of the contract (runtime/core/src/bindings.rs), and the manifest that vouches for the folder.

A checkpoint folder holds `policy.safetensors` (the state dict of `DriveWam`), `codec.safetensors` (of `Codec`), `commands.safetensors` (one
`[rows, Dt]` tensor per route command), `normalisation.yaml` (`action: {q01, q99, epsilon}`) and `training.yaml` (a free record). An exported
folder is a checkpoint folder too: its ONNX files hold no weights but point into the safetensors files beside them. What an
exported folder answers to an input that a rule makes stands in its `self_test.safetensors` (self_test.py); a folder in f16 or bf16 has the same
names and shapes (precision.py).
"""

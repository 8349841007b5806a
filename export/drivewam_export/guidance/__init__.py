"""Guidance: a frozen Qwen3-VL and a frozen UMT5 encoder as graphs, and a reference loop over them.

The graphs come from the classes of `transformers` (any checkpoint of
`Qwen3VLForConditionalGeneration` and `UMT5EncoderModel`). Their weights and small modules are used
unchanged, under their own names. Attention, positions and the cache are written out here, because
the runtime owns the memory and the positions.
"""

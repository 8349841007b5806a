"""Scene-evolving guidance: a frozen Qwen3-VL and a frozen UMT5 encoder as graphs, and a reference loop over them.

The graphs come from the real classes of `transformers` (any checkpoint of `Qwen3VLForConditionalGeneration` and `UMT5EncoderModel`): their weights
and small modules are used as they stand, under their own names; attention, positions and the cache are written out here, because the runtime owns
the memory and the positions.
"""

"""Trains the small guidance: a VLM that describes the scene and advises, and a text encoder.

Both learn from the captions of simulated worlds. Each is of a class of `transformers`, so
`guidance.export` reads the folders like any other checkpoint.
"""

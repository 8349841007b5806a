"""Trains the small guidance: a VLM that says what it sees and what to do, and a text encoder, both on the captions of drawn worlds.

Each has the classes of `transformers`, so `guidance.export` takes the folders as any other checkpoint.
"""

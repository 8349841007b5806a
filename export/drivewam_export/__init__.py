"""The Python side of DriveWAM Edge: reference model, training of the small policy, ONNX export.

The vehicle does not need it.
"""

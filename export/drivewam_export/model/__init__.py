"""The reference model: one set of classes for every size."""

from .transformer import DriveWam

__all__ = ["DriveWam"]

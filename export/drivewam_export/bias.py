"""The additive attention bias that hides a key (runtime/core/src/tensor has the same)."""

MASKED = -30000.0  # finite in half precision

from pathlib import Path

import pytest
import torch

from drivewam_export import config as configs

ROOT = Path(__file__).resolve().parents[2]
torch.set_num_threads(1)


@pytest.fixture
def tiny():
    return configs.load(ROOT / "configs/model/tiny.yaml")


def closeness(a, b) -> float:
    """Largest error relative to the largest value."""
    return ((a - b).abs().max() / b.abs().max()).item()

from pathlib import Path

import pytest
import torch

from drivewam_export import config as configs
from drivewam_export.onnx_graphs.export import export

ROOT = Path(__file__).resolve().parents[2]
torch.set_num_threads(1)


@pytest.fixture
def tiny():
    return configs.load(ROOT / "configs/model/tiny.yaml")


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory):
    """The small policy with random weights (seed 0), exported in f32. Read only."""
    out = tmp_path_factory.mktemp("engines") / "random"
    export(configs.load(ROOT / "configs/model/tiny.yaml"), "random:0", out, "portable-f32")
    return out


@pytest.fixture(scope="session")
def shipped_folder(tmp_path_factory):
    """The shipped policy, exported again in f32. Read only."""
    out = tmp_path_factory.mktemp("engines") / "shipped"
    export(configs.load(ROOT / "configs/model/tiny.yaml"), str(ROOT / "engines/tiny"), out)
    return out


def closeness(a, b) -> float:
    """Largest error relative to the largest value."""
    return ((a - b).abs().max() / b.abs().max()).item()

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from drivewam_export import config as configs
from drivewam_export.guidance.join import join
from drivewam_export.onnx_graphs.export import export

ROOT = Path(__file__).resolve().parents[2]
torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the tests that take minutes too")


def pytest_collection_modifyitems(config, items):
    """Leaves out the tests marked `long`, which `make long` runs."""
    if not config.getoption("--long"):
        items[:] = [item for item in items if item.get_closest_marker("long") is None]


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
    """The shipped policy, exported again in f32, with the shipped guidance. Read only."""
    shipped, folder = ROOT / "engines/tiny", tmp_path_factory.mktemp("engines")
    export(configs.load(ROOT / "configs/model/tiny.yaml"), str(shipped), folder / "policy")
    join(folder / "policy", shipped, folder / "shipped")
    return folder / "shipped"


def graph_bytes(path: Path, like: Path) -> bytes:
    """The graph at `path`, with those f32 constants of `like` that it has to 1e-6: the last bit of
    an exponential depends on the processor."""
    graph, other = (onnx.load(p, load_external_data=False) for p in (path, like))
    for node, known in zip(graph.graph.node, other.graph.node):
        if node.op_type == known.op_type == "Constant" and node.name == known.name:
            a, b = (onnx.numpy_helper.to_array(n.attribute[0].t) for n in (node, known))
            same = a.dtype == b.dtype == np.float32 and a.shape == b.shape
            if same and np.allclose(a, b, rtol=1e-6, atol=0):
                node.CopyFrom(known)
    return graph.SerializeToString(deterministic=True)


def closeness(a, b) -> float:
    """Largest error relative to the largest value."""
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.fixture(scope="session")
def program() -> Path:
    """The command line that the Rust tests have built."""
    built = [ROOT / "target" / profile / "drivewam" for profile in ("ci", "release", "debug")]
    found = [path for path in built if path.exists()]
    if not found:
        pytest.fail(f"build it first: none of {', '.join(map(str, built))} exists")
    return max(found, key=lambda path: path.stat().st_mtime)

"""The error of a wrong configuration names the key."""

import copy

import pytest

from conftest import ROOT
from drivewam_export.config import ConfigError, from_dict, load


def test_both_shipped_models_load_and_have_the_paper_s_token_counts():
    tiny, paper = (
        load(ROOT / "configs/model/tiny.yaml"),
        load(ROOT / "configs/model/drivewam-5b.yaml"),
    )
    assert (tiny.nv, tiny.na, tiny.token_width, tiny.poses) == (28, 8, 96, 40)
    assert (paper.nv, paper.na, paper.token_width, paper.poses) == (112, 40, 192, 40)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda m: m.update(dims=3), ["model.dims", "unknown"]),
        (lambda m: m.pop("heads"), ["model.heads", "missing"]),
        (lambda m: m.update(dim="wide"), ["model.dim", "'wide'"]),
        (lambda m: m.update(dim=129), ["model.dim", "heads * head_dim"]),
        (lambda m: m["rope"].update(split=[13, 9, 10]), ["model.rope.split"]),
        (lambda m: m["action"].update(used_channels=[0, 1, 99]), ["model.action.used_channels"]),
    ],
)
def test_a_wrong_key_is_named(tiny, change, words):
    section = copy.deepcopy(tiny.to_dict())
    change(section)
    with pytest.raises(ConfigError) as caught:
        from_dict(section)
    for word in words:
        assert word in str(caught.value)

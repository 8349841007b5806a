"""The fixtures of the runtime's tests equal what the pinned libraries give today."""

import json

import pytest

from conftest import ROOT
from drivewam_export.fixtures import schedulers


def numbers(value):
    """All numbers below `value`, with their places."""
    if isinstance(value, dict):
        return {f".{k}{p}": n for k, v in value.items() for p, n in numbers(v).items()}
    if isinstance(value, list):
        return {f"[{i}]{p}": n for i, v in enumerate(value) for p, n in numbers(v).items()}
    return {"": value}


def test_the_schedulers_fixture_is_current():
    # The libraries compute in f32, whose last bits depend on the processor.
    stored = json.loads((ROOT / "runtime/core/tests/fixtures/schedulers.json").read_text())
    assert numbers(stored) == pytest.approx(numbers(schedulers.fixture()), rel=2e-6, abs=1e-7)

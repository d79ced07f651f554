"""The interval of one training's AUC holds the truth about as often as it says."""

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
from bundle_runs import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("auc_coverage", ROOT / "benchmarks" / "auc_coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["auc_coverage"] = importlib.util.module_from_spec(spec)  # its dataclasses look it up
    spec.loader.exec_module(module)
    return module


@pytest.mark.full
def test_of_a_hundred_intervals_about_95_hold_the_true_area(script: ModuleType) -> None:
    """40, 100 and 156 patients, with one image each and with three; of 1,000 draws a share is uncertain by 0.014."""
    shares = {
        (design, area): script.coverage(design, area, 1000)[0].covered
        for design in script.USUAL
        for area in (0.7, 0.8, 0.9)
    }
    assert all(0.925 <= share <= 0.975 for share in shares.values()), shares
    assert 0.94 <= np.mean(list(shares.values())) <= 0.96


def test_it_covers_where_the_percentile_bootstrap_does_not(script: ModuleType) -> None:
    """Forty patients, the same draws for both."""
    delong, resampled = script.coverage(script.Design(40, 20), 0.9, 300, 300, 200)
    assert resampled.covered < 0.93 < delong.covered < 0.98


def test_where_nothing_can_be_said_there_is_no_interval(script: ModuleType) -> None:
    assert script.coverage(script.Design(40, 3), 0.8, 5)[0].none == 1
    assert script.coverage(script.Design(40, 20), 0.99999, 5)[0].none == 1

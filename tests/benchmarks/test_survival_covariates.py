"""Covariates alone: each risk comes from the other folds, and what is planted is found."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medtl.metrics.survival import c_index_within, followed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("survival_covariates", ROOT / "benchmarks" / "survival_covariates.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_risk_is_that_of_the_other_folds(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    table = np.stack([rng.normal(60, 10, 200), rng.integers(0, 2, 200), np.full(200, 4.0)], axis=1)
    time = rng.exponential(np.exp(-(table[:, 0] - 60) / 10))
    event, fold = rng.random(200) < 0.7, np.arange(200) % 5
    risk = script.risks(table, time, event, fold)
    assert c_index_within(followed(time, event), risk, fold)[1] > 0.6
    own = fold == 2
    other = script.risks(table, np.where(own, time[::-1], time), np.where(own, ~event, event), fold)
    assert other[own] == pytest.approx(risk[own], rel=1e-9)  # sums may round by where they lie in memory
    assert not np.allclose(other[~own], risk[~own])

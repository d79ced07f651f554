"""bundles/survival that is killed as by a power cut goes on to the last bit of what it would have been."""

import functools
from pathlib import Path

import pytest
import torch
from bundle_runs import ROOT, config
from resume_runs import Run, iteration, record, run_bundle

from data_prep import sample

pytestmark = pytest.mark.slow

NAMES = ("predictions.csv", "metrics.json", "history.csv")


def training(out: Path, method: str, *words: str) -> Run:
    names = config("train", folder=ROOT / "bundles" / "survival")
    asked = ("run", "--config_file", names, "--output_dir", str(out), "--device", "cpu", "--method", method)
    folder = ("--dataset_dir", str(sample.prepared("tcga_survival")))
    return Run(functools.partial(run_bundle, [*asked, *folder, "--epochs", "12", *words]), out.with_suffix(".log"))


@pytest.mark.parametrize("method", ["attention", "deepattnmisl"])
def test_killed_it_goes_on_to_the_same_bits(method: str, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    run = training(whole, method)
    assert run.wait() == 0, run.log.read_text()
    run = training(out, method)
    assert run.until(lambda: iteration(out) >= 3), run.log.read_text()
    run.kill()
    assert record(out)["status"] == "running"
    run = training(out, method, "--resume", "auto")
    assert run.wait() == 0, run.log.read_text()
    assert len(record(out)["resumed"]) == 1
    for name in NAMES:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    one, other = (torch.load(folder / "model.pt", weights_only=True) for folder in (whole, out))
    assert all(torch.equal(one[key], other[key]) for key in one)

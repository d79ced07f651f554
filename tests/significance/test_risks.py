"""medtl test of two files of risks: the difference of their C-indices on the patients that both have."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medtl.cli import app
from medtl.files import write_csv
from medtl.metrics import survival

HEADER = ["patient", "split", "time", "event", "risk"]


def write(path: Path, noise: float, drop: int = 0, moved: float = 0.0) -> tuple[survival.Followed, np.ndarray]:
    rng = np.random.default_rng(0)
    hazard = rng.normal(size=120)
    time, event = np.ceil(50 * rng.exponential(np.exp(-hazard))), (rng.random(120) < 0.7).astype(int)
    risk = (hazard + noise * rng.normal(size=120)).round(6)
    time[drop] += moved
    rows = [[f"p{k}", "test", time[k], event[k], risk[k]] for k in range(drop, 120)]
    write_csv(path, [HEADER, *rows])
    return survival.followed(time, event), risk


def test_the_difference_is_that_of_the_shared_patients(tmp_path: Path) -> None:
    who, one = write(tmp_path / "a.csv", 0.2)
    _, other = write(tmp_path / "b.csv", 4.0, drop=5)
    ended = CliRunner().invoke(app, ["test", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--json"])
    assert ended.exit_code == 0, ended.output
    found = json.loads(ended.stdout)
    kept = survival.Followed(who.time[5:], who.event[5:])
    expected = survival.c_index(kept, one[5:]) - survival.c_index(kept, other[5:])
    (pair,) = found["pairs"]
    assert pair["difference"] == pytest.approx(expected)
    assert pair["low"] > 0
    assert pair["p"] < 0.05
    assert (found["metric"], found["images"], found["left_out"]) == ("c_index", 115, 5)


def test_files_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", 0.2)
    write(tmp_path / "b.csv", 0.2, moved=3)
    for words, said in (
        (("b.csv",), "p0"),
        (("a.csv", "--metric", "auc"), "--metric auc is not one of c_index, c_index_harrell, c_index_ipcw"),
        (("a.csv", "--by", "site"), "--by site: these are tables of risks"),
        (("a.csv", "--positive", "event"), "--positive event"),
        (("a.csv", "--label", "time"), "--label time"),
    ):
        names = [str(tmp_path / word) if word.endswith("csv") else word for word in words]
        ended = CliRunner().invoke(app, ["test", str(tmp_path / "a.csv"), *names])
        assert ended.exit_code != 0
        assert said in ended.output + str(ended.exception)
    ended = CliRunner().invoke(app, ["test", *[str(tmp_path / "a.csv")] * 2, "--by", "patient"])
    assert ended.exit_code == 0
    assert "(120 patients)" in ended.output

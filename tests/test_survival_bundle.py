"""The bundle survival from the sample to its scores: planted risk found, evaluated alike, resumed to the same bits."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from bundle_runs import ROOT, bundle_here, config, last_line, rows

from data_prep import sample
from medtl import datalist
from medtl.handlers.survival import RiskScores
from medtl.metrics import survival
from medtl.survival.methods import METHODS

pytestmark = pytest.mark.slow

FOLDER = ROOT / "bundles" / "survival"


def train(out: Path, *words: str) -> tuple[int, str]:
    return bundle_here(
        *("run", "--config_file", config("train", folder=FOLDER), "--output_dir", str(out), "--device", "cpu", *words)
    )


@pytest.fixture(scope="module", params=["attention", "deepattnmisl", "kmeans_cox", "wsisa_cox"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("survival") / "run"
    by_gradient = METHODS[request.param].by_gradient
    words = ("--epochs", "10") if by_gradient else ()
    status, told = train(out, "--method", request.param, "--fold", "1", *words)
    assert status == 0, told
    return out


def test_the_planted_risk_is_found_and_recorded(run: Path) -> None:
    listed = datalist.with_fold(datalist.read(sample.prepared("tcga_survival")), 1)
    table = rows(run / "predictions.csv")
    assert list(table[0]) == ["patient", "split", "time", "event", "risk"]
    assert [row["patient"] for row in table] == [entry["patient"] for entry in listed.validation]
    who = survival.followed([float(row["time"]) for row in table], [int(row["event"]) for row in table])
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["val_c_index"] == pytest.approx(survival.c_index(who, [float(row["risk"]) for row in table]))
    assert metrics["val_c_index_lo"] < metrics["val_c_index"] < metrics["val_c_index_hi"]
    assert metrics["val_c_index"] > 0.7
    assert {"val_c_index_harrell", "val_c_index_ipcw", "val_logrank_p"} <= metrics.keys()
    assert len(rows(run / "history.csv")) in (1, 10)
    record = json.loads((run / "run.json").read_text())
    assert (record["task"], record["status"], record["recipe"]["fold"]) == ("survival", "finished", 1)
    assert record["network"]["width"] == 16


def test_scale_is_that_of_the_training_patients(run: Path) -> None:
    folder = sample.prepared("tcga_survival")
    listed = datalist.with_fold(datalist.read(folder), 1)
    bags = [np.load(folder / entry["features"])["features"] for entry in listed.training]
    state = torch.load(run / "model.pt", weights_only=True)
    assert state["mean"].numpy() == pytest.approx(np.concatenate(bags).mean(axis=0), abs=1e-5)


def test_an_evaluation_finds_the_same(run: Path, tmp_path: Path) -> None:
    names = config("train", "evaluate", folder=FOLDER)
    words = ("--weights", str(run / "model.pt"), "--output_dir", str(tmp_path / "out"), "--device", "cpu")
    status, told = bundle_here("run", "--config_file", names, *words)
    assert status == 0, told
    for name in ("predictions.csv", "metrics.json"):
        assert (tmp_path / "out" / name).read_bytes() == (run / name).read_bytes()


def test_patients_from_elsewhere_need_no_training_split(run: Path, tmp_path: Path) -> None:
    """Their own censoring then weights Uno's C-index, as there is no other."""
    folder = shutil.copytree(sample.prepared("tcga_survival"), tmp_path / "elsewhere")
    content = json.loads((folder / "datalist.json").read_text())
    patients = [{k: v for k, v in entry.items() if k != "fold"} for entry in content["training"]]
    (folder / "datalist.json").write_text(json.dumps({**content, "training": [], "test": patients}))
    names = config("train", "evaluate", folder=FOLDER)
    words = ("--weights", str(run / "model.pt"), "--dataset_dir", str(folder), "--split", "test", "--device", "cpu")
    status, told = bundle_here("run", "--config_file", names, *words, "--output_dir", str(tmp_path / "out"))
    assert status == 0, told
    table = rows(tmp_path / "out" / "predictions.csv")
    who = survival.followed([float(row["time"]) for row in table], [int(row["event"]) for row in table])
    found = survival.c_index_ipcw(who, [float(row["risk"]) for row in table])
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["test_c_index_ipcw"] == pytest.approx(found, abs=1e-6)
    assert metrics["test_c_index_ipcw"] != metrics["test_c_index_harrell"]


def test_inference_gives_each_file_of_features_a_risk(run: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    folder = sample.prepared("tcga_survival")
    listed = datalist.with_fold(datalist.read(folder), 1)
    told = {row["patient"]: row["risk"] for row in rows(run / "predictions.csv")}
    for entry in listed.validation[:3]:
        shutil.copy(folder / entry["features"], source / f"{entry['patient']}.npz")
    np.save(source / "other.npy", np.ones((3, 4)))
    (source / "notes.txt").write_text("x")
    words = ("--input", str(source), "--weights", str(run / "model.pt"), "--output_dir", str(tmp_path / "out"))
    names = config("inference", folder=FOLDER)
    status, said = bundle_here("run", "--config_file", names, *words, "--device", "cpu")
    assert status == 3, said
    found = rows(tmp_path / "out" / "predictions.csv")
    assert [row["file"] for row in found] == sorted(f"{entry['patient']}.npz" for entry in listed.validation[:3])
    for row in found:
        assert float(row["risk"]) == pytest.approx(float(told[row["file"].removesuffix(".npz")]), abs=1e-4)
    (refused,) = rows(tmp_path / "out" / "rejected.csv")
    assert (refused["file"], "width 4" in refused["reason"]) == ("other.npy", True)
    assert "1 of other kinds (.txt)" in said


def test_a_run_that_was_cut_off_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    words = ("--epochs", "5")
    assert train(tmp_path / "whole", *words)[0] == 0
    score: Callable[..., None] = RiskScores._score
    calls = []

    def cut_off(self: RiskScores, engine: object) -> None:
        calls.append(engine)
        if len(calls) == 4:
            raise KeyboardInterrupt
        score(self, engine)

    with mock.patch.object(RiskScores, "_score", cut_off):
        assert train(tmp_path / "cut", *words)[0] == 130
    status, told = train(tmp_path / "cut", *words, "--resume", "auto")
    assert status == 0, told
    for name in ("predictions.csv", "metrics.json", "history.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    one, other = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("whole", "cut"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "mean"), "--method mean"),
        (("--fold", "9"), "--fold 9"),
        (("--key_metric", "auc"), "--key_metric auc"),
        (("--most_instances", "0"), "--most_instances 0"),
        (("--clusters", "0"), "--clusters 0"),
        (("--batch_size", "4"), "--batch_size"),
        (("--precision", "bf16"), "--precision"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    status, told = train(tmp_path / "run", *words)
    assert status == 2, told
    assert said in last_line(told)
    assert not (tmp_path / "run").exists()


def test_a_data_list_of_pictures_is_refused(tmp_path: Path) -> None:
    status, told = train(tmp_path / "run", "--dataset_dir", str(sample.prepared("breastmnist")))
    assert status == 2
    assert "survival" in last_line(told)

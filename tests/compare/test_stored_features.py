"""A grid of a bundle on stored features: methods, starts that gave the features, seeds and folds, and no networks."""

import json
from pathlib import Path

import numpy as np
import pytest
from bundle_runs import ROOT, bundle_here, config
from typer.testing import CliRunner

from data_prep import sample
from medtl.cli import app
from medtl.compare import protocol
from medtl.compare.checks import check_backbones, check_ids, read_bundle
from medtl.compare.plan import Request, as_row, cells_of, from_row, overrides_of, settings_of
from medtl.errors import UsageError
from medtl.files import file_hash, read_object, read_rows, write_json
from medtl.writers.features import write_features

BUNDLE = ROOT / "bundles" / "survival"


def request(**changes: object) -> Request:
    made = {"backbones": (), "inits": (), "seeds": (0, 1), "folds": (0,), "out": Path("out")}
    methods = settings_of({"method": ("attention", "kmeans_cox")})
    return Request(bundle=BUNDLE, dataset_dir=Path("data"), settings=methods, **{**made, **changes})  # type: ignore[arg-type]


def test_cells_are_methods_seeds_and_folds() -> None:
    applied = protocol.applied(request(), None)
    check_ids(read_bundle(BUNDLE), applied)
    check_backbones(applied.backbones)
    cells = cells_of(applied)
    assert [cell.name for cell in cells] == [
        f"method-{method}_seed{seed}_fold0" for method in ("attention", "kmeans_cox") for seed in (0, 1)
    ]
    overrides = overrides_of(applied, cells[0])
    assert overrides.keys() == {"dataset_dir", "output_dir", "seed", "fold", "method"}
    assert from_row(json.loads(json.dumps(as_row(cells[0])))) == cells[0]


def test_starts_are_an_axis() -> None:
    applied = protocol.applied(request(inits=("random", "imagenet"), seeds=(0,)), None)
    check_ids(read_bundle(BUNDLE), applied)
    cells = cells_of(applied)
    assert [cell.name for cell in cells] == [
        f"{init}_method-{method}_seed0_fold0"
        for init in ("random", "imagenet")
        for method in ("attention", "kmeans_cox")
    ]
    overrides = overrides_of(applied, cells[-1])
    assert (overrides["init"], overrides["method"], "backbone" in overrides) == ("imagenet", "kmeans_cox", False)
    assert from_row(json.loads(json.dumps(as_row(cells[-1])))) == cells[-1]


def test_networks_are_refused() -> None:
    with pytest.raises(UsageError, match=r"--backbones .*stored features"):
        protocol.applied(request(backbones=("resnet18",)), None)


def features_of_two_starts(folder: Path) -> Path:
    """The sample's patients, with features that tell the risk (of the start ``told``) and ones that do not."""
    listed = read_object(sample.prepared("tcga_survival") / "datalist.json")
    rng = np.random.default_rng(0)
    for entry in listed["training"]:
        told = np.load(sample.prepared("tcga_survival") / entry["features"])["features"]
        blind = rng.normal(size=told.shape).astype(np.float32)
        write_features(folder / entry["features"], {"told": told, "blind": blind}, entry["patient"])
        entry["sha256"] = file_hash(folder / entry["features"])
    write_json(folder / "datalist.json", listed)
    return folder


@pytest.mark.slow
def test_starts_stand_side_by_side(tmp_path: Path) -> None:
    data, out = features_of_two_starts(tmp_path / "data"), tmp_path / "grid"
    words = ["compare", "survival", "--dataset_dir", str(data), "--methods", "kmeans_cox,wsisa_cox", "--folds", "0"]
    for more in ((), ("--inits", "mini")):
        with pytest.raises(UsageError, match=r"--init .*blind, told"):
            CliRunner().invoke(app, [*words, *more, "--out", str(out)], catch_exceptions=False)
    assert CliRunner().invoke(app, [*words, "--inits", "told,blind", "--out", str(out)]).exit_code == 0
    assert CliRunner().invoke(app, ["report", str(out), "--baseline", "blind"]).exit_code == 0
    found = [row for row in read_rows(out / "report.csv") if row["metric"] == "c_index" and row["fold"] == "all"]
    assert {(row["backbone"], row["init"]) for row in found} == {
        (method, init) for method in ("kmeans_cox", "wsisa_cox") for init in ("told", "blind")
    }
    assert all((float(row["value"]) > 0.7) == (row["init"] == "told") for row in found)
    run = out / "cells" / "told_method-kmeans_cox_seed0_fold0"
    told = ("--input", str(data / "features"), "--weights", str(run / "model.pt"), "--output_dir", str(tmp_path / "in"))
    status, printed = bundle_here("run", "--config_file", config("inference", folder=BUNDLE), *told, "--device", "cpu")
    assert status == 0, printed
    risks = {Path(row["file"]).stem: float(row["risk"]) for row in read_rows(tmp_path / "in" / "predictions.csv")}
    known = {row["patient"]: float(row["risk"]) for row in read_rows(run / "predictions.csv")}
    assert {patient: risks[patient] for patient in known} == pytest.approx(known, abs=1e-5)


@pytest.mark.slow
def test_a_grid_and_its_report(tmp_path: Path) -> None:
    data, out = sample.prepared("tcga_survival"), tmp_path / "grid"
    words = ["compare", "survival", "--dataset_dir", str(data), "--methods", "kmeans_cox,wsisa_cox", "--folds", "0"]
    assert CliRunner().invoke(app, [*words, "--out", str(out)]).exit_code == 0
    assert CliRunner().invoke(app, ["report", str(out), "--baseline", "wsisa_cox"]).exit_code == 0
    found = {row["init"]: row for row in read_rows(out / "report.csv") if row["metric"] == "c_index"}
    assert found.keys() == {"kmeans_cox", "wsisa_cox"}
    assert all(float(row["value"]) > 0.7 and row["fold"] == "all" for row in found.values())
    text = (out / "report.md").read_text(encoding="utf-8").replace("\\", "")
    assert "each start less that of wsisa" in text
    assert "--vary method=kmeans_cox,wsisa_cox" in text
    assert "--backbones" not in text

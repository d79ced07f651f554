"""A grid of a bundle on stored features: methods, seeds and folds, and neither networks nor starts."""

import json
from pathlib import Path

import pytest
from bundle_runs import ROOT
from typer.testing import CliRunner

from data_prep import sample
from medtl.cli import app
from medtl.compare import protocol
from medtl.compare.checks import check_backbones, check_ids, read_bundle
from medtl.compare.plan import Request, as_row, cells_of, from_row, overrides_of, settings_of
from medtl.errors import UsageError
from medtl.files import read_rows

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


@pytest.mark.parametrize(("option", "value"), [("backbones", ("resnet18",)), ("inits", ("random",))])
def test_networks_and_starts_are_refused(option: str, value: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=f"--{option} .*stored features"):
        protocol.applied(request(**{option: value}), None)


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

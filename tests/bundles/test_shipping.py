"""Weights that lie in the bundle that trained them: found by name, hashed, and predicting without being named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import CPU, ROOT, bundle_here, config, rows
from PIL import Image
from released_bundles import CLASSES, made_run, probabilities_of, small_list
from typer.testing import CliRunner

from medtl.bundles.inspect import problems_of_bundle
from medtl.bundles.shipping import WEIGHTS, ship
from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.catalogue import catalogue
from medtl.cli import app
from medtl.datalist import DataList
from medtl.errors import MedtlError, UsageError
from medtl.files import file_hash
from medtl.networks.classifier import build_classifier
from medtl.weights.read import read_state_dict
from medtl.weights.starts import apply, resolve

pytestmark = pytest.mark.slow

NAME = "medtl_mini_resnet18"
Shipped = tuple[Path, Path, DataList, torch.nn.Module]


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shipped:
    """(bundle, run, data list, network): weights in a copy of the recipe, float16."""
    folder = tmp_path / "bundles" / NAME
    shutil.copytree(ROOT / "bundles" / NAME, folder, ignore=shutil.ignore_patterns("models", "card.json"))
    monkeypatch.chdir(tmp_path)
    listed = small_list(tmp_path / "data")
    network = made_run(tmp_path / "run", listed, bundle=NAME)
    result = CliRunner().invoke(app, ["release", "run", "--into", str(folder), "--half"])
    assert result.exit_code == 0, result.output
    return folder, tmp_path / "run", listed, network


def test_the_recipe_is_found_as_a_start_with_the_whole_trunk(shipped: Shipped) -> None:
    folder, _, _, network = shipped
    start = resolve("mini", "resnet18")
    assert start.path == folder
    other = build_classifier("resnet18", 2, image_size=48)
    report = apply(other, start, "resnet18")
    assert report is not None
    assert report.coverage == 1
    torch.testing.assert_close(other.conv1.weight, network.conv1.weight, atol=2e-3, rtol=1e-3)
    listed = next(entry for entry in catalogue()["bundles"] if entry["name"] == NAME)
    assert listed["card"]["dtype"] == "float16"


def test_it_predicts_without_naming_weights(shipped: Shipped) -> None:
    folder, _, listed, network = shipped
    words = ("run", "--config_file", config("inference", folder=folder), "--input", str(listed.folder / "images"))
    status, printed = bundle_here(*words, "--output_dir", "out", *CPU)
    assert status == 0, printed
    table = {Path(row["image"]).name: row for row in rows(Path("out") / "predictions.csv")}
    for entry in (*listed.training, *listed.test):
        pixels = np.asarray(
            Image.open(listed.folder / entry["image"]).convert("L").resize((48, 48), Image.Resampling.BOX)
        )
        scaled = torch.from_numpy(pixels.copy()).float().div(255).expand(1, 3, 48, 48)
        mean, std = (torch.tensor(values)[None, :, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        with torch.no_grad():
            wanted = network((scaled - mean) / std).softmax(1)
        found = probabilities_of([table[Path(entry["image"]).name]], CLASSES)
        np.testing.assert_allclose(found, wanted.numpy(), atol=0.05)  # Pillow's resize is another


def test_card_and_hash_tell_the_truth(shipped: Shipped) -> None:
    folder, run, _, _ = shipped
    card = json.loads((folder / "card.json").read_text())
    assert card["sha256"] == {WEIGHTS: file_hash(folder / WEIGHTS)}
    assert card["classes"] == list(CLASSES)
    assert card["data"]["training_images"] == dict.fromkeys(CLASSES, 2)
    assert {t.dtype for t in torch.load(folder / WEIGHTS, weights_only=True).values()} == {torch.float16, torch.int64}
    assert problems_of_bundle(folder)[1] == []
    damaged = bytearray((folder / WEIGHTS).read_bytes())
    damaged[-7] ^= 1
    (folder / WEIGHTS).write_bytes(damaged)
    assert any("SHA-256 is not the one in card.json" in line for line in problems_of_bundle(folder)[1])
    with pytest.raises(MedtlError, match=r"damaged: its SHA-256 is not the one in card\.json"):
        read_state_dict(folder, "--init")
    ship(run, folder, licence="CC BY-SA 4.0; brain cases: BraTS")
    assert json.loads((folder / "card.json").read_text())["licence"] == "images: CC BY-SA 4.0; brain cases: BraTS"
    assert problems_of_bundle(folder)[1] == []
    assert {t.dtype for t in torch.load(folder / WEIGHTS, weights_only=True).values()} == {torch.float32, torch.int64}


def test_only_the_bundle_that_trained_them_takes_them(shipped: Shipped) -> None:
    folder, run, _, _ = shipped
    before = (folder / "card.json").read_bytes()
    with pytest.raises(UsageError, match=f"was trained by {NAME}, not tb"):
        ship(run, ROOT / "bundles" / "tb")
    with pytest.raises(UsageError, match=r"has no configs/metadata\.json"):
        ship(run, run)
    assert not (ROOT / "bundles" / "tb" / "models").exists()
    result = CliRunner().invoke(app, ["release", str(run), "--into", str(folder), "--zip"])
    assert "one of the two" in str(result.exception)
    assert (folder / "card.json").read_bytes() == before

"""The commands ``medtl analyse …`` on tiny data sets: their pages, tables and records."""

import csv
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from fine_tune_lists import some_list
from PIL import Image
from typer.testing import CliRunner, Result

from medtl.analysis.between import Settings, follows_brightness, measure, unique_names
from medtl.analysis.embedding import space
from medtl.analysis.pictures import draw
from medtl.analysis.subject import subject
from medtl.cli import app
from medtl.errors import MedtlError, UsageError
from medtl.files import file_hash

QUICK = Settings(images=12, image_size=32, seeds=(0, 1), subsets=4, pictures=5)


def medtl(*words: object) -> Result:
    return CliRunner().invoke(app, ["analyse", *map(str, words)])


@pytest.fixture(scope="module")
def folders(module_path: Path) -> list[Path]:
    """Four sets of noise that differ in nothing but brightness."""
    made = []
    for number, offset in enumerate((10, 60, 110, 180)):
        folder = some_list(module_path / f"set{number}", ("a", "b"))
        content = json.loads((folder / "datalist.json").read_text())
        content["name"] = f"set{number}"
        for place, entry in enumerate(e for split in ("training", "validation", "test") for e in content[split]):
            pixels = np.random.default_rng([number, place]).integers(0, 60, (24, 30)) + offset
            Image.fromarray(pixels.astype(np.uint8)).save(folder / entry["image"])
            entry["sha256"] = file_hash(folder / entry["image"])
        (folder / "datalist.json").write_text(json.dumps(content))
        made.append(folder)
    return made


def test_a_list_of_features_names_no_picture(tmp_path: Path) -> None:
    patient = {"time": 3.0, "event": 1, "patient": "p", "source": "s", "sha256": "", "features": "p.npy"}
    survival = {"name": "s", "task": "survival", "classes": ["censored", "event"], "channels": 1, "licence": "none"}
    content = {**survival, "training": [patient], "validation": [], "test": []}
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="names no picture"):
        draw(tmp_path, 4, 32)


@pytest.mark.slow
def test_sets_that_differ_in_brightness_alone_are_apart_by_it(folders: list[Path]) -> None:
    found = measure(folders, folders[1], "resnet18", ["random"], QUICK)
    assert found.reference == "set1"
    assert found.cmd.diagonal()[1] == pytest.approx(1)
    assert found.brightness[0, 3] == pytest.approx(170 / 255, abs=0.01)
    own = follows_brightness(found)
    assert own[0].measure == "cmd"
    assert (own[0].pearson > 0.9, own[0].pairs) == (True, 6)
    (space,) = found.spaces
    assert space.purity.diagonal().min() > 0.9
    assert min(space.frechet[0, 1], space.frechet[0, 3]) > space.frechet[0, 0]
    again = measure(folders, folders[1], "resnet18", ["random"], QUICK)
    assert np.array_equal(again.cmd, found.cmd)


@pytest.mark.slow
def test_distances_write_a_page_that_needs_nothing_else(folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    quick = ("--seeds", "0", "--images", 8, "--image_size", 32, "--inits", "random")
    done = medtl("distances", *folders[:3], "--out", out, "--reference", folders[3], *quick)
    assert done.exit_code == 0, done.output
    assert "cmd follows brightness" in done.output
    assert sorted(path.name for path in out.iterdir()) == ["distances.csv", "distances.html", "distances.json"]
    text = (out / "distances.html").read_text()
    assert "cmd follows brightness" in text
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)", text)
    assert str(tmp_path) not in text
    assert text.count("<svg") == 3 + 1 + 1 + 1  # coordinates, tree, brightness, tree of the features
    record = json.loads((out / "distances.json").read_text())
    assert record["reference"] == "set3"
    assert [each["name"] for each in record["sets"]] == ["set0", "set1", "set2", "set3"]
    assert record["correlation_with_brightness"][0]["pearson"] > 0.9
    rows = list(csv.DictReader((out / "distances.csv").open()))
    assert {row["measure"] for row in rows} >= {"cmd", "brightness", "frechet", "mmd2", "knn_share"}
    (unit,) = (r for r in rows if r["measure"] == "cmd" and r["one"] == r["other"] == "set3")
    assert float(unit["value"]) == pytest.approx(1)


@pytest.mark.slow
def test_layers_and_filters_write_their_pages(folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    quick = ("--images", 8, "--image_size", 32, "--seeds", "0,1", "--backbone", "resnet18")
    done = medtl("layers", "random", "mini", "--dataset_dir", folders[0], "--out", out, *quick)
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader((out / "layers.csv").open()))
    assert [row["stage"] for row in rows] == ["layer1", "layer2", "layer3", "layer4"]
    assert all(-0.5 < float(row["cka"]) < 1 for row in rows)
    done = medtl("filters", "random", "mini", "--out", out, "--backbone", "resnet18")
    assert done.exit_code == 0, done.output
    random, mini = json.loads((out / "filters.json").read_text())["networks"]
    assert random["share_above"] < 0.2 < mini["share_above"]
    assert "data:image/png;base64," in (out / "filters.html").read_text()


def test_networks_of_one_file_name_are_told_apart(tmp_path: Path) -> None:
    """Two runs' model.pt, as anybody would name them, and what is no file."""
    paths = [tmp_path / run / "model.pt" for run in ("one", "two")]
    for seed, path in enumerate(paths):
        path.parent.mkdir()
        torch.save(subject("random", "resnet18", 32, seed).network.state_dict(), path)
    done = medtl("filters", *paths, "random", "random", "--out", tmp_path, "--backbone", "resnet18")
    assert done.exit_code == 0, done.output
    names = [each["name"] for each in json.loads((tmp_path / "filters.json").read_text())["networks"]]
    files = [f"{run}/model.pt (resnet18)" for run in ("one", "two")]
    assert names == [*files, "random (resnet18) 3", "random (resnet18) 4"]
    rows = csv.DictReader((tmp_path / "filters.csv").open())
    assert Counter(row["network"] for row in rows) == dict.fromkeys(names, 64)


def test_the_name_of_a_space_holds_no_folder(tmp_path: Path) -> None:
    torch.save(subject("random", "resnet18", 32).network.state_dict(), tmp_path / "mine.pt")
    assert space("resnet18", str(tmp_path / "mine.pt"), 32).name == "resnet18, mine.pt"
    assert space("resnet18", "random", 32).name == "resnet18, random"


def test_only_training_and_validation_are_looked_at(folders: list[Path]) -> None:
    drawn = draw(folders[0], 1000, 16)
    assert drawn.available == len(drawn.pixels) == 12 + 14
    assert drawn.pixels.shape[1:] == (3, 16, 16)
    assert drawn.brightness == pytest.approx((10 + 29.5) / 255, abs=0.01)
    assert np.array_equal(draw(folders[0], 5, 16, seed=3).pixels, draw(folders[0], 5, 16, seed=3).pixels)


def test_mistakes_name_the_argument(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two different data sets"):
        measure([folders[0], folders[0]], None, "resnet18", ["random"], QUICK)
    with pytest.raises(UsageError, match="--inits"):
        measure(folders, None, "resnet18", [str(tmp_path / "none")], QUICK)
    with pytest.raises(UsageError, match=r"datalist\.json"):
        draw(tmp_path, 5, 16)
    broken = some_list(tmp_path / "broken", ("a", "b"))
    for path in (broken / "images").rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(MedtlError, match="broken"):
        draw(broken, 1, 16)


def test_sets_of_one_name_are_told_apart() -> None:
    paths = [Path("/a/x"), Path("/b/y"), Path("/c/x"), Path("/d/z")]
    assert unique_names(["folder", "folder", "folder", "tb"], paths) == (
        "folder (x) 1",
        "folder (y)",
        "folder (x) 3",
        "tb",
    )

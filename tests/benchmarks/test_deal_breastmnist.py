"""BreastMNIST dealt anew: groups of like pictures stay together, and the shares are what they should be."""

import csv
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from fine_tune_lists import some_list
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deal_breastmnist", ROOT / "benchmarks" / "deal_breastmnist.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 30)), min_size=1, max_size=120))
def test_groups_stay_whole_and_shares_are_never_exceeded(script: ModuleType, pictures: list[tuple[int, int]]) -> None:
    labels = [group % 2 for _, group in pictures]  # like pictures are of one class
    groups = [group for _, group in pictures]
    splits = script.deal([f"{place * 7919 % 1009:04d}" for place in range(len(pictures))], labels, groups)
    assert all(len({s for s, g in zip(splits, groups, strict=True) if g == group}) == 1 for group in groups)
    for label in set(labels):
        own = Counter(split for split, each in zip(splits, labels, strict=True) if each == label)
        assert own["train"] <= round(own.total() * 0.25)
        assert own["val"] <= round(own.total() * 0.125)


def test_single_pictures_are_dealt_in_the_order_of_their_hash(script: ModuleType) -> None:
    splits = script.deal([f"{place:02d}" for place in reversed(range(16))], [0] * 8 + [1] * 8, list(range(16)))
    assert splits == (["test"] * 5 + ["val"] + ["train"] * 2) * 2


def test_a_copy_with_other_brightness_gets_the_number_of_its_original(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = some_list(tmp_path / "data", ("a", "b"), sizes={"training": 4, "validation": 2, "test": 2})
    rng = np.random.default_rng(0)
    for path in sorted((folder / "images").glob("*.png")):
        Image.fromarray(np.kron(rng.integers(0, 200, (16, 16), np.uint8), np.ones((8, 8), np.uint8))).save(path)
    originals = sorted((folder / "images").glob("*.png"))
    Image.fromarray(np.asarray(Image.open(originals[0])) + np.uint8(20)).save(originals[-1])
    monkeypatch.setattr(sys, "argv", ["deal_breastmnist.py", str(folder), str(tmp_path / "table.csv")])
    script.main()
    with (tmp_path / "table.csv").open(newline="") as file:
        patients = {row["path"]: row["patient"] for row in csv.DictReader(file)}
    assert len(patients) == len(originals)
    assert len(set(patients.values())) == len(originals) - 1
    assert len({patients[f"images/{path.name}"] for path in (originals[0], originals[-1])}) == 1
    assert capsys.readouterr().out.startswith(f"{len(originals)} images in {len(originals) - 1} groups: ")

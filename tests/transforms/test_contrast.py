"""CLAHE and empty borders against scikit-image and by hand; the settings that docs/analysing.md shows train."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import CPU, ROOT, bundle_here, config
from fine_tune_lists import some_list
from skimage.exposure import equalize_adapthist

from medtl.errors import UsageError
from medtl.transforms.contrast import Clahed, CropBordersd, clahe, content_box


def picture(channels: int, rows: int = 40, columns: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(90, 120, (channels, rows, columns)).astype(np.float32)


def test_grey_is_what_scikit_image_makes_of_it() -> None:
    given = picture(1)
    expected = equalize_adapthist(given[0].astype(np.uint8), kernel_size=(5, 8), clip_limit=0.01)
    assert clahe(given)[0] / 255 == pytest.approx(expected, abs=0.02)
    assert clahe(given).std() > 2 * given.std()


def test_colours_keep_their_hue_and_grey_in_colours_stays_grey() -> None:
    grey = np.repeat(picture(1), 3, axis=0)
    even = clahe(grey)
    assert np.abs(even - even[:1]).max() < 1
    coloured = picture(3) * np.array([1.0, 0.7, 0.4], np.float32)[:, None, None]
    even = clahe(coloured)
    assert even.shape == coloured.shape
    assert even.dtype == np.float32
    assert 0 <= even.min() <= even.max() <= 255
    assert even[0].mean() > even[1].mean() > even[2].mean()
    assert even.std() > coloured.std()


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_picture_of_one_value_stays_so(grey: int) -> None:
    for shape in ((1, 64, 64), (3, 64, 64), (1, 17, 300)):
        assert (clahe(np.full(shape, grey, np.float32)) == grey).all()


def test_borders_are_what_is_dark_in_every_channel() -> None:
    given = np.zeros((3, 20, 30), np.float32)
    given[:, :2] = 6  # as JPEG leaves it
    given[1, 4:15, 7:25] = 50
    given[2, 16, 8] = 11
    assert content_box(given) == (slice(4, 17), slice(7, 25))
    assert content_box(given, 60) == (slice(0, 20), slice(0, 30))
    cropped = CropBordersd("image")({"image": torch.from_numpy(given), "label": 1})
    assert cropped["image"].shape == (3, 13, 18)
    assert cropped["label"] == 1


def test_options_that_cannot_be() -> None:
    for options in ({"tiles": 0}, {"clip_limit": 0}, {"clip_limit": 2}):
        with pytest.raises(UsageError, match=next(iter(options))):
            Clahed("image", **options)


@pytest.mark.slow
def test_the_papers_settings_train(tmp_path: Path) -> None:
    """The config file that docs/analysing.md shows, beside those of a bundle."""
    text = (ROOT / "docs" / "analysing.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (tmp_path / "paper.json").write_text(block, encoding="utf-8")
    data = some_list(tmp_path / "data", ("a", "b", "c"), channels=3)
    names = (
        config("train", "per_image", folder=ROOT / "bundles" / "folder").rstrip("]") + f",'{tmp_path / 'paper.json'}']"
    )
    words = ("--dataset_dir", str(data), "--output_dir", str(tmp_path / "run"), "--epochs", "1", "--image_size", "32")
    more = ("--batch_size", "8", "--num_workers", "0", "--balance", "loss", "--learning_rate", "0.0001")
    status, printed = bundle_here("run", "--config_file", names, *words, *more, *CPU)
    assert status == 0, printed
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 0 <= found["test_accuracy"] <= 1

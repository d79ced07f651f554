"""Pictures larger than the network: what is cut out of them, what waits on disk, and how little memory it takes."""

import errno
import importlib.util
import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from masked_runs import CLASSES
from numpy.typing import NDArray
from PIL import Image

from medtl import datalist
from medtl.data import patches
from medtl.data.patches import PatchLoader, WholeLoader
from medtl.data.stored import Squeezed, Stored
from medtl.datalist import DataList
from medtl.errors import MedtlError
from medtl.files import file_hash
from medtl.transforms.batch import BatchTransform, normalisation
from medtl.transforms.joint import JointTransform

SHAPES = ((150, 210), (40, 90), (96, 96))
PATCH = 48


def listed(folder: Path) -> DataList:
    """Pictures whose red says the row and whose green the column; each mask is where both are of one parity, but the
    last picture, which shows nothing of any class."""
    entries = []
    for number, (rows, columns) in enumerate(SHAPES):
        row, column = np.mgrid[0:rows, 0:columns].astype(np.uint8)
        picture = np.stack((row, column, np.full_like(row, 200 + number)), axis=2)
        mask = mask_of(row, column) if number < 2 else np.zeros_like(row)
        Image.fromarray(picture).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / f"{number}_mask.png")
        case = {"case": str(number), "slice": 0, "spacing": [1.0, 1.0, 1.0], "patient": str(number), "source": "drawn"}
        case["sha256"] = file_hash(folder / f"{number}.png")
        entries.append({"image": f"{number}.png", "label": f"{number}_mask.png", **case})
    datalist.write(DataList("drawn", CLASSES, 3, "CC0-1.0", "drawn", True, entries, [], []), folder)
    return datalist.read(folder)


def mask_of(row: NDArray, column: NDArray) -> NDArray[np.uint8]:
    """A class from the places that the colours tell: two discs far from the picture's middle."""
    first = (row.astype(int) - 20) ** 2 + (column.astype(int) - 25) ** 2 < 60
    second = (row.astype(int) - 120) ** 2 + (column.astype(int) - 180) ** 2 < 60
    return (first + 2 * second).astype(np.uint8)


@pytest.fixture
def drawn(tmp_path: Path) -> patches.Patches:
    return patches.patches(patches.stored(listed(tmp_path), "train", PATCH), 20)


def test_a_patch_and_its_mask_are_of_one_place(drawn: patches.Patches) -> None:
    for number in range(40):  # of the two pictures that have a mask
        picture, mask = drawn.drawn(number, seed=1, epoch=0)
        assert picture.shape == (3, drawn.side, drawn.side)
        there = picture[2] > 0  # inside of the picture
        assert set(picture[2][there].tolist()) == {200 + number // 20}
        assert np.array_equal(mask[there], mask_of(picture[0], picture[1])[there])
        assert not mask[~there].any()
        inner = there[PATCH // 4 : -(PATCH // 4), PATCH // 4 : -(PATCH // 4)]
        rows, columns = SHAPES[number // 20]
        assert inner.sum() == min(rows, PATCH) * min(columns, PATCH)  # a patch leaves the picture only where it must


def test_half_of_the_patches_lie_on_a_class(drawn: patches.Patches) -> None:
    """Less than 1 % of the first picture is of a class: of places drawn evenly few would be on one."""
    assert (drawn.whole.truths[0] > 0).mean() < 0.02
    middle = drawn.side // 2
    hits = 0
    for epoch in range(20):
        for number in range(20):
            _, mask = drawn.drawn(number, seed=0, epoch=epoch)
            hits += bool(
                mask[middle - PATCH // 2 : middle + PATCH // 2, middle - PATCH // 2 : middle + PATCH // 2].any()
            )
    assert hits > 200


def test_a_patch_depends_on_seed_epoch_and_number_alone(drawn: patches.Patches) -> None:
    first = drawn.drawn(3, seed=0, epoch=0)
    np.random.default_rng().random()
    assert all(np.array_equal(*pair) for pair in zip(first, drawn.drawn(3, seed=0, epoch=0), strict=True))
    others = [drawn.drawn(*given)[0] for given in ((4, 0, 0), (3, 1, 0), (3, 0, 1))]
    assert all(not np.array_equal(first[0], other) for other in others)


def test_batches_are_patches_and_go_on_where_they_were(drawn: patches.Patches) -> None:
    def loader() -> PatchLoader:
        return PatchLoader(drawn, 8, JointTransform(BatchTransform(seed=2)), shuffle=True, seed=2)

    all_of_it = list(loader())
    assert len(all_of_it) == len(loader()) == -(-60 // 8)
    assert all_of_it[0]["image"].shape == (8, 3, PATCH, PATCH)
    assert all_of_it[0]["label"].shape == (8, PATCH, PATCH)
    assert torch.cat([batch["index"] for batch in all_of_it]).bincount().tolist() == [20, 20, 20]
    begun = loader()
    for batch, _ in zip(begun, range(3), strict=False):
        last = batch
    goes_on = loader()
    goes_on.load_state_dict({**begun.state_dict(), "position": 3})
    rest = list(goes_on)
    assert len(rest) == len(all_of_it) - 3
    assert torch.equal(rest[0]["image"], all_of_it[3]["image"])
    assert not torch.equal(last["image"], rest[0]["image"])


def test_whole_pictures_keep_their_size(drawn: patches.Patches) -> None:
    batches = list(WholeLoader(drawn.whole, JointTransform(normalisation())))
    assert [tuple(batch["image"].shape[2:]) for batch in batches] == list(SHAPES)
    parts = [WholeLoader(drawn.whole, JointTransform(normalisation()), rank=rank, world_size=2) for rank in range(2)]
    assert [[int(batch["index"]) for batch in part] for part in parts] == [[0, 2], [1]]
    expected = torch.from_numpy(np.array(drawn.whole.pictures[1])).float() / 255
    mean, std = (torch.tensor(getattr(normalisation(), name))[:, None, None] for name in ("mean", "std"))
    assert torch.allclose(batches[1]["image"][0], (expected - mean) / std, atol=1e-5)


def test_what_waits_on_disk_has_no_name_and_is_its_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stored = Stored()
    arrays = [np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8) for shape in ((3, 5, 7), (2, 2), (1,))]
    for array in arrays:
        stored.append(array)
    assert list(tmp_path.iterdir()) == []
    assert stat.S_IMODE(os.fstat(stored._file.fileno()).st_mode) == 0o600
    assert all(np.array_equal(*pair) for pair in zip(arrays, stored, strict=True))
    assert np.array_equal(stored[-2], arrays[1])
    with pytest.raises(IndexError):
        stored[3]


class FullDisk(io.BytesIO):
    def write(self, content: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **options: FullDisk())
    with pytest.raises(MedtlError, match=r"TMPDIR.*No space left"):
        Stored().append(np.zeros(10, np.uint8))


def test_a_squeezed_mask_is_small_and_the_same() -> None:
    mask = np.zeros((1000, 900, 1), np.uint8)
    mask[200:400, 300:310] = 2
    squeezed = Squeezed.of(mask.transpose(1, 0, 2))
    assert np.array_equal(squeezed.array(), mask.transpose(1, 0, 2))
    assert len(squeezed.content) < mask.size / 50


@pytest.mark.full
def test_memory_stays_where_it_is_while_pictures_grow() -> None:
    """Sixteen times the pixels: whole they would take gigabytes more. One picture is allowed for: 12 MiB of pixels,
    twice 48 MiB as the network's numbers, and 80 MiB of logits, weights and answers."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "patches.py"
    spec = importlib.util.spec_from_file_location("patches_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small, large = script.measured(512, 128, 2), script.measured(2048, 128, 2)
    assert large - small < 300, (small, large)

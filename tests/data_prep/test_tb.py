"""TB: site, class and person from names, wherever the pictures lie; shrunk to grey; the paper's split, or sites as
folds."""

import hashlib
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.tb import read_grey
from medtl.datalist import read, with_fold
from medtl.errors import BadFileError
from medtl.integrity import problems_of_data

SITES = {"MCU": "Montgomery", "CHN": "Shenzhen"}
SPLITS = ("training", "validation", "test")


def _pictures(raw: Path) -> list[Path]:
    return sorted(path for path in raw.glob("*/CXR_png/*.png"))


@pytest.fixture
def copy(phantoms: Callable[[str], Path], tmp_path: Path) -> Path:
    """A phantom download that may be changed."""
    shutil.copytree(phantoms("tb"), tmp_path / "raw")
    return tmp_path / "raw"


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sites with as many pictures of each class as were published, each of 8 x 8 pixels."""
    root = tmp_path_factory.mktemp("full")
    rng = np.random.default_rng(0)
    for site, normal, ill in (("MontgomerySet/CXR_png/MCUCXR", 80, 58), ("ChinaSet_AllFiles/CXR_png/CHNCXR", 326, 336)):
        (root / site).parent.mkdir(parents=True)
        for number in range(normal + ill):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"{site}_{number + 1:04d}_{int(number >= normal)}.png")
    return root


def test_the_papers_split_has_the_papers_numbers(prep: Callable[..., Any], full_size: Path) -> None:
    ended = prep("tb", "--raw", full_size)
    counts = {split: Counter(e["class"] for e in ended.entries if e["split"] == split) for split in SPLITS}
    assert counts["training"] == {"normal": 366, "tuberculosis": 355}
    assert counts["validation"] == {"normal": 40, "tuberculosis": 39}
    assert not counts["test"]
    assert "partial" not in ended.out
    assert {entry["site"] for entry in ended.listed["validation"]} == set(SITES.values())
    assert all("fold" not in entry for entry in ended.entries)


def test_each_site_is_a_fold(prep: Callable[..., Any], full_size: Path) -> None:
    ended = prep("tb", "--raw", full_size, "--split", "leave-one-site-out")
    assert [len(ended.listed[split]) for split in SPLITS] == [800, 0, 0]
    assert "--seed" not in ended.listed["created_by"]
    assert problems_of_data(ended.folder)[1] == []
    listed = read(ended.folder)
    for fold, (site, size) in enumerate((("Montgomery", 138), ("Shenzhen", 662))):
        held_out = with_fold(listed, fold)
        assert {entry["site"] for entry in held_out.validation} == {site}
        assert {entry["site"] for entry in held_out.training} == set(SITES.values()) - {site}
        assert len(held_out.validation) == size


def test_site_class_and_person_come_from_the_name(prep: Callable[..., Any], phantoms: Callable[[str], Path]) -> None:
    raw = phantoms("tb")
    ended = prep("tb", "--raw", raw)
    expected = {}
    for path in _pictures(raw):
        person, mark = path.stem.rsplit("_", 1)
        expected[f"tb/{person}"] = (SITES[person[:3]], "normal" if mark == "0" else "tuberculosis")
    assert {entry["patient"]: (entry["site"], entry["class"]) for entry in ended.entries} == expected
    assert len(ended.entries) == len(expected) == 90
    text = (ended.folder / "datalist.json").read_text()
    assert "Sex" not in text
    assert not list(ended.folder.rglob("*.txt")), "readings are not copied"


def test_pictures_are_grey_and_shrunk_but_never_enlarged(prep: Callable[..., Any], copy: Path) -> None:
    raw = copy
    for path in [path for number, path in enumerate(_pictures(raw)) if number % 6]:
        path.unlink()
    originals = {path.stem: path for path in _pictures(raw)}
    for size in (512, 300, 4000):
        ended = prep("tb", "--raw", raw, "--size", size)
        for entry in ended.entries:
            with Image.open(originals[Path(entry["image"]).stem]) as image:
                grey = np.asarray(image.convert("L"))
            picture = ended.picture(entry)
            assert picture.ndim == 2
            assert max(picture.shape) == min(size, max(grey.shape))
            assert picture.shape[0] / picture.shape[1] == pytest.approx(grey.shape[0] / grey.shape[1], abs=0.01)
            assert picture.mean() == pytest.approx(grey.mean(), abs=0.5)
            if max(grey.shape) <= size:
                assert np.array_equal(picture, grey)
            content = (ended.folder / entry["image"]).read_bytes()
            assert entry["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16 of 12 bits", "I;16"])
def test_every_kind_of_png_gives_the_same_grey(mode: str, tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 60 * 40).reshape(60, 40).astype(np.uint8)
    if mode.startswith("I"):
        bits = 12 if "12" in mode else 16
        wide = np.rint(grey.astype(float) * (2**bits - 1) / 255).astype(np.uint16)
        Image.fromarray(wide).save(tmp_path / "x.png")
    else:
        Image.fromarray(grey).convert(mode).save(tmp_path / "x.png")
    got = read_grey(tmp_path / "x.png", 512)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - grey).max() <= (3 if mode == "P" else 0)


def test_a_stripe_finer_than_the_new_pixels_becomes_its_average(tmp_path: Path) -> None:
    stripes = np.zeros((400, 400), np.uint8)
    stripes[:, ::2] = 200
    Image.fromarray(stripes).save(tmp_path / "x.png")
    small = read_grey(tmp_path / "x.png", 40)
    assert small.shape == (40, 40)
    assert np.abs(small.astype(int) - 100).max() <= 8


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "missing"), (b"", "empty"), (b"<html>", "not a readable image"), ("half", "cut short"), ("flat", "alike")],
)
def test_a_picture_that_cannot_be_used(content: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise * int(content != "flat")).save(path)
    if content is None:
        path.unlink()
    elif content != "flat":
        path.write_bytes(path.read_bytes()[:1500] if content == "half" else content)
    with pytest.raises(BadFileError, match=words):
        read_grey(path, 32)


def test_wherever_the_pictures_lie_the_data_list_is_the_same(
    prep: Callable[..., Any], copy: Path, tmp_path: Path
) -> None:
    texts = [(prep("tb", "--raw", copy).folder / "datalist.json").read_bytes()]
    scattered = tmp_path / "elsewhere/deep/down"
    for path in _pictures(copy):
        target = scattered / path.stem[:3] / "images" / path.with_suffix(".PNG").name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    texts.append((prep("tb", "--raw", tmp_path / "elsewhere").folder / "datalist.json").read_bytes())
    assert texts[0] == texts[1]


def test_each_bad_file_is_named_and_the_rest_is_taken(prep: Callable[..., Any], copy: Path) -> None:
    cut = _pictures(copy)[-1]
    cut.write_bytes(cut.read_bytes()[:900])
    folder = copy / "ChinaSet_AllFiles/CXR_png"
    (folder / "CHNCXR_0001_0.png").rename(folder / "CHNCXR_0001.png")
    (folder / "CHNCXR_0002_0.png").rename(folder / "CHNCXR_0002_2.png")
    (copy / "again").mkdir()
    shutil.copyfile(folder / "CHNCXR_0003_0.png", copy / "again/CHNCXR_0003_0.png")
    (copy / "._CHNCXR_0004_0.png").write_bytes(b"x")
    ended = prep("tb", "--raw", copy)
    assert ended.status == 3
    reasons = dict(ended.rejected)
    assert len(reasons) == 4
    assert "cut short" in reasons[cut.relative_to(copy).as_posix()]
    for name in ("CHNCXR_0001.png", "CHNCXR_0002_2.png"):
        assert "neither in _0" in reasons[f"ChinaSet_AllFiles/CXR_png/{name}"]
    (twice,) = [file for file, reason in ended.rejected if "another folder" in reason]
    assert twice.endswith("CHNCXR_0003_0.png")
    assert len(ended.entries) == 90 - 3


def test_two_pictures_of_one_person_stay_together(prep: Callable[..., Any], copy: Path) -> None:
    for path in _pictures(copy)[::8]:
        other = path.with_name(
            path.name.replace("_0.png", "_1.png") if "_0.png" in path.name else path.name[:-5] + "0.png"
        )
        with Image.open(path) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(other)
    ended = prep("tb", "--raw", copy, "--validation-fraction", "0.5")
    where = defaultdict(set)
    for entry in ended.entries:
        where[entry["patient"]].add(entry["split"])
    assert len(ended.entries) > len(where)
    assert all(len(splits) == 1 for splits in where.values())


def test_one_site_alone(prep: Callable[..., Any], phantoms: Callable[[str], Path]) -> None:
    raw = phantoms("tb") / "ChinaSet_AllFiles"
    ended = prep("tb", "--raw", raw)
    assert ended.status == 0
    assert "partial download: Montgomery 0 of 138, Shenzhen 64 of 662 images" in ended.out
    refused = prep("tb", "--raw", raw, "--split", "leave-one-site-out")
    assert refused.status == 2
    (line,) = refused.err.splitlines()
    assert "needs both sites" in line
    assert "none of Montgomery" in line


def test_what_it_writes_is_not_read_as_a_picture_of_the_set(prep: Callable[..., Any], copy: Path) -> None:
    ended = prep("tb", "--raw", copy, "--out", copy / "out")
    assert ended.status == 2
    assert ended.err == f"data_prep: --out {copy / 'out'} lies in the raw folder; choose another folder\n"
    assert not (copy / "out").exists()

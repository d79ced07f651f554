"""A drawn slide: its patches lie where its tissue does, at the magnification that is asked for, glass left out."""

import io
import struct
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep import slides, tcga_survival
from data_prep.sample.slides import GLASS, tissue_pixels, write_slide
from data_prep.slide_features import wanted
from medtl.errors import BadFileError
from medtl.files import file_hash, write_csv
from medtl.networks.classifier import build_classifier
from medtl.readers.slide import Slide
from medtl.survival.bags import read_bag
from medtl.version import __version__

Prep = Callable[..., Any]
tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
ROWS = [
    ["TCGA-02-0001", "GBM", "44", "FEMALE", "[Not Available]", "1", "358"],
    ["TCGA-CS-4938", "LGG", "31", "FEMALE", "G2", "0", "3574"],
    ["TCGA-CS-4941", "LGG", "67", "MALE", "G3", "1", "234"],
    ["TCGA-CS-6290", "LGG", "31", "MALE", "G2", "1", "100"],
]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Magnification 20, 1,100 × 2,600 pixels, of which the left 60 % are tissue."""
    pixels = tissue_pixels(1100, 2600, 0.6, 1)
    path = tmp_path_factory.mktemp("slide") / "TCGA-02-0001-01Z-00-DX1.tif"
    write_slide(path, pixels)
    return path, pixels


def test_a_region_of_any_place_is_what_was_drawn(drawn: tuple[Path, np.ndarray]) -> None:
    path, pixels = drawn
    with Slide(path) as slide:
        assert slide.magnification == pytest.approx(20)
        assert slide.shapes == [(1100, 2600), (550, 1300), (275, 650)]
        assert np.array_equal(slide.region(0, 130, 250, 300, 513), pixels[130:430, 250:763])
        assert np.array_equal(slide.region(1, 10, 20, 100, 300), pixels[::2, ::2][10:110, 20:320])
        beyond = slide.region(0, 1000, 2500, 200, 200)
        assert np.array_equal(beyond[:100, :100], pixels[1000:, 2500:])
        assert np.all(beyond[100:] == 255)


def test_patches_lie_where_the_tissue_is(drawn: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, pixels = drawn
    counts = slides.write_patches(tmp_path / "a.zip", [path], 20, 0)
    # tissue ends at 1,560: columns 0 to 2 begin at 0, 512 and 1,024, and the fourth holds 24 of its 512 pixels
    assert counts == slides.Counts(slides=1, patches=10, valid=6)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == [f"{path.stem}_{x}_{y}.png" for y in (0, 512) for x in (0, 512, 1024)]
        found = np.asarray(Image.open(io.BytesIO(archive.read(f"{path.stem}_512_512.png"))))
    assert np.array_equal(found, pixels[512:1024, 512:1024])
    slides.write_patches(tmp_path / "b.zip", [path], 20, 0)
    assert file_hash(tmp_path / "a.zip") == file_hash(tmp_path / "b.zip")
    assert slides.write_patches(tmp_path / "c.zip", [path], 20, 2).valid == 6
    with zipfile.ZipFile(tmp_path / "c.zip") as archive:
        assert len(archive.namelist()) == 2


def test_a_patch_of_half_the_magnification_is_twice_as_wide(drawn: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, pixels = drawn
    # the second column holds 536 of 1,024 pixels of tissue, just over half
    assert slides.write_patches(tmp_path / "a.zip", [path], 10, 0) == slides.Counts(1, 2, 2)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        name = archive.namelist()[0]
        found = np.asarray(Image.open(io.BytesIO(archive.read(name))))
    assert np.array_equal(found, pixels[::2, ::2][:512, :512])  # the pyramid's second level, as it is
    with pytest.raises(BadFileError, match="magnification 20; 40"):
        slides.write_patches(tmp_path / "b.zip", [path], 40, 0)
    assert not (tmp_path / "b.zip").exists()


def write_as_aperio(path: Path, pixels: np.ndarray, space: str) -> None:
    """Write pixels (rows, columns, 3) as an Aperio scanner does: JPEG tiles, a thumbnail after the first level, then
    levels a quarter as large, and the magnification in words."""
    told = "Aperio Image Library v11.2.1 \r\n{} -> JPEG/RGB Q=90|AppMag = 20|MPP = 0.4990"
    rows, columns = pixels.shape[:2]
    tiles = {"tile": (240, 240), "photometric": "rgb", "compression": "jpeg"}
    tiles |= {"compressionargs": {"level": 90, "outcolorspace": space}}
    with tifffile.TiffWriter(path) as writer:
        size = f"{columns}x{rows} [0,0 {columns}x{rows}] (240x240)"
        writer.write(pixels, description=told.format(size), metadata=None, **tiles)
        small = np.ascontiguousarray(pixels[::8, ::8])
        writer.write(small, description=told.format("thumbnail"), metadata=None, photometric="rgb", rowsperstrip=16)
        level = np.ascontiguousarray(pixels[::4, ::4])
        more = f"{size} -> {level.shape[1]}x{level.shape[0]}"
        writer.write(level, description=told.format(more), metadata=None, **tiles)


@pytest.mark.full
@pytest.mark.parametrize("space", ["rgb", "ycbcr"])
def test_an_aperio_slide_is_what_openslide_reads(space: str, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs", reason="JPEG tiles need imagecodecs")
    openslide = pytest.importorskip("openslide", reason="OpenSlide is the oracle")
    path = tmp_path / "TCGA-02-0001-01Z-00-DX1.svs"
    write_as_aperio(path, tissue_pixels(1100, 2600, 0.6, 1), space)
    other = openslide.OpenSlide(path)
    assert other.properties["openslide.vendor"] == "aperio"
    with Slide(path) as slide:
        assert slide.magnification == float(other.properties["openslide.objective-power"])
        assert [shape[::-1] for shape in slide.shapes] == list(other.level_dimensions)
        for level, top, left, rows, columns in ((0, 130, 250, 300, 513), (1, 10, 20, 200, 300)):
            step = 4**level
            theirs = np.asarray(other.read_region((left * step, top * step), level, (columns, rows)).convert("RGB"))
            ours = slide.region(level, top, left, rows, columns)
            assert np.abs(ours.astype(int) - theirs).max() <= 2  # decoders round colours in their own ways
    assert slides.write_patches(tmp_path / "a.zip", [path], 20, 0) == slides.Counts(slides=1, patches=10, valid=6)


def test_glass_and_black_are_no_tissue() -> None:
    pixels = np.array([[GLASS, (226, 160, 196), (110, 70, 150), (20, 20, 45), (250, 250, 250)]], dtype=np.uint8)
    assert slides.tissue(pixels).tolist() == [[False, True, True, False, False]]


def test_what_is_no_slide_is_named_in_one_line(tmp_path: Path, drawn: tuple[Path, np.ndarray]) -> None:
    (tmp_path / "text.svs").write_text("no slide")
    tifffile.imwrite(tmp_path / "grey.tif", np.zeros((600, 600), np.uint8))
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((600, 600, 3), np.uint8), photometric="rgb")
    whole = drawn[0].read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 3])
    head = tifffile.TiffFile(drawn[0]).pages[0]
    bent = bytearray(whole)
    struct.pack_into("<4B", bent, head.dataoffsets[0] + 20, 255, 255, 255, 255)
    (tmp_path / "bent.tif").write_bytes(bytes(bent))
    words = {"text": "slide", "grey": "RGB", "plain": "magnification", "cut": "read", "bent": "tile"}
    for name, word in words.items():
        (path,) = tmp_path.glob(f"{name}.*")
        with pytest.raises(BadFileError, match=word) as told:
            slides.write_patches(tmp_path / "out.zip", [path], 20, 0)
        assert "\n" not in str(told.value)


def prepared_folder(tmp_path: Path) -> Path:
    write_csv(tmp_path / "t.csv", [tcga_survival.COLUMNS, *ROWS])
    for place, (barcode, *_) in enumerate(ROWS[:3]):
        for number in range(1 + (place == 1)):
            pixels = tissue_pixels(600, 1100, 0.6, place, number)
            write_slide(tmp_path / "slides" / f"{barcode}-01Z-00-DX{number}.tif", pixels, levels=2)
    (tmp_path / "slides" / "TCGA-CS-6290-01Z.tif").write_bytes(b"II*\0")
    return tmp_path / "slides"


def test_slides_become_patches_with_counts(prep: Prep, tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path)
    words = ("--table", tmp_path / "t.csv", "--slides", folder, "--folds", 2)
    ended = prep("tcga_survival", *words)
    assert ended.status == 3
    found = {entry["patient"]: entry for entry in ended.listed["training"]}
    assert list(found) == ["TCGA-02-0001", "TCGA-CS-4938", "TCGA-CS-4941"]
    assert [found["TCGA-CS-4938"][key] for key in ("slides", "patches", "valid")] == [2, 4, 2]
    assert found["TCGA-CS-4938"]["image"] == "patches/TCGA-CS-4938.zip"
    assert "LGG: 2 patients, 3 slides, 6 patches, 3 valid" in ended.err
    assert "magnification 20" in ended.listed["created_by"]
    times = {path: path.stat().st_mtime_ns for path in (ended.folder / "patches").iterdir()}
    prep("tcga_survival", *words)  # nothing is done twice
    assert {path: path.stat().st_mtime_ns for path in (ended.folder / "patches").iterdir()} == times


@pytest.mark.slow
def test_patches_become_features_of_a_start(prep: Prep, tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path)
    words = ("--table", tmp_path / "t.csv", "--slides", folder, "--folds", 2, "--backbone", "resnet18")
    ended = prep("tcga_survival", *words, "--init", "random", "--image-size", 64, "--workers", 1)
    found = {entry["patient"]: entry for entry in ended.listed["training"]}
    alone = read_bag(ended.folder / found["TCGA-CS-4938"]["features"])
    assert alone.shape == (2, 512)
    assert not (ended.folder / "patches").exists() or not list((ended.folder / "patches").iterdir())
    torch.manual_seed(1)
    torch.save(build_classifier("resnet18", 2).state_dict(), tmp_path / "own.pt")
    both = prep("tcga_survival", *words, "--init", f"random,{tmp_path / 'own.pt'}", "--image-size", 64, "--workers", 1)
    (entry,) = (entry for entry in both.listed["training"] if entry["patient"] == "TCGA-CS-4938")
    bags = [read_bag(both.folder / entry["features"], init) for init in ("random", "own")]
    assert np.array_equal(bags[0], alone)
    assert bags[0].shape == bags[1].shape
    assert not np.allclose(bags[0], bags[1])
    assert "init own,random" in both.listed["created_by"].replace("random,own", "own,random")
    code = {"medtl " + __version__, f"monai {version('monai')}", f"torch {version('torch')}"}
    assert code < set(wanted(20, 0, "resnet18", ["random", str(tmp_path / "own.pt")], 64).weights)
    assert not wanted(20, 0, "", [], 64).weights  # patches depend on none of it
    again = prep("tcga_survival", *words, "--init", f"{tmp_path / 'own.pt'},{tmp_path / 'a' / 'own.pt'}")
    assert (again.status, "two starts have one name" in again.err) == (2, True)
    assert prep("tcga_survival", *words, "--init", "nowhere").status == 2
    assert prep("tcga_survival", "--table", tmp_path / "t.csv", "--backbone", "resnet18").status == 2

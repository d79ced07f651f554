"""Raster files as they are meant: as deep as the file says, upright, black where they are transparent."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from medtl.errors import BadFileError
from medtl.readers.picture import find_pictures, read_picture
from medtl.readers.raster import read_labels, read_raster

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels → colour type of a PNG


def write_png16(path: Path, samples: NDArray[np.uint16]) -> Path:
    """A PNG of 16 bits a sample by the specification, which Pillow cannot write."""
    rows, columns, channels = samples.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in samples)
    head = struct.pack(">IIBBBBB", columns, rows, 16, COLOUR_TYPES[channels], 0, 0, 0)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def twelve_bits() -> NDArray[np.uint16]:
    return np.linspace(0, 4095, 30 * 40).reshape(30, 40, 1).astype(np.uint16)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colour_of_16_bits_is_read_as_grey_of_16_bits_is(channels: int, tmp_path: Path) -> None:
    grey = twelve_bits()
    plain = write_png16(tmp_path / "grey.png", grey)
    solid = np.full_like(grey, 65535)
    layers = {2: [grey, solid], 3: [grey] * 3, 4: [grey, grey, grey, solid]}[channels]
    path = write_png16(tmp_path / "x.png", np.concatenate(layers, axis=2))
    assert np.array_equal(read_raster(path), read_raster(plain))
    assert np.array_equal(read_raster(path, 3), read_raster(plain, 3))
    assert read_raster(path).max() == 255


def test_colours_of_16_bits_keep_their_hue(tmp_path: Path) -> None:
    colours = np.zeros((4, 4, 3), np.uint16)
    colours[..., 0], colours[..., 2] = 60000, 30000
    shown = read_raster(write_png16(tmp_path / "x.png", colours), 3)
    assert np.abs(shown[0, 0].astype(float) - np.array([60000, 0, 30000]) / 65535 * 255).max() <= 1


def test_transparency_of_16_bits_is_black(tmp_path: Path) -> None:
    grey = twelve_bits()
    solid = np.zeros_like(grey)
    solid[:, :20] = 65535
    shown = read_raster(write_png16(tmp_path / "x.png", np.concatenate([grey, solid], axis=2)))
    assert not shown[:, 20:].any()
    assert shown[:, :20].any()


def test_deep_colour_in_a_tiff(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    grey = twelve_bits()
    tifffile.imwrite(tmp_path / "x.tif", np.repeat(grey, 3, axis=2), photometric="rgb")
    assert np.array_equal(read_raster(tmp_path / "x.tif"), read_raster(write_png16(tmp_path / "g.png", grey)))
    tifffile.imwrite(tmp_path / "deep.tif", np.repeat(grey, 3, axis=2).astype(np.uint32) * 70000, photometric="rgb")
    with pytest.raises(BadFileError, match=r"more than 8 bits|not a readable"):
        read_raster(tmp_path / "deep.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "16-bit PNG"])
def test_exif_orientation_is_applied(orientation: int, form: str, tmp_path: Path) -> None:
    stored = np.zeros((16, 24), np.uint8)
    stored[:4], stored[:, :6] = 200, 90
    exif = Image.Exif()
    exif[274] = orientation
    is_deep = form.startswith("16")
    image = Image.fromarray(stored.astype(np.uint16) * 257 if is_deep else stored)
    options = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}, "TIFF": {"compression": "tiff_lzw"}}.get(form, {})
    image.save(tmp_path / "x", format=form.split()[-1], exif=exif, **options)
    oracle = Image.fromarray(stored)
    oracle.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(oracle))
    found = read_picture(tmp_path / "x")
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (8 if form in ("JPEG", "WEBP") else 0)


def test_an_uncompressed_tiff_on_its_side_is_refused(tmp_path: Path) -> None:
    """Pillow 13 garbles it."""
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.eye(8, 12, dtype=np.uint8)).save(tmp_path / "x.tif", exif=exif)
    with pytest.raises(BadFileError, match="lies on its side"):
        read_raster(tmp_path / "x.tif")


def test_damaged_exif_data_is_no_reason_to_refuse(tmp_path: Path) -> None:
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "x.png", exif=b"Exif\0\0nothing")
    assert np.array_equal(read_raster(tmp_path / "x.png"), np.eye(8, dtype=np.uint8) * 255)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA", "P", "L", "RGB"])
def test_what_is_transparent_is_black(mode: str, tmp_path: Path) -> None:
    """Bright where it is transparent, so that a forgotten alpha shows."""
    values = np.full((8, 8), 250, np.uint8)
    values[:, :4] = 90
    alpha = np.full((8, 8), 255, np.uint8)
    alpha[:, 4:] = 0
    options = {}
    if mode in ("LA", "RGBA", "PA"):
        image = Image.fromarray(values).convert("RGBA")
        image.putalpha(Image.fromarray(alpha))
        image = image.convert(mode) if mode != "PA" else image.convert("RGBA").quantize(4)
    else:
        image = Image.fromarray(values).convert(mode)
        options = {"transparency": image.getpixel((7, 0))}
    image.save(tmp_path / "x.png", **options)
    shown = read_raster(tmp_path / "x.png")
    assert not shown[:, 4:].any()
    assert np.abs(shown[:, :4].astype(int) - 90).max() <= 1
    assert np.array_equal(read_raster(tmp_path / "x.png", 3)[..., 0], shown)


def test_half_transparent_is_half_as_bright(tmp_path: Path) -> None:
    layered = np.full((4, 4, 4), 200, np.uint8)
    layered[..., 3] = 128
    Image.fromarray(layered).save(tmp_path / "x.png")
    assert np.abs(read_raster(tmp_path / "x.png").astype(int) - 100).max() <= 1


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken_and_that_is_said(form: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (40, 90, 140)]
    frames[0].save(tmp_path / "x.gif", format=form, save_all=True, append_images=frames[1:])
    assert np.abs(read_raster(tmp_path / "x.gif").astype(int) - 40).max() <= 3
    found = find_pictures(tmp_path)
    assert found.notes == ("x.gif holds several pictures that follow on one another: the first is taken",)


def test_the_shared_cases(shared_case: Callable[[str], Path]) -> None:
    deep = shared_case("files/png16_rgb")
    expected = read_raster(deep / "grey16.png")
    for path in sorted(deep.iterdir()):
        assert np.array_equal(read_raster(path), expected), path.name
    turned = shared_case("files/exif_orientation")
    upright = read_raster(turned / "upright.jpg").astype(int)
    for path in sorted(turned.iterdir()):
        assert np.abs(read_raster(path) - upright).mean() < 1, path.name
    for path in sorted(shared_case("files/alpha").iterdir()):
        with Image.open(path) as image:
            hidden = np.asarray(image.convert("RGBA"))[..., 3] == 0
        assert hidden.any()
        assert not read_raster(path)[hidden].any()


LESION = np.zeros((6, 8), np.uint8)
LESION[1:3, 2:5] = 1


def saved(path: Path, pixels: NDArray, **how: object) -> Path:
    Image.fromarray(pixels).save(path, **how)
    return path


def palette_of(path: Path, indices: NDArray[np.uint8], colours: list[int], **how: object) -> Path:
    image = Image.fromarray(indices, "P")
    image.putpalette(colours)
    image.save(path, **how)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
def test_labels_of_more_than_8_bits_stand_as_they_are(order: str, tmp_path: Path) -> None:
    """A TIFF of 16 bits by the specification, in either order of bytes: 300 is neither cut nor scaled."""
    numbers = 300 * LESION.astype(np.uint16)
    tags = [(256, 8), (257, 6), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, 6), (279, 96)]
    pixels = numbers.astype(f"{order}u2").tobytes()
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(pixels))
    fields = b"".join(
        struct.pack(f"{order}HHI", tag, 3, 1) + struct.pack(f"{order}HH", value, 0) for tag, value in tags
    )
    table = struct.pack(f"{order}H", len(tags)) + fields + struct.pack(f"{order}I", 0)
    (tmp_path / "x.tif").write_bytes(head + pixels + table)
    assert np.array_equal(read_labels(tmp_path / "x.tif"), numbers)


def test_whole_floats_are_labels_and_fractions_are_none(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a.tif", 300 * LESION.astype(np.float32))
    assert np.array_equal(read_labels(whole), 300 * LESION.astype(int))
    for wrong in (0.5, -1, np.nan, np.inf):
        path = saved(tmp_path / "b.tif", np.where(LESION > 0, np.float32(wrong), np.float32(0)))
        with pytest.raises(BadFileError, match="negative numbers or fractions"):
            read_labels(path)


@pytest.mark.parametrize("form", ["tif", "gif", "png"])
def test_labels_of_several_pages_are_refused(form: str, tmp_path: Path) -> None:
    pages = [Image.fromarray(255 * LESION), Image.fromarray(255 * LESION[::-1])]
    pages[0].save(tmp_path / f"x.{form}", save_all=True, append_images=pages[1:])
    with pytest.raises(BadFileError, match="several pictures"):
        read_labels(tmp_path / f"x.{form}")


def test_transparent_labels_are_black(tmp_path: Path) -> None:
    white, solid = np.full_like(LESION, 255), 255 * LESION
    assert np.array_equal(read_labels(saved(tmp_path / "a.png", np.dstack([white, solid]))), solid)
    colours = read_labels(saved(tmp_path / "b.png", np.dstack([white, white, white, solid])))
    assert np.array_equal(colours, np.dstack([solid] * 3))
    keyed = saved(tmp_path / "c.png", np.where(LESION > 0, 7, 255).astype(np.uint8), transparency=255)
    assert np.array_equal(read_labels(keyed), 7 * LESION)
    with pytest.raises(BadFileError, match="black on transparent"):
        read_labels(saved(tmp_path / "d.png", np.dstack([0 * LESION, solid])))
    assert not read_labels(saved(tmp_path / "e.png", np.dstack([0 * LESION, white]))).any()  # a mask of nothing


def test_a_palette_gives_colours_or_indices(tmp_path: Path) -> None:
    """White at 0 and black at 1, as Pillow's quantize orders them."""
    path = palette_of(tmp_path / "a.png", 1 - LESION, [255, 255, 255, 0, 0, 0])
    assert np.array_equal(read_labels(path), np.dstack([255 * LESION] * 3))
    with pytest.raises(BadFileError, match="which is the background"):
        read_labels(path, by_index=True)
    path = palette_of(tmp_path / "b.png", LESION, [9, 9, 9, 200, 0, 0])
    assert np.array_equal(read_labels(path, by_index=True), LESION)
    path = palette_of(tmp_path / "c.png", LESION, [0, 0, 0, 0, 0, 0])
    assert np.array_equal(read_labels(path, by_index=True), LESION)
    with pytest.raises(BadFileError, match="which is the background"):
        read_labels(path)


def test_labels_are_upright_and_of_two_values_as_they_are(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 3  # turned by half a circle
    for name in ("a.png", "a.tif"):
        assert np.array_equal(read_labels(saved(tmp_path / name, LESION, exif=exif)), LESION[::-1, ::-1])
    assert np.array_equal(read_labels(saved(tmp_path / "b.png", LESION > 0)), LESION)
    with pytest.raises(BadFileError, match="more than 8 bits"):
        read_labels(write_png16(tmp_path / "c.png", np.dstack([LESION.astype(np.uint16)] * 3)))

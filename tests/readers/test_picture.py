"""What a picture file becomes: the same 8-bit grey however deep it is stored, and as in training."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data_prep.tb import read_grey
from medtl.errors import BadFileError
from medtl.readers.picture import find_pictures, read_picture

WHITE_IS_ZERO = {262: 0}


@pytest.fixture
def grey() -> NDArray[np.uint8]:
    return np.linspace(0, 255, 60 * 40).reshape(60, 40).astype(np.uint8)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", ["x.png", "x.tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_bits_used_are_the_scale(
    bits: int, name: str, channels: int, grey: NDArray[np.uint8], tmp_path: Path
) -> None:
    deep = np.rint(grey * ((2**bits - 1) / 255)).astype(np.uint16 if bits > 8 else np.uint8)
    Image.fromarray(deep).save(tmp_path / name)
    found = read_picture(tmp_path / name, channels=channels)
    assert np.array_equal(found, grey if channels == 1 else np.repeat(grey[..., np.newaxis], 3, axis=2))
    # what a network of TB is trained on
    assert np.array_equal(read_grey(tmp_path / name, 512), grey)


@pytest.mark.parametrize("bits", [8, 16])
def test_white_may_be_zero_in_a_tiff(bits: int, grey: NDArray[np.uint8], tmp_path: Path) -> None:
    deep = grey if bits == 8 else grey.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "x.tif", tiffinfo=WHITE_IS_ZERO)
    with Image.open(tmp_path / "x.tif") as image:
        assert image.tag_v2[262] == 0  # type: ignore[attr-defined]
    # Pillow writes 8 bits inverted and 16 bits as they are
    assert np.array_equal(read_picture(tmp_path / "x.tif"), grey if bits == 8 else 255 - grey)


@pytest.mark.parametrize("values", [np.full((4, 4), -3, np.int32), np.linspace(0, 1, 16, dtype=np.float32)])
def test_greys_without_a_known_white_are_refused(values: NDArray, tmp_path: Path) -> None:
    Image.fromarray(values.reshape(4, 4)).save(tmp_path / "x.tif")
    with pytest.raises(BadFileError, match="negative or floating-point greys"):
        read_picture(tmp_path / "x.tif")


def test_a_damaged_volume_among_pictures_is_refused_alone(grey: NDArray[np.uint8], tmp_path: Path) -> None:
    Image.fromarray(grey).save(tmp_path / "a.png")
    (tmp_path / "bad.nii.gz").write_bytes(b"no volume")
    found = find_pictures(tmp_path)
    assert [(picture.name, picture.index) for picture in found.pictures] == [("a.png", None)]
    assert found.refused == (("bad.nii.gz", "is not a readable NIfTI file"),)
    assert find_pictures(tmp_path / "bad.nii.gz").refused == found.refused

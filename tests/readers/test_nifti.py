"""NIfTI read as a stream: one channel of many, whole files told from cut ones, whatever the wanted part."""

import gzip
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from medtl.errors import BadFileError
from medtl.readers.nifti import read_image_and_mask, read_nifti

AFFINE = np.diag([-2.0, -3.0, 4.0, 1.0])


def write(path: Path, array: NDArray, **fields: float) -> Path:
    image = nib.Nifti1Image(array, AFFINE, dtype=array.dtype)
    for name, number in fields.items():
        image.header[name] = number
    nib.save(image, path)
    return path


@pytest.fixture
def channels() -> NDArray[np.int16]:
    return np.random.default_rng(5).integers(-900, 3000, (40, 41, 42, 4)).astype(np.int16)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "u1", "f4", ">f8"])
@pytest.mark.parametrize("channel", [None, 0, 2, 3])
def test_a_channel_is_the_one_of_the_whole(name, dtype, channel, channels, tmp_path):
    array = np.abs(channels).astype(dtype)
    read = read_nifti(write(tmp_path / name, array), channel)
    by_nibabel = nib.as_closest_canonical(nib.load(tmp_path / name))
    expected = np.asarray(by_nibabel.dataobj)
    np.testing.assert_array_equal(read.array, expected if channel is None else expected[..., channel])
    np.testing.assert_allclose(read.affine, by_nibabel.affine)


def test_extensions_before_the_voxels_are_passed_over(channels, tmp_path):
    image = nib.Nifti1Image(channels, AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 5000))
    nib.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii.gz", 1).array[::-1, ::-1], channels[..., 1])


@pytest.mark.parametrize("channel", [None, 0])
def test_a_file_cut_behind_the_wanted_channel_is_refused(channel, channels, tmp_path):
    whole = write(tmp_path / "a.nii.gz", channels).read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(whole[: len(whole) * 9 // 10])
    with pytest.raises(BadFileError, match="does not decompress to its end"):
        read_nifti(tmp_path / "a.nii.gz", channel)
    plain = gzip.decompress(whole)
    for name, content in (("b.nii", plain[:-2]), ("c.nii.gz", gzip.compress(plain[:-2]))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadFileError, match=f"is cut short: {len(plain) - 2:,} of {len(plain):,} bytes"):
            read_nifti(tmp_path / name, channel)


@pytest.mark.parametrize("place", [-6, -3])
def test_checksum_and_length_at_the_end_are_compared(place, channels, tmp_path):
    content = bytearray(write(tmp_path / "a.nii.gz", channels).read_bytes())
    content[place] ^= 1
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(BadFileError, match="cut short or damaged"):
        read_nifti(tmp_path / "a.nii.gz", 0)


def test_a_header_that_promises_too_much_asks_for_no_memory(channels, tmp_path):
    path = write(tmp_path / "a.nii.gz", channels)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[42:48] = np.array([32000] * 3, "<i2").tobytes()
    for name, packed in (("b.nii.gz", gzip.compress(bytes(content))), ("b.nii", bytes(content))):
        (tmp_path / name).write_bytes(packed)
        tracemalloc.start()
        with pytest.raises(BadFileError, match="is cut short"):
            read_nifti(tmp_path / name, 0)
        assert tracemalloc.get_traced_memory()[1] < 3e6
        tracemalloc.stop()


def test_one_channel_takes_the_memory_of_one(channels, tmp_path):
    path = write(tmp_path / "a.nii.gz", channels)
    tracemalloc.start()
    read_nifti(path, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < channels[..., 0].nbytes + 2e6


def test_a_channel_that_is_not_there_is_told(channels, tmp_path):
    with pytest.raises(BadFileError, match="no channel 4"):
        read_nifti(write(tmp_path / "a.nii.gz", channels), 4)
    with pytest.raises(BadFileError, match="is not a volume"):
        read_nifti(write(tmp_path / "b.nii.gz", channels[..., 0, 0]), 0)
    np.testing.assert_array_equal(
        read_nifti(write(tmp_path / "c.nii.gz", channels[..., 0]), 0).array[::-1, ::-1], channels[..., 0]
    )


def test_a_mask_in_another_orientation_is_refused(channels, tmp_path):
    image = write(tmp_path / "a.nii.gz", channels[..., 0])
    label = nib.Nifti1Image((channels[..., 0] > 0).astype(np.uint8), np.diag([2.0, -3.0, 4.0, 1.0]))
    nib.save(label, tmp_path / "b.nii.gz")
    with pytest.raises(BadFileError, match="another orientation"):
        read_image_and_mask(image, tmp_path / "b.nii.gz")

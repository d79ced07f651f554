"""Damaged DICOM files: whatever the bytes, the answer is a sound volume or a BadFileError that names nobody."""

import math
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEG2000Lossless, RLELossless

from medtl.errors import BadFileError
from medtl.readers.dicom import read_image, read_volume, scan

SECRETS = ("Zebedee", "7731982", "19470823", "20190314", "ACC55512", "Elsewhere", "1.2.826")
bounded = settings(
    deadline=5000, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(params=["plain", "rle", "jpeg2000"])
def folder(request, tmp_path, save_series) -> Path:
    if request.param == "jpeg2000":
        pytest.importorskip("openjpeg", reason="JPEG 2000 needs the extra dicom")
    volume = np.random.default_rng(0).integers(0, 4000, (4, 32, 40)).astype(np.uint16)
    for path in save_series(tmp_path / "series", volume, BitsStored=12, names=["a.dcm", "b.dcm", "c.dcm", "d.dcm"]):
        if request.param != "plain":
            ds = pydicom.dcmread(path)
            ds.compress(RLELossless if request.param == "rle" else JPEG2000Lossless, generate_instance_uid=False)
            ds.save_as(path)
    return tmp_path / "series"


def assert_refused_or_sound(folder: Path) -> None:
    said = []
    found = scan(folder)
    said += [reason for _, reason in found.rejected]
    for series in found.series:
        said += [repr(series)]
        try:
            volume = read_volume(series)
        except BadFileError as error:
            said.append(str(error))
            continue
        assert volume.array.shape == (series.headers[0].columns, series.headers[0].rows, len(series.headers))
        assert volume.array.size <= 32 * 40 * 4
        assert np.isfinite(volume.array).all()
        assert np.isfinite(volume.affine).all()
        assert abs(np.linalg.det(volume.affine)) > 0
    for path in sorted(folder.iterdir()):
        try:
            assert read_image(path).size <= 32 * 40
        except BadFileError as error:
            said.append(str(error))
    text = "\n".join(said)
    assert not any(secret in text for secret in SECRETS)
    assert str(folder) not in text


@given(data=st.data())
@bounded
def test_flipped_bytes_and_cuts(folder, data):
    path = folder / "c.dcm"
    original = path.read_bytes()
    content = bytearray(original)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(100, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    try:
        path.write_bytes(content)
        assert_refused_or_sound(folder)
    finally:
        path.write_bytes(original)


def test_every_cut_is_refused(folder):
    path = folder / "d.dcm"  # the last slice: losing it would leave a regular grid
    original = path.read_bytes()
    end = len(original) - 8  # the delimiter behind compressed data may be lost without harm
    for length in [*range(0, end, 61), *range(end - 10, end)]:
        path.write_bytes(original[:length])
        with pytest.raises(BadFileError):
            read_image(path)
        found = scan(folder)
        if not found.rejected:
            with pytest.raises(BadFileError):
                read_volume(found.series[0])


HEADER_NUMBERS = st.one_of(
    st.sampled_from(
        [b"", b" ", b"nan ", b"-inf", b"1e999 ", b"-0", b"0 ", b"1\\", b"\\\\", b"abc ", b"\x00\xff", b"1E-40 "]
    ),
    st.floats().map(lambda number: repr(number).encode()),
    st.binary(max_size=16),
)


@given(
    keyword=st.sampled_from(
        [
            *("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"),
            *("InstanceNumber", "EchoTime", "WindowCenter", "WindowWidth", "NumberOfFrames", "Rows", "BitsStored"),
            *("SeriesInstanceUID", "SOPInstanceUID", "Modality", "PhotometricInterpretation", "BurnedInAnnotation"),
            *("PixelPaddingValue", "SamplesPerPixel", "HighBit", "PixelRepresentation", "BitsAllocated", "SOPClassUID"),
        ]
    ),
    number=HEADER_NUMBERS,
    count=st.integers(1, 6),
)
@bounded
def test_any_value_in_any_element(tmp_path, save_series, save, keyword, number, count):
    zeros = np.zeros((4, 32, 40), np.uint16)
    paths = save_series(tmp_path / "series", zeros)
    save(paths[2], zeros[2], **{"ImagePositionPatient": [0, 0, 4.0], keyword: b"\\".join([number] * count)})
    assert_refused_or_sound(tmp_path / "series")


@given(
    angles=st.tuples(*[st.floats(-math.pi, math.pi)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 8)] * 3),
    origin=st.tuples(*[st.floats(-900, 900)] * 3),
    count=st.integers(3, 6),
)
@bounded
def test_affine_puts_every_voxel_where_the_standard_does(tmp_path, save, angles, spacing, origin, count):
    cosines, sines = np.cos(angles), np.sin(angles)
    turn = (
        np.array([[cosines[0], -sines[0], 0], [sines[0], cosines[0], 0], [0, 0, 1]])
        @ np.array([[1, 0, 0], [0, cosines[1], -sines[1]], [0, sines[1], cosines[1]]])
        @ np.array([[cosines[2], 0, sines[2]], [0, 1, 0], [-sines[2], 0, cosines[2]]])
    )
    row, column, normal = turn.T
    folder = tmp_path / "series"
    for path in folder.glob("*"):
        path.unlink()
    folder.mkdir(exist_ok=True)
    pixels = np.arange(count * 6, dtype=np.uint16).reshape(count, 2, 3)
    positions = [np.array(origin) + k * spacing[2] * normal for k in range(count)]
    for k, position in enumerate(positions):
        save(
            folder / f"{(k * 7) % 11}",
            pixels[k],
            ImagePositionPatient=[f"{number:.9g}" for number in position],
            ImageOrientationPatient=[f"{number:.9g}" for number in (*row, *column)],
            PixelSpacing=[f"{spacing[0]:.9g}", f"{spacing[1]:.9g}"],
        )
    (series,) = scan(folder).series
    volume = read_volume(series)
    for k, i, j in np.ndindex(pixels.shape):  # PS3.3 equation C.7.6.2.1-1: j is the column index, i the row index
        lps = positions[k] + row * spacing[1] * j + column * spacing[0] * i
        np.testing.assert_allclose((volume.affine @ [j, i, k, 1])[:3], lps * [-1, -1, 1], atol=1e-4)
        assert volume.array[j, i, k] == pixels[k, i, j]

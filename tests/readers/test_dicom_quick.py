"""The quick way through a header gives what pydicom gives, or leaves the file to it."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

from medtl.readers import dicom_quick, dicom_tags
from medtl.readers.dicom import Scan, scan


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Scan with the quick way and without; also how many files went the quick way."""

    def run(folder: Path) -> tuple[Scan, Scan, int]:
        taken = 0

        def counted(*arguments: Any) -> Any:
            nonlocal taken
            found = dicom_quick.read_header(*arguments)
            taken += found is not None
            return found

        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            patch.setattr(dicom_tags, "read_header", counted)
            quick = scan(folder)
            patch.setattr(dicom_tags, "read_header", lambda *_: None)
            return quick, scan(folder), taken

    return run


def implicit(path: Path) -> None:
    """Store a file again without its value representations."""
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dcmwrite(path, dataset, implicit_vr=True, little_endian=True)


@pytest.fixture
def volume() -> NDArray[np.uint16]:
    return np.random.default_rng(1).integers(0, 4096, (5, 6, 7), dtype=np.uint16)


@pytest.mark.parametrize("is_implicit", [False, True])
def test_plain_files_are_read_quickly_and_alike(is_implicit, both, tmp_path, save_series, volume):
    paths = save_series(tmp_path, volume, EchoTime="2.5", WindowCenter=["40", "50"], WindowWidth=["400", "500"])
    if is_implicit:
        for path in paths:
            implicit(path)
    quick, slow, taken = both(tmp_path)
    assert quick == slow
    assert taken == 5
    assert quick.series[0].headers[0].window == (40, 400)


def test_padding_depends_on_the_sign_and_is_left_to_pydicom_where_nothing_says_which(
    both, tmp_path, save_series, volume
):
    paths = save_series(tmp_path, volume.astype(np.int16), PixelPaddingValue=("SS", -2000))
    quick, slow, taken = both(tmp_path)
    assert quick == slow
    assert (taken, quick.series[0].headers[0].padding) == (5, (-2000, -2000))
    for path in paths:
        implicit(path)
    quick, slow, taken = both(tmp_path)
    assert quick == slow
    assert (taken, quick.series[0].headers[0].padding) == (0, (-2000, -2000))


@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_of_unknown_length_are_left_to_pydicom(undefined, both, tmp_path, save_series, volume):
    for path in save_series(tmp_path, volume):
        dataset, item = dcmread(path), Dataset()
        item.ReferencedSOPInstanceUID = generate_uid()
        dataset.ReferencedImageSequence = Sequence([item])
        dataset["ReferencedImageSequence"].is_undefined_length = undefined
        dcmwrite(path, dataset)
    quick, slow, taken = both(tmp_path)
    assert quick == slow
    assert taken == (0 if undefined else 5)


def test_headers_longer_than_what_is_looked_at_are_left_to_pydicom(both, tmp_path, save_series, volume):
    save_series(tmp_path, volume, ImageComments=("UT", "x" * 20000))
    quick, slow, taken = both(tmp_path)
    assert quick == slow
    assert taken == 0


def test_values_are_decoded_once_a_scan(tmp_path, save_series, volume, monkeypatch):
    save_series(tmp_path, volume)
    decoded = []
    convert = dicom_quick.convert_raw_data_element
    monkeypatch.setattr(
        dicom_quick, "convert_raw_data_element", lambda raw: decoded.append((raw.tag, raw.value)) or convert(raw)
    )
    scan(tmp_path)
    assert len(decoded) == len(set(decoded))
    once = len(decoded)
    scan(tmp_path)
    assert len(decoded) == 2 * once  # nothing outlives a scan


@given(
    position=st.integers(128, 900),
    content=st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"\xff" * 4, b"UN", b"SQ", b"\x00" * 4])),
    cut=st.one_of(st.none(), st.integers(100, 1200)),
    is_implicit=st.booleans(),
)
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_damaged_headers_end_alike(both, tmp_path, save, position, content, cut, is_implicit):
    path = save(tmp_path / "a.dcm", np.arange(64, dtype=np.uint16).reshape(8, 8), PixelPaddingValue=("US", 3))
    if is_implicit:
        implicit(path)
    whole = path.read_bytes()
    path.write_bytes((whole[:position] + content + whole[position + len(content) :])[:cut])
    quick, slow, _ = both(tmp_path)
    assert repr(quick) == repr(slow)  # a position that is not a number differs from itself
    assert quick.rejected == slow.rejected


@pytest.mark.parametrize("folder", ["chaos/Train_Sets/CT/3", "chaos/Train_Sets/MR/1", "lidc", "dicom_awkward"])
def test_real_headers_are_read_alike(folder, both, shared_data):
    quick, slow, taken = both(shared_data / folder)
    assert repr(quick) == repr(slow)
    assert quick.rejected == slow.rejected
    assert [h.sop_uid for one in quick.series for h in one.headers] == [
        h.sop_uid for one in slow.series for h in one.headers
    ]
    assert taken

"""Small synthetic DICOM files, written the way scanners (and their bugs) write them."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import config as pydicom_config
from pydicom import dcmwrite
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
# Planted in every file; none of it may ever come back out.
PHI = {
    "PatientName": "Zebedee^Quentin",
    "PatientID": "MRN-7731982",
    "PatientBirthDate": "19470823",
    "StudyDate": "20190314",
    "AccessionNumber": "ACC55512",
    "InstitutionName": "Saint Elsewhere",
    "ReferringPhysicianName": "Whodunnit^Xavier",
}
UID_ROOT = "1.2.826.0.1.3680043.8.498."  # pydicom's own: every UID of generate_uid starts with it


def dataset(pixels: NDArray, **elements: Any) -> Dataset:
    """A CT slice of (rows, columns) stored integers; ``elements`` replace or (None) remove what it is made of.

    A tuple is (value representation, value).
    """
    signed = pixels.dtype.kind == "i"
    bits = pixels.dtype.itemsize * 8
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = elements.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    values: dict[str, Any] = {
        **PHI,
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(),
        "SeriesInstanceUID": UID_ROOT + "1",
        "StudyInstanceUID": UID_ROOT + "2",
        "Modality": "CT",
        "InstanceNumber": 1,
        "ImagePositionPatient": [0.0, 0.0, 0.0],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [1.0, 1.0],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": elements.get("BitsStored", bits) - 1 if isinstance(elements.get("BitsStored", bits), int) else 0,
        "PixelRepresentation": int(signed),
        "RescaleSlope": "1",
        "RescaleIntercept": "0",
        "PixelData": pixels.tobytes(),
        **elements,
    }
    with pydicom_config.disable_value_validation():
        for keyword, element in values.items():
            if isinstance(element, tuple):
                ds.add_new(keyword, *element)
            elif element is not None:
                setattr(ds, keyword, element)
        if "PixelData" in ds:
            ds["PixelData"].VR = "OW"
    return ds


@pytest.fixture
def save() -> Callable[..., Path]:
    """``save(path, pixels, **elements)`` writes one file; bytes are put into the file as they are, valid or not."""

    def write(path: Path, pixels: NDArray, **elements: Any) -> Path:
        raw = {keyword: element for keyword, element in elements.items() if isinstance(element, bytes)}
        ds = dataset(pixels, **{keyword: element for keyword, element in elements.items() if keyword not in raw})
        for keyword in raw:
            if keyword not in ds:
                vr = dictionary_VR(keyword)[:2]
                ds.add_new(keyword, vr, 0 if vr == "US" else "0")
        with pydicom_config.disable_value_validation():
            dcmwrite(path, ds, enforce_file_format=True)
        content = path.read_bytes()
        for keyword, element in raw.items():
            tag = Tag(keyword)
            at = content.index(struct.pack("<HH", tag.group, tag.element) + ds[keyword].VR.encode()) + 6
            (length,) = struct.unpack_from("<H", content, at)
            padded = element + b" " * (len(element) % 2)
            content = content[:at] + struct.pack("<H", len(padded)) + padded + content[at + 2 + length :]
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def save_series(save: Callable[..., Path]) -> Callable[..., list[Path]]:
    """``save_series(folder, volume, …)`` writes (slices, rows, columns) in position order, one file a slice.

    The slices lie along ``step`` (default: the normal) from ``origin``; names and instance numbers are given by
    ``names`` and ``numbers``.
    """

    def write(
        folder: Path,
        volume: NDArray,
        origin: Sequence[float] = (0.0, 0.0, 0.0),
        step: Sequence[float] = (0.0, 0.0, 2.0),
        names: Sequence[str] | None = None,
        numbers: Sequence[int] | None = None,
        **elements: Any,
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for k, pixels in enumerate(volume):
            position = [float(a) + k * float(b) for a, b in zip(origin, step, strict=True)]
            paths.append(
                save(
                    folder / (names[k] if names else f"slice{k:03}.dcm"),
                    pixels,
                    **{
                        "ImagePositionPatient": [f"{number:.10g}" for number in position],
                        "InstanceNumber": numbers[k] if numbers else k + 1,
                        **elements,
                    },
                )
            )
        return paths

    return write


@pytest.fixture
def enhanced(tmp_path: Path) -> Callable[..., Path]:
    """``enhanced(volume, order)`` writes one multi-frame file whose frames stand in ``order``."""

    def write(volume: NDArray, order: Sequence[int], name: str = "enhanced") -> Path:
        ds = dataset(volume[list(order)], SOPClassUID=EnhancedCTImageStorage, NumberOfFrames=len(order))
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
            delattr(ds, keyword)
        shared, orientation, measures, rescale = Dataset(), Dataset(), Dataset(), Dataset()
        orientation.ImageOrientationPatient = list(AXIAL)
        measures.PixelSpacing = [0.5, 0.25]
        rescale.RescaleSlope, rescale.RescaleIntercept = "2", "-1000"
        shared.PlaneOrientationSequence = [orientation]
        shared.PixelMeasuresSequence = [measures]
        shared.PixelValueTransformationSequence = [rescale]
        ds.SharedFunctionalGroupsSequence = [shared]
        groups = []
        for k in order:
            group, position = Dataset(), Dataset()
            position.ImagePositionPatient = [10.0, 20.0, 30.0 + 3.0 * k]
            group.PlanePositionSequence = [position]
            groups.append(group)
        ds.PerFrameFunctionalGroupsSequence = groups
        dcmwrite(tmp_path / name, ds, enforce_file_format=True)
        return tmp_path / name

    return write


@pytest.fixture
def volume() -> NDArray:
    """(7 slices, 5 rows, 6 columns) uint16, all values different."""
    return (np.random.default_rng(0).permutation(7 * 5 * 6).reshape(7, 5, 6) + 100).astype(np.uint16)

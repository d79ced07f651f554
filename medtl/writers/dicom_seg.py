"""DICOM Segmentation objects, through highdicom (the extra ``seg``)."""

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from medtl.errors import BadFileError, MedtlError, UsageError
from medtl.files import replacing
from medtl.version import __version__

# SNOMED CT codes (DICOM PS3.16, CID 7166 and context groups of anatomy)
CODES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "liver": ("10200004", "Liver"),
        "right_kidney": ("9846003", "Right kidney"),
        "left_kidney": ("18639004", "Left kidney"),
        "spleen": ("78961009", "Spleen"),
    }
)
CATEGORY = ("123037004", "Anatomical Structure")
SERIES_NUMBER = 900
MOST_OF_A_NAME = 64  # characters, of DICOM's LO
NEEDED = ("FrameOfReferenceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
# a segmentation takes these over; a source may leave them out although the standard wants them, if only empty
MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
)


def check_installed() -> None:
    """Raise UsageError where highdicom is absent."""
    if importlib.util.find_spec("highdicom") is None:
        raise UsageError("--save dicom_seg needs highdicom: pip install 'medtl[seg]' -c constraints.txt")


def write_seg(
    path: Path,
    labels: NDArray[np.uint8],
    files: Sequence[Path],
    organs: Sequence[str],
    frames: Sequence[int | None] | None = None,
    thickness: float = 1.0,
    network: str = "network not stated",
) -> None:
    """Write the organs of a series as one binary segmentation; the same bytes for the same mask.

    It belongs to the source's study and carries its patient's name and ids, as a DICOM object must; its dates are the
    source's, its UIDs are made of the source's and the mask.

    Args:
        path: the file.
        labels: (columns, rows, slices), organ indices.
        files: DICOM file of each slice, in the order of the slices.
        organs: names in index order, of ``CODES``.
        frames: which frame of an enhanced multi-frame file each slice is, from 0; None for single-frame files.
        thickness: in mm, where the source says none.
        network: what has found the organs, such as "deeplabv3 on resnet50"; cut to what DICOM takes.

    Raises:
        UsageError: highdicom is absent. MedtlError: an organ without a code. BadFileError: headers that cannot carry a
            segmentation, slices of several multi-frame files.
    """
    check_installed()
    import highdicom
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
    from pydicom.sr.coding import Code

    unknown = [organ for organ in organs if organ not in CODES]
    if unknown:
        raise MedtlError(f"--save dicom_seg knows no code of {unknown[0]!r}, only of {', '.join(CODES)}")
    pixels = np.ascontiguousarray(labels.transpose(2, 1, 0))
    numbers = [number for number in frames or () if number is not None]
    if numbers:
        if len(set(files)) > 1:
            raise BadFileError("cannot have a DICOM segmentation: its frames lie in several files")
        source = _read(files[0])
        every = np.zeros((int(source.NumberOfFrames), *pixels.shape[1:]), np.uint8)
        every[numbers] = pixels
        sources, pixels = [source], every
    else:
        sources = [_read(file) for file in files]
    for source in sources:
        _fill_thickness(source, thickness)
    absent = [name for name in NEEDED if any(not source.get(name) for source in sources)]
    if absent:
        raise BadFileError(f"cannot have a DICOM segmentation: its headers have no {' and no '.join(absent)}")
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=f"medtl {network}"[:MOST_OF_A_NAME],
        version=__version__,
        family=Code("123109", "DCM", "Artificial Intelligence"),
    )
    segments = [
        SegmentDescription(
            segment_number=number,
            segment_label=organ.replace("_", " "),
            segmented_property_category=Code(CATEGORY[0], "SCT", CATEGORY[1]),
            segmented_property_type=Code(CODES[organ][0], "SCT", CODES[organ][1]),
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, organ in enumerate(organs, start=1)
    ]
    content = hashlib.sha256(np.ascontiguousarray(labels).tobytes()).hexdigest()
    entropy = [str(sources[0].SeriesInstanceUID), content]
    try:
        found = highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=pixels,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=generate_uid(entropy_srcs=[*entropy, "series"]),
            series_number=SERIES_NUMBER,
            sop_instance_uid=generate_uid(entropy_srcs=[*entropy, "instance"]),
            instance_number=1,
            manufacturer="medtl",
            manufacturer_model_name=network[:MOST_OF_A_NAME],
            software_versions=__version__,
            device_serial_number="0",
            content_description="organs, automatic, not for clinical use",
        )
    except AttributeError as error:
        raise BadFileError(f"cannot have a DICOM segmentation: its headers have no {error.name}") from None
    except (KeyError, TypeError, ValueError):  # its texts may repeat what a header says
        raise BadFileError("cannot have a DICOM segmentation: its headers do not suit one") from None
    _date_as(found, sources[0])
    _name_dimensions(found, generate_uid(entropy_srcs=[*entropy, "dimensions"]))
    with replacing(path) as part:
        found.save_as(part, enforce_file_format=True)


def _read(file: Path) -> pydicom.Dataset:
    source = pydicom.dcmread(file, stop_before_pixels=True)
    for name in MAY_BE_EMPTY:
        if name not in source:
            setattr(source, name, None)
    return source


def _fill_thickness(source: pydicom.Dataset, thickness: float) -> None:
    """State a thickness, which a segmentation must: where the source says none, the distance of its slices."""
    groups = [*source.get("SharedFunctionalGroupsSequence", ()), *source.get("PerFrameFunctionalGroupsSequence", ())]
    measures = [item for group in groups for item in group.get("PixelMeasuresSequence", ())]
    for each in measures or [source]:
        if not each.get("SliceThickness"):
            each.SliceThickness = f"{thickness:.6g}"


def _date_as(found: Any, source: pydicom.Dataset) -> None:
    """Take dates and times of the source instead of now, so that the same mask gives the same file."""
    for name in ("ContentDate", "ContentTime"):
        kind = name.removeprefix("Content")
        usual = "19000101" if kind == "Date" else "000000"
        setattr(found, name, source.get(name) or source.get(f"Series{kind}") or source.get(f"Study{kind}") or usual)
    for name in ("InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime"):
        if name in found:
            delattr(found, name)
    for each in found.get("ContributingEquipmentSequence") or ():
        if "ContributionDateTime" in each:
            del each.ContributionDateTime


def _name_dimensions(found: Any, uid: str) -> None:
    """Put one UID of ours where highdicom draws one for the order of frames."""
    for each in (*found.DimensionOrganizationSequence, *found.DimensionIndexSequence):
        each.DimensionOrganizationUID = uid

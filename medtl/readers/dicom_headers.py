"""One DICOM slice as a frozen record, and the checks its header must pass. Section numbers are those of PS3.3."""

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian, MediaStorageDirectoryStorage

from medtl.errors import BadFileError
from medtl.limits import check_growth
from medtl.readers.dicom_tags import identity, number_list, value, whole_number

Vector = tuple[float, float, float]
Orientation = tuple[float, float, float, float, float, float]

# Where an enhanced multi-frame file keeps what a classic file has at its top level (PS3.3 C.7.6.16).
MACROS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "WindowCenter": "FrameVOILUTSequence",
    "WindowWidth": "FrameVOILUTSequence",
    "EffectiveEchoTime": "MREchoSequence",
}

MAX_PIXELS = 100_000_000  # in one frame; the largest detectors in use have about 30 million
MAX_FRAMES = 20_000
MAX_MILLIMETRES = 100_000.0  # no scanner's coordinate system is longer than that
UNIT_TOLERANCE = 0.01  # header cosines are often rounded to two or three decimals
UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")


@dataclass(frozen=True)
class SliceHeader:
    """What one slice (a file, or one frame of a multi-frame file) says about itself.

    Attributes:
        path: the file. frame: its frame, from 0; None in a single-frame file.
        instance_number: None where absent or no whole number.
        position: centre of the first voxel, LPS+ in mm; None where absent (X-rays, screenshots).
        orientation: unit vectors of a row and of a column, LPS+; None where absent.
        offset: position along the slice normal in mm; NaN without a position.
        rows, columns: picture size; both at least 1. pixel_spacing: (between rows, between columns) in mm, or None.
        echo_time: in ms, or None. sop_uid, series_uid: for matching only, never to be shown.
        transfer_syntax: its UID. photometric: photometric interpretation. samples: values a pixel.
        bits_allocated, bits: allocated and stored. signed: stored as two's complement.
        slope, intercept: stored value × slope + intercept = value in the modality's unit.
        padding: (lowest, highest) stored value that means "no data here", or None.
        window: (centre, width) in the modality's unit, or None.
        identity: raw bytes of the elements of ``dicom_tags.IDENTITY``; for comparison only, never to be shown.
        has_unit: False for CT without a rescale intercept, whose stored values are no Hounsfield units.
    """

    path: Path = field(repr=False)
    frame: int | None
    frames: int
    modality: str
    instance_number: int | None
    position: Vector | None
    orientation: Orientation | None
    offset: float
    rows: int
    columns: int
    pixel_spacing: tuple[float, float] | None
    echo_time: float | None
    sop_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    transfer_syntax: str = field(repr=False)
    photometric: str
    samples: int
    bits_allocated: int
    bits: int
    signed: bool
    slope: float
    intercept: float
    padding: tuple[int, int] | None
    window: tuple[float, float] | None
    identity: tuple[bytes, ...] = field(default=(), repr=False)
    has_unit: bool = True

    @property
    def normal(self) -> NDArray[np.float64]:
        """Return (3,) unit vector row × column, LPS+. Raises BadFileError without an orientation."""
        if self.orientation is None:
            raise BadFileError("no orientation in the header")
        return _normal(self.orientation)


def check_unit(headers: Sequence[SliceHeader]) -> None:
    """Raise BadFileError where stored values cannot be brought into the modality's unit."""
    if not all(header.has_unit for header in headers):
        raise BadFileError("CT without a rescale intercept: its stored values are no Hounsfield units")


def slice_headers(path: Path, dataset: Dataset, tail: int) -> list[SliceHeader]:
    """Return the checked headers of one file's frames. Call it inside ``quiet``.

    Args:
        path: goes into the result; not opened.
        dataset: what was read of the file, up to its pixels. tail: bytes left behind that.

    Returns:
        One header a frame; empty for a DICOM file that holds no image (reports, plans, directories).

    Raises:
        BadFileError: what the header says is missing, absurd or contradictory; says which element.
    """
    sop_class = str(value(dataset, "SOPClassUID") or value(dataset.file_meta, "MediaStorageSOPClassUID") or "")
    name = UID(sop_class).name
    if sop_class == MediaStorageDirectoryStorage or (name != sop_class and "Image" not in name):
        return []
    frames = whole_number(dataset, "NumberOfFrames", 1, MAX_FRAMES, default=1)
    per_frame = value(dataset, "PerFrameFunctionalGroupsSequence")
    if per_frame is None and frames == 1:
        return [_slice_header(path, dataset, tail, None, 1, ())]
    if per_frame is None:
        raise BadFileError(f"{frames} frames in one file without a header for each: neither one picture nor a volume")
    if not isinstance(per_frame, pydicom.Sequence) or len(per_frame) != frames:
        raise BadFileError(f"{frames} frames, but a different number of per-frame headers")
    shared = value(dataset, "SharedFunctionalGroupsSequence")
    common = (shared[0],) if isinstance(shared, pydicom.Sequence) else ()
    return [_slice_header(path, dataset, tail, k, frames, (group, *common)) for k, group in enumerate(per_frame)]


def _slice_header(
    path: Path, dataset: Dataset, tail: int, frame: int | None, frames: int, groups: tuple[Dataset, ...]
) -> SliceHeader:
    def numbers(keyword: str, count: int | None = None) -> tuple[float, ...] | None:
        for group in groups:
            macro = value(group, MACROS[keyword]) if keyword in MACROS else None
            if isinstance(macro, pydicom.Sequence) and (found := value(macro[0], keyword)) is not None:
                return number_list(found, keyword, count)
        return number_list(value(dataset, keyword), keyword, count)

    if value(dataset, "ModalityLUTSequence") is not None:
        raise BadFileError("values are coded through a modality look-up table, which is not supported")
    rows, columns = whole_number(dataset, "Rows", 1, 65535), whole_number(dataset, "Columns", 1, 65535)
    if rows * columns > MAX_PIXELS:
        raise BadFileError(f"absurd picture size: {rows} by {columns} pixels")
    photometric = value(dataset, "PhotometricInterpretation")
    if not isinstance(photometric, str) or not re.fullmatch(r"[A-Z0-9_ ]{1,16}", photometric):
        raise BadFileError("the header's photometric interpretation is missing or unreadable")
    samples = whole_number(dataset, "SamplesPerPixel", 1, 4, default=1)
    bits_allocated = whole_number(dataset, "BitsAllocated", 1, 64)
    bits = whole_number(dataset, "BitsStored", 1, bits_allocated)
    if bits_allocated not in (8, 16, 32):
        raise BadFileError(f"{bits_allocated} bits a pixel are not supported")
    if whole_number(dataset, "HighBit", 0, 63, default=bits - 1) != bits - 1:
        raise BadFileError("the stored bits are not the lowest ones (high bit is not bits stored minus one)")
    signed = whole_number(dataset, "PixelRepresentation", 0, 1) == 1
    syntax = str(value(dataset.file_meta, "TransferSyntaxUID") or "")
    if not syntax:
        raise BadFileError("no transfer syntax in the header")
    room = tail - (8 if syntax == ImplicitVRLittleEndian else 12)  # tag, representation and length (PS3.5 7.1)
    if syntax in UNCOMPRESSED and rows * columns * samples * bits_allocated // 8 * frames > room:
        raise BadFileError("truncated: the file ends before its pixels do")
    check_growth(tail, rows * columns * samples * bits_allocated // 8 * frames)
    modality = value(dataset, "Modality")
    slope, stated = numbers("RescaleSlope", 1) or (1.0,), numbers("RescaleIntercept", 1)
    intercept = stated or (0.0,)
    if not 1e-12 <= abs(slope[0]) <= 1e12 or abs(intercept[0]) > 1e12:
        raise BadFileError("absurd rescale slope or intercept")
    position, orientation = _position(numbers("ImagePositionPatient", 3)), _axes(numbers("ImageOrientationPatient", 6))
    offset = math.nan
    if position is not None and orientation is not None:
        offset = float(_normal(orientation) @ position)
    echo = numbers("EffectiveEchoTime", 1) or numbers("EchoTime", 1)
    return SliceHeader(
        path=path,
        frame=frame,
        frames=frames,
        modality=modality if isinstance(modality, str) and re.fullmatch("[A-Z]{2,16}", modality) else "",
        instance_number=_instance(dataset),
        position=position,
        orientation=orientation,
        offset=offset,
        rows=rows,
        columns=columns,
        pixel_spacing=_pixel_spacing(numbers("PixelSpacing", 2)),
        echo_time=None if echo is None else echo[0],
        sop_uid=str(value(dataset, "SOPInstanceUID") or ""),
        series_uid=str(value(dataset, "SeriesInstanceUID") or ""),
        transfer_syntax=syntax,
        photometric=photometric,
        samples=samples,
        bits_allocated=bits_allocated,
        bits=bits,
        signed=signed,
        slope=slope[0],
        intercept=intercept[0],
        padding=_padding(dataset, bits_allocated, signed),
        window=_window(numbers),
        identity=identity(dataset),
        has_unit=stated is not None or modality != "CT",
    )


def _instance(dataset: Dataset) -> int | None:
    """Return the instance number; it only breaks ties, so a damaged one is as good as none."""
    try:
        return whole_number(dataset, "InstanceNumber", -(2**31), 2**31)
    except BadFileError:
        return None


def _position(numbers: Sequence[float] | None) -> Vector | None:
    if numbers is None:
        return None
    if max(abs(number) for number in numbers) > MAX_MILLIMETRES:
        raise BadFileError("absurd position: more than 100 m from the origin")
    return numbers[0], numbers[1], numbers[2]


def _normal(orientation: Orientation) -> NDArray[np.float64]:
    """Return row × column; np.cross takes longer than the rest of a header for three numbers."""
    a, b, c, d, e, f = orientation
    return np.array([b * f - c * e, c * d - a * f, a * e - b * d])


@functools.lru_cache(maxsize=16)  # a series repeats it on every slice
def _axes(numbers: tuple[float, ...] | None) -> Orientation | None:
    """Return unit vectors along a row and a column; rounding in the header is undone, anything worse is refused."""
    if numbers is None:
        return None
    row, column = np.array(numbers[:3]), np.array(numbers[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > UNIT_TOLERANCE or abs(row @ column) > UNIT_TOLERANCE:
        raise BadFileError("the header's orientation is not two perpendicular unit vectors")
    a, b, c, d, e, f = (float(number) for number in (*(row / lengths[0]), *(column / lengths[1])))
    return a, b, c, d, e, f


def _pixel_spacing(numbers: Sequence[float] | None) -> tuple[float, float] | None:
    if numbers is None:
        return None
    if not all(1e-4 <= number <= 1e3 for number in numbers):
        raise BadFileError("the header's pixel spacing is not between 0.0001 and 1000 mm")
    return numbers[0], numbers[1]


def _padding(dataset: Dataset, bits_allocated: int, signed: bool) -> tuple[int, int] | None:
    """Return the lowest and highest stored value of "no data": PixelPaddingValue to PixelPaddingRangeLimit
    (C.7.5.1.1.2)."""
    first = number_list(value(dataset, "PixelPaddingValue"), "PixelPaddingValue", 1)
    if first is None:
        return None
    last = number_list(value(dataset, "PixelPaddingRangeLimit"), "PixelPaddingRangeLimit", 1) or first
    size, half = 2**bits_allocated, 2 ** (bits_allocated - 1)
    # Many writers store -2000 as the unsigned 63536 or the other way round: the bit pattern is what is meant.
    ends = [(int(end[0]) + half) % size - half if signed else int(end[0]) % size for end in (first, last)]
    return min(ends), max(ends)


def _window(numbers: Callable[[str], Sequence[float] | None]) -> tuple[float, float] | None:
    """Return the first window; only a hint for display, so an unusable one is dropped."""
    try:
        centre, width = numbers("WindowCenter"), numbers("WindowWidth")
    except BadFileError:
        return None
    return (centre[0], width[0]) if centre and width and width[0] > 0 else None

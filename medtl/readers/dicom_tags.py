"""The few DICOM elements that are ever read, and how one of them becomes a checked number.

Of what identifies a person only ``IDENTITY`` is read: it is compared, as raw bytes, to keep two people apart who stand
under one series, and never shown. No message here repeats a value from a header.
"""

import logging
import math
import os
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medtl.errors import BadFileError
from medtl.readers.dicom_quick import HEAD_BYTES, PIXELS, QuickHeader, Values, read_header, tags
from medtl.readers.kinds import is_bare_dicom

# The only elements ever looked at; the rest of a header is passed over unread.
TAGS = (
    *("TransferSyntaxUID", "MediaStorageSOPClassUID"),
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "InstanceNumber", "BurnedInAnnotation"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "EchoTime", "EffectiveEchoTime"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PlanePositionSequence"),
    *("PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence", "FrameVOILUTSequence"),
    *("MREchoSequence", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData"),
)
MOST_INFLATED = 128 * 2**20  # bytes; the largest single pictures have about 60 million
# What all slices of one series share. It is only ever compared.
IDENTITY = ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID")
WANTED = tags((*TAGS, *IDENTITY))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom from warning and logging (its messages quote header values) while inside; not thread-safe."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def open_dataset(path: Path, *, pixels: bool, values: Values | None = None) -> tuple[Dataset | QuickHeader, int] | None:
    """Read the allowed tags of one file, with pixel data only where asked. Call it inside ``quiet``.

    A data set without preamble and file meta information, as old archives store them, is taken for uncompressed.

    Args:
        path: of the file.
        pixels: read them too.
        values: decoded header values of files read before; without it, pydicom reads the header even of a plain file.

    Returns:
        The data set, and how many bytes of the file lie behind what was read; None for what does not start as DICOM.

    Raises:
        BadFileError: the file cannot be read or is not well formed.
    """
    wanted = list(TAGS if pixels else (*TAGS, *IDENTITY))
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            is_bare = head[128:132] != b"DICM"  # which PS3.10 demands
            if is_bare and not is_bare_dicom(head):
                return None
            size = os.fstat(file.fileno()).st_size
            if values is not None and not pixels and not is_bare and (quick := read_header(head, WANTED, values)):
                header, end = quick
                return header, size - end
            file.seek(0)
            read_preamble(file, force=is_bare)
            meta = _read_file_meta_info(file)
            if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                return _inflated(file.read(MOST_INFLATED), meta, pixels, wanted)
            file.seek(0)
            dataset = pydicom.dcmread(file, stop_before_pixels=not pixels, specific_tags=wanted, force=is_bare)
            if is_bare and "TransferSyntaxUID" not in dataset.file_meta:
                dataset.file_meta.TransferSyntaxUID = _syntax(dataset)
            return dataset, size - file.tell()
    except BadFileError:
        raise
    except OSError:
        raise BadFileError("the file cannot be read") from None
    except Exception:  # pydicom raises a dozen types on damaged files, some with header values in the message
        raise BadFileError("not a well-formed DICOM file") from None


def _inflated(packed: bytes, meta: Dataset, pixels: bool, wanted: list[str]) -> tuple[Dataset, int]:
    """A deflated data set as if it were stored plainly.

    It is inflated before any header can be checked, so a few kB could fill the memory: up to a limit.
    """
    content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, MOST_INFLATED)
    if len(content) >= MOST_INFLATED:
        raise BadFileError(f"deflated DICOM of more than {MOST_INFLATED // 2**20} MB is not supported")
    stream = BytesIO(content)
    dataset = read_dataset(
        stream,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=None if pixels else lambda tag, vr, length: tag in PIXELS,
        specific_tags=[Tag(keyword) for keyword in wanted],
    )
    dataset.file_meta = FileMetaDataset(meta)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset, len(content) - stream.tell()


def _syntax(dataset: Dataset) -> UID:
    """Of a data set that does not say how it is stored: uncompressed, as pydicom has read it."""
    is_implicit, is_little = dataset.original_encoding
    if not is_little:
        return ExplicitVRBigEndian
    return ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian


def value(dataset: Dataset | QuickHeader, keyword: str) -> Any:
    """One allowed element's value; None where absent or empty; BadFileError where damaged. Call it inside ``quiet``."""
    assert keyword in TAGS, keyword
    try:
        found = dataset.get(keyword)
        return None if found is None or (hasattr(found, "__len__") and len(found) == 0) else found
    except Exception:  # the element is decoded here, and damaged values raise many types
        raise BadFileError(f"the header's {words(keyword)} cannot be decoded") from None


def identity(dataset: Dataset | QuickHeader) -> tuple[bytes, ...]:
    """Raw bytes of the elements of ``IDENTITY``, empty where absent; for comparison only. Call it inside ``quiet``.

    They are not decoded: a name's character set may be missing or wrong, and two files of one patient be read in two
    ways.
    """
    return tuple(_raw(dataset, keyword).strip(b" \0") for keyword in IDENTITY)


def _raw(dataset: Dataset | QuickHeader, keyword: str) -> bytes:
    if isinstance(dataset, QuickHeader):
        return dataset.raw(keyword)
    if keyword not in dataset:
        return b""
    try:
        found = dataset.get_item(keyword)  # as in the file, as long as nobody has asked for its value
        content = None if found is None else found.value
    except Exception:  # pydicom raises a dozen types on damaged elements
        raise BadFileError(f"the header's {words(keyword)} cannot be read") from None
    return content if isinstance(content, bytes) else str(content or "").encode("utf-8", "surrogateescape")


def number_list(found: Any, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    """Finite numbers from an element of any value representation; None where absent."""
    if found is None:
        return None
    try:
        items = [found] if isinstance(found, (str, bytes, int, float)) or not hasattr(found, "__iter__") else found
        numbers = tuple(float(item) for item in items)
    except (TypeError, ValueError, OverflowError):
        raise BadFileError(f"the header's {words(keyword)} is not a number") from None
    if not all(math.isfinite(number) for number in numbers):
        raise BadFileError(f"the header's {words(keyword)} is not a finite number")
    if count is not None and len(numbers) != count:
        raise BadFileError(f"the header's {words(keyword)} has {len(numbers)} numbers instead of {count}")
    return numbers


def words(keyword: str) -> str:
    """``PixelSpacing`` as "pixel spacing"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", keyword).lower()


def whole_number(dataset: Dataset | QuickHeader, keyword: str, low: int, high: int, default: int | None = None) -> int:
    """A whole number between low and high; ``default`` where absent, BadFileError without one."""
    numbers = number_list(value(dataset, keyword), keyword, 1)
    if numbers is None:
        if default is None:
            raise BadFileError(f"the header's {words(keyword)} is missing")
        return default
    if not numbers[0].is_integer() or not low <= numbers[0] <= high:
        raise BadFileError(f"the header's {words(keyword)} is not a whole number between {low} and {high}")
    return int(numbers[0])

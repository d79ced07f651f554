"""The few DICOM elements that are ever read, and how one of them becomes a checked number.

Of what identifies a person only ``IDENTITY`` is read: it is compared, as raw bytes, to keep two people apart who stand
under one series, and never shown. No message here repeats a value from a header.
"""

import functools
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
from typing import Any, BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medtl.errors import BadFileError
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
# value representations whose values need neither a character set nor another element to be decoded
CONTEXT_FREE = frozenset({"CS", "DS", "FD", "FL", "IS", "SL", "SS", "UI", "UL", "US"})
MOST_INFLATED = 128 * 2**20  # bytes; the largest single pictures have about 60 million
# What all slices of one series share. It is only ever compared.
IDENTITY = ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID")
NUMBERED = {keyword: Tag(keyword) for keyword in TAGS}
# with pixels, and of headers alone; numbers, for pydicom looks keywords up anew for every file
WANTED: dict[bool, list[BaseTag | int]] = {True: [*NUMBERED.values()]}
WANTED[False] = [*NUMBERED.values(), *(Tag(keyword) for keyword in IDENTITY)]
STANDARD_SYNTAXES = "1.2.840.10008.1.2"  # little-endian all, but for one of them
HEAD_BYTES = 4096  # in which a data set without its preamble is known
PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}


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


def open_dataset(path: Path, *, pixels: bool) -> tuple[Dataset, int] | None:
    """Read the allowed tags of one file, with pixel data only where asked. Call it inside ``quiet``.

    A data set without preamble and file meta information, as old archives store them, is taken for uncompressed.

    Args:
        path: of the file.
        pixels: read them too.

    Returns:
        The data set, and how many bytes of the file lie behind what was read; None for what does not start as DICOM.

    Raises:
        BadFileError: the file cannot be read or is not well formed.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            is_bare = head[128:132] != b"DICM"  # which PS3.10 demands
            if is_bare and not is_bare_dicom(head):
                return None
            size = os.fstat(file.fileno()).st_size
            file.seek(0)
            read_preamble(file, force=is_bare)
            meta = _read_file_meta_info(file)
            syntax = str(meta.get("TransferSyntaxUID", ""))
            if syntax == DeflatedExplicitVRLittleEndian:
                return _inflated(file.read(MOST_INFLATED), meta, pixels)
            if not pixels and syntax.startswith(STANDARD_SYNTAXES) and syntax != ExplicitVRBigEndian:
                # what dcmread comes to, without reading the file meta information again
                return _header(file, meta, is_implicit=syntax == ImplicitVRLittleEndian), size - file.tell()
            file.seek(0)
            dataset = pydicom.dcmread(file, stop_before_pixels=not pixels, specific_tags=WANTED[pixels], force=is_bare)
            if is_bare and "TransferSyntaxUID" not in dataset.file_meta:
                dataset.file_meta.TransferSyntaxUID = _syntax(dataset)
            return dataset, size - file.tell()
    except BadFileError:
        raise
    except OSError:
        raise BadFileError("the file cannot be read") from None
    except Exception:  # pydicom raises a dozen types on damaged files, some with header values in the message
        raise BadFileError("not a well-formed DICOM file") from None


def _header(file: BinaryIO, meta: Dataset, *, is_implicit: bool, pixels: bool = False) -> Dataset:
    """Return the wanted elements of a little-endian data set, from where the file stands up to its pixels, if these are
    not wanted, too."""
    dataset = read_dataset(
        file,
        is_implicit_VR=is_implicit,
        is_little_endian=True,
        stop_when=None if pixels else lambda tag, vr, length: tag in PIXELS,
        specific_tags=WANTED[pixels],
    )
    dataset.file_meta = FileMetaDataset(meta)
    return dataset


def _inflated(packed: bytes, meta: Dataset, pixels: bool) -> tuple[Dataset, int]:
    """Return a deflated data set as if it were stored plainly.

    It is inflated before any header can be checked, so a few kB could fill the memory: up to a limit.
    """
    content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, MOST_INFLATED)
    if len(content) >= MOST_INFLATED:
        raise BadFileError(f"deflated DICOM of more than {MOST_INFLATED // 2**20} MB is not supported")
    stream = BytesIO(content)
    dataset = _header(stream, meta, is_implicit=False, pixels=pixels)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset, len(content) - stream.tell()


def _syntax(dataset: Dataset) -> UID:
    """Return the syntax of a data set that does not state it: uncompressed, as pydicom has read it."""
    is_implicit, is_little = dataset.original_encoding
    if not is_little:
        return ExplicitVRBigEndian
    return ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian


def value(dataset: Dataset, keyword: str) -> Any:
    """Return one allowed element's value; None where absent or empty; BadFileError where damaged. Call it inside
    ``quiet``."""
    try:
        raw = dataset.get_item(NUMBERED[keyword])
        if isinstance(raw, RawDataElement) and raw.VR in CONTEXT_FREE:
            found = _decoded(raw.tag, raw.VR, raw.value, raw.is_little_endian)
        else:
            found = dataset.get(keyword)
        return None if found is None or (hasattr(found, "__len__") and len(found) == 0) else found
    except Exception:  # the element is decoded here, and damaged values raise many types
        raise BadFileError(f"the header's {words(keyword)} cannot be decoded") from None


@functools.lru_cache(maxsize=4096)  # the slices of a series share most of their values
def _decoded(tag: BaseTag, vr: str, content: bytes | None, is_little_endian: bool) -> Any:
    """Return the value of an element that depends on no other."""
    raw = RawDataElement(tag, vr, len(content or b""), content, 0, False, is_little_endian)
    return convert_raw_data_element(raw).value


def identity(dataset: Dataset) -> tuple[bytes, ...]:
    """Return the raw bytes of the elements of ``IDENTITY``, empty where absent; for comparison only. Call it inside
    ``quiet``.

    They are not decoded: a name's character set may be missing or wrong, and two files of one patient be read in two
    ways.
    """
    return tuple(_raw(dataset, keyword).strip(b" \0") for keyword in IDENTITY)


def _raw(dataset: Dataset, keyword: str) -> bytes:
    if keyword not in dataset:
        return b""
    try:
        found = dataset.get_item(keyword)  # as in the file, as long as nobody has asked for its value
        content = None if found is None else found.value
    except Exception:  # pydicom raises a dozen types on damaged elements
        raise BadFileError(f"the header's {words(keyword)} cannot be read") from None
    return content if isinstance(content, bytes) else str(content or "").encode("utf-8", "surrogateescape")


def number_list(found: Any, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    """Return finite numbers from an element of any value representation; None where absent."""
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
    """Return ``PixelSpacing`` as "pixel spacing"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", keyword).lower()


def whole_number(dataset: Dataset, keyword: str, low: int, high: int, default: int | None = None) -> int:
    """Return a whole number between low and high; ``default`` where absent, BadFileError without one."""
    numbers = number_list(value(dataset, keyword), keyword, 1)
    if numbers is None:
        if default is None:
            raise BadFileError(f"the header's {words(keyword)} is missing")
        return default
    if not numbers[0].is_integer() or not low <= numbers[0] <= high:
        raise BadFileError(f"the header's {words(keyword)} is not a whole number between {low} and {high}")
    return int(numbers[0])

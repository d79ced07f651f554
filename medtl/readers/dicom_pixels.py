"""Stored DICOM pixels to values in the modality's unit: decompression, bits, inversion, rescale and padding."""

import math
import warnings
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from medtl.errors import BadFileError
from medtl.readers.dicom_headers import UNCOMPRESSED, SliceHeader, check_unit
from medtl.readers.dicom_tags import open_dataset, quiet, value

MAX_VALUES = 4_000_000_000  # in one array; more is a header or a compressed stream gone mad
EXTRA = "pip install medtl[dicom]"
END_OF_IMAGE = b"\xff\xd9"
STARTS_OF_DATA = (b"\xff\xda", b"\xff\x93")  # start of scan (T.81), start of data (T.800)
JPEG_SIZE_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # ITU-T T.81 table B.1; F7 is JPEG-LS (T.87)


def read_pixels(headers: Sequence[SliceHeader]) -> NDArray:
    """Decode the frames the headers name.

    In this order: bits above the stored ones are dropped and the sign extended; MONOCHROME1 is inverted on the stored
    values (lowest + highest storable - value, as GDCM does), so that bright is high; slope and intercept are applied;
    pixels that hold the padding value are set to the smallest value of the same slice that is not padding (a slice of
    padding alone is left as it is).

    Returns:
        (n, rows, columns): int16 where slopes and intercepts are whole numbers and all values fit, otherwise float32.

    Raises:
        BadFileError: colour, truncated or undecodable pixels, a missing decoder, slices of different size, CT without a
            rescale intercept.
    """
    if not headers:
        raise BadFileError("no slices to read")
    check_unit(headers)
    sizes = {(header.rows, header.columns) for header in headers}
    if len(sizes) > 1:
        raise BadFileError("slices of different size cannot be stacked")
    rows, columns = sizes.pop()
    if len(headers) * rows * columns > MAX_VALUES:
        raise BadFileError("absurd size: more than 4e9 values in one series")
    slices: list[NDArray] = []
    for path, group in groupby(headers, key=lambda header: header.path):
        members = list(group)
        try:
            slices.extend(_file_slices(path, members))
        except BadFileError as error:
            if len(headers) == 1 or math.isnan(members[0].offset):
                raise
            raise BadFileError(f"{error} (slice at {members[0].offset:.2f} mm)") from None
    return np.stack(slices)


def _file_slices(path: Path, headers: list[SliceHeader]) -> list[NDArray]:
    for header in headers:
        if header.samples != 1 or not header.photometric.startswith("MONOCHROME"):
            raise BadFileError("colour picture (RGB or palette) where grey values are expected")
    with quiet():
        opened = open_dataset(path, pixels=True)
        data = None if opened is None else value(opened[0], "PixelData")
        if opened is None or not isinstance(data, bytes):
            raise BadFileError("no pixel data, or a truncated file")
        dataset, _ = opened
        assert isinstance(dataset, Dataset)  # only headers alone are ever read another way
        return [_values(_stored(data, dataset, header), header) for header in headers]


def _stored(data: bytes, dataset: Dataset, header: SliceHeader) -> NDArray:
    """Return (rows, columns) integers as the decoder gives them."""
    try:
        decoder = get_decoder(UID(header.transfer_syntax))
    except NotImplementedError:
        raise BadFileError("pixels are stored in a format that is not supported") from None
    plugin = ""
    if header.transfer_syntax in UNCOMPRESSED:
        frame_bytes = header.rows * header.columns * header.bits_allocated // 8
        excess = len(data) - frame_bytes * header.frames
        if excess < 0:
            raise BadFileError("truncated: fewer pixels than the header says")
        if excess >= frame_bytes:
            raise BadFileError("more pixels than the header says")
    else:
        if "pylibjpeg" in decoder.available_plugins:
            plugin = "pylibjpeg"  # the tested one; others are used only where it cannot be
        elif not decoder.is_available:
            name = UID(header.transfer_syntax).name.split(",")[0]
            raise BadFileError(f"pixels are compressed with {name}, which needs a plug-in: {EXTRA}")
        _check_stream(data, dataset, header)
    options: dict[str, Any] = {
        "rows": header.rows,
        "columns": header.columns,
        "number_of_frames": header.frames,
        "samples_per_pixel": 1,
        "photometric_interpretation": header.photometric,
        "bits_allocated": header.bits_allocated,
        "bits_stored": header.bits,
        "pixel_representation": int(header.signed),
        "pixel_keyword": "PixelData",
        "pixel_vr": dataset["PixelData"].VR,
        # _values does that, after looking for the padding value, which some writers put above the stored bits.
        "correct_unused_bits": False,
        **_offsets(dataset),
    }
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            array, _ = decoder.as_array(data, index=header.frame or 0, raw=True, decoding_plugin=plugin, **options)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException:  # each codec raises its own types, and a panic of the RLE codec is no Exception
        raise BadFileError("the pixels cannot be decoded: damaged or truncated") from None
    # pydicom's own decoder, the one without the extra, cuts off what is too long and takes it for padding
    if any("decoded RLE segment" in str(warning.message) for warning in said):
        raise BadFileError(f"the compressed pixels go on beyond the picture: damaged, or padding that needs {EXTRA}")
    if array.shape != (header.rows, header.columns):
        raise BadFileError("the decoded picture has another size than the header says")
    return array


def _offsets(dataset: Dataset) -> dict[str, Any]:
    table, lengths = value(dataset, "ExtendedOffsetTable"), value(dataset, "ExtendedOffsetTableLengths")
    return {"extended_offsets": (table, lengths)} if isinstance(table, bytes) and isinstance(lengths, bytes) else {}


def _check_stream(data: bytes, dataset: Dataset, header: SliceHeader) -> None:
    """Refuse a compressed frame that is cut off or whose own size differs from the header's, before it is decoded.

    A decoder allocates what the stream asks for, and some fill up what is missing without a word.
    """
    try:
        frame = get_frame(data, header.frame or 0, number_of_frames=header.frames, **_offsets(dataset))
    except Exception:  # damaged item headers end in struct, value and index errors
        raise BadFileError("the compressed pixels are damaged or truncated") from None
    size = _stream_size(frame)
    if size is not None and size != (header.rows, header.columns):
        raise BadFileError("the compressed picture has another size than the header says")
    # The end of image (T.81) or of codestream (T.800) cannot stand within coded data; padding of any length may follow.
    if size is not None and frame.rfind(END_OF_IMAGE) < max(frame.rfind(mark) for mark in STARTS_OF_DATA):
        raise BadFileError("truncated: the compressed picture has no end")
    if size is None and UID(header.transfer_syntax) != pydicom.uid.RLELossless:
        raise BadFileError("the compressed pixels are damaged: no picture size in them")


def _stream_size(stream: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) a JPEG, JPEG-LS or JPEG 2000 stream states, or None."""
    start = stream.find(b"\xff\x4f\xff\x51", 0, 2048)  # SOC and SIZ, behind the boxes of a JP2 file if there are any
    if start >= 0:
        width, height, left, top = (int.from_bytes(stream[start + k : start + k + 4], "big") for k in (8, 12, 16, 20))
        return height - top, width - left
    if stream[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        if stream[at + 1] == 0xFF:  # fill byte
            at += 1
        elif stream[at + 1] in JPEG_SIZE_MARKERS:
            return int.from_bytes(stream[at + 5 : at + 7], "big"), int.from_bytes(stream[at + 7 : at + 9], "big")
        else:
            at += 2 + max(2, int.from_bytes(stream[at + 2 : at + 4], "big"))
    return None


def _values(stored: NDArray, header: SliceHeader) -> NDArray:
    """Return (rows, columns) int16 or float32 in the modality's unit from the decoder's integers."""
    low, high = (-(2 ** (header.bits - 1)), 2 ** (header.bits - 1) - 1) if header.signed else (0, 2**header.bits - 1)
    is_small = header.bits_allocated <= 16 and stored.dtype.itemsize <= 2
    numbers: NDArray[Any] = stored.astype(np.int32 if is_small else np.int64)  # room for every step below
    padded: NDArray[np.bool_] | None = None
    if header.padding is not None:
        padded = (numbers >= header.padding[0]) & (numbers <= header.padding[1])
    if header.transfer_syntax not in UNCOMPRESSED:
        if numbers.min() < low or numbers.max() > high:
            raise BadFileError("the compressed pixels have more bits than the header says")
    elif header.bits < header.bits_allocated:
        numbers = ((numbers - low) & (2**header.bits - 1)) + low  # wraps into the stored bits, whatever lies above them
    if header.photometric == "MONOCHROME1":
        numbers = low + high - numbers
    values = _rescaled(numbers, header.slope, header.intercept)
    if padded is not None and padded.any() and not padded.all():
        values[padded] = values[~padded].min()
    return values


def _rescaled(numbers: NDArray[Any], slope: float, intercept: float) -> NDArray:
    ends = [math.fsum((int(end) * slope, intercept)) for end in (numbers.min(), numbers.max())]
    if slope.is_integer() and intercept.is_integer() and min(ends) >= -(2**15) and max(ends) < 2**15:
        if (slope, intercept) == (1.0, 0.0):
            return numbers.astype(np.int16)
        if max(abs(slope) * 2**16, abs(intercept)) >= 2**30:
            numbers = numbers.astype(np.int64)  # the product may be large where the sum is not
        return (numbers * int(slope) + int(intercept)).astype(np.int16)
    if max(abs(end) for end in ends) > float(np.finfo(np.float32).max):
        raise BadFileError("absurd rescale slope or intercept")
    return (numbers * slope + intercept).astype(np.float32)

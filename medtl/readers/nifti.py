"""NIfTI in, canonical volumes out. A file is decompressed once and checked to its last byte."""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from medtl.errors import BadFileError
from medtl.readers.volume import Volume

gzip_reader: ModuleType = gzip
decompression_errors: list[Any] = [EOFError, zlib.error, gzip.BadGzipFile]
with suppress(ImportError):  # twice as fast as zlib, and optional
    from isal import igzip, isal_zlib

    gzip_reader = igzip
    decompression_errors.append(isal_zlib.error)

HEADER_BYTES = 540  # the larger of the NIfTI-1 (348) and NIfTI-2 headers


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What the first bytes say. ``shape`` is as stored, axes (x, y, z[, channel])."""

    shape: tuple[int, ...]
    affine: NDArray[np.float64]


def read_header(path: Path) -> NiftiHeader:
    """Shape and affine without decompressing the voxels.

    Raises:
        BadFileError: the file is missing, empty, cut or no NIfTI.
    """
    with _reasons():
        with gzip_reader.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(HEADER_BYTES)
        header_class = nib.Nifti2Header if _is_nifti2(head) else nib.Nifti1Header
        header = header_class(head[: header_class.sizeof_hdr])
        return NiftiHeader(tuple(int(n) for n in header.get_data_shape()), _placing(header.get_best_affine()))


def read_nifti(path: Path, channel: int | None = None) -> Volume:
    """A volume in canonical RAS+ order, scaled by the header's slope and intercept.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        channel: which of the last axis of a 4-D file; None keeps the array as stored.

    Returns:
        Volume with array (x, y, z) or (x, y, z, channel); a view of the stored type where the header asks for no
        scaling.

    Raises:
        BadFileError: missing, empty, cut or damaged file, an unusable header, a channel that is not there, voxels that
            are not finite numbers.
    """
    with _reasons():
        content = path.read_bytes()
        if not content:
            raise BadFileError("is empty (0 bytes)")
        if path.suffix == ".gz":
            content = gzip_reader.decompress(content)
        image_class = nib.Nifti2Image if _is_nifti2(content) else nib.Nifti1Image
        image = image_class.from_bytes(content)
        needed = int(image.dataobj.offset) + math.prod(image.shape) * image.get_data_dtype().itemsize
        if len(content) < needed:
            raise BadFileError(f"is cut short: {len(content):,} of {needed:,} bytes")
        stored = np.ndarray(
            image.shape, image.get_data_dtype(), buffer=content, offset=int(image.dataobj.offset), order="F"
        )
        array = _channel(stored, channel)
        slope, intercept = image.dataobj.slope, image.dataobj.inter
    if array.ndim not in (3, 4):
        raise BadFileError(f"is not a volume: its shape is {array.shape}")
    if array.dtype.kind not in "biuf":
        raise BadFileError("does not hold one real number a voxel (complex or RGB)")
    if (slope, intercept) != (1.0, 0.0):
        array = array.astype(np.float32)
        array *= np.float32(slope)
        array += np.float32(intercept)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadFileError(f"has {np.count_nonzero(~np.isfinite(array)):,} voxels that are not finite numbers")
    return Volume(array, _placing(image.affine)).canonical()


def read_image_and_mask(image: Path, mask: Path, channel: int | None = None) -> tuple[Volume, Volume]:
    """An image and its label volume on one grid; the mask is read first, so a bad one costs little.

    Raises:
        BadFileError: either is unusable, the label is missing, is not whole numbers, or has another shape or
        orientation.
    """
    if not mask.is_file():
        raise BadFileError(f"its label {mask.name} is missing")
    try:
        label_volume = read_nifti(mask)
    except BadFileError as error:
        raise BadFileError(f"its label {mask.name} {error}") from None
    labels = label_volume.array
    if labels.ndim == 4 and labels.shape[3] == 1:
        labels = labels[..., 0]
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.rint(labels)):
        raise BadFileError(f"its label {mask.name} holds numbers that are not whole")
    if not (labels > 0).any():
        raise BadFileError(f"its label {mask.name} marks nothing")
    volume = read_nifti(image, channel)
    if volume.array.shape[:3] != labels.shape:
        raise BadFileError(f"its label has shape {labels.shape}, the image {volume.array.shape[:3]} (in RAS order)")
    if nib.aff2axcodes(nib.load(image).affine) != nib.aff2axcodes(nib.load(mask).affine):
        raise BadFileError("its label is stored in another orientation than the image")
    return volume, Volume(labels, volume.affine)


def _channel(array: NDArray, channel: int | None) -> NDArray:
    if array.ndim == 3 or channel is None:
        return array
    if array.ndim == 4 and channel < array.shape[3]:
        return array[..., channel]
    raise BadFileError(f"has shape {array.shape}: no channel {channel} on a fourth axis")


def _placing(affine: NDArray) -> NDArray[np.float64]:
    checked = np.asarray(affine, dtype=np.float64)
    if not np.isfinite(checked).all() or abs(np.linalg.det(checked[:3, :3])) < 1e-9:
        raise BadFileError("has an affine that places its voxels nowhere (singular or not finite)")
    return checked


def _is_nifti2(head: bytes) -> bool:
    """NIfTI-2 says so in its first field, the header's own size, in either byte order."""
    return HEADER_BYTES in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn every way in which a damaged file can fail into a reason; the texts of OSError hold paths, so they go."""
    try:
        yield
    except FileNotFoundError:
        raise BadFileError("is missing") from None
    except tuple(decompression_errors):
        raise BadFileError("is cut short or damaged: it does not decompress to its end") from None
    except OSError as error:
        raise BadFileError(f"cannot be read: {error.strerror or 'not a readable NIfTI file'}") from None
    except (ImageFileError, HeaderDataError, WrapStructError, ValueError, TypeError, OverflowError):
        raise BadFileError("is not a readable NIfTI file") from None

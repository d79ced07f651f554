"""NIfTI in, canonical volumes out. A file is decompressed once and checked to its last byte."""

import gzip
import logging
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from medtl.errors import BadFileError
from medtl.limits import FREE_VOLUME, MOST_BEYOND, check_growth
from medtl.readers.volume import Volume

gzip_reader: ModuleType = gzip
decompression_errors: list[Any] = [EOFError, zlib.error, gzip.BadGzipFile]
with suppress(ImportError):  # twice as fast as zlib, and optional
    from isal import igzip, isal_zlib

    gzip_reader = igzip
    decompression_errors.append(isal_zlib.error)

HEADER_BYTES = 540  # the larger of the NIfTI-1 (348) and NIfTI-2 headers
CHUNK = 2**18  # bytes decompressed at a time: they fit into the processor's cache
MOST_PACKED = 1032  # deflate makes at most so many bytes of one
GZIP = b"\x1f\x8b"
SINGLE = {b"n+1": 348, b"n+2": 540}  # mark of a file that holds header and voxels → size of its header
PAIR = (b"ni1", b"ni2")
MILLIMETRES = {1: 1000.0, 3: 0.001}  # of a unit by its code: metres, micrometres; all others are taken for millimetres
SPATIAL_UNIT = 7  # the bits of xyzt_units that tell it
VOXEL = (1e-4, 1e3)  # mm
SAME_SPACING = 0.01  # fraction of a voxel's size, for headers rounded in different ways
SAME_DIRECTION = 1.0  # degrees
# nibabel tells of each repair of a header with a line of its own; the reasons here are enough
silent = logging.Logger("medtl.readers.nifti")
silent.disabled = True


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What the first bytes say.

    Attributes:
        shape: as stored, axes (x, y, z[, channel]).
        affine: (4, 4) voxel index to RAS+ mm, by the first form that places voxels: sform, qform, or, where neither
            has a code, nibabel's guess (x from right to left, the middle at 0).
        stored: the header itself, whose forms, codes and units a mask takes over.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    stored: nib.Nifti1Header

    @property
    def note(self) -> str:
        """Return what is to be said of a file: that only the first of its volumes is taken, that nothing tells left
        from right; empty for most."""
        count = math.prod(self.shape[3:])
        notes = [f"holds {count} volumes of one shape: the first is taken"] if count > 1 else []
        if not any(self.stored[code] > 0 for code in ("qform_code", "sform_code")):
            notes.append("does not say how it lies in the patient (both codes are 0): left and right may be exchanged")
        return "; ".join(notes)


def read_header(path: Path) -> NiftiHeader:
    """Return the shape and affine without decompressing the voxels.

    Raises:
        BadFileError: the file is missing, empty, cut, no NIfTI, or a few bytes that claim gigabytes.
    """
    with _reasons():
        with gzip_reader.open(path) if _is_packed(path) else path.open("rb") as file:
            head = file.read(HEADER_BYTES)
        header = _parsed(head)
        check_growth(path.stat().st_size, _end(header), FREE_VOLUME)
        return NiftiHeader(tuple(int(n) for n in header.get_data_shape()), _affine(header), header)


def read_nifti(path: Path, channel: int | None = None) -> Volume:
    """Return a volume in canonical RAS+ order, scaled by the header's slope and intercept.

    The file is read to its last byte and its checksum compared whichever channel is wanted, but only that channel is
    kept in memory and looked at.

    Args:
        path: a single NIfTI-1 or NIfTI-2 file, packed by gzip or not, whatever its name.
        channel: which of the last axis of a 4-D file; None keeps the array as stored.

    Returns:
        Volume with array (x, y, z) or (x, y, z, channel); a view of the stored type where the header asks for no
        scaling.

    Raises:
        BadFileError: missing, empty, cut or damaged file, an unusable header, a channel that is not there, voxels (of
            that channel) that are not finite numbers.
    """
    return _read(path, channel).canonical()


def _read(path: Path, channel: int | None) -> Volume:
    """Return what ``read_nifti`` gives, in the order of the axes in the file."""
    with _reasons():
        size = path.stat().st_size
        if not size:
            raise BadFileError("is empty (0 bytes)")
        is_packed = _is_packed(path)
        with gzip_reader.open(path) if is_packed else path.open("rb", buffering=0) as file:
            header = _parsed(file.read(HEADER_BYTES))
            check_growth(size, _end(header), FREE_VOLUME)
            file.seek(header.get_data_offset())
            array = _stored(file, header, channel, size * MOST_PACKED if is_packed else size)
            slope, intercept = header.get_slope_inter()
    if array.dtype.kind not in "biuf":
        raise BadFileError("does not hold one real number a voxel (complex or RGB)")
    slope, intercept = 1.0 if slope is None else slope, 0.0 if intercept is None else intercept
    if (slope, intercept) != (1.0, 0.0):
        array = array.astype(np.float32)
        array *= np.float32(slope)
        array += np.float32(intercept)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadFileError(f"has {np.count_nonzero(~np.isfinite(array)):,} voxels that are not finite numbers")
    return Volume(array, _affine(header))


def read_image_and_mask(image: Path, mask: Path, channel: int | None = None) -> tuple[Volume, Volume]:
    """Return an image and its label volume on one grid; the mask is read first, so a bad one costs little.

    Raises:
        BadFileError: either is unusable, the label is missing, is not whole numbers, or has another shape, orientation,
            spacing, direction or origin.
    """
    if not mask.is_file():
        raise BadFileError(f"its label {mask.name} is missing")
    try:
        stored_mask = _read(mask, None)
    except BadFileError as error:
        raise BadFileError(f"its label {mask.name} {error}") from None
    labels = stored_mask.canonical().array
    if labels.ndim == 4 and labels.shape[3] == 1:
        labels = labels[..., 0]
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.rint(labels)):
        raise BadFileError(f"its label {mask.name} holds numbers that are not whole")
    if not stored_mask.array.max(initial=0) > 0:
        raise BadFileError(f"its label {mask.name} marks nothing")
    stored = _read(image, channel)
    volume = stored.canonical()
    if volume.array.shape[:3] != labels.shape:
        raise BadFileError(f"its label has shape {labels.shape}, the image {volume.array.shape[:3]} (in RAS order)")
    if nib.aff2axcodes(stored.affine) != nib.aff2axcodes(stored_mask.affine):
        raise BadFileError("its label is stored in another orientation than the image")
    if difference := other_grid(volume, stored_mask.canonical()):
        raise BadFileError(f"its label lies on another grid: {difference}")
    return volume, Volume(labels, volume.affine)


def other_grid(image: Volume, label: Volume) -> str:
    """Return how the grid of a label differs from its image's, by more than rounding; empty where it does not."""
    sizes = np.array([image.spacing, label.spacing])
    if (np.abs(sizes[1] - sizes[0]) > SAME_SPACING * sizes[0]).any():
        texts = [" × ".join(f"{size:.4g}" for size in each) for each in sizes]
        return f"its voxels measure {texts[1]} mm, the image's {texts[0]} mm"
    axes, own = image.affine[:3, :3] / sizes[0], label.affine[:3, :3] / sizes[1]
    turned = float(np.degrees(np.arccos(np.clip((axes * own).sum(axis=0), -1, 1))).max())
    if turned > SAME_DIRECTION:
        return f"it is turned by {turned:.1f}° against the image"
    away = float(np.linalg.norm(label.affine[:3, 3] - image.affine[:3, 3]))
    if away > sizes[0].min() / 2:
        return f"it begins {away:.1f} mm away from the image"
    return ""


def _is_packed(path: Path) -> bool:
    """Return whether a file is gzip's, by its first bytes: names are often wrong."""
    with path.open("rb") as file:
        return file.read(2) == GZIP


def _parsed(head: bytes) -> nib.Nifti1Header:
    """Return the header in either byte order.

    Raises:
        BadFileError: it is none, is that of a .hdr/.img pair, or says that its voxels lie within itself.
    """
    header_class = nib.Nifti2Header if _is_nifti2(head) else nib.Nifti1Header
    header = header_class(head[: header_class.sizeof_hdr], check=False)
    mark = bytes(header["magic"])[:3]
    if mark in PAIR:
        raise BadFileError("is the header of a .hdr/.img pair; expected a single .nii or .nii.gz")
    if mark not in SINGLE:
        raise BadFileError("is not a NIfTI file")
    offset = float(header["vox_offset"])
    if not offset >= SINGLE[mark] + 4:  # four bytes tell of extensions
        raise BadFileError(f"says that its voxels start at byte {offset:g}, within its own header")
    if offset > MOST_BEYOND:
        raise BadFileError(f"says that its voxels start at byte {offset:g}, far behind its header")
    header.check_fix(logger=silent)
    return header


def _stored(file: BinaryIO, header: nib.Nifti1Header, channel: int | None, most: int) -> NDArray:
    """Return the voxels as they are in the file, (x, y, z[, channel]), of one channel or all.

    Args:
        file: at its first voxel; read to its end, which is where gzip's checksum is compared.
        header: its header.
        channel: the only one to keep; channels lie one after the other.
        most: bytes that the file can hold at most, so that no header makes us ask for more memory than that.
    """
    shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
    if len(shape) not in (3, 4):
        raise BadFileError(f"is not a volume: its shape is {shape}")
    end = _end(header)
    kept, skipped = shape, 0
    if channel is not None and len(shape) == 4:
        if channel >= shape[3]:
            raise BadFileError(f"has shape {shape}: no channel {channel} on a fourth axis")
        kept = shape[:3]
        skipped = channel * math.prod(kept) * dtype.itemsize
    voxels = np.empty(math.prod(kept) * dtype.itemsize if end <= most else 0, np.uint8).data
    _pass_over(file, skipped)
    filled = 0
    while filled < len(voxels) and (count := file.readinto(voxels[filled : filled + CHUNK])):  # type: ignore[attr-defined]
        filled += count
    _pass_over(file, max(0, end - file.tell()) + MOST_BEYOND)
    if file.tell() < end:
        raise BadFileError(f"is cut short: {file.tell():,} of {end:,} bytes")
    if file.read(1):
        raise BadFileError(f"goes on for more than {MOST_BEYOND:,} bytes behind its voxels")
    return np.ndarray(kept, dtype, buffer=voxels, order="F")


def _end(header: nib.Nifti1Header) -> int:
    """The byte at which the voxels end, by the header."""
    shape = (int(n) for n in header.get_data_shape())
    return int(header.get_data_offset()) + math.prod(shape) * int(header.get_data_dtype().itemsize)


def _pass_over(file: BinaryIO, count: int) -> None:
    """Read so many bytes, or all that are left, and forget them."""
    scratch = memoryview(bytearray(CHUNK))
    while count and (passed := file.readinto(scratch[: min(count, CHUNK)])):  # type: ignore[attr-defined]
        count -= passed


def _affine(header: nib.Nifti1Header) -> NDArray[np.float64]:
    """Return (4, 4) voxel index to RAS+ mm by the first form of the header that places voxels."""
    forms = [header.get_sform] if header["sform_code"] > 0 else []
    forms += [header.get_qform] if header["qform_code"] > 0 else []
    scale = MILLIMETRES.get(int(header["xyzt_units"]) & SPATIAL_UNIT, 1.0)
    reason = ""
    for form in forms or [header.get_base_affine]:
        affine = np.asarray(form(), dtype=np.float64)
        affine[:3] *= scale
        reason = reason or _fault(affine)
        if not _fault(affine):
            return affine
    raise BadFileError(reason)


def _fault(affine: NDArray[np.float64]) -> str:
    """Return why voxels cannot be placed by an affine; empty where they can."""
    axes = affine[:3, :3]
    sizes = np.linalg.norm(axes, axis=0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(axes)) < 1e-9 * sizes.prod() or not sizes.all():
        return "has an affine that places its voxels nowhere (singular or not finite)"
    if not VOXEL[0] <= sizes.min() <= sizes.max() <= VOXEL[1]:
        return "has voxels of {:g} × {:g} × {:g} mm".format(*sizes)
    return ""


def _is_nifti2(head: bytes) -> bool:
    """Return whether a header is NIfTI-2's, whose first field is its own size, in either byte order."""
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

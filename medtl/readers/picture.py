"""Pictures for a 2-D network from whatever holds them: PNG, JPEG, TIFF, one DICOM image, or the transverse slices of a
NIfTI volume.

All come out as 8-bit grey or RGB, rows first, as a radiologist looks at them.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from medtl.errors import BadFileError, MedtlError, UsageError
from medtl.readers.dicom import read_slices, scan
from medtl.readers.nifti import read_header, read_nifti
from medtl.readers.volume import Volume, display
from medtl.transforms import intensity

RASTER = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
NIFTI = (".nii", ".nii.gz")
PHOTOMETRIC_INTERPRETATION, WHITE_IS_ZERO = 262, 0  # TIFF 6.0, page 37
HU_OF_AIR = -500  # a NIfTI file does not name its modality; only CT has voxels below this


@dataclass(frozen=True)
class Picture:
    """One picture to predict on: a file, or one slice of a volume.

    Attributes:
        path: the file.
        name: path relative to what the user named, with ``#<slice>`` for a slice of a volume.
        index: the slice, counted from the feet (RAS+), or None.
    """

    path: Path
    name: str
    index: int | None = None


def find_pictures(source: Path) -> list[Picture]:
    """All pictures of a file or a folder tree, by name; a 3-D NIfTI file gives each of its transverse slices, and one
    whose header cannot be read is one picture, which ``read_picture`` refuses.

    Files of other kinds are passed over, as are hidden ones; a file without an extension is tried as DICOM.

    Raises:
        UsageError: nothing there, or nothing of a kind that can be read.
        MedtlError: the one file is NIfTI and its header cannot be read.
    """
    if not source.exists():
        raise UsageError(f"--input {source}: no such file or folder; expected PNG, JPEG, DICOM or NIfTI")
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())
    root = source.parent if source.is_file() else source
    pictures: list[Picture] = []
    for path in files:
        if path.name[0] in "._" or kind(path) is None:
            continue
        name = path.relative_to(root).as_posix()
        if kind(path) == "nifti":
            try:
                pictures += [Picture(path, f"{name}#{index}", index) for index in range(_depth(path))]
            except BadFileError as error:
                if path == source:
                    raise MedtlError(f"--input: {name} {error}") from None
                pictures.append(Picture(path, name))
        else:
            pictures.append(Picture(path, name))
    if not pictures:
        raise UsageError(f"--input {source} holds no PNG, JPEG, DICOM or NIfTI file")
    return pictures


def kind(path: Path) -> str | None:
    """ "raster", "nifti", "dicom", or None for anything else, by name alone except for DICOM's own mark."""
    name = path.name.lower()
    if name.endswith(RASTER):
        return "raster"
    if name.endswith(NIFTI):
        return "nifti"
    with open(path, "rb") as file:
        return "dicom" if name.endswith(".dcm") or file.read(132)[128:] == b"DICM" else None


def read_picture(
    path: Path, index: int | None = None, channels: int = 1, ct_window: Sequence[float] = (-600, 1500)
) -> NDArray[np.uint8]:
    """One picture as 8-bit grey (rows, columns), or RGB (rows, columns, 3) for ``channels`` 3.

    Args:
        path: the file.
        index: slice of a NIfTI volume.
        channels: 1 or 3.
        ct_window: (centre, width) in HU for CT; other DICOM and NIfTI images are scaled between percentiles 0.5 and
        99.5.

    Raises:
        BadFileError: the file cannot be read; the text is the reason alone.
    """
    what = kind(path) if path.is_file() else "raster"
    if what == "raster":
        return _raster(path, channels)
    grey = _nifti_slice(path, index or 0, ct_window) if what == "nifti" else _dicom(path, ct_window)
    return np.repeat(grey[..., np.newaxis], 3, axis=2) if channels == 3 else grey


def _raster(path: Path, channels: int) -> NDArray[np.uint8]:
    mode = "RGB" if channels == 3 else "L"
    try:
        with Image.open(path) as image:
            if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
                raise BadFileError("holds several pictures where one is expected")
            if image.mode.startswith("I") or image.mode == "F":
                return np.asarray(Image.fromarray(deep_grey(image)).convert(mode))
            return np.asarray(image.convert(mode))
    except FileNotFoundError:
        raise BadFileError("is missing") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise BadFileError("is not a readable image, or is cut short") from None


def deep_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Grey of more than 8 bits by the bits that it uses; Pillow would clip it at 255.

    Raises:
        BadFileError: its values are negative or floating-point: what is white is not known.
    """
    try:
        grey = intensity.by_bits_used(np.asarray(image))
    except ValueError:
        raise BadFileError("holds negative or floating-point greys: save it with 8 or 16 bits") from None
    tags = getattr(image, "tag_v2", {})  # of a TIFF; Pillow inverts its 8 bits alone
    return 255 - grey if tags.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO else grey


def _dicom(path: Path, ct_window: Sequence[float]) -> NDArray[np.uint8]:
    found = scan([path])
    if found.rejected:
        raise BadFileError(found.rejected[0][1])
    if len(found.series) != 1 or len(found.series[0].headers) != 1:
        raise BadFileError("is not one DICOM image")
    values = read_slices(found.series[0])[0]
    return _grey(values, ct_window if found.series[0].modality == "CT" else None)


def _nifti_slice(path: Path, index: int, ct_window: Sequence[float]) -> NDArray[np.uint8]:
    low, high = _volume_range(path, tuple(ct_window))
    return intensity.scale(display(_volume(path).array[:, :, index]), low, high)


@functools.lru_cache(maxsize=1)
def _volume(path: Path) -> Volume:
    """The first channel; a volume's slices are asked for one after the other: it is decoded once."""
    return read_nifti(path, channel=0)


@functools.lru_cache(maxsize=1)
def _volume_range(path: Path, ct_window: tuple[float, ...]) -> tuple[float, float]:
    array = _volume(path).array
    return _range(array, ct_window if array.min() < HU_OF_AIR else None)


def _grey(values: NDArray, ct_window: Sequence[float] | None) -> NDArray[np.uint8]:
    return intensity.scale(values, *_range(values, ct_window))


def _depth(path: Path) -> int:
    """Slices along the body axis, from the header alone."""
    header = read_header(path)
    if len(header.shape) < 3:
        raise BadFileError(f"is not a volume: its shape is {header.shape}")
    axis = nib.io_orientation(header.affine)[:, 0].tolist().index(2)
    return header.shape[axis]


def _range(values: NDArray, ct_window: Sequence[float] | None) -> tuple[float, float]:
    if ct_window is None:
        return intensity.mr_range(values)
    centre, width = ct_window
    return centre - width / 2, centre + width / 2

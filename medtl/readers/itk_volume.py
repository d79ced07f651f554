"""MetaImage (.mhd with its raw file, .mha) and NRRD (.nrrd, .nhdr) volumes, through ITK's own readers."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtl.errors import BadFileError
from medtl.limits import FREE_VOLUME, check_growth
from medtl.readers.volume import Volume

SUFFIXES = (".mhd", ".mha", ".nrrd", ".nhdr")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
HEADER_BYTES = 65536
SIZES = re.compile(rb"^(?:DimSize\s*=|sizes:)([\d \t]*)", re.MULTILINE)
VOXEL = re.compile(rb"^(?:ElementType\s*=|type:)[ \t]*([^\r\n]*)", re.MULTILINE)
PLAIN = re.compile(rb"^(?:CompressedData\s*=\s*False|encoding:\s*raw)", re.MULTILINE | re.IGNORECASE)
BYTES = ((b"64", 8), (b"double", 8), (b"long", 8), (b"int", 4), (b"float", 4), (b"16", 2), (b"short", 2))
DATA_FILE = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)([^\r\n]*)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class ItkHeader:
    """What a header says.

    Attributes:
        shape: (x, y, z) voxels, in the order of the file.
        affine: (4, 4) voxel index to RAS+ mm.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]


def read_itk_header(path: Path) -> ItkHeader:
    """Return the shape and affine of a volume without reading its voxels.

    Args:
        path: as of ``read_itk``.

    Raises:
        BadFileError: as ``read_itk`` for what the header tells.
    """
    return _header(path)[1]


def read_itk(path: Path) -> Volume:
    """Return a volume with its axes in the order of the file: neither flipped nor resampled; see ``Volume.canonical``.

    Args:
        path: a header or single file, the case of its suffix ignored; its data file, packed or not, lies where it says.

    Returns:
        Volume with array (x, y, z) of the stored type, and an affine in RAS+ mm (ITK itself counts in LPS+).

    Raises:
        BadFileError: absent, damaged or cut file, another format, two or four dimensions, several values a voxel, a
            geometry that places voxels nowhere, voxels that are not finite numbers, a data file outside the header's
            folder.
    """
    reader, header = _header(path)
    import itk

    try:
        image = itk.imread(str(path), imageio=reader)
        array = itk.array_from_image(image)
    except Exception:  # ITK raises RuntimeError with the path and C++ places in it, and others for odd pixel types
        raise BadFileError("is cut short or damaged: its voxels cannot be read") from None
    if array.dtype.kind not in "biuf":
        raise BadFileError("does not hold one real number a voxel")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadFileError(f"has {np.count_nonzero(~np.isfinite(array)):,} voxels that are not finite numbers")
    return Volume(array.transpose(2, 1, 0), header.affine)


def _header(path: Path) -> tuple[Any, ItkHeader]:
    """Return ITK's reader of a file, its header read, and what that says."""
    if path.suffix.lower() not in SUFFIXES:
        raise BadFileError(f"is not one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise BadFileError("is missing")
    if not path.stat().st_size:
        raise BadFileError("is empty (0 bytes)")
    _check_data_file(path)
    _check_growth(path)
    import itk  # takes seconds, which only such a file costs

    reader = _opened(itk, path)
    sizes = [int(reader.GetDimensions(k)) for k in range(reader.GetNumberOfDimensions())]
    if len(sizes) != 3 or min(sizes) < 1:
        raise BadFileError(f"is not a volume: its shape is {tuple(sizes)}")
    if reader.GetNumberOfComponents() != 1:
        raise BadFileError(f"has {reader.GetNumberOfComponents()} values a voxel (colour or vectors), not one")
    return reader, ItkHeader((sizes[0], sizes[1], sizes[2]), _affine(reader))


def data_file(path: Path) -> str:
    """Return the file that a header names for its voxels, as it stands there; the header's own name where it names none
    or cannot be read."""
    try:
        with open(path, "rb") as file:
            match = DATA_FILE.search(file.read(HEADER_BYTES))
    except OSError:
        match = None
    name = match[1].strip().decode("utf-8", "replace") if match else ""
    return name if name not in ("", ".", "LOCAL") else path.name


def _check_data_file(path: Path) -> None:
    """Refuse a text header that sends the reader to a file outside its own folder."""
    name = data_file(path)
    if "/" in name or "\\" in name or name.startswith(".."):
        raise BadFileError("its header names a data file outside its folder")


def _check_growth(path: Path) -> None:
    """Refuse a file whose header claims more voxels than its data can hold, before ITK asks for memory: it does so
    without a look at the data."""
    with open(path, "rb") as file:
        head = file.read(HEADER_BYTES)
    sizes, kind = SIZES.search(head), VOXEL.search(head)
    if sizes is None or kind is None:
        return  # ITK tells what is wrong with such a header
    width = next((width for name, width in BYTES if name in kind[1].lower()), 1)
    claimed = math.prod(int(number) for number in sizes[1].split()) * width
    data = path.with_name(data_file(path))
    stored = data.stat().st_size if data.is_file() else path.stat().st_size
    if PLAIN.search(head) and claimed > stored:
        raise BadFileError(f"is cut short or damaged: its header claims {claimed:,} bytes, there are {stored:,}")
    check_growth(stored, claimed, FREE_VOLUME)


def _opened(itk: Any, path: Path) -> Any:
    """Return ITK's reader of the format, the header read."""
    is_meta = path.suffix.lower() in (".mhd", ".mha")
    reader = itk.MetaImageIO.New() if is_meta else itk.NrrdImageIO.New()
    try:
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
    except Exception:
        raise BadFileError("is not a readable volume: its header is damaged") from None
    return reader


def _affine(reader: Any) -> NDArray[np.float64]:
    """Return (4, 4) voxel index to RAS+ mm from ITK's origin, spacing and direction (columns are axes)."""
    affine = np.eye(4)
    for axis in range(3):
        affine[:3, axis] = np.array(reader.GetDirection(axis), dtype=np.float64) * reader.GetSpacing(axis)
        affine[axis, 3] = reader.GetOrigin(axis)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise BadFileError("has a geometry that places its voxels nowhere (singular or not finite)")
    return LPS_TO_RAS @ affine

"""numpy's .npz archives of unknown origin: headers without data, arrays without unpickling, faults in one line."""

import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from medtl.errors import BadFileError
from medtl.limits import check_growth

MOST_HEADER = 65536  # bytes
ENDING = ".npy"  # of each array's name in an archive
DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, RuntimeError)


def open_npz(path: Path) -> zipfile.ZipFile:
    """Return the archive, to be closed by the caller.

    Raises:
        BadFileError: it is none, or has no end.
    """
    try:
        return zipfile.ZipFile(path)
    except DAMAGED:
        raise BadFileError("is no .npz, or is cut short") from None


def read_array_header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Return the shape and type of one array, without reading it.

    Raises:
        BadFileError: the archive has no such array, or not in whole.
    """
    try:
        info = archive.getinfo(f"{name}.npy")
        with archive.open(info) as packed:
            member = io.BytesIO(packed.read(MOST_HEADER))  # NumPy reads a header however long it says it is
            read = npy.read_array_header_1_0 if npy.read_magic(member) == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(member)
    except KeyError:
        raise BadFileError(f"has no array {name}") from None
    except DAMAGED:
        raise BadFileError(f"{name} cannot be read: the file is damaged") from None
    if dtype.hasobject or math.prod(shape) * dtype.itemsize > info.file_size:
        raise BadFileError(f"{name} cannot be read: it is no plain array of {dtype}, shape {shape}")
    check_growth(info.compress_size, info.file_size)
    return shape, dtype


def read_array(archive: zipfile.ZipFile, name: str) -> NDArray:
    """Return one array of the archive; the others are not read, and nothing is unpickled.

    Raises:
        BadFileError: as for ``read_array_header``.
    """
    read_array_header(archive, name)
    try:
        with archive.open(f"{name}.npy") as member:
            array = npy.read_array(member, allow_pickle=False)
            member.read(1)  # at the end the archive's own checksum is compared
    except DAMAGED:
        raise BadFileError(f"{name} cannot be read: the file is damaged") from None
    return np.asarray(array)


def read_all(path: Path, only: Sequence[str] = ()) -> dict[str, NDArray]:
    """Return every array of an archive by its name, or those of ``only`` that it has, if it has any.

    Raises:
        BadFileError: it is no .npz, holds what is no plain array, or grows beyond all reason.
    """
    with open_npz(path) as archive:
        there = [name.removesuffix(ENDING) for name in archive.namelist() if name.endswith(ENDING)]
        names = [name for name in there if name in only] or there
        total = sum(archive.getinfo(name + ENDING).file_size for name in names)
        check_growth(path.stat().st_size, total)
        return {name: read_array(archive, name) for name in names}


def rows_of(archive: zipfile.ZipFile, name: str) -> Iterator[NDArray]:
    """Yield each row of one array in turn, read as it is asked for: the whole may be larger than the memory.

    Raises:
        BadFileError: as for ``read_array_header``; at the end, where the archive's checksum disagrees.
    """
    shape, dtype = read_array_header(archive, name)
    size = math.prod(shape[1:]) * dtype.itemsize
    try:
        with archive.open(f"{name}.npy") as member:
            read = npy.read_array_header_1_0 if npy.read_magic(member) == (1, 0) else npy.read_array_header_2_0
            if read(member)[1]:
                raise BadFileError(f"{name} cannot be read: its columns are stored one after the other")
            for _ in range(shape[0]):
                content = member.read(size)
                if len(content) < size:
                    raise EOFError
                yield np.frombuffer(content, dtype).reshape(shape[1:])
            member.read(1)
    except DAMAGED:
        raise BadFileError(f"{name} cannot be read: the file is damaged") from None

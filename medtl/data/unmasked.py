"""Pictures to predict masks on, one case each; every file of the input is accounted for."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from medtl.data.slices import Slices, fitted
from medtl.errors import BadFileError, UsageError
from medtl.readers.find import File, Passed, Refused, images
from medtl.readers.picture import read_picture

EXPECTED = "pictures (PNG, JPEG, TIFF, BMP, WebP)"


@dataclass(frozen=True, eq=False)
class Unmasked:
    """What is predicted on.

    Attributes:
        names: of each picture below the input, without its suffix; unique.
        slices: the pictures, fitted into squares.
        pictures: each as it is, (rows, columns) or (rows, columns, 3), uint8.
        refused: files that cannot be used, with the reason.
        passed: files that are passed over.
    """

    names: tuple[str, ...]
    slices: Slices
    pictures: tuple[NDArray[np.uint8], ...]
    refused: tuple[Refused, ...]
    passed: tuple[Passed, ...]


def found(source: str, image_size: int, channels: int, workers: int = 0) -> Unmasked:
    """Return every picture of a file or folder tree, and an account of every other file.

    Args:
        source: a folder, or a picture.
        image_size: rows and columns of the squares.
        channels: 1 reads grey, 3 RGB.
        workers: reading threads; 0 reads in this one.

    Raises:
        UsageError: nothing there, or no file of these kinds.
    """
    root = Path(str(source))
    if not root.exists():
        raise UsageError(f"--input {source}: no such file or folder; expected {EXPECTED}")
    tree = images(root, ("raster",))
    refused = list(tree.refused)

    def read(file: File) -> NDArray[np.uint8] | str:
        try:
            return read_picture(file.path, channels=channels)
        except BadFileError as error:
            return str(error)

    names: list[str] = []
    pictures: list[NDArray[np.uint8]] = []
    with ThreadPoolExecutor(max(1, workers)) as threads:
        for file, picture in zip(tree.files, threads.map(read, tree.files), strict=True):
            if isinstance(picture, str):
                refused.append(Refused(file.name, picture))
            else:
                names.append(file.name)
                pictures.append(picture)
    if not pictures and not refused:
        raise UsageError(f"--input {source} holds no picture; expected {EXPECTED}")
    planes = [picture[np.newaxis] if picture.ndim == 2 else np.moveaxis(picture, 2, 0) for picture in pictures]
    squares = [fitted(np.ascontiguousarray(each), image_size) for each in planes]
    stack = np.stack(squares) if squares else np.zeros((0, channels, image_size, image_size), np.uint8)
    labels = torch.zeros((len(pictures), image_size, image_size), dtype=torch.uint8)
    shapes = tuple((int(picture.shape[0]), int(picture.shape[1])) for picture in pictures)
    return Unmasked(
        _apart(names), Slices(stack, labels, shapes=shapes), tuple(pictures), tuple(sorted(refused)), tree.passed
    )


def _apart(names: Sequence[str]) -> tuple[str, ...]:
    """Names without suffix where these differ, else with it: a.png and a.jpg have masks of their own."""
    bare = [PurePosixPath(name).with_suffix("").as_posix() for name in names]
    return tuple(
        short if bare.count(short) == 1 else name.replace(".", "_") for short, name in zip(bare, names, strict=True)
    )

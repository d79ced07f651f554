"""Pictures to predict masks on, one case each; every file of the input is accounted for."""

import itertools
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from medtl.data.patches import WholePictures
from medtl.data.slices import Slices, fitted
from medtl.data.stored import Stored
from medtl.errors import BadFileError, UsageError
from medtl.readers.find import File, Passed, Refused, images
from medtl.readers.picture import read_picture

EXPECTED = "pictures (PNG, JPEG, TIFF, BMP, WebP)"


@dataclass(frozen=True, eq=False)
class Unmasked:
    """What is predicted on.

    Attributes:
        names: of each picture below the input, without its suffix; unique.
        slices: the pictures, fitted into squares, or as they are, on disk.
        planes: each picture as it is, (channels, rows, columns), on disk.
        refused: files that cannot be used, with the reason.
        passed: files that are passed over.
    """

    names: tuple[str, ...]
    slices: Slices | WholePictures
    planes: Sequence[NDArray[np.uint8]]
    refused: tuple[Refused, ...]
    passed: tuple[Passed, ...]

    def picture(self, place: int) -> NDArray[np.uint8]:
        """Return a picture as it is looked at: (rows, columns) or (rows, columns, 3)."""
        planes = self.planes[place]
        return planes[0] if len(planes) == 1 else np.moveaxis(planes, 0, 2)


def found(source: str, image_size: int, channels: int, workers: int = 0, patch_size: int = 0) -> Unmasked:
    """Return every picture of a file or folder tree, and an account of every other file.

    Args:
        source: a folder, or a picture.
        image_size: rows and columns of the squares.
        channels: 1 reads grey, 3 RGB.
        workers: reading threads; 0 reads in this one.
        patch_size: rows and columns of a window that slides over the pictures; 0 fits them into squares.

    Raises:
        UsageError: nothing there, or no file of these kinds. MedtlError: the disk is full.
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
    planes, few = Stored(), max(1, workers)
    with ThreadPoolExecutor(few) as threads:
        for start in range(0, len(tree.files), few):  # no thread runs ahead of what is written
            part = tree.files[start : start + few]
            for file, picture in zip(part, threads.map(read, part), strict=True):
                if isinstance(picture, str):
                    refused.append(Refused(file.name, picture))
                else:
                    names.append(file.name)
                    planes.append(picture[np.newaxis] if picture.ndim == 2 else np.moveaxis(picture, 2, 0))
    if not names and not refused:
        raise UsageError(f"--input {source} holds no picture; expected {EXPECTED}")
    shapes = tuple((each.shape[1], each.shape[2]) for each in planes)
    whole = WholePictures(planes, (), shapes, channels, patch_size)
    slices = whole if patch_size else _squares(whole, image_size)
    return Unmasked(_apart(names), slices, planes, tuple(sorted(refused)), tree.passed)


def _squares(whole: WholePictures, image_size: int) -> Slices:
    stack = np.zeros((len(whole), whole.channels, image_size, image_size), np.uint8)
    for place, planes in enumerate(whole.pictures):
        stack[place] = fitted(np.array(planes), image_size)
    labels = torch.zeros((len(whole), image_size, image_size), dtype=torch.uint8)
    return Slices(stack, labels, shapes=whole.shapes)


def _apart(names: Sequence[str]) -> tuple[str, ...]:
    """Names without suffix where these differ, else with it: a.png and a.jpg have masks of their own. Of a third one
    that is called a_png.png the number behind it tells that apart."""
    bare = [PurePosixPath(name).with_suffix("").as_posix() for name in names]
    often = Counter(bare)
    taken, found = {short for short in bare if often[short] == 1}, []
    for short, name in zip(bare, names, strict=True):
        own = short
        if often[short] > 1:
            whole = PurePosixPath(name)
            wanted = whole.with_name(whole.name.replace(".", "_")).as_posix()
            numbered = (f"{wanted}_{number}" for number in itertools.count(2))
            own = next(each for each in itertools.chain([wanted], numbered) if each not in taken)
            taken.add(own)
        found.append(own)
    return tuple(found)

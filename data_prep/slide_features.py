"""Features of patches by the network that a start fills: the probe's extractor, in a data preparation."""

import functools
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medtl.readers.slide import SUFFIXES as SUFFIXES

if TYPE_CHECKING:
    from medtl.features.extract import Extractor


@dataclass(frozen=True)
class Wanted:
    """How slides become features.

    Attributes:
        magnification: of the patches.
        most: patches of a slide, evenly spaced; 0 for all.
        backbone: network that gives features; empty keeps the patches.
        init: start of it.
        weights: SHA-256 of the start's weights, so that other weights are other work.
        image_size: pixels of a patch that the network sees.
    """

    magnification: float
    most: int = 0
    backbone: str = ""
    init: str = ""
    weights: str = ""
    image_size: int = 224


def wanted(magnification: float, most: int, backbone: str, init: str, image_size: int) -> Wanted:
    """Return what is wanted, its start looked up.

    Raises:
        UsageError: there is no such network or start.
    """
    if not backbone:
        return Wanted(magnification, most)
    from medtl.weights.starts import resolve  # imports torch

    found = resolve(init or "random", backbone)
    return Wanted(magnification, most, backbone, init or "random", found.sha256, image_size)


def bag_of_patches(path: Path, how: Wanted) -> NDArray[np.float32]:
    """Return the features (patches, width) of a zip that ``slides.write_patches`` wrote, in its order."""
    import torch

    from medtl.data.packed import Packed

    size = how.image_size
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        images = np.empty((len(names), 3, size, size), dtype=np.uint8)
        for place, name in enumerate(names):
            with archive.open(name) as file, Image.open(file) as picture:
                small = picture.convert("RGB").resize((size, size), Image.Resampling.BOX)
                images[place] = np.asarray(small).transpose(2, 0, 1)
    found = _extractor(how.backbone, how.init, size)(Packed(images, torch.zeros(len(images), dtype=torch.int64)))
    return np.asarray(found.values, dtype=np.float32)


@functools.lru_cache(maxsize=1)
def _extractor(backbone: str, init: str, size: int) -> "Extractor":
    """One a process: its network is built once."""
    import torch

    from medtl.features.extract import Extractor, Model
    from medtl.weights.starts import resolve

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Extractor(Model(backbone, resolve(init, backbone), size, device))

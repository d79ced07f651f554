"""Features of patches by a network, filled by one start or several: the probe's extractor, in a data preparation."""

import functools
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medtl.errors import UsageError
from medtl.readers.slide import SUFFIXES as SUFFIXES
from medtl.writers.features import PATIENT

if TYPE_CHECKING:
    from medtl.features.extract import Extractor


@dataclass(frozen=True)
class Wanted:
    """How slides become features.

    Attributes:
        magnification: of the patches.
        most: patches of a slide, evenly spaced; 0 for all.
        backbone: network that gives features; empty keeps the patches.
        inits: starts of it, each of which gives its own features.
        weights: SHA-256 of each start's weights, and what computes with them (``medtl.features.code``), so that others
            are other work.
        image_size: pixels of a patch that the network sees.
    """

    magnification: float
    most: int = 0
    backbone: str = ""
    inits: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    image_size: int = 224

    def named(self) -> dict[str, str]:
        """Return the starts by the name that their features have: of a file that without its suffix."""
        return {PurePath(init).stem if "/" in init or "." in init else init: init for init in self.inits}


def wanted(magnification: float, most: int, backbone: str, inits: Sequence[str], image_size: int) -> Wanted:
    """Return what is wanted, its starts looked up.

    Raises:
        UsageError: there is no such network or start, or two starts have one name.
    """
    if not backbone:
        return Wanted(magnification, most)
    from medtl.features.code import code_of
    from medtl.weights.starts import resolve  # imports torch

    inits = tuple(inits) or ("random",)
    found = Wanted(magnification, most, backbone, inits, (), image_size)
    names = found.named()
    if len(names) < len(inits):
        raise UsageError(f"--init {','.join(inits)}: two starts have one name; rename a file")
    if PATIENT in names:
        raise UsageError(f"--init {names[PATIENT]}: its features would be called {PATIENT!r}; rename the file")
    weights = [resolve(init, backbone).sha256 for init in inits]
    code = {f"{name} {text}" for sha256 in weights for name, text in code_of(backbone, sha256).items()}
    return replace(found, weights=(*weights, *sorted(code)))


def bags_of_patches(path: Path, how: Wanted) -> dict[str, NDArray[np.float32]]:
    """Return the features (patches, width) of a zip that ``slides.write_patches`` wrote, in its order, by start."""
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
    packed = Packed(images, torch.zeros(len(images), dtype=torch.int64))
    return {
        name: np.asarray(_extractor(how.backbone, init, size)(packed).values, dtype=np.float32)
        for name, init in how.named().items()
    }


@functools.lru_cache(maxsize=8)
def _extractor(backbone: str, init: str, size: int) -> "Extractor":
    """One a process and start: its network is built once."""
    import torch

    from medtl.features.extract import Extractor, Model
    from medtl.weights.starts import resolve

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Extractor(Model(backbone, resolve(init, backbone), size, device))

"""Local contrast and empty borders of single pictures: what some publications do before they train.

As MONAI transforms on float32 pictures (channels, rows, columns), 0..255, such as ``LoadPictured`` gives.
"""

import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray
from skimage.color import lab2rgb, rgb2lab
from skimage.exposure import equalize_adapthist

from medtl.errors import UsageError

LIGHTNESS = 100.0  # largest L of CIELAB


def clahe(picture: NDArray[np.float32], tiles: int = 8, clip_limit: float = 0.01) -> NDArray[np.float32]:
    """Return a picture after contrast limited adaptive histogram equalisation (Zuiderveld 1994), of colours their
    lightness in CIELAB alone. A picture of one value has no contrast, and stays as it is.

    ``clip_limit`` is scikit-image's, a share of a tile's pixels: 0.01 is about what OpenCV calls 2.0. They are
    different units, so a figure needs the library's name beside it.

    Args:
        picture: (1 or 3, rows, columns), 0..255.
        tiles: along each side, at least 1.
        clip_limit: above 0, up to 1; larger gives more contrast.
    """
    if (picture == picture[:, :1, :1]).all():  # scikit-image makes it white
        return picture.astype(np.float32)
    kernel = [max(1, side // tiles) for side in picture.shape[1:]]
    if len(picture) == 1:
        even = equalize_adapthist(picture[0].astype(np.float64) / 255, kernel, clip_limit)[np.newaxis]
    else:
        lab = rgb2lab(np.moveaxis(picture, 0, 2).astype(np.float64) / 255)
        lab[..., 0] = equalize_adapthist(lab[..., 0] / LIGHTNESS, kernel, clip_limit) * LIGHTNESS
        with warnings.catch_warnings(action="ignore"):  # that what became too light for its colour is clipped
            even = np.moveaxis(lab2rgb(lab), 2, 0)
    return np.asarray(np.clip(even, 0, 1) * 255, dtype=np.float32)


def content_box(picture: NDArray[np.float32], threshold: float = 10.0) -> tuple[slice, slice]:
    """Return the rows and columns between the outermost pixels that are brighter than a threshold in any channel; all
    of a picture that has none.

    Args:
        picture: (channels, rows, columns), 0..255.
        threshold: of the grey value, 0..255; black borders of JPEGs are not quite 0.
    """
    bright = picture.max(0) > threshold
    if not bright.any():
        return slice(0, picture.shape[1]), slice(0, picture.shape[2])
    rows, columns = (np.flatnonzero(bright.any(axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


class Clahed(MapTransform):
    """Contrast limited adaptive histogram equalisation, see ``clahe``.

    Args:
        keys: of the pictures.
        tiles, clip_limit: as of ``clahe``.

    Raises:
        UsageError: one of them cannot be.
    """

    def __init__(self, keys: KeysCollection, tiles: int = 8, clip_limit: float = 0.01) -> None:
        super().__init__(keys)
        if tiles < 1 or not 0 < clip_limit <= 1:
            raise UsageError(f"tiles {tiles} must be at least 1, clip_limit {clip_limit} above 0 and up to 1")
        self.tiles = tiles
        self.clip_limit = clip_limit

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            picture = np.asarray(result[key], dtype=np.float32)
            result[key] = torch.from_numpy(clahe(picture, self.tiles, self.clip_limit))
        return result


class CropBordersd(MapTransform):
    """Pictures without their black borders, see ``content_box``.

    Args:
        keys: of the pictures.
        threshold: as of ``content_box``.
    """

    def __init__(self, keys: KeysCollection, threshold: float = 10.0) -> None:
        super().__init__(keys)
        self.threshold = threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            rows, columns = content_box(np.asarray(result[key], dtype=np.float32), self.threshold)
            result[key] = result[key][:, rows, columns]
        return result

"""MONAI dictionary transforms: pictures in, key slices of volumes out and back, scanner units to grey."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.transforms.traits import MultiSampleTrait
from monai.utils import ensure_tuple

from medtl.errors import BadFileError, MedtlError
from medtl.readers import intensity
from medtl.readers.picture import read_picture
from medtl.transforms import key_slice

SLICE, DEPTH, RULE = "key_slice", "key_slice_depth", "key_slice_rule"


class LoadPictured(MapTransform):
    """A path to an 8-bit picture as float32 tensor (channels, rows, columns), 0..255.

    Rows come first, as in the file (MONAI's LoadImage gives them transposed). A ``slice`` entry beside the path names
    the slice of a NIfTI volume.

    Args:
        keys: of the paths.
        channels: 1 for grey, 3 for RGB.
        ct_window: (centre, width) in HU for CT in DICOM or NIfTI.

    Raises:
        MedtlError: naming the file and why it cannot be read.
    """

    def __init__(self, keys: KeysCollection, channels: int = 1, ct_window: Sequence[float] = (-600, 1500)) -> None:
        super().__init__(keys)
        self.channels = channels
        self.ct_window = ct_window

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            path = Path(result[key])
            try:
                pixels = read_picture(path, result.get("slice"), self.channels, self.ct_window)
            except BadFileError as error:
                raise MedtlError(f"{path} {error}") from None
            planes = pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
            result[key] = torch.from_numpy(planes.astype(np.float32))
        return result


class KeySliced(MapTransform, MultiSampleTrait):
    """The key slices of a case: a list of dictionaries, one a slice, in ascending order.

    Each picture keeps where it came from, in its metadata if it is a MetaTensor and always beside it under
    ``key_slice`` (the index along the last axis), ``key_slice_depth`` (slices of the volume) and ``key_slice_rule``:
    all that ``SlicesToVolumed`` needs to put results back.

    Args:
        keys: volumes (channels, x, y, z).
        mask_key: the volume (channels, x, y, z) whose foreground (above 0, any channel) the rule measures.
        rule: ``area:0.93``, ``largest:5``, ``stride:2`` or ``all``.

    Raises:
        MedtlError: the mask marks nothing, or a volume has another depth than the mask.
    """

    def __init__(self, keys: KeysCollection, mask_key: str = "label", rule: str = "area:0.90") -> None:
        super().__init__(keys)
        key_slice.select([1], rule)
        self.mask_key = mask_key
        self.rule = rule

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        mask = np.asarray(data[self.mask_key])
        depth = mask.shape[-1]
        chosen = key_slice.select(key_slice.slice_areas(mask.max(axis=0)), self.rule)
        if not chosen.size:
            raise MedtlError(f"key slices: {self.mask_key!r} marks nothing")
        for key in self.key_iterator(dict(data)):
            if data[key].shape[-1] != depth:
                raise MedtlError(f"key slices: {key!r} has {data[key].shape[-1]} slices, {self.mask_key!r} has {depth}")
        return [self._slice(data, int(index), depth) for index in chosen]

    def _slice(self, data: Mapping[Hashable, Any], index: int, depth: int) -> dict[Hashable, Any]:
        where: dict[Hashable, Any] = {SLICE: index, DEPTH: depth, RULE: self.rule}
        picture: dict[Hashable, Any] = {**data, **where}
        for key in self.key_iterator(picture):
            picture[key] = data[key][..., index]
            if isinstance(picture[key], MetaTensor):
                picture[key].meta = {**data[key].meta, **where}
        return picture


class SlicesToVolumed:
    """The inverse of ``KeySliced``: dictionaries of one case, in any order, to one dictionary of volumes.

    Args:
        keys: pictures (channels, x, y) to put back.
        fill: value of the slices that were not taken.
    """

    def __init__(self, keys: KeysCollection, fill: float = 0) -> None:
        self.keys = ensure_tuple(keys)
        self.fill = fill

    def __call__(self, data: Sequence[Mapping[Hashable, Any]]) -> dict[Hashable, Any]:
        indices = [int(picture[SLICE]) for picture in data]
        volumes = {
            key: key_slice.stack_slices(
                [np.asarray(picture[key]) for picture in data], indices, int(data[0][DEPTH]), self.fill
            )
            for key in self.keys
        }
        rest = {key: value for key, value in data[0].items() if key not in (SLICE, DEPTH, RULE)}
        return {**rest, **volumes}


class CTWindowd(MapTransform):
    """Hounsfield units to 0..255 (uint8) by a window.

    Args:
        keys: arrays or tensors in HU.
        centre, width: of the window, in HU.
    """

    def __init__(self, keys: KeysCollection, centre: float, width: float) -> None:
        super().__init__(keys)
        self.centre = centre
        self.width = width

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = intensity.ct_window(np.asarray(result[key]), self.centre, self.width)
        return result


class MRPercentilesd(MapTransform):
    """MR intensities to 0..255 (uint8) between two percentiles of the non-zero voxels, each channel by itself.

    Args:
        keys: arrays or tensors (channels, …); give whole volumes, so that a case's slices stay comparable.
        lower, upper: percentiles, 0..100.
    """

    def __init__(self, keys: KeysCollection, lower: float = 0.5, upper: float = 99.5) -> None:
        super().__init__(keys)
        self.lower = lower
        self.upper = upper

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            channels = np.asarray(result[key])
            grey = [intensity.scale(c, *intensity.mr_range(c, self.lower, self.upper)) for c in channels]
            result[key] = np.stack(grey)
        return result

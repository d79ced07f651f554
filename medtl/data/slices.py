"""Slices with masks: a split of a few hundred held in memory as 8-bit pictures, and which slices make up which case.

Pictures and masks are fitted into a square: shrunk or enlarged until the longer side fits, then padded with black, so
that no organ is squeezed. Logits go the way back, to the size the slice has on disk, and are scored there.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medtl.data.packed import Packed
from medtl.data.packed_loader import PackedLoader
from medtl.datalist import DataList, Entry
from medtl.errors import BadFileError, MedtlError
from medtl.files import file_hash
from medtl.readers.picture import read_picture
from medtl.readers.raster import UNREADABLE, opened_picture
from medtl.transforms.joint import JointTransform


@dataclass(frozen=True)
class Slices(Packed):
    """A split in memory.

    Attributes:
        images: (n, channels, size, size), uint8.
        labels: masks (n, size, size), uint8; 0 is background.
        shapes: (rows, columns) of each slice on disk.
        truths: each slice's mask as on disk (rows, columns), uint8; empty for pictures without masks.
    """

    shapes: tuple[tuple[int, int], ...] = ()
    truths: tuple[NDArray[np.uint8], ...] = ()


@dataclass(frozen=True)
class Case:
    """One volume of one patient.

    Attributes:
        name: of the case, such as ``MR/1``.
        patient: whose it is.
        index: (n,) places of its slices in their split, from the feet to the head.
        numbers: (n,) slice numbers, growing; where one is missing the volume has an empty slice.
        spacing: of the voxels along (column, row, slice) in mm.
    """

    name: str
    patient: str
    index: tuple[int, ...]
    numbers: tuple[int, ...]
    spacing: tuple[float, float, float]

    def volume(self, slices: Mapping[int, NDArray]) -> NDArray:
        """Return (columns, rows, slices) of the slices by their place in the split, each (rows, columns)."""
        first = self.numbers[0]
        rows, columns = slices[self.index[0]].shape
        stack = np.zeros((columns, rows, self.numbers[-1] - first + 1), slices[self.index[0]].dtype)
        for place, number in zip(self.index, self.numbers, strict=True):
            stack[:, :, number - first] = slices[place].T
        return stack


def cases_of(entries: Sequence[Entry]) -> tuple[Case, ...]:
    """Return the cases of a split's entries, in the order in which they first appear.

    Raises:
        MedtlError: an entry does not say which slice of which case it is, or two say the same.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    for place, entry in enumerate(entries):
        missing = [key for key in ("case", "slice", "spacing") if key not in entry]
        if missing:
            raise MedtlError(f"{entry['image']} has no {missing[0]!r} in the data list; prepare the data again")
        found.setdefault(entry["case"], []).append((int(entry["slice"]), place))
    cases = []
    for name, members in found.items():
        members.sort()
        numbers = tuple(number for number, _ in members)
        if len(set(numbers)) < len(numbers):
            twice = next(n for n in numbers if numbers.count(n) > 1)
            raise MedtlError(f"case {name} has slice {twice} twice; train on one sequence")
        first = entries[members[0][1]]
        x, y, z = (float(mm) for mm in first["spacing"])
        index = tuple(place for _, place in members)
        cases.append(Case(name, first["patient"], index, numbers, (x, y, z)))
    return tuple(cases)


def pack(listed: DataList, split: str, image_size: int, workers: int = 0) -> Slices:
    """Return a split's pictures and masks, decoded into memory.

    Args:
        listed: a data list for segmentation.
        split: train, val or test.
        image_size: rows and columns of the squares.
        workers: decoding threads; 0 decodes in this one.

    Raises:
        MedtlError: a picture or mask that cannot be read, is not the file that the data list names, is of another size
            than its partner, or marks an organ that the data list does not know; names it.
    """
    entries = listed.absolute(split)
    channels, organs = listed.channels, len(listed.classes)

    def decode(entry: Entry) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return decoded(entry, channels, organs)

    images = np.zeros((len(entries), channels, image_size, image_size), np.uint8)
    labels = torch.zeros((len(entries), image_size, image_size), dtype=torch.uint8)
    truths = []
    with ThreadPoolExecutor(max(1, workers)) as threads:
        for place, (picture, mask) in enumerate(threads.map(decode, entries)):
            images[place] = fitted(picture, image_size)
            labels[place] = torch.from_numpy(fitted_mask(mask, image_size))
            truths.append(mask)
    shapes = tuple((int(mask.shape[0]), int(mask.shape[1])) for mask in truths)
    return Slices(images, labels, shapes=shapes, truths=tuple(truths))


def decoded(entry: Entry, channels: int, organs: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return picture (channels, rows, columns) and mask (rows, columns) of one entry of a data list.

    Args:
        entry: with absolute paths.
        channels: of the picture, 1 or 3.
        organs: number of classes.

    Raises:
        MedtlError: as of ``pack``.
    """
    picture, mask = Path(entry["image"]), Path(entry["label"])
    try:
        for path, key in ((picture, "sha256"), (mask, "mask_sha256")):
            if key in entry and file_hash(path) != entry[key]:
                raise MedtlError(f"{path} is not the file that the data list names (another SHA-256)")
        pixels = read_picture(picture, channels=channels)
        planes = pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    except (BadFileError, OSError) as error:
        raise MedtlError(_reason(error, picture)) from None
    try:
        with opened_picture(mask) as image:
            labels = np.asarray(image)
    except (BadFileError, *UNREADABLE) as error:
        raise MedtlError(_reason(error, mask)) from None
    if labels.shape != planes.shape[1:]:
        raise MedtlError(f"{mask} has shape {labels.shape}, its picture {planes.shape[1:]}")
    if labels.max(initial=0) > organs:
        raise MedtlError(f"{mask} marks organ {labels.max()}; the data list names {organs}")
    return np.ascontiguousarray(planes), np.ascontiguousarray(labels.astype(np.uint8))


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is missing"
    return f"{path} {error}" if isinstance(error, BadFileError) else f"{path} cannot be read"


def box(rows: int, columns: int, size: int) -> tuple[int, int, int, int]:
    """Return where a slice lies in the square: top, left, height, width."""
    scale = size / max(rows, columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    return (size - height) // 2, (size - width) // 2, height, width


def fitted(planes: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Fit (channels, rows, columns) into (channels, size, size): bilinear, smoothed before shrinking, black
    around."""
    top, left, height, width = box(planes.shape[1], planes.shape[2], size)
    square = np.zeros((len(planes), size, size), np.uint8)
    if planes.shape[1:] != (height, width):
        values = torch.from_numpy(planes.astype(np.float32))[None]
        values = functional.interpolate(values, (height, width), mode="bilinear", antialias=True)[0]
        planes = values.round().clamp(0, 255).byte().numpy()
    square[:, top : top + height, left : left + width] = planes
    return square


def fitted_mask(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Fit (rows, columns) into (size, size) by the nearest pixel, background around."""
    top, left, height, width = box(mask.shape[0], mask.shape[1], size)
    values = torch.from_numpy(mask)[None, None].float()
    nearest = functional.interpolate(values, (height, width), mode="nearest-exact")[0, 0].byte().numpy()
    square = np.zeros((size, size), np.uint8)
    square[top : top + height, left : left + width] = nearest
    return square


def unfitted(logits: Tensor, rows: int, columns: int) -> Tensor:
    """Bring logits (n_classes, size, size) of a fitted slice to (n_classes, rows, columns), bilinear."""
    top, left, height, width = box(rows, columns, logits.shape[-1])
    part = logits[:, top : top + height, left : left + width]
    if (height, width) == (rows, columns):
        return part
    return functional.interpolate(part[None], (rows, columns), mode="bilinear", align_corners=False)[0]


class SliceLoader(PackedLoader):
    """A PackedLoader whose transform changes picture and mask together.

    Iterates over ``{image, label, index}``: images (n, 3, size, size), masks (n, size, size) int64.

    Args:
        packed: the slices.
        joint: of pictures and masks.
        arguments: batch_size, shuffle, seed, device, drop_last, rank, world_size and resident of PackedLoader.
    """

    def __init__(self, packed: Slices, batch_size: int, joint: JointTransform, **arguments: Any) -> None:
        super().__init__(packed, batch_size, **arguments)
        self.joint = joint

    def _batch(self, images: Tensor, index: Tensor, epoch: int) -> dict[str, Tensor]:
        masks = self._labels.index_select(0, index)
        image, label = self.joint(images, masks, index, epoch)
        return {"image": image, "label": label, "index": index}

"""Pictures larger than the network: trained on squares drawn from them, predicted whole, through a window that slides.

Nothing here is held for all pictures at once but a bounded number of places each: pictures and masks wait in a file
(``Stored``), and one picture at a time is looked at.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms.utils import generate_pos_neg_label_crop_centers
from numpy.typing import NDArray
from torch import Tensor

from medtl.data.packed_loader import PackedLoader
from medtl.data.slices import decoded
from medtl.data.stored import Stored
from medtl.datalist import DataList
from medtl.transforms.joint import JointTransform

PLACES = 10_000  # of the foreground and of the background of a picture, among which the centres of patches are drawn
OVERLAP = 0.25  # of neighbouring windows, as MONAI's own default
ON_THE_CLASSES = 0.5  # chance of a patch's centre to lie on a class, as of MONAI's RandCropByPosNegLabel


@dataclass(frozen=True, eq=False)
class WholePictures:
    """A split's pictures at their own sizes, on disk.

    Attributes:
        pictures: (channels, rows, columns) each.
        truths: masks (rows, columns) each; 0 is background. Empty for pictures without masks.
        shapes: (rows, columns) of each picture.
        channels: of the pictures, 1 (grey) or 3 (RGB).
        patch_size: rows and columns of the window through which the network looks.
    """

    pictures: Sequence[NDArray[np.uint8]]
    truths: Sequence[NDArray[np.uint8]]
    shapes: tuple[tuple[int, int], ...]
    channels: int
    patch_size: int

    def __len__(self) -> int:
        return len(self.shapes)


@dataclass(frozen=True, eq=False)
class Patches:
    """Squares to be drawn from a split's pictures, so many of each in an epoch.

    Attributes:
        whole: the pictures with masks.
        count: patches of each picture.
        places: of each picture, at most ``PLACES`` flat indices on the classes and as many on the background.
    """

    whole: WholePictures
    count: int
    places: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]

    def __len__(self) -> int:
        return len(self.whole) * self.count

    @property
    def labels(self) -> Tensor:
        """Return the picture that each patch is drawn from (n,), int64."""
        return torch.arange(len(self.whole)).repeat_interleave(self.count)

    @property
    def side(self) -> int:
        """Return rows and columns of what is cut out: half as much again, so that turning it hardly shows a corner."""
        return self.whole.patch_size + 2 * (self.whole.patch_size // 4)

    def drawn(self, number: int, seed: int, epoch: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return what is cut out for a patch: (channels, side, side) and its mask (side, side), black and background
        outside of the picture. It depends on (seed, epoch, number) alone.

        Args:
            number: of the patch, 0 to len - 1.
            seed, epoch: from 0.
        """
        place, size = number // self.count, self.whole.patch_size
        rows, columns = self.whole.shapes[place]
        here, elsewhere = self.places[place]
        centre = generate_pos_neg_label_crop_centers(
            spatial_size=[size, size],
            num_samples=1,
            pos_ratio=ON_THE_CLASSES,
            label_spatial_shape=[rows, columns],
            fg_indices=here if len(here) else elsewhere,
            bg_indices=elsewhere if len(elsewhere) else here,
            rand_state=np.random.RandomState(np.random.SeedSequence([seed, epoch, number]).generate_state(8)),
            allow_smaller=True,
        )[0]
        top, left = (int(middle) - self.side // 2 for middle in centre)
        picture = _cut(self.whole.pictures[place], top, left, self.side)
        return picture, _cut(self.whole.truths[place][np.newaxis], top, left, self.side)[0]


def _cut(planes: NDArray[np.uint8], top: int, left: int, side: int) -> NDArray[np.uint8]:
    """(channels, side, side) of (channels, rows, columns) from a corner on that may lie outside; 0 out there."""
    rows, columns = planes.shape[1:]
    square = np.zeros((len(planes), side, side), np.uint8)
    inner = planes[:, max(0, top) : min(rows, top + side), max(0, left) : min(columns, left + side)]
    down, right = max(0, -top), max(0, -left)
    square[:, down : down + inner.shape[1], right : right + inner.shape[2]] = inner
    return square


def stored(listed: DataList, split: str, patch_size: int, workers: int = 0) -> WholePictures:
    """Return a split's pictures and masks, decoded into a file without a name.

    Args:
        listed: a data list for segmentation.
        split: train, val or test.
        patch_size: rows and columns of the window.
        workers: decoding threads; 0 decodes in this one.

    Raises:
        MedtlError: as of ``medtl.data.slices.pack``; or the disk is full.
    """
    pictures, truths = Stored(), Stored()
    with ThreadPoolExecutor(max(1, workers)) as threads:
        entries, few = listed.absolute(split), max(1, workers)
        for start in range(0, len(entries), few):  # no thread runs ahead of what is written
            part = entries[start : start + few]
            found = threads.map(lambda entry: decoded(entry, listed.channels, len(listed.classes)), part)
            for picture, mask in found:
                pictures.append(picture)
                truths.append(mask)
    shapes = tuple((int(mask.shape[0]), int(mask.shape[1])) for mask in truths)
    return WholePictures(pictures, truths, shapes, listed.channels, patch_size)


def patches(whole: WholePictures, count: int) -> Patches:
    """Return what is drawn from pictures in training, ``count`` patches of each in an epoch."""
    return Patches(whole, count, tuple(_places(mask, place) for place, mask in enumerate(whole.truths)))


def _places(mask: NDArray[np.uint8], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    flat = np.asarray(mask).reshape(-1) > 0
    found = []
    for number, wanted in enumerate((flat, ~flat)):
        places = np.flatnonzero(wanted)
        if len(places) > PLACES:
            places = np.sort(np.random.default_rng([seed, number]).choice(places, PLACES, replace=False))
        found.append(places.astype(np.int64))
    return found[0], found[1]


class PatchLoader(PackedLoader):
    """Iterates over ``{image, label, index}``: patches (n, 3, size, size) normalised, their masks (n, size, size)
    int64, and the places (n,) of the pictures that they are of. An order and a place in it are kept as by
    PackedLoader.

    Args:
        dataset: what is drawn from.
        batch_size: patches a batch of this process.
        joint: of patches and masks.
        arguments: shuffle, seed, device, drop_last, rank and world_size of PackedLoader.
    """

    def __init__(self, dataset: Patches, batch_size: int, joint: JointTransform, **arguments: Any) -> None:
        counted: Any = dataset  # an order of its places and a place in it are all that is asked of it
        super().__init__(counted, batch_size, **arguments)
        self.drawn = dataset
        self.joint = joint

    def _made(self, epoch: int, first: int) -> Iterator[dict[str, Tensor]]:
        drawn = self.drawn
        edge, size = (drawn.side - drawn.whole.patch_size) // 2, drawn.whole.patch_size
        order = self.order(epoch)
        for number in range(first, len(self)):
            part = order[number * self.batch_size : (number + 1) * self.batch_size]
            cut = [drawn.drawn(each, self.seed, epoch) for each in part.tolist()]
            pictures, masks = (torch.from_numpy(np.stack(each)).to(self.device) for each in zip(*cut, strict=True))
            images, labels = self.joint(pictures, masks, part.to(self.device), epoch)
            inner = (slice(edge, edge + size), slice(edge, edge + size))
            index = torch.div(part, drawn.count, rounding_mode="floor").to(self.device)
            yield {"image": images[:, :, *inner].contiguous(), "label": labels[:, *inner].contiguous(), "index": index}


class WholeLoader:
    """Iterates over ``{image, index}``: one whole picture a batch, (1, 3, rows, columns) normalised, and its place.

    Args:
        dataset: the pictures.
        joint: of pictures; it leaves them where they are.
        device: where they are wanted.
        rank, world_size: of this process and how many there are.
    """

    def __init__(
        self,
        dataset: WholePictures,
        joint: JointTransform,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.dataset = dataset
        self.joint = joint
        self.device = torch.device(device)
        self.batch_size = 1
        self._places = range(rank, len(dataset), world_size)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for place in self._places:
            picture = torch.from_numpy(np.array(self.dataset.pictures[place]))[None].to(self.device)
            index = torch.tensor([place], device=self.device)
            yield {"image": self.joint.images(picture, index), "index": index}

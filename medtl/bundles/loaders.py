"""Batches of every recipe: packed pictures or single ones, augmented, normalised as the start expects."""

from typing import Any

import ignite.distributed as idist
from monai.data import DataLoader

from medtl import engines
from medtl.bundles import begin as checks
from medtl.bundles import components, ids
from medtl.data import balance, packed
from medtl.data.packed import Packed
from medtl.data.packed_loader import PackedLoader
from medtl.data.pictures import PictureDataset, in_order, items, sampler
from medtl.data.restartable import RestartableLoader
from medtl.transforms import batch
from medtl.transforms.mixup import Mixup


def pack(split: str) -> Packed:
    """Return a split as packed pixels of ``--image_size``."""
    return packed.pack(ids.value("data"), split, ids.value("image_size"), workers=ids.value("num_workers"))


def augmentation(**changes: Any) -> batch.BatchTransform:
    """Return the augmentation of training batches, normalised as the start expects, in the network's precision.

    Args:
        changes: parameters of ``medtl.transforms.batch.BatchTransform``.
    """
    usual = {"dtype": engines.image_dtype(components.precision()), "channels_last": ids.value("channels_last")}
    return batch.BatchTransform(**{**usual, **of_start(), "seed": ids.value("seed"), **changes})


def normalisation() -> batch.BatchTransform:
    """Return what is done to batches that are predicted: no augmentation, normalised as the start expects."""
    return batch.normalisation(channels_last=ids.value("channels_last"), **of_start())


def of_start() -> dict[str, Any]:
    """Return mean and SD that the start expects; nothing where a recipe has no start."""
    from_start = ids.value("start", None)
    return {} if from_start is None else {"mean": tuple(from_start.mean), "std": tuple(from_start.std)}


def mixup() -> Mixup | None:
    """Return what blends images and labels, where ``--mixup`` asks for it."""
    alpha = ids.value("mixup", 0)
    return Mixup(len(ids.value("classes")), alpha, ids.value("seed")) if alpha else None


def train_loader(dataset: Packed, transform: Any) -> PackedLoader:
    """Return the batches of training: shuffled by ``--seed``, ``--batch_size`` shared by all processes, blended by
    ``--mixup`` and drawn by ``--balance``.

    Args:
        dataset: the packed split.
        transform: of batches of uint8 images, on the device.
    """
    size, world = ids.value("batch_size"), idist.get_world_size()
    weights = balance.sampling_weights(ids.value("data"), ids.value("balance")) if ids.has("balance") else None
    return PackedLoader(
        dataset,
        size // world,
        shuffle=True,
        seed=ids.value("seed"),
        device=ids.value("device"),
        drop_last=len(dataset) > size,
        rank=idist.get_rank(),
        world_size=world,
        transform=transform,
        mixup=mixup(),
        weights=weights,
    )


def loader(dataset: Packed, transform: Any) -> PackedLoader:
    """Return the batches of a split that is predicted: every image once, in order.

    Args:
        dataset: the packed split.
        transform: of batches of uint8 images, on the device.
    """
    return PackedLoader(
        dataset,
        ids.value("batch_size"),
        device=ids.value("device"),
        rank=idist.get_rank(),
        world_size=idist.get_world_size(),
        transform=transform,
    )


def pictures(split: str, transform: Any) -> PictureDataset:
    """Return a split picture by picture, for MONAI's dictionary transforms.

    Args:
        split: its short name.
        transform: of ``{image, label, index}``.
    """
    return PictureDataset(items(ids.value("data"), split), transform)


def picture_train_loader(dataset: PictureDataset) -> RestartableLoader:
    """Return the batches of training from single pictures, shuffled by ``--seed`` and shared by all processes.

    Raises:
        UsageError: ``--mixup``, which blends whole batches.
    """
    checks.no_mixup(ids.value("mixup", 0))
    size = ids.value("batch_size")
    return RestartableLoader(
        dataset,
        seed=ids.value("seed"),
        rank=idist.get_rank(),
        sampler=sampler(ids.value("data"), ids.value("balance", "none"), ids.value("seed")),
        batch_size=size // idist.get_world_size(),
        drop_last=len(dataset) > size,
        num_workers=ids.value("num_workers"),
        pin_memory=components.on_gpu(),
    )


def picture_loader(dataset: PictureDataset) -> DataLoader:
    """Return the batches of a split that is predicted picture by picture: every one once, in order."""
    return DataLoader(
        dataset, sampler=in_order(dataset), batch_size=ids.value("batch_size"), num_workers=ids.value("num_workers")
    )

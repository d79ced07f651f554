"""What a data set does to a picture before the network sees it, read off the objects that do it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medtl.data.packed import Packed
from medtl.data.patches import WholePictures
from medtl.data.slices import Slices
from medtl.runs.record import Preprocessing
from medtl.transforms.batch import BatchTransform
from medtl.transforms.joint import JointTransform

PERCENTILES = (0.5, 99.5)  # of an MR volume; what data preparation and inference take
# what a released bundle can state: MONAI's transforms in this order, with the arguments that must hold
STAGES: Mapping[str, Mapping[str, Any]] = {
    "LoadPictured": {},
    "Resized": {},
    "ScaleIntensityRanged": {"a_min": 0, "b_min": 0, "b_max": 1},
    "RepeatChanneld": {},
    "NormalizeIntensityd": {"channel_wise": True},
    "EnsureTyped": {},
}


def described(dataset: Any, normalisation: Any = None) -> Preprocessing | None:
    """Return what happens to the pictures of a data set.

    Args:
        dataset: ``Packed``, ``Slices``, ``WholePictures``, or one with a ``transform`` for each picture.
        normalisation: of whole packed batches, a ``BatchTransform`` or, with masks, a ``JointTransform``.

    Returns:
        Its description, with the reason in ``problem`` where a released bundle could not repeat it; None for a data
        set that does not tell.
    """
    if isinstance(dataset, WholePictures):
        return _whole(dataset, normalisation)
    if isinstance(dataset, Packed):
        return _packed(dataset, normalisation)
    transform = getattr(dataset, "transform", None)
    return None if transform is None else _by_transforms(list(getattr(transform, "transforms", [transform])))


def _packed(dataset: Packed, normalisation: Any) -> Preprocessing | None:
    batch = normalisation.images if isinstance(normalisation, JointTransform) else normalisation
    if not isinstance(batch, BatchTransform):
        return None
    with_masks = isinstance(dataset, Slices)
    return Preprocessing(
        image_size=int(dataset.images.shape[-1]),
        channels=int(dataset.images.shape[1]),
        mean=_numbers(batch.mean),
        std=_numbers(batch.std),
        by="slices" if with_masks else "packed",
        resize="bilinear" if with_masks else "area",
        percentiles=PERCENTILES if with_masks and dataset.images.shape[1] == 1 else None,  # pictures come as they are
    )


def _whole(dataset: WholePictures, normalisation: Any) -> Preprocessing | None:
    if not isinstance(normalisation, JointTransform):
        return None
    mean, std = _numbers(normalisation.images.mean), _numbers(normalisation.images.std)
    return Preprocessing(dataset.patch_size, dataset.channels, mean, std, by="patches", resize="none")


def _by_transforms(stages: Sequence[Any]) -> Preprocessing | None:
    """Of MONAI's dictionary transforms, whose arguments lie in the array transforms that they hold."""
    found = {type(stage).__name__: stage for stage in stages}
    names = [type(stage).__name__ for stage in stages]
    if not {"Resized", "NormalizeIntensityd", "ScaleIntensityRanged", "LoadPictured"} <= found.keys():
        return None
    scaler, normaliser = found["ScaleIntensityRanged"].scaler, found["NormalizeIntensityd"].normalizer
    resizer = found["Resized"].resizer
    problem = ""
    if names != list(STAGES):
        problem = f"prepared pictures by {', '.join(names)}; expected {', '.join(STAGES)}"
    for name, fixed in STAGES.items():
        for key, value in fixed.items():
            told = getattr(normaliser if name == "NormalizeIntensityd" else scaler, key)
            if told != value and not problem:
                problem = f"{name} had {key} {told}; a release can only state {value}"
    return Preprocessing(
        image_size=int(np.atleast_1d(resizer.spatial_size)[0]),
        channels=int(found["LoadPictured"].channels),
        mean=_numbers(normaliser.subtrahend),
        std=_numbers(normaliser.divisor),
        by="transforms",
        resize=str(np.atleast_1d(found["Resized"].mode)[0]),
        rounded=False,
        scale=float(scaler.a_max),
        problem=problem,
    )


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in np.atleast_1d(np.asarray(values, dtype=float)))

"""What segmentations have in the place of ``start``, ``loaders`` and ``handlers``: slices with masks, whole cases."""

from collections.abc import Mapping, Sequence
from typing import Any

import ignite.distributed as idist
from monai.inferers import Inferer, SimpleInferer, SlidingWindowInferer
from torch import nn

from medtl.bundles import begin as checks
from medtl.bundles import handlers, ids, loaders, start
from medtl.bundles import segmentations as preflight
from medtl.data import patches as whole_pictures
from medtl.data import slices as packed
from medtl.data import volumes as inputs
from medtl.data.patches import PatchLoader, WholeLoader, WholePictures
from medtl.data.slices import SliceLoader, Slices
from medtl.data.unmasked import Unmasked
from medtl.data.unmasked import found as pictures_of
from medtl.data.volumes import Volumes
from medtl.datalist import DataList
from medtl.errors import tell
from medtl.handlers.results import OpenTest
from medtl.handlers.segmentation import FinishCases, KeepBestCases, SaveCases
from medtl.metrics.ignite_segmentation import OrganScores
from medtl.networks import segmenter
from medtl.readers.find import counted
from medtl.transforms.joint import JointTransform
from medtl.weights import decoder
from medtl.weights.starts import Start


def begin_segmentation_training() -> None:
    """Check everything that a user can have got wrong, say what will be trained on what, and seed all generators.

    Raises:
        UsageError: an override, a number, the data or the device cannot be used.
    """
    recipe = start.checked(("train", "val"))
    preflight.check_batch(recipe["batch_size"])
    _check(recipe)
    ids.value("loss_function")
    _announce()
    start.announce_recipe(recipe)
    start.seed(recipe)
    ids.value("start")


def begin_segmentation_evaluation() -> None:
    """Check weights, data and options of an evaluation and say what is evaluated.

    Raises:
        UsageError: one of them cannot be used.
    """
    checks.required(ids.value("weights"), "--weights", "the model.pt of a run")
    _check(start.checked([ids.value("split")]))
    _announce()


def begin_segmentation_inference() -> None:
    """Check input, weights and options of an inference.

    Raises:
        UsageError: one of them cannot be used.
    """
    start.begin_inference("a folder or file of DICOM or NIfTI")
    preflight.check_postprocess(ids.value("postprocess"))
    inputs.check_formats(ids.value("formats"))


def _check(recipe: Mapping[str, Any]) -> None:
    preflight.check_metric(recipe["key_metric"], ids.value("classes"))
    preflight.check_postprocess(recipe["postprocess"])


def _announce() -> None:
    listed: DataList = ids.value("data")
    checks.announce_data(listed)
    preflight.announce(listed, ids.value("trained_on"), ids.value("fold"))


def sequence() -> str | None:
    """Return the sequence that ``--sequence`` means in the data list; None where the data list names none."""
    return preflight.sequence_in(ids.value("dataset_dir"), ids.value("sequence"))


def first_fold() -> int | None:
    """Return the default of ``--fold``: the first of a data list without validation entries."""
    return preflight.default_fold(ids.value("dataset_dir"))


def fold_of(trained: preflight.TrainedCases) -> int | None:
    """Return the fold that weights were validated on, where the data list has it; otherwise ``first_fold``."""
    return preflight.fold_of(trained, ids.value("dataset_dir"))


def cases(organs: Sequence[str] | None = None) -> DataList:
    """Return one sequence of the data list of ``--dataset_dir``, with ``--fold`` and ``--train_fraction``.

    Args:
        organs: the bundle's names in index order, without the background; None takes those of the data list.
    """
    return preflight.data(
        ids.value("dataset_dir"),
        organs,
        ids.value("trained_on"),
        ids.value("fold"),
        ids.value("train_fraction"),
        ids.value("seed"),
    )


def output_stride() -> int:
    """Return the default of ``--output_stride``: what the decoder is usually built for on the backbone."""
    return segmenter.output_stride_of(str(ids.value("backbone")), str(ids.value("decoder")))


def begin_picture_inference() -> None:
    """Check input, weights and options of an inference on pictures, and say what is predicted on.

    Raises:
        UsageError: one of them cannot be used.
    """
    start.begin_inference("a folder or file of pictures")
    preflight.check_postprocess(ids.value("postprocess"))
    found: Unmasked = ids.value("data")
    if not idist.get_rank():
        passed = f"; passed over: {counted(found.passed)}" if found.passed else ""
        tell(f"pictures: {len(found.names):,}{passed}")


def unmasked() -> Unmasked:
    """Return every picture of ``--input``, and an account of every other file."""
    trained: preflight.TrainedCases = ids.value("start")
    size, workers, patch = (ids.value(id_) for id_ in ("image_size", "num_workers", "patch_size"))
    return pictures_of(ids.value("dataset_dir"), size, trained.channels, workers, patch)


def volumes() -> Volumes:
    """Return every volume of ``--input``, and an account of every other file."""
    return inputs.found(ids.value("dataset_dir"), ids.value("image_size"), ids.value("num_workers"))


def open_volumes(found: Volumes) -> None:
    """Say which volumes are predicted on, once the folder of the inference is made.

    Raises:
        BadFileError: there are none; rejected.csv says why.
    """
    inputs.announce(found)
    inputs.stop_without(found, ids.value("output_dir"))


def segmenter_parameters(network: segmenter.Segmenter) -> list[dict[str, Any]]:
    """Return a network's parameters for an optimiser: the heads at ``--learning_rate``, the trunk at its share."""
    return segmenter.parameter_groups(network, ids.value("learning_rate"), ids.value("trunk_multiplier"))


def load_segmenter_start(network: segmenter.Segmenter) -> None:
    """Fill a network's trunk with the weights that ``--init`` names, and its decoder, too, where they are of a
    segmentation with the same one; record what became of them."""
    start.load_start(network.backbone)
    found: Start = ids.value("start")
    if found.path is None:
        return
    trained = preflight.beside(str(found.path))
    loaded = decoder.load_decoder(network, found.path, trained.classes, ids.value("classes"))
    if loaded is not None:
        start.record().decoder_from(loaded.share)
        if not idist.get_rank():
            tell(f"start: {loaded.told}")


def slices(split: str) -> Slices | WholePictures:
    """Return a split as slices with masks, fitted into squares of ``--image_size``; with ``--patch_size`` as pictures
    of their own sizes, on disk."""
    listed, patch, few = ids.value("data"), ids.value("patch_size", 0), ids.value("num_workers")
    if patch:
        return whole_pictures.stored(listed, split, patch, workers=few)
    return packed.pack(listed, split, ids.value("image_size"), workers=few)


def joint_augmentation(**changes: Any) -> JointTransform:
    """Return the augmentation of training batches and their masks, normalised as the start expects, in float32.

    Args:
        changes: parameters of ``medtl.transforms.batch.BatchTransform``, but ``erase``.
    """
    return JointTransform(loaders.augmentation(**{"dtype": "float32", **changes}))


def joint_normalisation() -> JointTransform:
    """Return what is done to batches that are predicted: no augmentation, normalised as the start expects."""
    return JointTransform(loaders.normalisation())


def slice_train_loader(dataset: Slices | WholePictures, transform: JointTransform) -> SliceLoader | PatchLoader:
    """Return the batches of training: shuffled by ``--seed``, ``--batch_size`` shared by all processes. Of whole
    pictures ``--patches`` squares each are drawn an epoch.

    Args:
        dataset: the slices, or pictures of their own sizes.
        transform: of batches and their masks, on the device.
    """
    size, world = ids.value("batch_size"), idist.get_world_size()
    if isinstance(dataset, WholePictures):
        drawn = whole_pictures.patches(dataset, ids.value("patches"))
        return _shuffled(PatchLoader, drawn, transform, size, world)
    return _shuffled(SliceLoader, dataset, transform, size, world)


def _shuffled(loader: Any, dataset: Any, transform: JointTransform, size: int, world: int) -> Any:
    return loader(
        dataset,
        size // world,
        transform,
        shuffle=True,
        seed=ids.value("seed"),
        device=ids.value("device"),
        drop_last=len(dataset) > size,
        rank=idist.get_rank(),
        world_size=world,
    )


def slice_loader(dataset: Slices | WholePictures, transform: JointTransform) -> SliceLoader | WholeLoader:
    """Return the batches of a split that is predicted: every slice once, in order; of whole pictures one a batch.

    Args:
        dataset: the slices, or pictures of their own sizes.
        transform: of batches and their masks, on the device.
    """
    shared = {"device": ids.value("device"), "rank": idist.get_rank(), "world_size": idist.get_world_size()}
    if isinstance(dataset, WholePictures):
        return WholeLoader(dataset, transform, **shared)
    return SliceLoader(dataset, ids.value("batch_size"), transform, **shared)


def inferer() -> Inferer:
    """Return how pictures go through the network: as they are, or with ``--patch_size`` through a window of that size
    that slides over them, ``--batch_size`` places at a time."""
    if not (side := ids.value("patch_size")):
        return SimpleInferer()
    return SlidingWindowInferer((side, side), ids.value("batch_size"), overlap=whole_pictures.OVERLAP, mode="gaussian")


def organ_scores(split: str) -> OrganScores:
    """Return the evaluator's handler that scores whole cases of a split, after ``--postprocess``.

    Args:
        split: its short name, the prefix of its metrics.
    """
    return ids.once(f"organ_scores {split}", lambda: _organ_scores(split))


def _organ_scores(split: str) -> OrganScores:
    validated = split == ids.value("validate#split")
    dataset = ids.value("validate#dataset" if validated else f"{split}#dataset")
    return OrganScores(dataset, ids.value("data").split(split), ids.value("classes"), split, ids.value("postprocess"))


def best_cases(network: nn.Module) -> KeepBestCases:
    """Return the evaluator's handler that keeps the best epoch by ``--key_metric``.

    Args:
        network: whose weights are kept, not wrapped by DDP.
    """
    folder, metric, listed = ids.value("output_dir"), f"val_{ids.value('key_metric')}", ids.value("data")
    return ids.once("best", lambda: KeepBestCases(network, folder, metric, listed, organ_scores("val")))


def open_test_cases() -> OpenTest[Any]:
    """Return the trainer's handler that predicts the test split, once, when training is over: with the best weights,
    in the way of the validation."""
    return handlers.opened_test([organ_scores("test")])


def finish_cases() -> FinishCases:
    """Return the trainer's handler that computes distances and intervals, draws overlays, closes run.json and says what
    came out."""
    test = open_test_cases() if ids.has("test#dataloader") else None
    return FinishCases(ids.value("output_dir"), handlers.kept(), start.record(), test)


def save_cases() -> SaveCases:
    """Return the evaluator's handler that writes what an evaluation found, masks among it."""
    return SaveCases(
        ids.value("output_dir"),
        ids.value("data"),
        ids.value("validate#split"),
        start.record(),
        ids.value("key_metric"),
    )

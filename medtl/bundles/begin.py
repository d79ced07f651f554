"""The first seconds of a run: every mistake a user can make is found here, before anything is loaded or written."""

import atexit
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from torch import nn

from medtl import datalist, threads
from medtl.bundles import mistakes, ranges
from medtl.data.blank import blank_images
from medtl.data.packed import Packed
from medtl.datalist import DataList
from medtl.errors import ToldToStop, UsageError, tell
from medtl.metrics import operating_point, registry
from medtl.weights import evidence
from medtl.weights.read import WEIGHTS_IN_BUNDLE
from medtl.weights.starts import Start

BALANCES = ("none", "loss", "sampling")
BATCH_NORM_NEEDS = 2  # values a channel
ONE_PLACE = 32  # pixels, of which the networks' last map has a single place
NAMED = 3  # of the blank images, in the warning


def processes(distributed: bool) -> int:
    """Join the processes that torchrun started, if any; called on every rank before anything rank-dependent is built.

    Returns:
        This process's rank. The call itself matters: Ignite's first look at the rank is collective, and a rank-gated
        handler that makes it later would wait for ever.
    """
    if distributed and not torch.distributed.is_initialized():
        here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
        if torch.cuda.is_available() and here > gpus:
            raise UsageError(f"torchrun --nproc_per_node {here}: this machine has {gpus} GPU(s), one a process")
        try:
            idist.initialize("nccl" if torch.cuda.is_available() else "gloo")
        except (ValueError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise UsageError(
                f"multi_gpu_train.json needs torchrun --nproc_per_node N -m monai.bundle run …: {first}"
            ) from None
        mistakes.listen()  # torch has put its own hook around ours, and would swallow the line
        atexit.register(_part)
    return idist.get_rank()


def _part() -> None:
    """Leave the group of processes where this one ends well: the threads of a group that the interpreter takes down
    can abort the process after its work is done. After an error the group stays: with NCCL, leaving it beside a
    process that is gone can wait for ever."""
    error = getattr(sys, "last_value", None)  # that nobody caught
    if torch.distributed.is_initialized() and (error is None or isinstance(mistakes.cause_of(error), ToldToStop)):
        idist.finalize()


def data(
    dataset_dir: str,
    classes: Sequence[str] | None,
    tasks: Sequence[str],
    fold: int | None = None,
    train_fraction: float = 1.0,
    seed: int = 0,
) -> DataList:
    """Return the data list of ``dataset_dir``, if it suits the bundle.

    Args:
        dataset_dir: a data_prep output.
        classes: the bundle's class names in index order; None takes any.
        tasks: which of classification, multilabel, regression and segmentation the bundle trains.
        fold: of the training entries, taken as validation.
        train_fraction: share of the training patients that is kept.
        seed: of the draw of that share.
    """
    if not isinstance(dataset_dir, str | os.PathLike):  # the command line turns 2024_01 into 202401
        raise UsageError(f"--dataset_dir {dataset_dir}: expected the name of a folder; write a number as ./NUMBER")
    try:
        listed = datalist.read(Path(dataset_dir))
    except UsageError as error:
        raise UsageError(f"--dataset_dir {error}") from None
    where = f"--dataset_dir {dataset_dir} (data set {listed.name!r})"
    if listed.task not in tasks:
        raise UsageError(f"{where} is for {listed.task}; this bundle does {' or '.join(tasks)}")
    if classes is not None and listed.classes != tuple(classes):
        raise UsageError(
            f"{where} has {len(listed.classes)} classes ({_shorten(listed.classes)}); "
            f"this bundle has {len(classes)} ({_shorten(classes)})"
        )
    return datalist.with_fraction(datalist.with_fold(listed, fold), train_fraction, seed)


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else ", ".join((*names[:3], "…"))


def check(listed: DataList, recipe: Mapping[str, Any], splits: Sequence[str]) -> None:
    """Refuse numbers that cannot be, a device that is not there and splits without entries.

    Args:
        listed: the data list.
        recipe: the hyperparameters by id.
        splits: those that this run reads.
    """
    check_numbers(recipe)
    for split in splits:
        if not listed.split(split):
            hint = "; it is dealt into folds: name one, --fold K" if any("fold" in e for e in listed.training) else ""
            raise UsageError(f"{listed.folder / datalist.FILE_NAME} has no entries in its {split} split{hint}")
    normed = "train" in splits and "image_size" in recipe and not str(recipe.get("backbone", "")).startswith("vit")
    if normed and recipe["image_size"] <= ONE_PLACE and _images_a_batch(listed, recipe) < BATCH_NORM_NEEDS:
        raise UsageError(
            f"--image_size {recipe['image_size']}: of one image in a batch only one place is left, of which batch norm "
            f"cannot train; take {BATCH_NORM_NEEDS} or more images a process, or more than {ONE_PLACE} pixels"
        )


def _images_a_batch(listed: DataList, recipe: Mapping[str, Any]) -> int:
    return int(min(recipe["batch_size"] // idist.get_world_size(), len(listed.training)))


def check_numbers(recipe: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that cannot be, and a device that is not there."""
    ranges.check(recipe)
    world = idist.get_world_size()
    if recipe.get("batch_size", world) % world:
        raise UsageError(
            f"--batch_size {recipe['batch_size']} is shared by {world} processes and must be a multiple of that"
        )
    check_device(recipe["device"])
    if recipe.get("sync_batchnorm") and str(recipe["device"]).startswith("cpu"):
        # PyTorch's own message would come with the first batch, and a traceback
        raise UsageError("--sync_batchnorm True needs GPUs: PyTorch's SyncBatchNorm does not train on a CPU")


def check_explain(number: int) -> None:
    """Refuse a number of explained images that is none, before training instead of after."""
    ranges.check({"explain": number})


def no_mixup(alpha: float) -> None:
    """Refuse mixup where images come one by one."""
    if alpha:
        raise UsageError(f"--mixup {alpha}: per_image.json prepares images one by one and blends none; leave one out")


def check_device(device: str) -> None:
    """Raise UsageError for a device that this machine lacks."""
    try:
        torch.empty(1, device=str(device))
    except (RuntimeError, AssertionError) as error:
        first = str(error).strip().splitlines()[0]
        raise UsageError(f"--device {device} cannot be used: {first}") from None


def announce_data(listed: DataList) -> None:
    """Say on the first rank which data are used, whether they are phantoms, and what their splits share."""
    if idist.get_rank():
        return
    sizes = ", ".join(f"{len(getattr(listed, split)):,} {split}" for split in datalist.SPLITS)
    if listed.sample:
        tell(f"data: the BUILT-IN SAMPLE of {listed.name}: phantoms, not patients (yours: --dataset_dir DIR); {sizes}")
    else:
        tell(f"data: {listed.name} in {listed.folder}; {sizes}")
    for shared in datalist.overlaps(listed):
        tell(f"warning: {listed.folder / datalist.FILE_NAME}: {shared}: what is measured flatters")


def share_cores(device: str) -> None:
    """Share a CPU's free cores among the processes that train on it, unless OMP_NUM_THREADS says otherwise."""
    if str(device) == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads.chosen(threads.cores(), threads.busy_cores(), idist.get_world_size()))


def short_name(split: str) -> str:
    """Return train, val or test for any name of a split."""
    for long, short in datalist.SHORT_NAMES.items():
        if split in (long, short):
            return short
    raise UsageError(f"--split {split} is not one of {', '.join(datalist.SHORT_NAMES.values())}")


def check_metric(key_metric: str, task: str, listed: DataList | None = None) -> None:
    """Refuse a key metric that will not be there when the first epoch is over.

    Args:
        key_metric: its name.
        task: of the data list.
        listed: whose validation split must let the metric be computed, where epochs are chosen by it.
    """
    known = registry.names(registry.KIND_OF_TASK[task])
    if key_metric not in known:
        raise UsageError(f"--key_metric {key_metric} is not one of {', '.join(known)}")
    if listed is not None and registry.metrics()[key_metric].ranks:
        counts = datalist.class_counts(listed, "val")
        if not any(0 < count < len(listed.validation) for count in counts.values()):
            there = [name for name, count in counts.items() if count] or ["of no class"]
            raise UsageError(
                f"--key_metric {key_metric} needs more than one class, but the {len(listed.validation)} validation "
                f"image(s) of {listed.folder / datalist.FILE_NAME} are all {_shorten(there)}"
            )


def check_threshold_rule(rule: str) -> None:
    """Refuse a rule of an unknown name for the operating point, before an epoch is spent."""
    operating_point.parse_rule(str(rule))


def warn_of_blank(dataset: Any, listed: DataList) -> None:
    """Name, on the first process, the training images that hold one value only; training goes on.

    Args:
        dataset: the packed training images; of any other kind of data set nothing is said.
        listed: the data list they come from.
    """
    if not isinstance(dataset, Packed) or idist.get_rank():
        return
    blank = blank_images(dataset)
    if blank:
        names = ", ".join(listed.training[place]["image"] for place in blank[:NAMED])
        more = f" and {len(blank) - NAMED:,} more" if len(blank) > NAMED else ""
        tell(
            f"warning: {len(blank):,} of {len(dataset):,} training images show nothing (one value only): {names}{more}"
        )


def doubt_normalisation(network: nn.Module, start: Start, dataset: Any) -> None:
    """Say, on the first process, where the weights' own first batch norm contradicts the normalisation that is stated
    or assumed of them; training goes on.

    Args:
        network: filled from the start.
        start: whose mean and SD are doubted.
        dataset: the packed training images; of any other kind of data set nothing is said.
    """
    if not isinstance(dataset, Packed) or idist.get_rank() or not len(dataset):
        return
    step = max(1, -(-len(dataset) // evidence.MOST))
    shown = evidence.shrunk(torch.from_numpy(np.array(dataset.images[::step])))
    state = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    if sentence := evidence.doubt(state, shown, start.mean, start.std):
        tell(f"warning: {sentence}")


def positive_index(positive_class: str | None, classes: Sequence[str]) -> int | None:
    """Return index of the class whose sensitivity and specificity are reported; None where none is named.

    Raises:
        UsageError: no such class, or there are more than two.
    """
    if positive_class is None:
        return None
    positive_class = str(positive_class)  # a class called 1 comes from the command line as a number
    if positive_class not in classes:
        raise UsageError(f"--positive_class {positive_class} is not one of {', '.join(classes)}")
    if len(classes) != 2:
        raise UsageError(f"--positive_class {positive_class}: sensitivity needs two classes, there are {len(classes)}")
    return list(classes).index(positive_class)


def check_balance(balance: str) -> None:
    """Refuse a way of balancing classes of an unknown name."""
    if balance not in BALANCES:
        raise UsageError(f"--balance {balance} is not one of {', '.join(BALANCES)}")


def check_task(listed: DataList, recipe: Mapping[str, Any], explained: int = 0) -> None:
    """Refuse options that have no meaning for the labels of a data list, and numbers that do not differ.

    Args:
        listed: the data list.
        recipe: the hyperparameters by id.
        explained: number of pictures whose Grad-CAM is asked for.
    """
    given = {name: recipe.get(name) for name in ("positive_class", "balance", "mixup")} | {"explain": explained}
    senseless: dict[str, tuple[str, ...]] = {
        "classification": (),
        "multilabel": ("positive_class",),
        datalist.REGRESSION: ("positive_class", "balance", "mixup"),
    }
    if given["balance"] == "sampling":
        senseless["multilabel"] = ("positive_class", "balance")
    for name in senseless.get(listed.task, tuple(given)):
        if given[name] not in (None, 0, "none"):
            raise UsageError(f"--{name} {given[name]}: is for one class an image; this data list is for {listed.task}")
    if listed.task == datalist.REGRESSION:
        datalist.spread(listed)


def required(value: str, option: str, what: str) -> str:
    """Return ``value``, or raise one line that says what ``option`` should name where it is empty."""
    if not value:
        raise UsageError(f"{option} is missing: expected {what}")
    return value


def shipped_weights(bundle_root: str) -> str:
    """Return the bundle's own weights; empty where it ships none."""
    folder = Path(bundle_root) / "models"
    return next((str(folder / name) for name in WEIGHTS_IN_BUNDLE if (folder / name).is_file()), "")

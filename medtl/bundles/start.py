"""The steps of ``initialize``: what every run does before it trains, evaluates or predicts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import ignite.distributed as idist
import monai.utils
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from medtl import engines, threads
from medtl.bundles import begin as checks
from medtl.bundles import ids, mistakes, overrides, preflight, ranges
from medtl.datalist import REGRESSION, DataList, spread
from medtl.errors import tell
from medtl.networks import freezing
from medtl.networks.regression_head import centre
from medtl.pretraining import method
from medtl.runs import folder, resume
from medtl.runs.recorder import Recorder
from medtl.weights import starts
from medtl.weights.load import load_exactly


def preset(listed: DataList, name: str, published: Any, sample: Any) -> Any:
    """Return a hyperparameter's value: the recipe's, or on the built-in sample a smaller one.

    Args:
        listed: the data list.
        name: of the id, as it is announced.
        published: for real data.
        sample: for the built-in sample.
    """
    presets: dict[str, Any] = ids.once("presets", dict)
    presets[name] = published
    return sample if listed.sample else published


def begin_training(splits: Sequence[str] = ("train", "val")) -> None:
    """Check everything that a user can have got wrong, say what will be trained on what, and seed all generators.

    Args:
        splits: that the run reads.

    Raises:
        UsageError: an override, a number, the data or the device cannot be used.
    """
    recipe = checked(splits)
    checks.check_metric(recipe["key_metric"], ids.value("data").task, ids.value("data"))
    if ids.has("threshold_rule"):
        checks.check_threshold_rule(recipe["threshold_rule"])
    if ids.has("explain"):
        checks.check_explain(ids.value("explain"))
    if ids.has("balance"):
        checks.check_balance(recipe["balance"])
    checks.check_task(ids.value("data"), recipe, ids.value("explain", 0))
    if recipe.get("mixup"):
        ids.value("train#dataloader")  # which may refuse it
    checks.announce_data(ids.value("data"))
    announce_recipe(recipe)
    if ids.has("methods"):
        method.announce(ids.value("methods"))
    seed(recipe)
    for id_ in ("start", "threshold"):
        ids.value(id_, None)


def begin_evaluation() -> None:
    """Check weights, data and options of an evaluation and say what is evaluated.

    Raises:
        UsageError: one of them cannot be used.
    """
    checks.required(ids.value("weights"), "--weights", "the model.pt of a run")
    recipe = checked([ids.value("split")])
    checks.check_metric(recipe["key_metric"], ids.value("data").task)
    checks.announce_data(ids.value("data"))


def begin_inference(what: str = "a folder or file of PNG, JPEG, DICOM or NIfTI") -> None:
    """Check input, weights and options of an inference.

    Args:
        what: may be given as ``--input``, in words.

    Raises:
        UsageError: one of them cannot be used.
    """
    mistakes.begin()
    ids.forget()
    overrides.refuse_unknown()
    checks.required(ids.value("input"), "--input", what)
    checks.required(ids.value("weights"), "--weights", "the model.pt of a run (models/ of this bundle holds none)")
    recipe = ids.recipe()
    checks.check_numbers(recipe)
    monai.utils.set_determinism(seed=recipe["seed"])


def checked(splits: Sequence[str]) -> dict[str, Any]:
    """Return the recipe of a run that reads a data list, after the checks that all such runs have in common.

    Args:
        splits: that the run reads.

    Raises:
        UsageError: an override, a number, the data or the device cannot be used.
    """
    mistakes.begin()
    ids.forget()
    overrides.refuse_unknown()
    checks.processes(bool(ids.value("distributed", False)))
    # before others are computed from them
    ranges.check(
        {name: ids.value(name) for name in ("epochs", "batch_size", "image_size", "patch_size") if ids.has(name)}
    )
    recipe = ids.recipe()
    checks.check(ids.value("data"), recipe, splits)
    checks.share_cores(recipe["device"])
    return recipe


def announce_recipe(recipe: Mapping[str, Any]) -> None:
    """Say on the first process which recipe is used; on the sample, which values its presets shorten.

    Args:
        recipe: the hyperparameters by id.
    """
    if idist.get_rank():
        return
    presets: dict[str, Any] = ids.once("presets", dict)  # without those that the user chose
    if ids.value("data").sample and presets:
        shortened = [f"{name} {recipe[name]:g} (recipe: {presets[name]:g})" for name in presets]
        tell(f"recipe: shortened for the sample: {', '.join(shortened)}; all else as for real data")
    else:
        names = ("epochs", "batch_size", "image_size", "learning_rate")
        tell("recipe: " + ", ".join(f"{name} {recipe[name]}" for name in names if name in recipe))


def seed(recipe: Mapping[str, Any]) -> None:
    """Seed all generators by ``--seed`` and the process's rank, and choose the kernels that ``--deterministic``
    allows."""
    monai.utils.set_determinism(seed=recipe["seed"] + idist.get_rank())
    engines.fast_kernels(ids.value("deterministic"))


def record() -> Recorder:
    """Return the record of this run, which becomes its run.json."""
    meta = ids.value("_meta_#version")
    named = {"name": str(mistakes.bundle_root()).rpartition("/")[2], "version": meta}
    return ids.once("record", lambda: Recorder(named, ids.value("data"), ids.recipe()))


def run_folder() -> str:
    """Return the default of ``--output_dir``: ``runs/<bundle>/<date-time>``, or that of the run which goes on."""
    if not ids.has("resume"):
        return folder.new(mistakes.bundle_root())
    return resume.output_dir(mistakes.bundle_root(), ids.value("resume"))


def workers() -> int:
    """Return how many processes prepare pictures unless ``--num_workers`` says so: half of the cores, at most 8."""
    return min(8, threads.cores() // 2)


def start(mean: Sequence[float] = (), std: Sequence[float] = ()) -> starts.Start:
    """Return the weights that ``--init`` means for ``--backbone``; nothing is loaded yet.

    Args:
        mean, std: of the input's three channels, for values 0..1, instead of those that the weights expect; empty for
            these.
    """
    found = starts.resolve(ids.value("init"), ids.value("backbone"))
    return replace(found, mean=tuple(mean) or found.mean, std=tuple(std) or found.std)


def checkpoint() -> str:
    """Return the checkpoint that this run goes on from, once its folder is made or found; empty for a new run."""
    return ids.once("checkpoint", lambda: resume.open_run(ids.value("output_dir"), ids.value("resume"), record()))


def board() -> SummaryWriter | None:
    """Return the TensorBoard writer of the run, on the first process; None on the others."""
    return ids.once("board", lambda: resume.board(ids.value("output_dir"), checkpoint()))


def open_run(network: nn.Module | None = None) -> None:
    """Make the run's folder, or find the checkpoint that it goes on from, after all parts that may refuse their
    arguments are made; then load what the network starts from.

    Args:
        network: a classifier, frozen as by ``freeze`` and filled as by ``load_start``; None leaves both to the config.
    """
    if network is not None and ids.has("freeze"):
        freeze(network)
    for id_ in ("optimizer", "train#step"):
        ids.value(id_)
    preflight.would_write()
    checkpoint()
    if network is not None:
        load_start(network)
        if ids.value("data").task == REGRESSION and ids.value("start").init != starts.GIVEN:
            centre(network, ids.value("backbone"), *spread(ids.value("data")))
    checks.warn_of_blank(ids.value("train#dataset"), ids.value("data"))
    _describe()


def load_start(network: nn.Module) -> None:
    """Fill a network's trunk with the weights that ``--init`` names, and record what became of them.

    Args:
        network: the classifier, or the trunk of a segmenting network.
    """
    start = ids.value("start")
    loaded = starts.apply(network, start, ids.value("backbone"))
    if loaded is not None:
        checks.doubt_normalisation(network, start, ids.value("train#dataset"))
    record().started_from(start, loaded, ids.value("output_dir"))


def freeze(network: nn.Module) -> None:
    """Freeze what ``--freeze`` names of a classifier or a trunk."""
    freezing.freeze(network, ids.value("backbone"), ids.value("freeze"))


def load_weights() -> None:
    """Fill the network with ``--weights``, exactly, and open the folder of the evaluation or inference."""
    network, weights = ids.value("network"), ids.value("weights")
    load_exactly(network, weights)
    folder.create(ids.value("output_dir"))
    if ids.has("split"):
        record().open(ids.value("output_dir"))
        _describe()
        record().evaluates(weights)


def _describe() -> None:
    normalisation = ids.value("validate#normalization", None)
    record().describe(mistakes.literal("network_def"), ids.value("validate#dataset"), normalisation)


def short_name(split: str) -> str:
    """Return train, val or test for any name of a split."""
    return checks.short_name(split)


def data(tasks: Sequence[str], classes: Sequence[str] | None = None) -> DataList:
    """Return the data list of ``--dataset_dir``, if it suits the bundle, with ``--fold`` and ``--train_fraction``.

    Args:
        tasks: that the bundle trains.
        classes: its class names in index order; None takes any.
    """
    return checks.data(
        ids.value("dataset_dir"),
        classes,
        tasks,
        fold=ids.value("fold", None),
        train_fraction=ids.value("train_fraction", 1.0),
        seed=ids.value("seed"),
    )

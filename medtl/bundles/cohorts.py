"""What survival has in the place of ``start``, ``loaders`` and ``handlers``: patients with bags of features."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from medtl.bundles import begin as checks
from medtl.bundles import components, handlers, ids, start
from medtl.datalist import SURVIVAL, DataList, Entry
from medtl.errors import BadFileError, MedtlError, UsageError
from medtl.handlers.results import OpenTest
from medtl.handlers.survival import KEY_METRICS, FinishRisks, KeepBestRisks, RiskScores, SaveRisks, reference_of
from medtl.runs import record as records
from medtl.survival.bags import Bags, WholeCohort, bag_of
from medtl.survival.feature_files import starts_of
from medtl.survival.methods import METHODS
from medtl.survival.network import RiskNetwork
from medtl.survival.step import FittedStep


@dataclass(frozen=True)
class TrainedRisks:
    """How the weights of a risk were trained.

    Attributes:
        method: of the network.
        hidden, clusters: of the network.
        most_instances: of a bag that were kept.
        init: start that gave the features; empty where there was one only.
        fold: that was validated on.
    """

    method: str = "attention"
    hidden: int = 64
    clusters: int = 6
    most_instances: int = 2000
    init: str = ""
    fold: int | None = None


def trained_risks(weights: str) -> TrainedRisks:
    """Return what ``run.json`` beside weights says of how they were trained; the usual where there is none.

    Raises:
        MedtlError: it is there and cannot be read, or is of another task.
    """
    folder = records.folder_of(Path(str(weights)))
    if not (folder / records.FILE_NAME).is_file():
        return TrainedRisks()
    run = records.read(folder)
    if run.task != SURVIVAL:
        raise MedtlError(f"--weights {weights}: its run is of the task {run.task}; expected {SURVIVAL}")
    names = TrainedRisks.__dataclass_fields__.keys() & run.recipe.keys()
    return TrainedRisks(**{name: run.recipe[name] for name in names})


def begin_survival_training() -> None:
    """Check everything that a user can have got wrong, say what will be trained on what, and seed all generators.

    Raises:
        UsageError: an override, a number, the data or the device cannot be used.
    """
    recipe = start.checked(("train", "val"))
    _check()
    listed: DataList = ids.value("data")
    if not any(entry["event"] for entry in listed.training):
        raise UsageError(f"{listed.folder / 'datalist.json'}: no training patient had the event")
    checks.announce_data(ids.value("data"))
    start.announce_recipe(recipe)
    start.seed(recipe)


def begin_survival_evaluation() -> None:
    """Check weights, data and options of an evaluation and say what is evaluated.

    Raises:
        UsageError: one of them cannot be used.
    """
    checks.required(ids.value("weights"), "--weights", "the model.pt of a run")
    start.checked([ids.value("split")])
    _check()
    checks.announce_data(ids.value("data"))


def _check() -> None:
    metric, most = ids.value("key_metric"), ids.value("most_instances")
    if metric not in KEY_METRICS:
        raise UsageError(f"--key_metric {metric} is not one of {', '.join(KEY_METRICS)}")
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise UsageError(f"--most_instances {most}: expected a whole number of at least 1")
    if idist.get_world_size() > 1:
        raise UsageError("survival is trained by one process: Cox's risk sets are those of the whole cohort")
    _check_start(ids.value("data"))


def _check_start(listed: DataList) -> None:
    """Refuse a start of which the first patient has no features, or none where there are several."""
    init, first = ids.value("init"), listed.folder / str(_first(listed).get("features", ""))
    if not first.is_file():
        return  # said with its patient where it is read
    try:
        known = starts_of(first)
    except BadFileError as error:
        raise MedtlError(f"{first} {error}") from None
    if (init and init not in known) or (not init and len(known) > 1):
        said = f"--init {init}" if init else "--init is missing"
        raise UsageError(f"{said}: {listed.folder} has features of {', '.join(known) or 'a start without a name'}")


def cohort() -> DataList:
    """Return the data list of ``--dataset_dir``, with ``--fold`` and ``--train_fraction``."""
    return start.data([SURVIVAL])


def feature_width() -> int:
    """Return the width of a feature: that of the first patient."""
    listed: DataList = ids.value("data")
    return int(bag_of(listed, _first(listed), ids.value("init")).shape[1])


def _first(listed: DataList) -> Entry:
    """The first patient: of training, unless a list to be evaluated has none there."""
    return next(entry for _, entry in listed)


def bags(split: str) -> Bags:
    """Return a split's patients with their bags by ``--init``, of at most ``--most_instances`` each."""
    return Bags(ids.value("data"), split, feature_width(), ids.value("most_instances"), ids.value("init"))


def fit_features(network: RiskNetwork) -> None:
    """Give a network the scale of the features, and what else its method fits, of the training patients alone; a run
    that goes on has all that in its checkpoint."""
    if not start.checkpoint():
        dataset = ids.value("train#dataset")
        network.fit(dataset.bags, dataset.label, ids.value("seed"))


def risk_epochs(method: str) -> int:
    """Return how many epochs a method is trained by default: 1 of what is fitted and has no gradient."""
    known = METHODS.get(method)
    if known is not None and not known.by_gradient:
        return 1
    return int(start.preset(ids.value("data"), "epochs", 100, 30))


def risk_step(network: RiskNetwork) -> Any:
    """Return the training step of a network; of a fitted one it says the loss and changes nothing."""
    return components.step() if network.by_gradient else FittedStep()


def cohort_loader(dataset: Bags) -> WholeCohort:
    """Return the one batch of a split: all of its patients."""
    return WholeCohort(dataset)


def risk_scores(split: str) -> RiskScores:
    """Return the evaluator's handler that scores the risks of a split.

    Args:
        split: its short name, the prefix of its metrics.
    """
    listed: DataList = ids.value("data")
    return RiskScores(split, listed.split(split), reference_of(listed))


def best_risks(network: RiskNetwork) -> KeepBestRisks:
    """Return the evaluator's handler that keeps the best epoch by ``--key_metric``.

    Args:
        network: whose weights are kept.
    """
    folder, metric, listed = ids.value("output_dir"), f"val_{ids.value('key_metric')}", ids.value("data")
    return ids.once("best", lambda: KeepBestRisks(network, folder, metric, listed))


def open_test_risks() -> OpenTest[Any]:
    """Return the trainer's handler that predicts the test split, once, when training is over."""
    return handlers.opened_test([risk_scores("test")])


def finish_risks() -> FinishRisks:
    """Return the trainer's handler that computes the intervals, closes run.json and says what came out."""
    return FinishRisks(ids.value("output_dir"), handlers.kept(), start.record(), open_test_risks())


def save_risks() -> SaveRisks:
    """Return the evaluator's handler that writes what an evaluation found."""
    return SaveRisks(
        ids.value("output_dir"),
        ids.value("data"),
        ids.value("validate#split"),
        start.record(),
        ids.value("key_metric"),
    )

"""Joins the metrics to engines: collects every prediction by its place in the data list, then scores the whole split
at once.

Scores of batches cannot be averaged (a mean of AUCs is no AUC), and padded samplers count some images twice; so
predictions are gathered from all processes by sample index and scored once. One process or several give the same
numbers.
"""

from dataclasses import dataclass
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from medtl.errors import MedtlError
from medtl.metrics import registry


@dataclass(frozen=True, eq=False)
class Predictions:
    """All predictions of a split, in the order of the data list.

    Attributes:
        index: (n,) place of each image in its split.
        labels: (n,) class indices or (n, n_classes) multi-hot; of a regression (n,) float32.
        probabilities: (n, n_classes) float32; of a regression (n, 1), the predicted numbers.
    """

    index: NDArray[np.int64]
    labels: NDArray
    probabilities: NDArray[np.float32]


def answers(outputs: torch.Tensor, task: str) -> torch.Tensor:
    """Return what a network's outputs (n, n_outputs) say: softmax of a classification, sigmoid of several labels, which
    are independent; the outputs of a regression are the numbers already."""
    if task == "regression":
        return outputs
    return torch.sigmoid(outputs) if task == "multilabel" else torch.softmax(outputs, dim=1)


class Scores:
    """Evaluator handler: ``engine.state.predictions`` and, as ``<prefix>_<metric>``, ``engine.state.metrics`` after
    each epoch.

    Args:
        prefix: short name of the split, such as "val".
        task: "classification", "multilabel" or "regression".
        positive: index of the class whose sensitivity and the like are added, where there are two classes.
    """

    def __init__(self, prefix: str, task: str = "classification", positive: int | None = None) -> None:
        self.prefix = prefix
        self.task = task
        self.positive = positive
        self._batches: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator. Attach it before handlers that read the scores."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._score)

    def _clear(self, engine: Engine) -> None:
        self._batches = []

    def _collect(self, engine: Engine) -> None:
        # stays on the device until the epoch's end: no synchronisation a batch
        output: dict[str, Any] = engine.state.output
        self._batches.append((engine.state.batch["index"], output["label"].detach(), output["pred"].detach().float()))

    def _score(self, engine: Engine) -> None:
        own: tuple[NDArray, ...] = ()  # a process may have no image, where there are more processes than images
        if self._batches:
            index, labels, logits = (torch.cat(parts).cpu() for parts in zip(*self._batches, strict=True))
            own = index.numpy(), labels.numpy(), answers(logits, self.task).numpy()
        predictions = gather(own)
        broken = int((~np.isfinite(predictions.probabilities).all(axis=1)).sum())
        if broken:
            raise MedtlError(
                f"the network gives no numbers (NaN) for {broken:,} of {len(predictions.index):,} images: "
                "training has diverged, try a lower --learning_rate"
            )
        whole = registry.split_of(predictions.labels, predictions.probabilities)
        scores = registry.of_epoch(whole, self.positive)
        engine.state.predictions = predictions
        engine.state.metrics.update({f"{self.prefix}_{name}": value for name, value in scores.items()})


def gather(own: tuple[NDArray, ...]) -> Predictions:
    """Join what all processes predicted (index, labels, probabilities; or nothing), each image once, in the order of
    the data list."""
    parts = [own]
    if idist.get_world_size() > 1:
        parts = [()] * idist.get_world_size()
        torch.distributed.all_gather_object(parts, own)
    indices, all_labels, all_probabilities = (
        np.concatenate(arrays) for arrays in zip(*filter(None, parts), strict=True)
    )
    unique, first = np.unique(indices, return_index=True)
    return Predictions(unique, all_labels[first], all_probabilities[first])

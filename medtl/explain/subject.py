"""A network that is explained: which layer is looked at, and what speaks for a class, or for a larger number, there."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medtl.errors import UsageError
from medtl.explain.heat import Heat, heat_of, layer_of
from medtl.metrics.ignite import answers
from medtl.runs.classifier import Classifier


@dataclass(frozen=True, eq=False)
class Subject(Classifier):
    """A classifier, or the network of a regression, that is explained."""

    @property
    def layer(self) -> str:
        """Return the layer that is looked at."""
        return layer_of(self.backbone)

    def explain(self, pixels: NDArray[np.uint8], class_index: int | None, method: str) -> Heat:
        """Return the heat map of one picture; arguments as of ``heat_of`` and ``prepared``."""
        where = next(self.network.parameters()).device
        return heat_of(self.network, self.layer, self.prepared(pixels).to(where), class_index, method)

    def answers(self, heat: Heat) -> NDArray[np.float32]:
        """Return (n_classes,) probabilities of a picture's logits; of a regression the number, (1,)."""
        return answers(torch.from_numpy(heat.logits)[None], self.task)[0].numpy()


def of_run(folder: Path) -> Subject:
    """Return the network that a run trained, with its best weights.

    Raises:
        UsageError: no run, or one whose network has no layer to look at.
        MedtlError: it trains neither a classifier nor a regression, or its record or weights are damaged.
    """
    subject = Subject.of_run(folder)
    try:
        layer_of(subject.backbone)
    except UsageError as error:
        raise UsageError(f"{folder} cannot be explained, nobody says at which layer to look: {error}") from None
    return subject

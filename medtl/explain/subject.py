"""The classifier of a run, with all that is needed to show it a picture as its bundle does."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medtl.data.packed import resized
from medtl.errors import MedtlError, UsageError
from medtl.explain.heat import Heat, heat_of, layer_of
from medtl.files import file_hash
from medtl.networks.classifier import build_classifier
from medtl.runs.record import FILE_NAME as RECORD
from medtl.runs.record import RunRecord, read
from medtl.runs.trained import beside
from medtl.weights.load import load_exactly

WEIGHTS = "model.pt"
CLASSIFIER = "build_classifier"
NETWORK_CHANNELS = 3


@dataclass(frozen=True, eq=False)
class Subject:
    """A classifier that is explained.

    Attributes:
        network: images (n, 3, image_size, image_size) to logits (n, n_classes).
        backbone: its name.
        classes: names in index order.
        image_size: in pixels.
        channels: of the pictures, 1 (grey) or 3.
        mean, std: of each of the three channels, for grey values 0..1.
        multilabel: its answers are independent (sigmoid) instead of one choice (softmax).
        fold: that it was validated on, if any.
        sha256: of its weights.
    """

    network: torch.nn.Module
    backbone: str
    classes: tuple[str, ...]
    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    multilabel: bool = False
    fold: int | None = None
    sha256: str = ""

    @property
    def layer(self) -> str:
        """The layer that is looked at."""
        return layer_of(self.backbone)

    def explain(self, pixels: NDArray[np.uint8], class_index: int | None, method: str) -> Heat:
        """The heat map of one picture; arguments as of ``heat_of`` and ``prepared``."""
        where = next(self.network.parameters()).device
        return heat_of(self.network, self.layer, self.prepared(pixels).to(where), class_index, method)

    def prepared(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """A grey (rows, columns) or RGB (rows, columns, 3) picture as the bundles' inference shows it to the network:
        resized by area, rounded, repeated to three channels and normalised; (1, 3, image_size, image_size)."""
        planes = pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
        small = torch.tensor(resized(np.ascontiguousarray(planes), self.image_size)).float() / 255
        mean, std = (torch.tensor(each)[:, None, None] for each in (self.mean, self.std))
        return ((small.expand(NETWORK_CHANNELS, -1, -1) - mean) / std)[None]

    def probabilities(self, heat: Heat) -> NDArray[np.float32]:
        """(n_classes,) of a picture's logits."""
        logits = torch.from_numpy(heat.logits)
        return (torch.sigmoid(logits) if self.multilabel else torch.softmax(logits, dim=0)).numpy()


def of_run(folder: Path) -> Subject:
    """The classifier that a run trained, with its best weights.

    Raises:
        UsageError: no run, or one whose network has no layer to look at.
        MedtlError: it does not train a classifier, or its record or weights are damaged.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; expected a run that holds {WEIGHTS} and {RECORD}")
    for name in (RECORD, WEIGHTS):
        if not (folder / name).is_file():
            raise UsageError(f"{folder} holds no {name}; expected the folder of a training run")
    record = read(folder)
    _refuse_others(record, folder)
    trained = beside(str(folder / WEIGHTS))
    backbone = trained.backbone
    if backbone is None or trained.image_size is None:
        raise MedtlError(f"{folder / RECORD} names no backbone and image_size; expected the record of a training run")
    try:
        layer_of(backbone)
    except UsageError as error:
        raise UsageError(f"{folder} cannot be explained, nobody says at which layer to look: {error}") from None
    network = build_classifier(backbone, len(trained.classes or ()), image_size=trained.image_size)
    load_exactly(network, str(folder / WEIGHTS))
    return Subject(
        network=network.eval(),
        backbone=backbone,
        classes=trained.classes or (),
        image_size=trained.image_size,
        channels=trained.channels,
        mean=trained.mean,
        std=trained.std,
        multilabel=record.task == "multilabel",
        fold=record.recipe.get("fold"),
        sha256=file_hash(folder / WEIGHTS),
    )


def _refuse_others(record: RunRecord, folder: Path) -> None:
    """Raise MedtlError for a run of anything but a classifier, or one that does not say."""
    if record.network is None or record.data is None or record.task is None:
        raise MedtlError(f"{folder / RECORD} does not describe a training run: it names no network, data or task")
    target = str(record.network.get("_target_")).rpartition(".")[2]
    if target != CLASSIFIER or record.task in ("segmentation", "regression"):
        what = target if target != CLASSIFIER else f"a {record.task} network"
        raise MedtlError(f"{folder} is a run of {what}; Grad-CAM explains the class of a picture, so of a classifier")

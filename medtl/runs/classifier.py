"""The network that a run trained for classes or a number, with all that is needed to show it a picture as its bundle
does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from medtl.data.packed import resized
from medtl.datalist import REGRESSION
from medtl.errors import MedtlError, UsageError
from medtl.files import file_hash
from medtl.metrics.ignite import answers
from medtl.networks.classifier import build_classifier
from medtl.runs.record import FILE_NAME as RECORD
from medtl.runs.record import RunRecord, read
from medtl.runs.trained import beside
from medtl.weights.load import load_exactly

WEIGHTS = "model.pt"
BUILDER = "build_classifier"
NETWORK_CHANNELS = 3

C = TypeVar("C", bound="Classifier")


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained classifier, or the network of a regression.

    Attributes:
        network: images (n, 3, image_size, image_size) to logits (n, n_classes), or to numbers (n, 1).
        backbone: its name.
        classes: names in index order; of a regression the name of the number.
        image_size: in pixels.
        channels: of the pictures, 1 (grey) or 3.
        mean, std: of each of the three channels, for grey values 0..1.
        task: "classification", "multilabel" or "regression".
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
    task: str = "classification"
    fold: int | None = None
    sha256: str = ""

    @classmethod
    def of_run(cls: type[C], folder: Path) -> C:
        """Return the network of a run's folder, with its best weights.

        Raises:
            UsageError: there is no run.
            MedtlError: it trains neither a classifier nor a regression, or its record or weights are damaged.
        """
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder; expected a run that holds {WEIGHTS} and {RECORD}")
        for name in (RECORD, WEIGHTS):
            if not (folder / name).is_file():
                raise UsageError(f"{folder} holds no {name}; expected the folder of a training run")
        record = read(folder)
        _refuse_others(record, folder)
        trained = beside(str(folder / WEIGHTS))
        backbone, classes = trained.backbone, trained.classes or ()
        if backbone is None or trained.image_size is None:
            raise MedtlError(
                f"{folder / RECORD} names no backbone and image_size; expected the record of a training run"
            )
        network = build_classifier(backbone, len(classes), image_size=trained.image_size)
        load_exactly(network, str(folder / WEIGHTS))
        return cls(
            network=network.eval(),
            backbone=backbone,
            classes=classes,
            image_size=trained.image_size,
            channels=trained.channels,
            mean=trained.mean,
            std=trained.std,
            task=record.task or cls.task,
            fold=record.recipe.get("fold"),
            sha256=file_hash(folder / WEIGHTS),
        )

    def prepared(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """Return a grey (rows, columns) or RGB (rows, columns, 3) picture as the bundles' inference shows it to the
        network: resized by area, rounded, repeated to three channels and normalised; (1, 3, image_size, image_size)."""
        planes = pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
        return self.normalised(resized(np.ascontiguousarray(planes), self.image_size)[np.newaxis])

    def normalised(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Return (n, channels, size, size) pictures of the network's size as it takes them, (n, 3, size, size)."""
        mean, std = (torch.tensor(each)[:, None, None] for each in (self.mean, self.std))
        grey = torch.tensor(images).float() / 255
        return (grey.expand(-1, NETWORK_CHANNELS, -1, -1) - mean) / std

    @property
    def is_regression(self) -> bool:
        """Say whether the answer is a number, not a class."""
        return self.task == REGRESSION

    def predict(self, images: NDArray[np.uint8], batch: int = 64) -> NDArray[np.float32]:
        """Return (n, n_classes) probabilities of (n, channels, size, size) pictures of the network's size, or (n, 1)
        numbers.

        Args:
            images: uint8, one channel or three.
            batch: pictures at a time.
        """
        parts: list[NDArray[np.float32]] = [np.zeros((0, len(self.classes)), np.float32)]
        where = next(self.network.parameters()).device
        with torch.inference_mode():
            for start in range(0, len(images), batch):
                outputs = self.network(self.normalised(np.array(images[start : start + batch])).to(where))
                parts.append(answers(outputs.float(), self.task).cpu().numpy())
        return np.concatenate(parts)


def few(names: Sequence[str], most: int = 4) -> str:
    """Return the first names in words."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _refuse_others(record: RunRecord, folder: Path) -> None:
    """Raise MedtlError for a run of anything but a classifier or a regression, or one that does not say."""
    if record.network is None or record.data is None or record.task is None:
        raise MedtlError(f"{folder / RECORD} does not describe a training run: it names no network, data or task")
    target = str(record.network.get("_target_")).rpartition(".")[2]
    if target != BUILDER or record.task == "segmentation":
        what = target if target != BUILDER else f"a {record.task} network"
        raise MedtlError(
            f"{folder} is a run of {what}; expected one of a classifier or a regression, which answers a whole picture"
        )

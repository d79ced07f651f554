"""What the run beside a weight file says of it, so that evaluation and inference need not be told again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medtl.bundle.boundary import one_line
from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.errors import MedtlError, UsageError
from medtl.handlers.scored import Threshold


@dataclass(frozen=True)
class Trained:
    """How weights were trained; what no run.json says is None, or the usual.

    Attributes:
        backbone: its name.
        image_size: in pixels.
        classes: names in index order.
        channels: of the pictures, 1 (grey) or 3.
        mean, std: of the input's normalisation, for values 0..1.
        threshold: the operating point, where one was chosen.
    """

    backbone: str | None = None
    image_size: int | None = None
    classes: tuple[str, ...] | None = None
    channels: int = 1
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    threshold: Threshold | None = None


@one_line
def beside(weights: str) -> Trained:
    """What ``run.json`` in the folder of ``weights`` says; the usual where there is none.

    Raises:
        MedtlError: it is there and cannot be read.
    """
    path = Path(str(weights)).parent / "run.json"
    if not path.is_file():
        return Trained()
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        recipe, data, start = run["recipe"], run["data"], run.get("start", {})
        return Trained(
            backbone=recipe.get("backbone"),
            image_size=recipe.get("image_size"),
            classes=tuple(data["classes"]),
            channels=data.get("channels", 1),
            mean=tuple(start.get("mean", IMAGENET_MEAN)),
            std=tuple(start.get("std", IMAGENET_STD)),
            threshold=_threshold(run.get("threshold")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MedtlError(f"{path} does not describe a run ({error!r}); move it away to go on without it") from None


def _threshold(record: dict[str, Any] | None) -> Threshold | None:
    return Threshold(**record) if record else None


@one_line
def classes(start: Trained, weights: str) -> list[str]:
    """The class names that weights were trained for.

    Raises:
        UsageError: no run.json lies beside them.
    """
    if start.classes is None:
        raise UsageError(f"--weights {weights}: no run.json beside it names its classes; pass --classes \"['a','b']\"")
    return list(start.classes)

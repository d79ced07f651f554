"""What the run beside a weight file says of it, so that evaluation and inference need not be told again."""

from dataclasses import dataclass
from pathlib import Path

from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.errors import MedtlError, UsageError
from medtl.metrics.operating_point import Threshold
from medtl.runs import record as records
from medtl.runs.settled import threshold_of
from medtl.weights.archive import CARD, opened
from medtl.weights.card import WeightsCard


@dataclass(frozen=True)
class Trained:
    """How weights were trained; what nothing says is None, or the usual.

    Attributes:
        backbone: its name.
        image_size: in pixels.
        classes: names in index order.
        channels: of the pictures, 1 (grey) or 3.
        mean, std: of the input's normalisation, for values 0..1.
        threshold: the operating point, without a value where none was chosen; None where no class is the positive one.
        task: "classification", "multilabel" or "regression".
    """

    backbone: str | None = None
    image_size: int | None = None
    classes: tuple[str, ...] | None = None
    channels: int = 1
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    threshold: Threshold | None = None
    task: str = "classification"

    @property
    def positive_class(self) -> str | None:
        """Return the class of two from whose side the run is told."""
        return self.threshold.positive_class if self.threshold else None


def beside(weights: str) -> Trained:
    """Return what ``run.json`` in the folder of ``weights`` (of a checkpoint: of its run), or the card of their bundle,
    says; the usual where there is neither.

    Raises:
        MedtlError: it is there and cannot be read.
    """
    folder = records.folder_of(Path(str(weights)))
    if not (folder / records.FILE_NAME).is_file():
        card = card_of(Path(str(weights)))
        return _on_card(card) if card else Trained()
    run = records.read(folder)
    if run.data is None or not run.recipe:
        path = folder / records.FILE_NAME
        raise MedtlError(
            f"{path} does not describe a run: it names no data or recipe; move it away to go on without it"
        )
    mean, std = run.normalisation
    return Trained(
        backbone=run.backbone,
        image_size=run.image_size,
        classes=run.data.classes,
        channels=run.data.channels,
        mean=mean or IMAGENET_MEAN,
        std=std or IMAGENET_STD,
        threshold=threshold_of(run),
        task=run.task or "classification",
    )


def card_of(weights: Path) -> WeightsCard | None:
    """Return the card of the bundle that weights (a file in its models/, its folder or its zip) lie in; None where
    there is none.

    Raises:
        MedtlError: it is there and cannot be read.
    """
    if weights.suffix == ".zip" and weights.is_file():
        with opened(weights, option="--weights") as archive:
            text = archive.read(CARD).decode("utf-8", "replace") if CARD in archive.files else ""
    else:
        folder = weights if weights.is_dir() else weights.absolute().parent.parent  # of the root its own
        path = folder / CARD
        is_in_bundle = path.is_file() and (weights.is_dir() or weights.parent.name == "models")
        text = path.read_text(encoding="utf-8", errors="replace") if is_in_bundle else ""
    return WeightsCard.from_json(text) if text else None


def _on_card(card: WeightsCard) -> Trained:
    what, pixels, named = card.architecture, card.input, str(card.recipe.get("positive_class"))
    told = len(card.classes) == 2 and named in card.classes
    return Trained(
        what.backbone,
        what.image_size,
        card.classes,
        pixels.file_channels,
        pixels.mean,
        pixels.std,
        Threshold(card.classes.index(named), named, "") if told else None,
        card.task,
    )


def classes(start: Trained, weights: str) -> list[str]:
    """Return the class names that weights were trained for.

    Raises:
        UsageError: nothing says.
    """
    if start.classes is None:
        raise UsageError(
            f"--weights {weights}: neither a run.json beside it nor a card names its classes; pass --classes"
            " \"['a','b']\""
        )
    return list(start.classes)

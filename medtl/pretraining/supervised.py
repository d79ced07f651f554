"""Learning from labels: the classifier that is kept, trained as usual."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from medtl.errors import UsageError
from medtl.pretraining.method import Seen, Trunk, Views
from medtl.transforms.batch import BatchTransform

JOINT, SOURCE = "joint", "source"


@dataclass(frozen=True)
class Supervised:
    """Cross-entropy with the classes; with several labels an image, binary cross-entropy of each.

    Alone it sees each image once, augmented as in the bundles for fine-tuning. In a sum with a method that shows whole
    images it judges each of those pictures.

    Args:
        label_smoothing: of the cross-entropy, 0 to below 1.
        heads: "joint", one softmax over all classes, or "source", one over the classes of each source, as
            ``data_prep mix`` names them (``chexpert/Edema``): nothing is learnt from which set an image is of.
        flip, rotate, scale, translate: as of ``BatchTransform``.
    """

    label_smoothing: float = 0.0
    heads: str = JOINT
    flip: float = 0.5
    rotate: float = 0.15
    scale: float = 0.1
    translate: float = 0.05

    name: ClassVar[str] = "supervised"
    needs_labels: ClassVar[bool] = True
    takes: ClassVar[Literal["logits", "pooled", "map"]] = "logits"
    shows_whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(f"label_smoothing {self.label_smoothing}: expected a number from 0 to below 1")
        if self.heads not in (JOINT, SOURCE):
            raise UsageError(f"heads {self.heads!r}: expected {JOINT} or {SOURCE}")

    @property
    def comparable(self) -> bool:
        """Return whether logits of all classes may be compared, so that validation can choose the epoch."""
        return self.heads == JOINT

    def views(self, plain: BatchTransform) -> Views:
        """Return one augmented picture of each image."""
        return replace(plain, flip=self.flip, rotate=self.rotate, scale=self.scale, translate=self.translate)

    def head(self, trunk: Trunk) -> nn.Module:
        """Raise an error: the classifier's own head answers."""
        raise NotImplementedError

    def loss(self, seen: Seen) -> Tensor:
        """Return the mean over all pictures of all images.

        Args:
            seen: logits (k n, n_classes) of k pictures of each image: row j n + i is the j-th of image i; for heads of
                sources with the target ``sources`` (n_classes,), the number of each class's source.
        """
        pictures = len(seen.answers) // len(seen.labels)
        if seen.labels.ndim == 2:
            smooth = seen.labels * (1 - self.label_smoothing) + self.label_smoothing / 2
            return nn.functional.binary_cross_entropy_with_logits(seen.answers, smooth.repeat(pictures, 1))
        labels = seen.labels.repeat(pictures)
        if self.heads == SOURCE:
            return self._within_sources(seen.answers, labels, seen.targets["sources"])
        return nn.functional.cross_entropy(seen.answers, labels, label_smoothing=self.label_smoothing)

    def _within_sources(self, answers: Tensor, labels: Tensor, sources: Tensor) -> Tensor:
        """Cross-entropy of a softmax over the classes of the label's source alone."""
        own = sources[labels][:, None] == sources
        logs = answers.masked_fill(~own, -torch.inf).log_softmax(1).masked_fill(~own, 0)
        right = -logs.gather(1, labels[:, None])[:, 0]
        evenly = -logs.sum(1) / own.sum(1)
        return ((1 - self.label_smoothing) * right + self.label_smoothing * evenly).mean()

    def describe(self) -> str:
        """Return what is asked."""
        if self.heads == SOURCE:
            return "which class of its source an image is of (a head a source)"
        return "which class an image is of"


METHOD = Supervised

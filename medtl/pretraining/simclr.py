"""SimCLR (Chen et al., ICML 2020): projections of two views of one image are pulled together, others pushed apart."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from medtl.errors import UsageError
from medtl.pretraining.method import Seen, Trunk, Views
from medtl.transforms.batch import BatchTransform

OTHER_SEED = 2**31  # apart from any seed that a user would name


@dataclass(frozen=True)
class SimCLR:
    """NT-Xent between two views of each image, through a projection of two layers.

    Args:
        temperature: of NT-Xent, above 0.
        width: of the projection.
        flip, rotate, crop, brightness, contrast, gamma: of a view, as of ``BatchTransform``.
    """

    temperature: float = 0.2
    width: int = 128
    flip: float = 0.5
    rotate: float = 0.26
    crop: float = 0.2
    brightness: float = 0.3
    contrast: float = 0.4
    gamma: float = 0.3

    name: ClassVar[str] = "simclr"
    needs_labels: ClassVar[bool] = False
    takes: ClassVar[Literal["logits", "pooled", "map"]] = "pooled"
    shows_whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.temperature > 0 or self.width < 1:
            raise UsageError(f"temperature {self.temperature} must be above 0, width {self.width} at least 1")

    def views(self, plain: BatchTransform) -> Views:
        """Return two augmented views of each image."""
        names = ("flip", "rotate", "crop", "brightness", "contrast", "gamma")
        return TwoViews(replace(plain, **{name: getattr(self, name) for name in names}))

    def head(self, trunk: Trunk) -> nn.Module:
        """Return the projection: pooled features (2 n, features) to (2 n, width)."""
        return nn.Sequential(
            nn.Linear(trunk.width, trunk.width), nn.ReLU(inplace=True), nn.Linear(trunk.width, self.width)
        )

    def loss(self, seen: Seen) -> Tensor:
        """Return NT-Xent of the projections."""
        return between_views(seen.answers, self.temperature)

    def describe(self) -> str:
        """Return what is asked."""
        return (
            "which of a batch's other views shows the same image (NT-Xent,"
            f" temperature {self.temperature:g}); guessing among n images is right 1 in 2 n − 1 times"
        )


@dataclass(frozen=True)
class TwoViews:
    """A batch augmented twice, independently: the second views lie behind the first.

    Args:
        transform: draws one view.
    """

    transform: BatchTransform

    def __call__(self, image: Tensor, index: Tensor, epoch: int = 0) -> Tensor:
        """Return (2 n, 3, rows, columns) of images (n, 1 or 3, rows, columns), uint8; row n + i shows the image of row
        i.

        Args:
            image: (n, 1 or 3, rows, columns), uint8.
            index: the images' places in their split (n,), int64.
            epoch: from 0.
        """
        other = replace(self.transform, seed=self.transform.seed + OTHER_SEED)
        return torch.cat((self.transform(image, index, epoch), other(image, index, epoch)))


def between_views(projections: Tensor, temperature: float) -> Tensor:
    """Return NT-Xent (Chen et al. 2020, equation 1): of all other projections of a batch, the other view of the same
    image should be the most alike.

    One matrix product: MONAI's ContrastiveLoss, which gives the same value, spreads out (2 n)² × width numbers.

    Args:
        projections: (2 n, width); row i and row n + i are views of one image.
        temperature: above 0.
    """
    directions = nn.functional.normalize(projections, dim=1)
    alike = directions @ directions.T / temperature
    alike = alike.fill_diagonal_(-torch.inf)
    count = len(projections)
    partner = torch.arange(count, device=projections.device).roll(count // 2)
    return nn.functional.cross_entropy(alike, partner)


METHOD = SimCLR

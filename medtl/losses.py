"""The loss of a pretraining that learns from labels and from pairs of views at once."""

import torch
from torch import nn


class LabelsAndViews(nn.Module):
    """Cross-entropy of both views plus ``contrast`` times SimCLR's NT-Xent between them.

    Args:
        contrast: weight of the contrastive part, 0 or more; 0 is plain classification.
        supervision: weight of the cross-entropy, 0 or more; 0 is plain SimCLR.
        temperature: of NT-Xent, above 0.
        label_smoothing: of the cross-entropy, 0 to below 1.
    """

    def __init__(
        self, contrast: float = 1.0, supervision: float = 1.0, temperature: float = 0.2, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.contrast = contrast
        self.supervision = supervision
        self.temperature = temperature
        self.with_labels = nn.CrossEntropyLoss(label_smoothing=label_smoothing)

    def forward(self, outputs: tuple[torch.Tensor, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """Loss of a batch whose second half holds other views of the first half's images.

        Args:
            outputs: logits (2 n, n_classes) and projections (2 n, width).
            labels: (n,) class indices.
        """
        logits, projections = (part.float() for part in outputs)
        loss = self.supervision * self.with_labels(logits, labels.repeat(2))
        return loss + self.contrast * between_views(projections, self.temperature)


def between_views(projections: torch.Tensor, temperature: float) -> torch.Tensor:
    """NT-Xent (Chen et al. 2020, equation 1): of all other projections of a batch, the other view of the same image
    should be the most alike.

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

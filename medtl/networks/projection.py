"""A projection beside the head, for contrastive pretraining; thrown away afterwards.

SimCLR (Chen et al., ICML 2020): a two-layer network on the pooled features, whose outputs for two views of one image
are pulled together. The trunk and the head stay those of the wrapped classifier.
"""

from typing import Any

import torch
from torch import nn

from medtl.networks.classifier import head_width
from medtl.networks.registry import backbone_of


class WithProjection(nn.Module):
    """A classifier that also gives projections.

    Args:
        network: as ``build_classifier`` made it; its parameters are trained in place.
        backbone: its name.
        width: of the projection.
    """

    def __init__(self, network: nn.Module, backbone: str, width: int = 128) -> None:
        super().__init__()
        self.network = network
        head = network.get_submodule(backbone_of(backbone).head)
        features = head_width(head)
        self.projection = nn.Sequential(
            nn.Linear(features, features), nn.ReLU(inplace=True), nn.Linear(features, width)
        )
        self._pooled = torch.empty(0)
        head.register_forward_pre_hook(self._keep)

    def _keep(self, head: nn.Module, inputs: tuple[Any, ...]) -> None:
        # a head that is a convolution stands in front of the pooling
        self._pooled = inputs[0].flatten(2).mean(2) if inputs[0].ndim == 4 else inputs[0]

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (n, channels, size, size) to logits (n, num_classes) and projections (n, width)."""
        logits = self.network(images)
        return logits, self.projection(self._pooled)

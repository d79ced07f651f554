"""What is known of data sets, backbones and weights: pure data, no torch, so that listing is instant."""

from medtl.cards.datasets import DatasetCard, dataset_cards
from medtl.cards.networks import (
    BACKBONE_CARDS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    WEIGHTS_SOURCES,
    BackboneCard,
    WeightsSource,
)
from medtl.cards.weights import (
    Architecture,
    InputContract,
    SegmentationArchitecture,
    VolumeContract,
    WeightsCard,
)

__all__ = [
    "BACKBONE_CARDS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "WEIGHTS_SOURCES",
    "Architecture",
    "BackboneCard",
    "DatasetCard",
    "InputContract",
    "SegmentationArchitecture",
    "VolumeContract",
    "WeightsCard",
    "WeightsSource",
    "dataset_cards",
]

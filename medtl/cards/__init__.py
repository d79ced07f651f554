"""What is known of data sets: pure data, no torch, so that listing is instant."""

from medtl.cards.datasets import DatasetCard, dataset_cards
from medtl.cards.normalization import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "DatasetCard", "dataset_cards"]

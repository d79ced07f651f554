"""Masks without a network: liver wherever a slice is bright."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from medtl.data import volumes
from medtl.handlers.masks import SaveMasks

ORGANS = ("liver", "right_kidney", "left_kidney", "spleen")


def predict_bright(source: Path, out: Path, formats: tuple[str, ...] = ("nifti",)) -> volumes.Volumes:
    """Masks of a network that finds liver wherever a slice is brighter than half."""
    found = volumes.found(str(source), 32)
    labels = {place: (picture > 127).astype(np.uint8) for place, picture in enumerate(found.pictures)}
    saver = SaveMasks(str(out), found, ORGANS, formats)
    saver._save(SimpleNamespace(state=SimpleNamespace(slices=labels)))  # type: ignore[arg-type]
    return found

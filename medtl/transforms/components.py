"""What may be done to a predicted volume afterwards: nothing, by default."""

import numpy as np
from numpy.typing import NDArray

from medtl.errors import UsageError

POSTPROCESSING = ("none", "largest")


def check(postprocess: str) -> None:
    """Raise UsageError for a word that is none of ``POSTPROCESSING``."""
    if postprocess not in POSTPROCESSING:
        raise UsageError(f"--postprocess {postprocess}: expected {' or '.join(POSTPROCESSING)}")


def postprocessed(volume: NDArray[np.uint8], count: int, postprocess: str) -> NDArray[np.uint8]:
    """Return a predicted volume as it is, or with the largest connected piece of each organ alone.

    Args:
        volume: (x, y, z); 0 is background, 1 to ``count`` are organs.
        count: number of organs.
        postprocess: ``none``, or ``largest``: pieces touch where voxels share a face, an edge or a corner.
    """
    check(postprocess)
    if postprocess == "none":
        return volume
    from monai.transforms import KeepLargestConnectedComponent

    keep = KeepLargestConnectedComponent(applied_labels=list(range(1, count + 1)), independent=True, is_onehot=False)
    return np.asarray(keep(volume[np.newaxis])[0]).astype(np.uint8)

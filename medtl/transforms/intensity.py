"""Scanner units to 8-bit grey: a window for CT, robust percentiles for MR. Pure functions of arrays."""

import numpy as np
from numpy.typing import NDArray


def ct_window(hu: NDArray, centre: float, width: float) -> NDArray[np.uint8]:
    """Hounsfield units to 0..255: below ``centre - width/2`` black, above ``centre + width/2`` white, linear
    between."""
    low = centre - width / 2
    return scale(hu, low, low + width)


def mr_range(volume: NDArray, lower: float = 0.5, upper: float = 99.5) -> tuple[float, float]:
    """The grey range of an MR volume: percentiles of its non-zero voxels, so that background does not count.

    Args:
        volume: any shape; MR intensities have no unit.
        lower: percentile shown black.
        upper: percentile shown white.

    Returns:
        (low, high); (0, 0) for an empty volume.
    """
    values = volume[volume != 0]
    if not values.size:
        return 0.0, 0.0
    low, high = np.percentile(values, (lower, upper))
    return float(low), float(high)


def scale(image: NDArray, low: float, high: float) -> NDArray[np.uint8]:
    """Linear from [low, high] to 0..255, clipped and rounded; all black where the range is empty."""
    if not high > low:
        return np.zeros(image.shape, dtype=np.uint8)
    grey = (image.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)

"""The 95 % Hausdorff distance of two contours, by MONAI."""

import math
import warnings

import numpy as np
from numpy.typing import NDArray

from medtl.metrics.contours import CaseMetric

PERCENTILE = 95


def hausdorff95(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], spacing: tuple[float, ...], diagonal: float
) -> float:
    """Return the larger of the two directed 95th percentiles of distances between two surfaces, in mm; arguments as of
    ``CaseMetric.score``."""
    from monai.metrics import compute_hausdorff_distance  # takes seconds to import, and is not always asked for

    pair = (mask[np.newaxis, np.newaxis] for mask in (predicted, truth))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.6 warns of an argument that it sets itself
        found = compute_hausdorff_distance(*pair, include_background=True, percentile=PERCENTILE, spacing=list(spacing))
    return float(found[0, 0])


CASE_METRICS = (
    CaseMetric(
        name="hd95",
        title="95 % Hausdorff distance in mm (pixels)",
        score=hausdorff95,
        missing=lambda diagonal: diagonal,
        higher_is_better=False,
        bounds=(0.0, math.inf),
        order=30,
    ),
)

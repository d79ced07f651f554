"""Surface Dice: the share of two contours that lies close to the other one, by MONAI.

Nikolov et al.: Clinically Applicable Segmentation of Head and Neck Anatomy for Radiotherapy, JMIR 2021 (there with a
tolerance from the spread of experts, an organ each).
"""

import warnings

import numpy as np
from numpy.typing import NDArray

from medtl.metrics.contours import CaseMetric

TOLERANCE = 2.0  # mm, of pictures pixels


def surface_dice(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], spacing: tuple[float, ...], diagonal: float
) -> float:
    """Return the share of the voxels of both surfaces that lie within ``TOLERANCE`` of the other surface, 0..1;
    arguments as of ``CaseMetric.score``."""
    from monai.metrics import compute_surface_dice  # takes seconds to import, and is not always asked for
    from torch import from_numpy

    pair = (from_numpy(mask[np.newaxis, np.newaxis].astype(np.uint8)) for mask in (predicted, truth))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.6 warns of an argument that it sets itself
        found = compute_surface_dice(
            *pair, class_thresholds=[TOLERANCE], include_background=True, spacing=list(spacing)
        )
    return float(found[0, 0])


CASE_METRICS = (
    CaseMetric(
        name="nsd",
        title=f"surface Dice at {TOLERANCE:g} mm (pixels)",
        score=surface_dice,
        missing=lambda diagonal: 0.0,
        bounds=(0.0, 1.0),
        order=40,
    ),
)

"""Boundary F: precision and recall of a contour, for thin things such as vessels, whose area says little.

Csurka, Larlus, Perronnin: What is a good evaluation measure for semantic segmentation? BMVC 2013.
"""

import numpy as np
from numpy.typing import NDArray

from medtl.metrics.contours import CaseMetric

TOLERANCE = 0.0075  # of the diagonal, as in that paper


def boundary_f(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], spacing: tuple[float, ...], diagonal: float
) -> float:
    """Return the harmonic mean, 0..1, of the share of the predicted contour that lies within 0.75 % of the diagonal of
    the true one, and of the share of the true one that lies so near to the predicted one.

    Arguments are as of ``CaseMetric.score``. A contour is those voxels of a mask that touch its outside by a side.
    """
    from scipy import ndimage

    contours = [mask & ~ndimage.binary_erosion(mask) for mask in (truth, predicted)]
    near = [ndimage.distance_transform_edt(~contour, sampling=spacing) <= TOLERANCE * diagonal for contour in contours]
    recall, precision = (float(near[1][contours[0]].mean()), float(near[0][contours[1]].mean()))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


CASE_METRICS = (
    CaseMetric(
        name="bf",
        title="boundary F at 0.75 % of the diagonal",
        score=boundary_f,
        missing=lambda diagonal: 0.0,
        bounds=(0.0, 1.0),
        order=50,
    ),
)

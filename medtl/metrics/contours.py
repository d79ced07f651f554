"""What is measured of the contours of a case's organs. Each metric is defined once, in ``CASE_METRICS`` of a file of
this folder or of ``FOLDER/metrics/`` of a folder that $MEDTL_PLUGINS names; it becomes columns of predictions.csv and
metrics by itself."""

import functools
import importlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from medtl import plugins
from medtl.errors import UsageError

DEFINES = re.compile(rb"^CASE_METRICS\b", re.MULTILINE)
NAME = re.compile(r"[a-z][a-z0-9]*")


@dataclass(frozen=True, eq=False)
class CaseMetric:
    """A metric of one organ of one case.

    Attributes:
        name: of letters and digits; the columns are ``<name>_<organ>``.
        title: for people.
        score: (truth, predicted, spacing, diagonal) to a number. Both masks hold the organ; they are bool of one shape
            and cut to what they hold, with a rim of background: (x, y, z), or (x, y) of a case of one slice. The
            spacing has a number an axis, and the diagonal is the whole volume's, both in mm, of pictures in pixels.
        missing: the score where the organ is in one of both masks alone, from the diagonal.
        higher_is_better: which end of it is good.
        bounds: smallest and largest value that there can be.
        order: place in tables, small first.
    """

    name: str
    title: str
    score: Callable[[NDArray[np.bool_], NDArray[np.bool_], tuple[float, ...], float], float]
    missing: Callable[[float], float]
    higher_is_better: bool = True
    bounds: tuple[float, float] = (-math.inf, math.inf)
    order: int = 100


def case_metrics() -> tuple[CaseMetric, ...]:
    """Return all of them, in the order of tables.

    Raises:
        UsageError: a file of $MEDTL_PLUGINS cannot be imported, or its CASE_METRICS are none.
    """
    found: dict[str, CaseMetric] = {}
    for module in (*_own(), *plugins.modules("metrics")):
        for metric in getattr(module, "CASE_METRICS", ()):
            if not isinstance(metric, CaseMetric) or not NAME.fullmatch(metric.name):
                raise UsageError(f"{module.__file__}: expected CASE_METRICS = (CaseMetric(…), …), names of letters")
            if metric.name in found or metric.name in ("iou", "dice"):
                raise UsageError(f"{module.__file__}: there is a metric {metric.name} already; choose another name")
            found[metric.name] = metric
    return tuple(sorted(found.values(), key=lambda metric: (metric.order, metric.name)))


def of_column(name: str) -> CaseMetric | None:
    """Return whose column of predictions.csv, or mean over classes, a name is (``hd95_liver``, ``hd95_mean``); None
    where it is of none."""
    return next((metric for metric in case_metrics() if name.startswith(f"{metric.name}_")), None)


def scores(truth: NDArray[np.bool_], predicted: NDArray[np.bool_], spacing: Sequence[float]) -> dict[str, float]:
    """Return each metric of one organ: NaN where it is in neither mask.

    Args:
        truth, predicted: (x, y, z).
        spacing: of the voxels along (x, y, z) in mm.
    """
    there = bool(truth.any()), bool(predicted.any())
    if there == (False, False):
        return {metric.name: math.nan for metric in case_metrics()}
    diagonal = float(np.linalg.norm(np.array(truth.shape) * np.array(spacing)))
    if there != (True, True):
        return {metric.name: metric.missing(diagonal) for metric in case_metrics()}
    flat = truth.shape[2] == 1  # in 3-D each voxel of a single slice would lie on the surface
    union = truth | predicted
    a, b = (_cut(mask, union, flat) for mask in (truth, predicted))
    apart = tuple(float(mm) for mm in spacing)[: a.ndim]
    return {metric.name: float(metric.score(a, b, apart, diagonal)) for metric in case_metrics()}


def _cut(mask: NDArray[np.bool_], union: NDArray[np.bool_], flat: bool) -> NDArray[np.bool_]:
    """The part around both masks with a rim of background, which changes no distance."""
    axes = [np.flatnonzero(union.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    inner = mask[tuple(slice(int(a[0]), int(a[-1]) + 1) for a in axes)]
    return np.pad(inner[:, :, 0] if flat else inner, 1)


@functools.cache
def _own() -> tuple[ModuleType, ...]:
    paths = sorted(Path(__file__).parent.glob("*.py"))
    return tuple(
        importlib.import_module(f"medtl.metrics.{path.stem}") for path in paths if DEFINES.search(path.read_bytes())
    )

"""``medtl.probe``: which start is best for a data list, by frozen features."""

from __future__ import annotations

import datetime
import operator
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from medtl.api.data import refuse_changed
from medtl.api.run import Run
from medtl.datalist import DataList
from medtl.errors import UsageError

if TYPE_CHECKING:
    from pandas import DataFrame

    from medtl.features.probe import Probed

T = TypeVar("T", str, int, float, Path)


class Probe:
    """What ``medtl.probe`` has found.

    Attributes:
        folder: of the cells' runs, which ``medtl.report`` takes.
        best: (backbone, start) that is best on validation.
        sentence: the same in words, and whether its lead on the test split is more than chance explains.
    """

    def __init__(self, found: Probed) -> None:
        self._found = found
        self.folder = found.folder
        self.best = (found.best.backbone, found.best.init)
        self.sentence = found.sentence()

    @property
    def runs(self) -> list[Run]:
        """Return the run of each cell."""
        found = self._found
        return [Run(self.folder / "cells" / cell.name(found.models[cell.model])) for cell in found.results]

    def table(self) -> DataFrame:
        """Return a row a start, the best on validation first: means over seeds and folds of the first head, LogME and
        neighbourhood purity, and the seconds that embedding took."""
        import pandas as pd

        found, rows = self._found, []
        for standing in found.standings:
            model, scores = found.models[standing.model], found.scores[standing.model]
            rows.append(
                {
                    "backbone": model.backbone,
                    "init": model.init,
                    f"val_{found.metric}": standing.validation,
                    f"test_{found.metric}": standing.test,
                    "logme": scores.logme,
                    "knn_purity": scores.knn_purity,
                    "embed_s": model.seconds,
                }
            )
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return f"<Probe {self.folder}: {self.sentence}>"


def probe(
    data: DataList,
    starts: Sequence[str | Path] = (),
    *,
    backbones: Sequence[str] = ("resnet18",),
    seeds: Sequence[int] = (0,),
    fractions: Sequence[float] = (),
    folds: Sequence[int] = (),
    heads: Sequence[str] = ("logistic", "knn"),
    features: Sequence[str | Path] = (),
    image_size: int | None = None,
    device: str | None = None,
    out: str | Path | None = None,
) -> Probe:
    """Embed each picture once a start, fit small heads on the frozen features, and rank the starts.

    The same as ``medtl probe DIR --starts …``: features lie in medtl's cache, so that other seeds, fractions, folds,
    heads and folders cost no forward pass. A random start is one random network, that of seed 0.

    Args:
        data: what ``medtl.load_data`` returned.
        starts: words such as "imagenet" and "mini", or paths of weights.
        backbones: names of networks; each is tried from each start whose weights are at hand.
        seeds: of the draws of training patients.
        fractions: shares of the training patients; all unless given.
        folds: of the data list to validate on, each in turn.
        heads: "logistic" and "knn"; the first one ranks the starts.
        features: files .npz or .csv of another program's features, by the pictures' names.
        image_size: in pixels; 224 unless given, 64 for the built-in sample.
        device: "cpu", "cuda" …; a GPU where there is one.
        out: folder of the runs; by default ``runs/probe/<date-time>``.

    Raises:
        UsageError: an argument cannot be used, no weights are found, or ``data`` is not what its file holds.
        MedtlError: pictures or weights cannot be read, or do not fit.
    """
    from medtl.features import tables
    from medtl.features.probe import probe as run
    from medtl.features.request import Request

    if data.train_fraction != 1:
        raise UsageError("medtl.probe: the share of the patients is said by fractions=[…], not by the data list")
    refuse_changed(data, "medtl.probe")
    known_folds = _listed("folds", folds, operator.index)
    if data.fold is not None and known_folds:
        raise UsageError(f"medtl.probe: folds {list(known_folds)}, but the data list was loaded with fold {data.fold}")
    moment = f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}"
    request = Request(
        dataset_dir=data.folder,
        out=Path(out) if out is not None else Path("runs") / "probe" / moment,
        starts=_listed("starts", starts, str),
        backbones=_listed("backbones", backbones, str),
        seeds=_listed("seeds", seeds, operator.index),
        fractions=_listed("fractions", fractions, float),
        folds=known_folds or (() if data.fold is None else (data.fold,)),
        heads=_listed("heads", heads, str),
        features=_listed("features", features, Path),
        image_size=image_size,
        device=device,
    )
    found = run(request)
    tables.write_transferability(found)
    return Probe(found)


def _listed(name: str, given: object, kind: Callable[[Any], T]) -> tuple[T, ...]:
    """The values of an argument, as the command line would give them, of a list, an array or a range."""
    if isinstance(given, str | Path) or not isinstance(given, Iterable):
        raise UsageError(f"medtl.probe: {name} {str(given)!r} is no list: {name}=[…]")
    return tuple(map(kind, given))

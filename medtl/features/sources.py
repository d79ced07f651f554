"""The source probe: whether frozen features tell the pictures of one class by where they come from.

Where they do, a classifier can name the class by the source instead of by the disease, wherever classes and sources go
together (chest X-rays of COVID-19 are the known case: Garcia Santa Cruz et al. 2021; Maguolo and Nanni 2021).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medtl.datalist import Entry
from medtl.entries import owner
from medtl.metrics.delong import mean_area_interval

FOLDS = 5
FEWEST = 10  # patients of a source, below which nothing is said of it
MOST = 2000  # pictures of a source; more only cost time
STRENGTH = 0.1  # of the logistic regression: 1 / penalty, on standardised features


@dataclass(frozen=True)
class SourceProbe:
    """How far the sources of one class's pictures can be told.

    Attributes:
        label: the class.
        sources: name to the number of pictures.
        auc: of pictures of patients that were not trained on; of more than two sources the mean of each against the
            rest. 0.5 is chance, 1 tells them all.
        low, high: its 95 % interval, by patient; NaN where none is defined, such as of 1.
        largest: share of the commonest source: the accuracy of who always names it.
        accuracy: share of pictures whose source is named rightly.
    """

    label: str
    sources: dict[str, int]
    auc: float
    low: float
    high: float
    largest: float
    accuracy: float


def source_probes(
    values: NDArray[np.floating], entries: Sequence[Entry], classes: Sequence[str], seed: int = 0
) -> list[SourceProbe]:
    """Return the probe of every class whose pictures come from two or more sources with ten patients each.

    Args:
        values: (n, width) features.
        entries: (n,) of the data list, in the same order, one class each.
        classes: names in index order.
        seed: of the draw, and of the deal of patients to folds.
    """
    labels = np.array([entry["label"] for entry in entries])
    sources = np.array([str(entry["source"]) for entry in entries], dtype=object)
    patients = np.array([owner(entry) for entry in entries], dtype=object)
    found = []
    for index, name in enumerate(classes):
        rows = _drawn(np.flatnonzero(labels == index), sources, patients, seed)
        if len(rows):
            found.append(told_apart(values[rows], sources[rows], patients[rows], name, seed))
    return found


def _drawn(rows: NDArray[np.int64], sources: NDArray, patients: NDArray, seed: int) -> NDArray[np.int64]:
    """The rows of sources with enough patients, of each at most so many; none where fewer than two sources are left."""
    people = Counter(source for source, _ in {(sources[row], patients[row]) for row in rows})
    known = sorted(source for source, count in people.items() if count >= FEWEST)
    if len(known) < 2:
        return np.empty(0, dtype=np.int64)
    random = np.random.default_rng(seed)
    own = [rows[sources[rows] == source] for source in known]
    kept = [random.choice(each, MOST, replace=False) if len(each) > MOST else each for each in own]
    return np.sort(np.concatenate(kept))


def told_apart(
    values: NDArray[np.floating], sources: NDArray, patients: NDArray, label: str = "", seed: int = 0
) -> SourceProbe:
    """Return how far a logistic regression tells the sources of pictures whose patients it has not seen: five folds of
    whole patients, each judged by what was fitted on the others.

    Args:
        values: (n, width) features.
        sources: (n,) names, of two or more sources with at least five patients each.
        patients: (n,) whose picture each is.
        label: the class that all pictures are of.
        seed: of the deal of patients to folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names, index = np.unique(np.asarray(sources, dtype=str), return_inverse=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    whose = np.asarray(patients, dtype=str)
    table = np.asarray(values, dtype=np.float64)
    scores = cross_val_predict(model, table, index, groups=whose, cv=folds, method="predict_proba")
    positive = index[:, np.newaxis] == np.arange(len(names))
    wanted = [1] if len(names) == 2 else list(range(len(names)))  # of two, one is the other's mirror
    area = mean_area_interval(positive[:, wanted], scores[:, wanted], whose)
    counts = positive.sum(axis=0)
    return SourceProbe(
        label,
        {str(name): int(count) for name, count in zip(names, counts, strict=True)},
        area.value,
        area.low,
        area.high,
        float(counts.max() / counts.sum()),
        float((scores.argmax(axis=1) == index).mean()),
    )

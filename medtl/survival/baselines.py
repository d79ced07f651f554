"""Models of the field on one vector a patient, by scikit-survival (the extra ``survival``): what networks must beat.

``gradient_boosting`` is Cox's loss boosted by trees. It stands where Wen et al. 2021 have BoostCI, which boosts a
smoothed C-index and which scikit-survival lacks: figures of the two are not the same method's.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtl.errors import MedtlError, UsageError
from medtl.metrics.survival import Followed, c_index_harrell
from medtl.survival.mtlsa import stratified

Risk = Callable[[ArrayLike], NDArray[np.float64]]
TREES = 300
INNER = 3
BASELINES = ("random_forest", "gradient_boosting", "coxnet")


def fit_baseline(name: str, covariates: ArrayLike, who: Followed, seed: int = 0) -> Risk:
    """Return what gives risks (n,) of covariates (n, d), fitted on training patients.

    Args:
        name: one of ``BASELINES``: a random survival forest (Ishwaran et al. 2008), boosting, or Cox with an elastic
            net (Simon et al. 2011) whose penalty is chosen by inner folds.
        covariates: (n, d) of training patients, of mean 0 and SD 1.
        who: their times and events.
        seed: of the model.

    Raises:
        UsageError: there is no such model, or scikit-survival is not installed.
        MedtlError: nobody had the event.
    """
    if name not in BASELINES:
        raise UsageError(f"baseline {name} is not one of {', '.join(BASELINES)}")
    if not who.event.any():
        raise MedtlError(f"{name}: no training patient had the event")
    try:
        import sksurv  # noqa: F401
    except ImportError:
        raise UsageError(f"{name} needs scikit-survival: pip install 'medtl[survival]'") from None
    table = np.asarray(covariates, dtype=np.float64)
    fitted = {"random_forest": _forest, "gradient_boosting": _boosted, "coxnet": _coxnet}[name](table, who, seed)
    return lambda rows: np.asarray(fitted.predict(np.asarray(rows, dtype=np.float64)))


def structured(who: Followed) -> NDArray[Any]:
    """Return (n,) of event and time, as scikit-survival takes them."""
    return np.array(list(zip(who.event, who.time, strict=True)), dtype=[("event", "?"), ("time", "f8")])


def _forest(table: NDArray[np.float64], who: Followed, seed: int) -> Any:
    from sksurv.ensemble import RandomSurvivalForest

    forest = RandomSurvivalForest(TREES, min_samples_leaf=10, max_features="sqrt", random_state=seed)
    return forest.fit(table, structured(who))


def _boosted(table: NDArray[np.float64], who: Followed, seed: int) -> Any:
    from sksurv.ensemble import GradientBoostingSurvivalAnalysis

    boosting = GradientBoostingSurvivalAnalysis(
        n_estimators=TREES, learning_rate=0.05, max_depth=2, subsample=0.5, random_state=seed
    )
    return boosting.fit(table, structured(who))


def _coxnet(table: NDArray[np.float64], who: Followed, seed: int) -> Any:
    from sksurv.linear_model import CoxnetSurvivalAnalysis

    options = {"l1_ratio": 0.5, "alpha_min_ratio": 0.01, "n_alphas": 30}
    path = CoxnetSurvivalAnalysis(**options).fit(table, structured(who)).alphas_
    fold, scores = stratified(who, INNER, seed), np.zeros(len(path))
    for own in range(INNER):
        train = fold != own
        held = Followed(who.time[~train], who.event[~train])
        model = CoxnetSurvivalAnalysis(l1_ratio=0.5, alphas=path)
        model.fit(table[train], structured(Followed(who.time[train], who.event[train])))
        for place, alpha in enumerate(path):
            scores[place] += np.nan_to_num(c_index_harrell(held, model.predict(table[~train], alpha=alpha)), nan=0.5)
    return CoxnetSurvivalAnalysis(l1_ratio=0.5, alphas=[path[scores.argmax()]]).fit(table, structured(who))

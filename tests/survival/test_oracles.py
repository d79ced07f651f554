"""Scores, loss and curves against the libraries of the field, on random data with many ties: scikit-survival,
lifelines and torchsurv."""

import numpy as np
import pandas as pd
import pytest
import torch

from medtl.metrics import survival
from medtl.metrics.survival import Followed, followed
from medtl.networks.backbones import zoo
from medtl.survival.cox import efron_loss, fit_cox

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore")]

SEEDS = range(8)


def drawn(seed: int, n: int = 80) -> tuple[Followed, np.ndarray]:
    """Months with many ties, a third censored, and risks of which some are equal."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n).round(1)
    time = np.ceil(rng.exponential(10 * np.exp(-risk)))
    return followed(time, rng.random(n) < 0.67), risk


def structured(who: Followed) -> np.ndarray:
    return np.array(list(zip(who.event, who.time, strict=True)), "?,f8")


@pytest.fixture(scope="module")
def sksurv() -> object:
    return pytest.importorskip("sksurv", reason="scikit-survival is not installed")


@pytest.fixture(scope="module")
def lifelines() -> object:
    return pytest.importorskip("lifelines", reason="lifelines is not installed")


@pytest.mark.parametrize("seed", SEEDS)
def test_harrells_c_index(seed: int, sksurv: object, lifelines: object) -> None:
    from lifelines.utils import concordance_index
    from sksurv.metrics import concordance_index_censored

    who, risk = drawn(seed)
    ours = survival.c_index_harrell(who, risk)
    assert ours == pytest.approx(concordance_index_censored(who.event, who.time, risk)[0])
    assert ours == pytest.approx(concordance_index(who.time, -risk, who.event))  # there higher is later
    assert ours > 0.5 > survival.c_index_harrell(who, -risk)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_c_index_of_equation_4(seed: int, sksurv: object) -> None:
    """Of pairs of different times: scikit-survival's counts of right, wrong and tied ones."""
    from sksurv.metrics import concordance_index_censored

    who, risk = drawn(seed)
    moved = who.time + np.where(who.event, 0, 0.5)  # nobody is censored at another's event
    _, right, wrong, tied, _ = concordance_index_censored(who.event, moved, risk)
    ours = survival.c_index(Followed(moved, who.event), risk)
    assert ours == pytest.approx(right / (right + wrong + tied))


@pytest.mark.parametrize("seed", SEEDS)
def test_unos_c_index(seed: int, sksurv: object) -> None:
    from sksurv.metrics import concordance_index_ipcw

    who, risk = drawn(seed)
    other, _ = drawn(seed + 100, 200)
    short = who.time < other.time.max()
    some = Followed(who.time[short], who.event[short])
    theirs = concordance_index_ipcw(structured(other), structured(some), risk[short])[0]
    assert survival.c_index_ipcw(some, risk[short], other) == pytest.approx(theirs)


@pytest.mark.parametrize("seed", SEEDS)
def test_curves(seed: int, sksurv: object, lifelines: object) -> None:
    from lifelines import KaplanMeierFitter
    from sksurv.nonparametric import CensoringDistributionEstimator, kaplan_meier_estimator

    who, _ = drawn(seed)
    curve = survival.kaplan_meier(who)
    assert curve.survival == pytest.approx(kaplan_meier_estimator(who.event, who.time)[1])
    theirs = KaplanMeierFitter().fit(who.time, who.event)
    assert curve.survival == pytest.approx(theirs.predict(curve.time).to_numpy())
    lost = CensoringDistributionEstimator().fit(structured(who))
    assert survival.censoring(who).at(who.time) == pytest.approx(lost.predict_proba(who.time))


@pytest.mark.parametrize("seed", SEEDS)
def test_log_rank(seed: int, sksurv: object, lifelines: object) -> None:
    from lifelines.statistics import logrank_test
    from sksurv.compare import compare_survival

    who, risk = drawn(seed)
    group = risk > np.median(risk)
    found = survival.log_rank(who, group)
    theirs = logrank_test(who.time[group], who.time[~group], who.event[group], who.event[~group])
    assert found == pytest.approx((theirs.test_statistic, theirs.p_value))
    assert found == pytest.approx(compare_survival(structured(who), group))


@pytest.mark.parametrize("seed", SEEDS)
def test_cox_loss_and_fit(seed: int, sksurv: object, lifelines: object) -> None:
    from lifelines import CoxPHFitter
    from sksurv.linear_model import CoxPHSurvivalAnalysis

    who, risk = drawn(seed)
    table = np.stack([risk, np.random.default_rng(seed + 50).normal(size=len(risk))], axis=1)
    ours = fit_cox(table, who.time, who.event)
    frame = pd.DataFrame({"x": table[:, 0], "y": table[:, 1], "time": who.time, "event": who.event})
    fitted = CoxPHFitter().fit(frame, "time", "event")
    assert ours == pytest.approx(fitted.params_.to_numpy(), abs=3e-4)  # it stops early
    assert ours[0] > 0  # a higher covariate was drawn with earlier events
    theirs = CoxPHSurvivalAnalysis(ties="efron").fit(table, structured(who))
    assert ours == pytest.approx(theirs.coef_, abs=1e-5)
    # their ridge is of the sum, ours of the mean over events
    ridge = 0.3
    theirs = CoxPHSurvivalAnalysis(alpha=ridge * len(risk), ties="efron").fit(table, structured(who))
    assert fit_cox(table, who.time, who.event, ridge * len(risk) / who.event.sum()) == pytest.approx(
        theirs.coef_, abs=1e-5
    )
    likelihood = efron_loss(*(torch.tensor(each) for each in (table @ ours, who.time, who.event)))
    assert -float(likelihood) * who.event.sum() == pytest.approx(fitted.log_likelihood_, rel=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_torchsurv(seed: int) -> None:
    zoo.torchvision()  # torchsurv brings torchmetrics, which imports it
    cox = pytest.importorskip("torchsurv.loss.cox", reason="torchsurv is not installed")
    index = pytest.importorskip("torchsurv.metrics.cindex")
    who, risk = drawn(seed)
    risks, time, event = (torch.tensor(each) for each in (risk, who.time, who.event))
    # their mean is over different times of events, ours over events
    theirs = cox.neg_partial_log_likelihood(risks, event, time, ties_method="efron", reduction="sum")
    assert float(efron_loss(risks, time, event)) * who.event.sum() == pytest.approx(float(theirs), rel=1e-5)
    found = float(index.ConcordanceIndex()(risks, event, time))
    assert survival.c_index_harrell(who, risk) == pytest.approx(found, abs=1e-6)

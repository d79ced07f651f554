"""The Cox loss against a sum written out, Freireich's trial as R's coxph fits it, and the libraries of the field."""

import math

import numpy as np
import pytest
import torch

from medtl.errors import MedtlError
from medtl.survival.cox import CoxLoss, efron_loss, fit_cox

DRUG = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
DRUG_SEEN = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def drawn(seed: int, n: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    time, event = np.ceil(rng.exponential(6, n)), rng.random(n) < 0.7
    return torch.tensor(risk), torch.tensor(time), torch.tensor(event)


def written_out(risk: torch.Tensor, time: torch.Tensor, event: torch.Tensor) -> float:
    """Efron's sum, term by term."""
    total = 0.0
    for moment in time[event].unique():
        dying = (time == moment) & event
        deaths = int(dying.sum())
        for k in range(deaths):
            left = risk[time >= moment].exp().sum() - k / deaths * risk[dying].exp().sum()
            total += float(left.log())
        total -= float(risk[dying].sum())
    return total / int(event.sum())


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_efrons_sum(seed: int) -> None:
    risk, time, event = drawn(seed)
    assert float(efron_loss(risk, time, event)) == pytest.approx(written_out(risk, time, event), rel=1e-12)


def test_three_patients_by_hand() -> None:
    risk, time = torch.tensor([math.log(2.0), 0.0, 0.0]), torch.tensor([1.0, 1.0, 2.0])
    # both die of four hazards in all; Efron takes half of the three dying ones from the second
    expected = (math.log(4) + math.log(4 - 1.5) - math.log(2)) / 2
    assert float(efron_loss(risk, time, torch.tensor([1, 1, 0]))) == pytest.approx(expected)


def test_gradient_order_and_size_of_the_risks() -> None:
    risk, time, event = drawn(5)
    assert torch.autograd.gradcheck(lambda r: efron_loss(r, time, event), risk.requires_grad_())
    risk = risk.detach()
    mixed = torch.randperm(len(risk), generator=torch.Generator().manual_seed(0))
    again = efron_loss(risk[mixed], time[mixed], event[mixed])
    assert float(again) == pytest.approx(float(efron_loss(risk, time, event)))
    assert float(efron_loss(risk + 500, time, event)) == pytest.approx(float(efron_loss(risk, time, event)))


def test_without_an_event_the_loss_is_0() -> None:
    risk = torch.ones(3, 1, requires_grad=True)
    loss = CoxLoss()(risk, torch.tensor([[1.0, 0], [2, 0], [3, 0]]))
    loss.backward()
    assert float(loss) == 0
    with pytest.raises(MedtlError, match="shapes"):
        efron_loss(torch.ones(3), torch.ones(2), torch.ones(3))


def test_freireichs_trial() -> None:
    """R: coxph(Surv(time, event) ~ placebo, ties = "efron") gives 1.5721."""
    placebo = np.repeat([0, 1], 21)[:, np.newaxis]
    time, event = [*DRUG, *PLACEBO], [*DRUG_SEEN, *[1] * 21]
    assert fit_cox(placebo, time, event)[0] == pytest.approx(1.5721, abs=1e-4)
    assert 0 < fit_cox(placebo, time, event, ridge=0.5)[0] < 1.5721

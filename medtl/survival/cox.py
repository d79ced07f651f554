"""Cox's partial likelihood with Efron's treatment of tied times, as a loss over a whole cohort."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from medtl.errors import MedtlError


def efron_loss(risk: Tensor, time: Tensor, event: Tensor) -> Tensor:
    """Return the negative log partial likelihood (Cox 1972) with Efron's approximation for ties (1977), divided by the
    number of events; 0 without any.

    Of d events at one time the k-th (from 0) is compared with everybody at risk, less k/d of those who have the event
    then. It is computed in float64.

    Args:
        risk: (n,) log hazard ratios; higher is an earlier event.
        time: (n,) last seen.
        event: (n,) 1 or true where with the event.

    Raises:
        MedtlError: the shapes differ.
    """
    if risk.ndim != 1 or risk.shape != time.shape or risk.shape != event.shape:
        shapes = ", ".join(str(tuple(each.shape)) for each in (risk, time, event))
        raise MedtlError(f"risk, time and event of shapes {shapes}: expected (n,) of each")
    seen = event > 0.5
    if not bool(seen.any()):
        return risk.sum() * 0
    order = torch.argsort(time, descending=True, stable=True)
    log_hazard, when, dies = risk[order].double(), time[order], seen[order]
    shift = log_hazard.detach().max()
    hazard = (log_hazard - shift).exp()
    _, group, sizes = torch.unique_consecutive(when, return_inverse=True, return_counts=True)
    last = sizes.cumsum(0) - 1  # everybody seen at least as long stands at or before it
    at_risk = hazard.cumsum(0)[last]
    dying = torch.zeros_like(at_risk).index_add(0, group[dies], hazard[dies])
    deaths = torch.bincount(group[dies], minlength=len(sizes))
    first = deaths.cumsum(0) - deaths
    number = torch.arange(int(dies.sum()), device=risk.device) - first[group[dies]]  # of each within its tie
    share = number.double() / deaths[group[dies]]
    left = at_risk[group[dies]] - share * dying[group[dies]]
    terms = left.clamp_min(torch.finfo(torch.float64).tiny).log() + shift - log_hazard[dies]
    return terms.mean().to(risk.dtype)


class CoxLoss(nn.Module):
    """``efron_loss`` of a network's outputs (n, 1) and labels (n, 2): time, event."""

    def forward(self, risk: Tensor, label: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        return efron_loss(risk[:, 0].float(), label[:, 0], label[:, 1])


def fit_cox(covariates: ArrayLike, time: ArrayLike, event: ArrayLike, ridge: float = 0.0) -> NDArray[np.float64]:
    """Return the coefficients (d,) of Cox's model, fitted by Newton's method with step halving.

    Args:
        covariates: (n, d).
        time, event: (n,).
        ridge: added to the mean loss as ``ridge / 2`` times the squared coefficients.

    Raises:
        MedtlError: the loss has no smallest value that can be reached, as where a covariate separates the events.
    """
    table = torch.as_tensor(np.asarray(covariates, dtype=np.float64))
    when, seen = (torch.as_tensor(np.asarray(each, dtype=np.float64)) for each in (time, event))

    def loss(coefficients: Tensor) -> Tensor:
        return efron_loss(table @ coefficients, when, seen) + ridge / 2 * coefficients.square().sum()

    beta = torch.zeros(table.shape[1], dtype=torch.float64)
    for _ in range(50):
        gradient = torch.autograd.functional.jacobian(loss, beta)
        if float(gradient.abs().max()) < 1e-9:
            return np.asarray(beta)
        curvature = torch.autograd.functional.hessian(loss, beta)
        step, length, before = torch.linalg.lstsq(curvature, gradient[:, None]).solution[:, 0], 1.0, float(loss(beta))
        while float(loss(beta - length * step)) > before + 1e-12 and length > 1e-6:
            length /= 2
        beta = beta - length * step
    raise MedtlError("Cox's model does not converge: take fewer covariates, or a ridge above 0")

"""A linear risk of a vector a patient: ridge Cox or MTLSA, the penalty chosen by inner folds of training patients."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from medtl.metrics.survival import Followed, c_index_harrell, followed
from medtl.survival.cox import efron_loss
from medtl.survival.mtlsa import fit_mtlsa, stratified

Floats = NDArray[np.float64]
RIDGES = np.geomspace(10, 0.01, 7)  # of the mean loss over events
INNER = 3


def ridge_cox(table: Floats, who: Followed, ridge: float, begin: Floats | None = None) -> Floats:
    """Return Cox's coefficients (d,) of covariates (n, d) with ``ridge / 2`` times their squares added to the mean loss
    over events, by L-BFGS: ``cox.fit_cox`` for many covariates."""
    covariates, time, event = torch.from_numpy(table), torch.from_numpy(who.time), torch.from_numpy(who.event)

    def loss(flat: Floats) -> tuple[float, Floats]:
        beta = torch.from_numpy(flat).requires_grad_()
        value = efron_loss(covariates @ beta, time, event) + ridge / 2 * beta.square().sum()
        (gradient,) = torch.autograd.grad(value, beta)
        return float(value.detach()), gradient.numpy()

    start = np.zeros(table.shape[1]) if begin is None else begin
    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-12}).x


def cox(table: Floats, who: Followed, seed: int) -> Floats:
    """Return ridge Cox's coefficients (d,) of covariates (n, d) of mean 0 and SD 1; the ridge is the one of ``RIDGES``
    with the best mean C-index of inner folds, of equal ones the largest."""
    fold, scores = stratified(who, INNER, seed), np.zeros(len(RIDGES))
    for own in range(INNER):
        train, beta = fold != own, None
        held = Followed(who.time[~train], who.event[~train])
        for place, ridge in enumerate(RIDGES):
            beta = ridge_cox(table[train], Followed(who.time[train], who.event[train]), float(ridge), beta)
            scores[place] += np.nan_to_num(c_index_harrell(held, table[~train] @ beta), nan=0.5)
    return ridge_cox(table, who, float(RIDGES[scores.argmax()]))


def mtlsa(table: Floats, who: Followed, seed: int) -> Floats:
    """Return the coefficients (d,) of MTLSA's risk, which is linear in the covariates (n, d) of mean 0 and SD 1."""
    return -fit_mtlsa(table, who, seed=seed).weights.mean(axis=1)


LAST: dict[str, Callable[[Floats, Followed, int], Floats]] = {"cox": cox, "mtlsa": mtlsa}


def fitted(vectors: Tensor, label: Tensor, last: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (d,) and SD (d,) of patients' vectors (n, d), and the coefficients (d,) of a risk of what they scale.

    Args:
        vectors: of training patients.
        label: (n, 2) their time and event.
        last: "cox" or "mtlsa".
        seed: of inner folds.
    """
    table = vectors.double().numpy()
    mean, spread = table.mean(axis=0), table.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1)
    who = followed(label[:, 0].double().numpy(), label[:, 1].numpy())
    found = LAST[last]((table - mean) / spread, who, seed)
    first, second, third = (torch.from_numpy(np.ascontiguousarray(each)).float() for each in (mean, spread, found))
    return first, second, third

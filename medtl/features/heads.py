"""What is put on frozen features: a logistic regression, a ridge regression, or the nearest neighbours.

Features (n, width) are rows of numbers, labels are those of a data list: class indices (n,), multi-hot (n, n_classes),
or numbers (n,). A head is fitted on the training rows, its penalty is chosen on the validation rows, and only then does
it predict others.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtl.errors import MedtlError, UsageError

HEADS = ("logistic", "knn")
# strengths of the penalty, strongest first: lambda of sum of losses + lambda / 2 |w|², the features standardised
PENALTIES = tuple(10.0**power for power in range(5, -2, -1))
NEIGHBOURS = 20
TOGETHER = 1024  # pictures that are compared with all others at a time: all pairs of 50,000 would take 60 GB
TEMPERATURE = 0.07  # of the neighbours' votes (Wu et al. 2018)
TOLERANCE = 1e-5
ROUNDS = 5000
LEAST = 1e-12  # a probability, in a log loss

Array = NDArray[np.float64]
Linear = tuple[Array, Array]  # weights (width, outputs) and intercepts (outputs,)


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted head.

    Attributes:
        name: "logistic", "ridge" or "knn".
        predict: features (n, width) to probabilities (n, n_classes), or to numbers (n,).
        facts: how it was fitted: ``penalty`` and its ``val_loss``, or ``neighbours``.
    """

    name: str
    predict: Callable[[NDArray], Array]
    facts: dict[str, Any] = field(default_factory=dict)


def check_heads(names: tuple[str, ...]) -> None:
    """Refuse names of heads that there are not.

    Raises:
        UsageError: names those that there are.
    """
    for name in names:
        if name not in HEADS:
            raise UsageError(f"--heads {name} is not one of {', '.join(HEADS)}")


def fit(
    name: str,
    task: str,
    train: tuple[NDArray, NDArray],
    validation: tuple[NDArray, NDArray],
    n_classes: int,
) -> Head:
    """Fit a head on training rows and choose its penalty on validation rows.

    Args:
        name: one of ``HEADS``; "logistic" is a ridge regression where labels are numbers.
        task: "classification", "multilabel" or "regression".
        train, validation: features (n, width) and labels.
        n_classes: number of classes; not used for a regression.

    Raises:
        MedtlError: the training rows are all of one class.
    """
    if name == "knn":
        return neighbours(task, *train, n_classes)
    if task == "regression":
        return ridge(train, validation)
    return logistic(task, train, validation, n_classes)


def logistic(task: str, train: tuple[NDArray, NDArray], validation: tuple[NDArray, NDArray], n_classes: int) -> Head:
    """Fit scikit-learn's logistic regression with an L2 penalty on standardised features: multinomial for class
    indices, one against the rest for multi-hot labels. The penalty (one for all classes) is that of ``PENALTIES`` with
    the smallest mean log loss on validation, of equals the strongest."""
    scale, labels = Standardised(train[0]), train[1]
    reduced, back = _rotated(scale(train[0]))
    if task == "multilabel":
        each = [_one_against_rest(reduced, labels[:, c]) for c in range(n_classes)]
        paths = [_side_by_side([path[place] for path in each]) for place in range(len(PENALTIES))]
    else:
        paths = _multinomial(reduced, labels.astype(np.int64), n_classes)
    activate = sigmoid if task == "multilabel" else softmax
    fitted = [(back @ weights, intercepts) for weights, intercepts in paths]
    rows = scale(validation[0])
    losses = [log_loss(validation[1], activate(rows @ weights + intercepts)) for weights, intercepts in fitted]
    best = int(np.argmin(np.round(losses, 9)))
    weights, intercepts = fitted[best]
    facts = {"penalty": PENALTIES[best], "val_loss": losses[best]}
    return Head("logistic", lambda rows: activate(scale(rows) @ weights + intercepts), facts)


def ridge(train: tuple[NDArray, NDArray], validation: tuple[NDArray, NDArray]) -> Head:
    """Fit scikit-learn's ridge regression on standardised features. The penalty is that of ``PENALTIES`` with the
    smallest mean squared error on validation, of equals the strongest."""
    from sklearn.linear_model import Ridge

    scale, labels = Standardised(train[0]), train[1].astype(np.float64)
    reduced, back = _rotated(scale(train[0]))
    rows = scale(validation[0])
    fitted, losses = [], []
    for penalty in PENALTIES:
        model = Ridge(alpha=penalty).fit(reduced, labels)
        fitted.append((back @ model.coef_, float(model.intercept_)))
        errors = rows @ fitted[-1][0] + fitted[-1][1] - validation[1]
        losses.append(float((errors**2).mean()))
    best = int(np.argmin(losses))
    weights, intercept = fitted[best]
    facts = {"penalty": PENALTIES[best], "val_loss": losses[best]}
    return Head("ridge", lambda rows: scale(rows) @ weights + intercept, facts)


def neighbours(task: str, features: NDArray, labels: NDArray, n_classes: int) -> Head:
    """Let the 20 most similar training pictures vote, by cosine, each with the weight exp(cosine / 0.07) (Wu et al.
    2018, Unsupervised Feature Learning via Non-Parametric Instance Discrimination, section 3.4). Nothing is chosen on
    validation. Of equally similar pictures the first counts.

    Probabilities are shares of the votes; a number is the votes' mean.
    """
    unit = unit_rows(features)
    count = min(NEIGHBOURS, len(unit))
    votes = labels[:, np.newaxis].astype(np.float64) if labels.ndim == 1 else labels.astype(np.float64)
    if task == "classification":
        votes = (labels[:, np.newaxis] == np.arange(n_classes)).astype(np.float64)

    def some(rows: NDArray) -> Array:
        similar = unit_rows(rows) @ unit.T
        nearest = np.argsort(-similar, axis=1, kind="stable")[:, :count]
        weights = np.exp((np.take_along_axis(similar, nearest, axis=1) - 1) / TEMPERATURE)
        weights /= weights.sum(axis=1, keepdims=True)
        shares: Array = np.einsum("rk,rkc->rc", weights, votes[nearest])
        return shares

    def predict(rows: NDArray) -> Array:
        found = np.concatenate([some(rows[start : start + TOGETHER]) for start in range(0, len(rows) or 1, TOGETHER)])
        return found[:, 0] if task == "regression" else found

    return Head("knn", predict, {"neighbours": count, "temperature": TEMPERATURE})


class Standardised:
    """Takes off the mean of the training rows and divides by their standard deviation; a feature that is the same in
    all of them becomes 0.

    Args:
        train: (n, width).
    """

    def __init__(self, train: NDArray) -> None:
        rows = np.asarray(train, dtype=np.float64)
        self.mean, spread = rows.mean(axis=0), rows.std(axis=0)
        dead = spread <= 1e-9 * np.maximum(np.abs(self.mean), 1.0)
        self.factor = np.where(dead, 0.0, 1 / np.where(dead, 1.0, spread))

    def __call__(self, rows: NDArray) -> Array:
        scaled: Array = (np.asarray(rows, dtype=np.float64) - self.mean) * self.factor
        return scaled


def unit_rows(rows: NDArray) -> Array:
    """Return rows of length 1; a row of zeros stays."""
    values = np.asarray(rows, dtype=np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    unit: Array = values / np.where(length > 0, length, 1.0)
    return unit


def softmax(logits: Array) -> Array:
    """Return probabilities (n, n_classes) whose rows add up to 1; a logit may be -inf."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def sigmoid(logits: Array) -> Array:
    """Return probabilities of independent answers."""
    from scipy.special import expit

    found: Array = expit(logits)
    return found


def log_loss(labels: NDArray, probabilities: Array) -> float:
    """Return the mean negative log-likelihood of class indices (n,) or of multi-hot labels (n, n_classes)."""
    if labels.ndim == 1:
        own = probabilities[np.arange(len(labels)), labels.astype(np.int64)]
    else:
        own = np.where(labels > 0.5, probabilities, 1 - probabilities)
    return float(-np.log(np.clip(own, LEAST, None)).mean())


def _rotated(rows: Array) -> tuple[Array, Array]:
    """Rows (n, width) in at most n coordinates, and what turns weights of these back (width, coordinates). A penalised
    regression depends on the rows' inner products alone, so the fit is the same and, with few pictures, much faster."""
    if len(rows) >= rows.shape[1]:
        return rows, np.eye(rows.shape[1])
    from scipy.linalg import qr

    basis, triangle = qr(rows.T, mode="economic", check_finite=False)
    return np.ascontiguousarray(triangle.T), basis


def _multinomial(rows: Array, labels: NDArray[np.int64], n_classes: int) -> list[Linear]:
    """Weights for each penalty; a class without a training picture has the logit -inf."""
    there = np.unique(labels)
    if len(there) < 2:
        raise MedtlError("the training pictures are all of one class: there is nothing to tell apart")
    path = []
    for weights, intercepts in _path(rows, labels):
        if len(there) == 2:  # scikit-learn gives the second class's alone
            weights, intercepts = np.stack([0 * weights[0], weights[0]]), np.array([0.0, intercepts[0]])
        whole, offsets = np.zeros((rows.shape[1], n_classes)), np.full(n_classes, -np.inf)
        whole[:, there], offsets[there] = weights.T, intercepts
        path.append((whole, offsets))
    return path


def _one_against_rest(rows: Array, truth: NDArray) -> list[Linear]:
    """Weights for each penalty; of a finding that all or none of the pictures have, the log odds of its share alone,
    with one picture more on either side (Laplace)."""
    ups = int((truth > 0.5).sum())
    if 0 < ups < len(truth):
        return [(weights.T, intercepts) for weights, intercepts in _path(rows, (truth > 0.5).astype(np.int64))]
    odds = np.log((ups + 1) / (len(truth) - ups + 1))
    return [(np.zeros((rows.shape[1], 1)), np.array([odds])) for _ in PENALTIES]


def _path(rows: Array, labels: NDArray[np.int64]) -> list[Linear]:
    """scikit-learn's weights (outputs, width) and intercepts for each penalty, each fit begun at the last one's end."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(tol=TOLERANCE, max_iter=ROUNDS, warm_start=True)
    found = []
    for penalty in PENALTIES:
        model.set_params(C=1 / penalty).fit(rows, labels)
        found.append((model.coef_.copy(), model.intercept_.copy()))
    return found


def _side_by_side(parts: list[Linear]) -> Linear:
    return np.concatenate([weights for weights, _ in parts], axis=1), np.concatenate([offsets for _, offsets in parts])

"""Intervals of a run are by patient, and one who is not known is not everybody who is not known."""

import numpy as np

from medtl.data.slices import Case
from medtl.data.stored import Squeezed
from medtl.handlers.scored import Scored, with_intervals
from medtl.handlers.segmentation import ScoredCases, with_distances
from medtl.metrics.ignite import Predictions
from medtl.metrics.ignite_segmentation import CaseResult


def of_images(who: str) -> dict[str, float]:
    """Metrics of 60 images: 20 of ten patients, and 40 of patients whose name is ``who``."""
    labels = np.arange(60) % 2
    chance = 1 / (1 + np.exp(-(2 * labels - 1 + np.random.default_rng(0).normal(size=60))))
    said = np.stack([1 - chance, chance], axis=1).astype(np.float32)
    patients = [who.format(f"{k:02}") if k < 40 else f"p{k // 2}" for k in range(60)]
    entries = [{"image": f"{k:02}.png", "patient": patient} for k, patient in enumerate(patients)]
    found = with_intervals(Scored("val", entries, Predictions(np.arange(60), labels, said), {}), ("a", "b"))
    return {name: value for name, value in found.items() if np.isfinite(value)}


def test_images_of_unknown_patients_are_resampled_one_by_one() -> None:
    found = of_images("")
    assert found == of_images("{}.png")
    assert found["val_auc_lo"] < found["val_auc"] < found["val_auc_hi"]


def test_cases_of_unknown_patients_are_resampled_one_by_one() -> None:
    truth = np.zeros((6, 6, 1), np.uint8)
    truth[2:4, 2:4] = 1
    cases = []
    for number in range(6):
        predicted = np.zeros_like(truth)
        predicted[2 : 3 + number % 3, 1:4] = 1
        case = Case(f"c{number}", "", (number,), (0,), (1, 1, 1))
        cases.append(CaseResult(case, Squeezed.of(truth), Squeezed.of(predicted), {}))
    found = with_distances(ScoredCases("val", tuple(cases), {}), ("organ",)).metrics
    assert found["val_dice_organ_lo"] < found["val_dice_organ"] < found["val_dice_organ_hi"]

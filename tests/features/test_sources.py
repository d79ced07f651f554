"""The source probe on drawn features, with and without a source that shows."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medtl.features.sources import FEWEST, MOST, source_probes, told_apart

CLASSES = ("covid", "normal")


def drawn(gap: float, per_source: int = 60, images: int = 2, seed: int = 0) -> tuple[np.ndarray, list[dict]]:
    """Features of normals from two sources, ``gap`` SDs apart in one of 20 directions, and of patients with COVID-19,
    all from one; every person has a direction of their own that all of their pictures share."""
    random = np.random.default_rng(seed)
    values, entries = [], []
    for label, source in ((0, "clinic"), (1, "clinic"), (1, "children")):
        for person in range(per_source):
            own = random.normal(0, 1, 20)
            own[3] += gap * (source == "children")
            for _ in range(images):
                values.append(own + random.normal(0, 0.1, 20))
                entries.append({"label": label, "source": source, "patient": f"{source}/{label}-{person}"})
    order = random.permutation(len(values))
    return np.array(values)[order], [entries[place] for place in order]


def test_a_source_that_shows_is_told_and_only_where_a_class_has_two() -> None:
    found = source_probes(*drawn(3.0), CLASSES)
    assert [each.label for each in found] == ["normal"]
    assert found[0].sources == {"children": 120, "clinic": 120}
    # two normal distributions 3 SDs apart: AUC = Phi(3 / sqrt(2)) = 0.983
    assert found[0].auc == pytest.approx(0.983, abs=0.05)
    assert 0.85 < found[0].low < found[0].auc < found[0].high <= 1
    assert found[0].accuracy > 0.85 > found[0].largest == 0.5


def test_without_a_source_that_shows_it_is_chance_though_pictures_of_a_person_are_alike() -> None:
    areas = [source_probes(*drawn(0.0, seed=seed), CLASSES)[0].auc for seed in range(8)]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.08)
    # dealt by picture, a person's other pictures would give the source away
    values, entries = drawn(0.0, images=6)
    assert source_probes(values, entries, CLASSES)[0].auc < 0.7


def test_an_interval_covers_chance_where_there_is_nothing_to_tell() -> None:
    found = source_probes(*drawn(0.0, seed=3), CLASSES)[0]
    assert found.low < 0.6
    assert found.high > 0.4


def test_of_three_sources_it_is_the_mean_of_each_against_the_rest() -> None:
    random = np.random.default_rng(0)
    sources = np.repeat(["a", "b", "c"], 80)
    values = random.normal(0, 1, (240, 6))
    values[sources == "c", 0] += 8
    found = told_apart(values, sources, np.arange(240).astype(str))
    # c is told from both, a and b from c alone: (1 + 3/4 + 3/4) / 3
    assert found.auc == pytest.approx(0.833, abs=0.06)
    assert sum(found.sources.values()) == 240


def test_few_patients_tell_nothing_and_many_pictures_are_drawn() -> None:
    values, entries = drawn(3.0, per_source=FEWEST - 1)
    assert source_probes(values, entries, CLASSES) == []
    values, entries = drawn(3.0, per_source=MOST // 4, images=5)
    assert source_probes(values[:, :4], entries, CLASSES)[0].sources == {"children": MOST, "clinic": MOST}


def test_the_area_is_that_of_the_predictions() -> None:
    """With one picture a person, folds as scikit-learn deals them, and its own AUC of the pooled predictions."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    values, entries = drawn(1.0, images=1)
    normal = [place for place, entry in enumerate(entries) if entry["label"] == 1]
    truth = np.array([entries[place]["source"] == "clinic" for place in normal])
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    people = [entries[place]["patient"] for place in normal]
    scores = cross_val_predict(model, values[normal], truth, groups=people, cv=folds, method="decision_function")
    assert source_probes(values, entries, CLASSES)[0].auc == pytest.approx(roc_auc_score(truth, scores), abs=2e-3)

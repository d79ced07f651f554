"""How patients are dealt into splits and folds, and who is taken for one."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtl.errors import UsageError
from medtl.splits import assign_patients, same_people

PATIENTS = st.dictionaries(
    st.text("abcdefgh0123456789", min_size=1, max_size=6), st.lists(st.integers(0, 5), max_size=6), max_size=60
)


@given(PATIENTS, st.integers(0, 3))
def test_every_patient_is_dealt_once_and_alike_for_a_seed(patients: dict, seed: int) -> None:
    dealt = assign_patients(patients, (0.8, 0.2), seed)
    assert set(dealt) == set(patients)
    assert set(dealt.values()) <= {0, 1}
    reordered = dict(reversed(patients.items()))
    assert assign_patients(reordered, (0.8, 0.2), seed) == dealt


@given(PATIENTS, st.integers(0, 3))
def test_a_class_of_two_patients_or_more_is_in_both_parts_unless_shared(patients: dict, seed: int) -> None:
    dealt = assign_patients(patients, (0.8, 0.2), seed)
    for label in range(6):
        only = [p for p, labels in patients.items() if set(labels) == {label}]
        if len(only) >= 2 and not any(label in labels and set(labels) != {label} for labels in patients.values()):
            assert {dealt[p] for p in only} == {0, 1}


def test_patients_with_an_identical_image_are_taken_for_one() -> None:
    shared = {"a": "x", "b": "y", "c": "z", "d": "z"}
    entries = [{"patient": p, "sha256": sha} for p, sha in shared.items()]
    entries += [{"patient": "b", "sha256": "x"}, {"patient": "e", "sha256": "own"}]
    assert same_people(entries) == {"a": "a", "b": "a", "c": "c", "d": "c", "e": "e"}


def test_shares_are_met_by_class() -> None:
    patients = {f"p{n}": [n % 5] * (1 + n % 3) for n in range(3000)}
    dealt = assign_patients(patients, (0.75, 0.25), seed=1)
    totals = Counter(label for labels in patients.values() for label in labels)
    second = Counter(label for p, labels in patients.items() if dealt[p] == 1 for label in labels)
    for label, total in totals.items():
        assert second[label] / total == pytest.approx(0.25, abs=0.01)


def test_seeds_deal_differently() -> None:
    patients = {f"p{n}": [n % 3] for n in range(100)}
    deals = [assign_patients(patients, (0.5, 0.5), seed) for seed in (0, 1)]
    assert deals[0] != deals[1]


def test_shares_must_add_up() -> None:
    with pytest.raises(UsageError, match="add up to 1"):
        assign_patients({"p": [0]}, (0.8, 0.8), 0)

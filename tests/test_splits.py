"""How patients are dealt into splits and folds, and who is taken for one."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtl.errors import UsageError
from medtl.splits import assign_folds, assign_patients, same_people

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


def test_pictures_whose_hash_is_not_known_are_not_one_picture() -> None:
    entries = [{"patient": patient, "sha256": ""} for patient in "abc"]
    assert same_people(entries) == {"a": "a", "b": "b", "c": "c"}


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


def test_a_share_of_nothing_gets_nobody() -> None:
    dealt = assign_patients({f"patient{n}": [n % 2] for n in range(20)}, (0.5, 0.0, 0.5), seed=0)
    assert set(dealt.values()) == {0, 2}
    with pytest.raises(UsageError, match="add up to 1"):
        assign_patients({"patient": [0]}, (1.5, -0.5), 0)


def test_patients_without_a_label_are_dealt_like_a_class_of_their_own() -> None:
    patients = {f"none{n}": [] for n in range(40)} | {f"one{n}": [1] for n in range(40)}
    for seed in range(5):
        dealt = assign_patients(patients, (0.5, 0.5), seed)
        for kind in ("none", "one"):
            assert sum(part for name, part in dealt.items() if name.startswith(kind)) == 20


def test_the_rarest_class_is_dealt_first() -> None:
    """Else the two patients who have it could go to one part with the many who share their other class."""
    patients = {f"common{n}": [0] for n in range(8)} | {"rare1": [0, 5], "rare2": [0, 5]}
    for seed in range(20):
        dealt = assign_patients(patients, (0.8, 0.2), seed)
        assert {dealt["rare1"], dealt["rare2"]} == {0, 1}


def test_two_patients_of_a_class_go_to_both_parts_and_one_to_the_first_of_the_largest() -> None:
    for seed in range(5):
        assert set(assign_patients({"a": [0], "b": [0]}, (0.95, 0.05), seed).values()) == {0, 1}
    assert assign_patients({"a": [0]}, (0.5, 0.5), 0) == {"a": 0}
    assert assign_patients({"a": [0]}, (0.2, 0.4, 0.4), 0) == {"a": 1}


@pytest.mark.parametrize(
    "pairs", [[("bea", "cid")], [("cid", "bea")], [("bea", "ann"), ("cid", "ann"), ("bea", "cid")]]
)
def test_patients_who_look_alike_are_taken_for_one(pairs: list[tuple[str, str]]) -> None:
    entries = [{"patient": name, "sha256": name} for name in ("ann", "bea", "cid", "dan")]
    found = same_people(entries, pairs)
    first = "ann" if len(pairs) > 1 else "bea"
    assert found["bea"] == found["cid"] == first
    assert (found["ann"], found["dan"]) == ("ann", "dan")


def test_a_group_is_named_by_its_first_patient_in_whatever_order_they_are_met() -> None:
    for names in (("zoe", "yan", "ann"), ("ann", "zoe", "yan"), ("yan", "ann", "zoe")):
        found = same_people([{"patient": name, "sha256": "one picture"} for name in names])
        assert set(found.values()) == {"ann"}


def test_folds_hold_whole_patients_and_each_sequence_equally() -> None:
    entries = [
        {"patient": f"p{n}", "sequence": name, "slice": k}
        for n in range(12)
        for name in (("T1", "T2") if n < 6 else ("T2",))
        for k in range(1 + n % 3)
    ]
    dealt = assign_folds(entries, 3, seed=1)
    assert [{key: value for key, value in e.items() if key != "fold"} for e in dealt] == entries
    of_patient = {e["patient"]: e["fold"] for e in dealt}
    assert all(e["fold"] == of_patient[e["patient"]] for e in dealt)
    for sequence in ("T1", "T2"):
        counts = Counter(of_patient[p] for p in {e["patient"] for e in dealt if e["sequence"] == sequence})
        assert sorted(counts) == [0, 1, 2]
        assert max(counts.values()) - min(counts.values()) == 0
    assert assign_folds(entries, 3, seed=1) == dealt
    assert assign_folds(entries, 3, seed=2) != dealt

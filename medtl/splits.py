"""How patients are dealt into splits and folds: whole, by class, and with those who share a picture taken for one."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medtl.errors import UsageError

Entry = dict[str, Any]  # of a data list


def assign_patients(labels: Mapping[str, Sequence[int]], fractions: Sequence[float], seed: int) -> dict[str, int]:
    """Deal patients into parts so that each class is spread by ``fractions``: iterative stratification (Sechidis,
    Tsoumakas, Vlahavas 2011) with whole patients as the units.

    The rarest class is dealt first. Every part gets at least one patient of a class as long as there are enough
    patients for that; a class that only one patient has goes to the part with the largest share.

    Args:
        labels: patient to the class indices of all its entries, with repetition.
        fractions: share of each part, adding up to 1.
        seed: of the shuffle that breaks ties.

    Returns:
        patient to the number of its part.
    """
    if not math.isclose(sum(fractions), 1) or min(fractions) < 0:
        raise UsageError(f"split fractions {tuple(fractions)} must be shares that add up to 1")
    patients = sorted(labels)
    random.Random(seed).shuffle(patients)
    parts = [p for p, share in enumerate(fractions) if share > 0]
    unlabelled = Counter([-1])  # patients without a positive label are dealt like a class of their own
    amounts = {patient: Counter(labels[patient]) or unlabelled for patient in patients}
    members: dict[int, list[str]] = defaultdict(list)
    totals: Counter[int] = Counter()
    for patient in patients:
        totals.update(amounts[patient])
        for label in amounts[patient]:
            members[label].append(patient)
    wanted = {(part, label): fractions[part] * totals[label] for part in parts for label in totals}
    present: set[tuple[int, int]] = set()
    dealt: dict[str, int] = {}
    for label in sorted(totals, key=lambda c: (len(members[c]), c)):
        for patient in members[label]:
            if patient in dealt:
                continue
            part = max(parts, key=lambda p: ((p, label) not in present, wanted[p, label], fractions[p], -p))
            dealt[patient] = part
            for other, amount in amounts[patient].items():
                wanted[part, other] -= amount
                present.add((part, other))
    return dealt


def same_people(entries: Sequence[Entry], alike: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
    """Return each patient's group, named by its first patient.

    Patients who share an identical image, directly or through others, are taken for one, so that no image lies on both
    sides of a split.

    Args:
        entries: of a data list; an empty ``sha256`` says that it is not known.
        alike: pairs of patients that are taken for one, too.
    """
    leader: dict[str, str] = {}

    def find(patient: str) -> str:
        while leader[patient] != patient:
            leader[patient] = patient = leader[leader[patient]]
        return patient

    owner: dict[str, str] = {}
    for entry in entries:
        patient = entry["patient"]
        leader.setdefault(patient, patient)
        if not entry["sha256"]:  # not known
            continue
        first = find(owner.setdefault(entry["sha256"], patient))
        other = find(patient)
        leader[max(first, other)] = min(first, other)
    for one, another in alike:
        first, other = find(one), find(another)
        leader[max(first, other)] = min(first, other)
    return {patient: find(patient) for patient in leader}


def assign_folds(entries: Sequence[Entry], folds: int, seed: int) -> list[Entry]:
    """Return the same entries with ``fold`` 0 to ``folds`` - 1: whole patients, and of each sequence equally many
    patients a fold."""
    sequences = sorted({entry["sequence"] for entry in entries})
    patients: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        patients[entry["patient"]].add(entry["sequence"])
    labels = {patient: [sequences.index(name) for name in sorted(own)] for patient, own in patients.items()}
    part = assign_patients(labels, [1 / folds] * folds, seed)
    return [{**entry, "fold": part[entry["patient"]]} for entry in entries]

"""Splits of one's own images: those that were given stay, the others are dealt by patient."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data_prep.run import Deal
from data_prep.work import Rejected
from medtl import datalist
from medtl.datalist import Entry
from medtl.errors import UsageError, tell
from medtl.integrity import contradictions
from medtl.splits import assign_patients, same_people

# where a patient stands in several given splits, the last of these keeps the images
HELD_BACK = ("training", "validation", "test")


@dataclass(frozen=True)
class Shares:
    """How the images are dealt.

    Attributes:
        validation, test: shares of the images; of a split that is given nothing is dealt.
        folds: 0, or into how many folds the training images are dealt; validation is then one of these.
        seed: of the deal.
    """

    validation: float
    test: float
    folds: int
    seed: int

    def __post_init__(self) -> None:
        if self.validation + self.test >= 1:
            raise UsageError("--validation-fraction and --test-fraction leave nothing to train on")
        if self.folds == 1:
            raise UsageError("--folds 1: expected at least 2, or 0 for none")


def dealer(shares: Shares, task: str, file_of: Callable[[Entry], str]) -> Deal:
    """Return the function that gives entries their splits and label indices.

    Args:
        shares: of the splits.
        task: "classification" (labels become class indices), "multilabel" (multi-hot lists) or "regression" (numbers).
        file_of: what rejected.csv calls an entry.
    """

    def deal(entries: list[Entry], classes: Sequence[str]) -> tuple[dict[str, list[Entry]], list[Rejected]]:
        _warn_of_unknown_patients(entries)
        for entry in entries:
            entry["label"] = _label(entry["label"], classes, task)
        agreeing, contradicting = without_contradictions(entries, classes, file_of)
        kept, rejected = _one_split_each(agreeing, file_of)
        splits = _dealt(kept, shares)
        if task != datalist.REGRESSION:
            _warn_of_rare_classes(kept, classes, shares.folds or 2)
        return splits, [*contradicting, *rejected]

    return deal


def dealer_of_masks(shares: Shares, file_of: Callable[[Entry], str]) -> Deal:
    """Return the function that gives pictures with masks their splits; the mask becomes the label. Arguments as of
    ``dealer``."""

    def deal(entries: list[Entry], classes: Sequence[str]) -> tuple[dict[str, list[Entry]], list[Rejected]]:
        for entry in entries:
            entry["label"] = entry.pop("mask")
        kept, rejected = _one_split_each(entries, file_of)
        return _dealt(kept, shares), rejected

    return deal


def _label(names: Sequence[str], classes: Sequence[str], task: str) -> int | float | list[int]:
    if task == datalist.REGRESSION:
        return float(names[0])
    return [int(name in names) for name in classes] if task == "multilabel" else list(classes).index(names[0])


def _warn_of_unknown_patients(entries: Sequence[Entry]) -> None:
    unknown = sum(entry.pop("alone", False) for entry in entries)
    if unknown:
        tell(
            f"data_prep: warning: of {unknown:,} of {len(entries):,} images the patient is unknown: each is taken for a"
            f" patient of its own, so images of one person may lie in several splits (--patient-pattern or a table's"
            f" column patient tells them)"
        )


def _warn_of_rare_classes(entries: Sequence[Entry], classes: Sequence[str], wanted: int) -> None:
    people: dict[int, set[str]] = defaultdict(set)
    for entry in entries:
        for number in datalist.label_classes(entry["label"]):
            people[number].add(entry["patient"])
    for number, name in enumerate(classes):
        if not people[number]:
            tell(f"data_prep: error: class {name!r} is lost: none of its pictures can be used")
        elif len(people[number]) < wanted:
            there = f"only {len(people[number])} patient(s)"
            tell(f"data_prep: warning: class {name!r} has {there}: it cannot be in every split")


def without_contradictions(
    entries: Sequence[Entry], classes: Sequence[str], file_of: Callable[[Entry], str]
) -> tuple[list[Entry], list[Rejected]]:
    """Return entries without the pictures that stand under several labels: which one is right, nobody here can say."""
    contradicting = contradictions(entries)
    kept, rejected = [], []
    for entry in entries:
        others = contradicting.get(entry["sha256"])
        if others is None:
            kept.append(entry)
        else:
            other = next(each for each in others if each["label"] != entry["label"])
            rejected.append(
                Rejected(
                    file_of(entry), f"the same picture is {file_of(other)}, labelled {_shown(other['label'], classes)}"
                )
            )
    return kept, rejected


def _shown(label: int | float | list[int], classes: Sequence[str]) -> str:
    if isinstance(label, float):
        return f"{label:g}"
    return ", ".join(classes[number] for number in datalist.label_classes(label)) or "no finding"


def _one_split_each(entries: Sequence[Entry], file_of: Callable[[Entry], str]) -> tuple[list[Entry], list[Rejected]]:
    """Return entries whose patient (or identical image) has its own in one given split alone; the others are left out,
    so that nobody trained on is tested on."""
    group = same_people(entries)
    given: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if "split" in entry:
            given[group[entry["patient"]]].add(entry["split"])
    kept, rejected = [], []
    for entry in entries:
        own = given[group[entry["patient"]]]
        last = max(own, key=HELD_BACK.index, default=None)
        if "split" not in entry and last:
            entry["split"] = last
        if last and entry["split"] != last:
            reason = f"its patient, or the same picture, is in the {last} split too"
            rejected.append(Rejected(file_of(entry), reason))
        else:
            kept.append(entry)
    return kept, rejected


def _dealt(entries: Sequence[Entry], shares: Shares) -> dict[str, list[Entry]]:
    """Return entries a split. Patients are dealt by the place where they first stand: their names depend on a key that
    is nobody's business."""
    given = {entry["split"] for entry in entries if "split" in entry}
    fractions = {
        "validation": 0.0 if shares.folds or "validation" in given else shares.validation,
        "test": 0.0 if "test" in given else shares.test,
    }
    fractions = {"training": 1 - sum(fractions.values()), **fractions}
    fixed = [entry for entry in entries if entry.get("split", "training") != "training"]
    free = [entry for entry in entries if entry.get("split", "training") == "training"]
    names = _places(free)
    if len(set(names.values())) == 1 and (fractions["training"] < 1 or shares.folds):
        raise UsageError(
            "all images have the same patient, so they cannot be dealt into splits: give --patient-pattern, a table's"
            " column patient, or --test-fraction 0 --validation-fraction 0"
        )
    part = assign_patients(_labels(free, names), tuple(fractions.values()), shares.seed)
    splits: dict[str, list[Entry]] = {name: [] for name in datalist.SPLITS}
    for entry in fixed:
        splits[entry["split"]].append(entry)
    for entry in free:
        splits[tuple(fractions)[part[names[entry["patient"]]]]].append(entry)
    if shares.folds:
        training = splits["training"]
        fold = assign_patients(_labels(training, names), [1 / shares.folds] * shares.folds, shares.seed)
        for entry in training:
            entry["fold"] = fold[names[entry["patient"]]]
    for entry in entries:
        entry.pop("split", None)
    return splits


def _places(entries: Sequence[Entry]) -> dict[str, str]:
    """Return a patient's group of people who share an image, named by where its first image stands."""
    group = same_people(entries)
    first: dict[str, str] = {}
    for number, entry in enumerate(entries):
        first.setdefault(group[entry["patient"]], f"{number:09d}")
    return {patient: first[group[patient]] for patient in group}


def _labels(entries: Sequence[Entry], names: dict[str, str]) -> dict[str, list[int]]:
    labels: dict[str, list[int]] = defaultdict(list)
    for entry, classes in zip(entries, datalist.strata(entries), strict=True):
        labels[names[entry["patient"]]] += classes
    return labels

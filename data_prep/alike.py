"""Sets without patients' names: pictures that look alike are taken for one person's, so that no copy of a training
picture is tested on."""

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from data_prep.folder_deal import without_contradictions
from data_prep.run import Deal
from data_prep.work import Rejected
from medtl import datalist
from medtl.datalist import DataList, Entry
from medtl.errors import tell
from medtl.leaks import near_pairs
from medtl.signatures import Listed, sign_list
from medtl.splits import assign_patients, same_people


def dealer(out: Path, name: str, shares: tuple[float, float], seed: int, workers: int, known: Path | None) -> Deal:
    """Return the function that gives entries their splits.

    Pictures are one group where their files are equal or where both the perceptual hash and the fine structure agree
    (``medtl.leaks``); groups are dealt whole. Equal pictures under different labels are left out and named.

    Args:
        out: folder that the entries' images are relative to.
        name: of the set.
        shares: of the images, for validation and for test.
        seed: of the deal.
        workers: processes that look at pictures.
        known: a prepared data list that holds some of the same pictures *with* patients (a data_prep output); a picture
            that looks like one of it gets that patient.
    """

    def deal(entries: list[Entry], classes: Sequence[str]) -> tuple[dict[str, list[Entry]], list[Rejected]]:
        index = {label: number for number, label in enumerate(classes)}
        for entry in entries:
            entry["label"] = index[entry["label"]]
        kept, rejected = without_contradictions(entries, classes, itemgetter("image"))
        own = sign_list(_listed(kept, out, name, classes), name, workers)
        if known is not None:
            _name_patients(kept, own, known, classes, workers)
        group = _groups(kept, own)
        sizes = Counter(group)
        alike = sum(size for size in sizes.values() if size > 1)
        tell(f"data_prep: {alike:,} of {len(kept):,} pictures share a patient or look like another: grouped")
        labels: dict[str, list[int]] = {}
        for entry, leader in zip(kept, group, strict=True):
            labels.setdefault(leader, []).append(entry["label"])
        part = assign_patients(labels, (1 - sum(shares), *shares), seed)
        splits: dict[str, list[Entry]] = {split: [] for split in datalist.SPLITS}
        for entry, leader in zip(kept, group, strict=True):
            entry["patient"] = leader
            splits[datalist.SPLITS[part[leader]]].append(entry)
        return splits, rejected

    return deal


def with_masks(deal: Deal) -> Deal:
    """Return a deal of pictures with masks, all of one label; the mask becomes the label."""

    def dealt(entries: list[Entry], classes: Sequence[str]) -> tuple[dict[str, list[Entry]], list[Rejected]]:
        for entry in entries:
            entry["label"] = classes[0]
        splits, rejected = deal(entries, classes)
        for own in splits.values():
            for entry in own:
                entry["label"] = entry.pop("mask")
        return splits, rejected

    return dealt


def _listed(entries: Sequence[Entry], out: Path, name: str, classes: Sequence[str]) -> DataList:
    head: dict[str, Any] = {"name": name, "classes": tuple(classes), "channels": 1, "licence": "", "created_by": ""}
    return DataList(**head, sample=False, training=list(entries), validation=[], test=[], folder=out)


def _name_patients(entries: list[Entry], own: Listed, known: Path, classes: Sequence[str], workers: int) -> None:
    """Give pictures that look like one of another data list that one's patient and source, and say how many."""
    listed = datalist.read(known)
    other = sign_list(listed, str(known), workers)
    source = {entry["image"]: entry["source"] for _, entry in listed}
    place = {image: number for number, image in enumerate(own.images)}
    twins: dict[int, int] = {}
    for first, second, _, _ in near_pairs(own, other):
        twins.setdefault(first, second)
    counts: Counter[str] = Counter()
    for entry in entries:
        twin = twins.get(place[entry["image"]])
        if twin is not None:
            entry["patient"], entry["source"] = other.patients[twin], source[other.images[twin]]
            counts[classes[entry["label"]]] += 1
    named = ", ".join(f"{counts[label]:,} {label}" for label in classes if counts[label])
    tell(f"data_prep: pictures of {other.name} found again, with their patients: {named or 'none'}")


def _groups(entries: Sequence[Entry], own: Listed) -> list[str]:
    """Return each picture's group, named by its first patient in the alphabet."""
    patient = {entry["image"]: entry["patient"] for entry in entries}
    of = [patient[image] for image in own.images]
    group = same_people(entries, ((of[first], of[second]) for first, second, _, _ in near_pairs(own, own)))
    return [group[entry["patient"]] for entry in entries]

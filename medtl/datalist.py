"""datalist.json: MONAI's decathlon format with patients and hashes, so that a split can be checked for leaks.

Reading is strict (a data list that cannot be what it says is refused), writing is atomic and byte-for-byte repeatable.
"""

import bisect
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medtl.entries import SURVIVAL_CLASSES as SURVIVAL_CLASSES
from medtl.entries import check_entry, check_once, check_patient, owner
from medtl.errors import MedtlError, UsageError
from medtl.files import read_json, write_text
from medtl.splits import assign_patients

FILE_NAME = "datalist.json"
SPLITS = ("training", "validation", "test")
SHORT_NAMES = {"training": "train", "validation": "val", "test": "test"}
REGRESSION, SURVIVAL = "regression", "survival"
TASKS = ("classification", "multilabel", REGRESSION, "segmentation", SURVIVAL)
QUARTERS, FEWEST = 4, 25  # parts of a regression's labels, by size, that are dealt alike; labels of such a part

Entry = dict[str, Any]


@dataclass(frozen=True)
class DataList:
    """A data set that data preparation wrote.

    Attributes:
        name: the data set's name.
        classes: class names in index order; for segmentation, organ names from index 1 of the masks; of a regression
            the name of what is measured; of a survival censored and event.
        channels: image channels, 1 (grey) or 3 (RGB).
        licence: of the images.
        created_by: the command, without paths.
        sample: made from the built-in phantoms.
        training, validation, test: entries ``{image, label, patient, source, sha256, …}``; paths relative to the file.
            Those of a survival are patients, with ``time`` (above 0), ``event`` (0 or 1) and ``image`` or ``features``
            in the place of image and label; sha256 is of that file.
        folder: where the file lies.
        positive: name of the class of two from whose side sensitivity is told; empty where the list names none.
        fold: that was taken as validation; None where the splits are those of the file.
        train_fraction: share of the training patients that was kept, 0..1.
        drawn_with: seed of the draw of that share.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    licence: str
    created_by: str
    sample: bool
    training: list[Entry]
    validation: list[Entry]
    test: list[Entry]
    folder: Path = field(default=Path(), compare=False)
    positive: str = ""
    fold: int | None = field(default=None, compare=False)
    train_fraction: float = field(default=1.0, compare=False)
    drawn_with: int = field(default=0, compare=False)

    def split(self, name: str) -> list[Entry]:
        """Return the entries of a split by either of its names: training/train, validation/val, test."""
        for long, short in SHORT_NAMES.items():
            if name in (long, short):
                return getattr(self, long)
        raise UsageError(f"split {name!r} is not one of train, val, test")

    def absolute(self, name: str) -> list[Entry]:
        """Return the entries of a split with ``image`` (and a mask's ``label``) as absolute paths and their ``index``
        within the split."""
        entries = []
        for index, entry in enumerate(self.split(name)):
            named = [key for key in ("image", "label", "features") if isinstance(entry.get(key), str)]
            paths = {key: str(self.folder / entry[key]) for key in named}
            entries.append({**entry, **paths, "index": index})
        return entries

    @property
    def task(self) -> str:
        """Return "segmentation" (labels are paths), "multilabel" (multi-hot lists), "regression" (floating-point
        numbers), "classification" (class indices) or "survival" (times and events)."""
        return next((task_of(entry) for _, entry in self), "classification")

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        """Every (split, entry)."""
        for split in SPLITS:
            for entry in getattr(self, split):
                yield split, entry


def locate(path: Path) -> Path:
    """Return the data list's file for a folder or the file itself.

    Raises:
        UsageError: there is none.
    """
    if path.is_file():
        return path
    if not path.exists():
        raise UsageError(f"{path}: no such folder; expected a data_prep output that holds {FILE_NAME}")
    if not (path / FILE_NAME).is_file():
        raise UsageError(f"{path} holds no {FILE_NAME}; make one with: python -m data_prep NAME --raw DIR --out {path}")
    return path / FILE_NAME


def read(path: Path) -> DataList:
    """Read a data list (a folder that holds one, or the file).

    Raises:
        UsageError: there is none.
        MedtlError: it is not valid; the message names the file, the entry and what was expected.
    """
    file = locate(Path(path))
    content = read_json(file)
    if not isinstance(content, dict):
        raise MedtlError(f"{file} holds no data list: expected an object with {', '.join(SPLITS)}")
    for key in ("name", "classes", *SPLITS):
        if key not in content:
            raise MedtlError(f"{file} has no {key!r}; expected a data list that data_prep wrote")
    task = content.get("task")
    if task == REGRESSION and content["classes"] == []:
        content["classes"] = ["value"]  # what is measured need not have a name
    names = content["classes"]
    of_names = isinstance(names, list) and names and all(isinstance(c, str) for c in names)
    if not of_names or len(set(names)) < len(names):
        raise MedtlError(f"{file}: 'classes' is not a list of different names")
    if not isinstance(content["name"], str):
        raise MedtlError(f"{file}: 'name' is {content['name']!r}; expected text")
    channels = content.get("channels", 1)
    if isinstance(channels, bool) or channels not in (1, 3):
        raise MedtlError(f"{file}: 'channels' is {channels!r}; expected 1 or 3")
    positive = content.get("positive", "")
    if positive and (positive not in names or len(names) != 2):
        raise MedtlError(f"{file}: 'positive' is {positive!r}; expected one of two classes: {', '.join(names)}")
    for split in SPLITS:
        if not isinstance(content[split], list):
            raise MedtlError(f"{file}: {split!r} is not a list")
        for number, entry in enumerate(content[split]):
            if task == REGRESSION:
                _as_number(entry)
            check = check_patient if task == SURVIVAL else check_entry
            check(entry, f"{file}: {split}[{number}]", content["classes"])
    if task == SURVIVAL:
        check_once([entry for split in SPLITS for entry in content[split]], file)
    kinds = {type(entry.get("label")) for split in SPLITS for entry in content[split]}
    if len(kinds) > 1:
        raise MedtlError(f"{file} mixes labels of several kinds: {', '.join(sorted(kind.__name__ for kind in kinds))}")
    made = DataList(
        name=content["name"],
        classes=tuple(content["classes"]),
        channels=channels,
        licence=content.get("licence", ""),
        created_by=content.get("created_by", ""),
        sample=bool(content.get("sample", False)),
        training=content["training"],
        validation=content["validation"],
        test=content["test"],
        folder=file.parent.resolve(),
        positive=str(positive),
    )
    if task in TASKS and any(content[split] for split in SPLITS) and (task == REGRESSION) != (made.task == REGRESSION):
        raise MedtlError(f"{file}: 'task' is {task}, but its labels are of a {made.task}")
    return made


def file_of(entry: Entry) -> str:
    """Return the path of what an entry shows, relative to the data list: its picture, or its features."""
    return str(entry["image"] if "image" in entry else entry["features"])


def task_of(entry: Entry) -> str:
    """Return what an entry is for, by the kind of its label; see ``DataList.task``."""
    if "label" not in entry:
        return SURVIVAL
    label = entry["label"]
    if isinstance(label, str):
        return "segmentation"
    if isinstance(label, list):
        return "multilabel"
    return REGRESSION if isinstance(label, float) else "classification"


def _as_number(entry: Any) -> None:
    """Make the whole number that another program wrote as the label of a regression what it is."""
    if isinstance(entry, dict) and type(entry.get("label")) is int:
        entry["label"] = float(entry["label"])


def write(datalist: DataList, folder: Path) -> Path:
    """Write ``folder/datalist.json`` atomically, one entry a line; the same data list gives the same bytes."""
    keys = ("name", "task", "classes", "channels", "licence", "created_by", "sample")
    head = {key: getattr(datalist, key) for key in keys}
    if datalist.positive:
        head["positive"] = datalist.positive
    lines = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    for split in SPLITS:
        entries = ",\n".join("  " + json.dumps(entry, ensure_ascii=False) for entry in getattr(datalist, split))
        lines.append(f' "{split}": [\n{entries}\n ]' if entries else f' "{split}": []')
    path = folder / FILE_NAME
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")
    return path


def class_counts(datalist: DataList, split: str | None = None) -> dict[str, int]:
    """Count the entries of each class, over all splits or one; a multi-hot entry counts under each of its classes."""
    counts: Counter[str] = Counter()
    for name, entry in datalist:
        if split is None or datalist.split(split) is getattr(datalist, name):
            counts.update(datalist.classes[c] for c in classes_of(entry))
    return {name: counts[name] for name in datalist.classes}


def classes_of(entry: Entry) -> list[int]:
    """Return the class indices that an entry's label names, or of a survival its event."""
    return label_classes(entry["label"] if "label" in entry else entry["event"])


def label_classes(label: int | float | list[int] | str) -> list[int]:
    """Return the class indices that a label names: one for an index, the ones of a multi-hot list, 0 for a number,
    whose name is the only one, none for a mask."""
    if isinstance(label, list):
        return [index for index, positive in enumerate(label) if positive]
    if isinstance(label, float):
        return [0]
    return [] if isinstance(label, str) else [label]


def strata(entries: Sequence[Entry]) -> list[list[int]]:
    """Return what each entry is dealt by: the classes that its label names; of a regression the quarter of all labels,
    by size, in which its own lies (of few labels a half, or none: there must be some for each split); of a survival the
    event."""
    numbers = sorted(entry["label"] for entry in entries if isinstance(entry.get("label"), float))
    if not numbers:
        return [classes_of(entry) for entry in entries]
    parts = max(1, min(QUARTERS, len(numbers) // FEWEST))
    return [[parts * bisect.bisect_left(numbers, entry["label"]) // len(numbers)] for entry in entries]


def spread(listed: DataList) -> tuple[float, float]:
    """Return the mean and standard deviation of the training labels of a regression.

    Raises:
        MedtlError: they are all alike, so that there is nothing to learn.
    """
    numbers = [entry["label"] for entry in listed.training]
    if len(set(numbers)) < 2:
        raise MedtlError(f"{listed.folder / FILE_NAME}: the {len(numbers)} training label(s) do not differ")
    return statistics.fmean(numbers), statistics.pstdev(numbers)


def with_fold(listed: DataList, fold: int | None) -> DataList:
    """Return the data list with ``fold`` of its training entries as validation and the others as training; as it is for
    None.

    Raises:
        UsageError: no training entry has that fold.
    """
    if fold is None:
        return listed
    folds = sorted({entry["fold"] for entry in listed.training if "fold" in entry})
    if isinstance(fold, bool) or fold not in folds:
        there = f"has the folds {', '.join(map(str, folds))}" if folds else "is not dealt into folds"
        raise UsageError(f"--fold {fold}: {listed.folder / FILE_NAME} {there}")
    own = [entry for entry in listed.training if entry.get("fold") == fold]
    others = [entry for entry in listed.training if entry.get("fold") != fold]
    return replace(listed, training=others, validation=own, fold=fold)


def with_fraction(listed: DataList, fraction: float, seed: int) -> DataList:
    """Return the data list with a share of its training patients, stratified by class (``strata``); validation and test
    as they are.

    Args:
        listed: with labels of classes, or numbers.
        fraction: above 0, up to 1.
        seed: of the draw.

    Raises:
        UsageError: the fraction is none, or leaves a class without an image.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction <= 1:
        raise UsageError(f"--train_fraction {fraction}: expected a number above 0 and up to 1")
    if fraction == 1:
        return listed
    labels: dict[str, list[int]] = defaultdict(list)
    for entry, classes in zip(listed.training, strata(listed.training), strict=True):
        labels[owner(entry)] += classes
    part = assign_patients(labels, [fraction, 1 - fraction], seed)
    training = [entry for entry in listed.training if part[owner(entry)] == 0]
    kept = replace(listed, training=training, train_fraction=fraction, drawn_with=seed)
    before, after = class_counts(listed, "train"), class_counts(kept, "train")
    empty = [name for name in listed.classes if before[name] and not after[name]]
    if empty:
        raise UsageError(f"--train_fraction {fraction} leaves no training image of class {empty[0]!r}")
    return kept


def overlaps(datalist: DataList) -> list[str]:
    """Return what two splits or two folds of one data list share: patients and identical files, of which an empty one
    is not known. Empty when these are clean."""
    found = []
    for key, what in (("patient", "patient"), ("sha256", "identical image")):
        splits: dict[str, set[str]] = defaultdict(set)
        folds: dict[str, set[int]] = defaultdict(set)
        for split, entry in datalist:
            if key == "sha256" and "areas" in entry and not any(entry["areas"].values()):
                continue  # slices beyond the organs may be black in many cases
            if not entry[key]:
                continue
            splits[entry[key]].add(split)
            if "fold" in entry:
                folds[entry[key]].add(entry["fold"])
        for kind, where in (("split", splits), ("fold", folds)):
            shared = sorted(value for value in where if len(where[value]) > 1)
            if shared:
                named = shared[0] if key == "patient" else f"sha256 {shared[0][:12]}…"
                found.append(f"{len(shared)} {what}(s) in more than one {kind}, the first {named}")
    return found

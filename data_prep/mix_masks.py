"""Several lists with masks in one, for pretraining a segmentation: every class of every list is one class of the mix,
and the masks' indices are counted on from list to list."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.mix_pictures import coloured, fault, link
from data_prep.run import Deal
from data_prep.work import Done, Rejected, Source, Work
from medtl import datalist
from medtl.datalist import DataList, Entry
from medtl.errors import BadFileError, UsageError, tell
from medtl.files import file_hash
from medtl.readers.raster import read_labels
from medtl.splits import assign_patients, same_people
from medtl.writers.images import write_png

SEGMENTATION = "segmentation"
MOST_CLASSES = 255  # indices that an 8-bit mask has beside the background
NEEDED = ("case", "slice", "spacing")
ONE_OF_SEVERAL = "CT"  # CHAOS marks the liver alone there, where its other sequences have four organs
ENTRIES_A_PIECE = 256


def entries_of(name: str, listed: DataList, take: Sequence[str]) -> tuple[Entry, ...]:
    """Return what a list gives: its entries with ``mask`` in the place of the label, which becomes the list's name.

    A case that was scanned in several sequences becomes one case of each.

    Args:
        name: of the list within the mix.
        listed: the list.
        take: splits.

    Raises:
        UsageError: its pictures have no masks, or do not say which slice of which case they are; the splits are empty.
    """
    if listed.task != SEGMENTATION:
        raise UsageError(
            f"--lists {name}: its pictures have no masks (it is a {listed.task}); --task segmentation needs them"
        )
    entries = [entry for split in take for entry in listed.split(split)]
    kept = [entry for entry in entries if entry.get("sequence") != ONE_OF_SEVERAL or len(listed.classes) == 1]
    if len(kept) < len(entries):
        less = len(entries) - len(kept)
        tell(
            f"data_prep: {name}: {less:,} slices of CT are left out: not all of {', '.join(listed.classes)} are marked"
            " there"
        )
    if not kept:
        raise UsageError(f"--lists {name}: its {' and '.join(take)} split is empty")
    for entry in kept:
        missing = next((key for key in NEEDED if key not in entry), None)
        if missing:
            raise UsageError(f"--lists {name}: {entry['image']} has no {missing!r}; prepare it again")
    return tuple({**entry, "case": _case(name, entry), "mask": entry["label"], "label": name} for entry in kept)


def _case(name: str, entry: Entry) -> str:
    own = [name, str(entry["case"]), *([entry["sequence"]] if "sequence" in entry else [])]
    return "/".join(own)


def classes_of(lists: Sequence[tuple[str, DataList]]) -> tuple[str, ...]:
    """Return the classes of a mix in index order, from index 1 of the masks: list by list, each in its own order.

    Raises:
        UsageError: there are more than a mask can hold.
    """
    classes = tuple(f"{name}/{own}" for name, listed in lists for own in listed.classes)
    if len(classes) > MOST_CLASSES:
        raise UsageError(f"--lists: {len(classes)} classes together; expected at most {MOST_CLASSES}")
    return classes


def find(
    name: str, listed: DataList, entries: Sequence[Entry], rejected: Sequence[Rejected], classes: Sequence[str]
) -> Source:
    """Return the work of one list: chunks of its entries.

    Args:
        name: of the list within the mix.
        listed: the list.
        entries: what is taken of it, as of ``entries_of``.
        rejected: what cannot be compared with excluded lists.
        classes: of the whole mix.
    """
    before = classes.index(f"{name}/{listed.classes[0]}")
    works = []
    keys = ("image", "mask", "patient", "source", "sha256", *NEEDED)
    for number, start in enumerate(range(0, len(entries), ENTRIES_A_PIECE)):
        chunk = entries[start : start + ENTRIES_A_PIECE]
        rows = [[*(entry[key] for key in keys), entry.get("mask_sha256", "")] for entry in chunk]
        files = tuple(listed.folder / entry[key] for entry in chunk for key in ("image", "mask"))
        works.append(Work(f"{number:05d}", files, (name, listed.channels, before, rows)))
    own = [f"{name}/{each}" for each in listed.classes]
    return Source(
        name=name,
        raw=listed.folder,
        works=tuple(works),
        process=partial(process, own=tuple(own)),
        options={"classes": list(classes)},
        found=dict.fromkeys(own, len(entries)),
        unit="pictures",
        rejected=tuple(rejected),
    )


def process(work: Work, raw: Path, out: Path, *, own: Sequence[str]) -> Done:
    """Link one chunk of pictures, unless they are not what was listed, and write their masks in the mix's indices.

    Args:
        work: as of ``find``.
        raw, out: folders of the list and of the result.
        own: the list's classes, as the mix calls them.
    """
    name, channels, before, rows = work.payload
    done = Done()
    for image, mask, patient, source, sha256, case, number, spacing, mask_sha256 in rows:
        target, place = (
            _inside("images", name, image),
            str(PurePosixPath(_inside("masks", name, mask)).with_suffix(".png")),
        )
        wrong = fault(image, raw / image, sha256) or fault(mask, raw / mask, mask_sha256, "its mask ")
        try:
            if wrong:
                raise BadFileError(wrong)
            labels = _labels(raw / mask, raw / image, len(own))
        except BadFileError as error:
            done.rejected.append(Rejected(image, str(error)))
            continue
        link(raw / image, out / target)
        write_png(out / place, np.where(labels > 0, labels + before, 0).astype(np.uint8))
        areas = np.bincount(labels.ravel(), minlength=len(own) + 1)[1:].tolist()
        entry: dict[str, Any] = {
            "image": target,
            "mask": place,
            "patient": patient,
            "source": source,
            "sha256": sha256,
            "mask_sha256": file_hash(out / place),
            "case": case,
            "slice": number,
            "spacing": spacing,
            "areas": dict(zip(own, areas, strict=True)),
            "channels": 3 if channels == 3 and coloured(raw / image) else 1,
        }
        done.entries.append(entry)
    return done


def _inside(folder: str, name: str, file: str) -> str:
    """Return where a file of a list lies in the mix."""
    return f"{folder}/{name}/{file.removeprefix(f'{folder}/').removeprefix(f'{name}/')}"


def _labels(mask: Path, picture: Path, classes: int) -> NDArray[np.int64]:
    """Return a mask's indices (rows, columns).

    Raises:
        BadFileError: it cannot be read, is of another size than its picture, or has an index that is no class.
    """
    try:
        labels = read_labels(mask, by_index=True)
    except BadFileError as error:
        raise BadFileError(f"its mask {error}") from None
    with Image.open(picture) as image:
        size = image.size[::-1]
    if labels.shape != size:
        raise BadFileError(f"has {size} pixels, its mask {labels.shape}")
    if labels.max(initial=0) > classes:
        raise BadFileError(f"its mask has the index {labels.max()}; the list names {classes} class(es)")
    return labels


def dealer(validation: float, seed: int) -> Deal:
    """Return the function that deals patients into training and validation, of every list the same share.

    Args:
        validation: share of the pictures.
        seed: of the deal.
    """

    def deal(entries: list[Entry], classes: Sequence[str]) -> tuple[dict[str, list[Entry]], list[Rejected]]:
        # slices beyond the organs may be black in many patients, who are not one for that
        shown = [entry for entry in entries if any(entry["areas"].values())]
        group = same_people(shown)
        lists = sorted({_list_of(entry) for entry in entries})
        people: dict[str, list[int]] = {}
        for entry in entries:
            whose = group.setdefault(entry["patient"], entry["patient"])
            people.setdefault(whose, []).append(lists.index(_list_of(entry)))
        part = assign_patients(people, (1 - validation, validation), seed)
        splits: dict[str, list[Entry]] = {name: [] for name in datalist.SPLITS}
        for entry in entries:
            entry["label"] = entry.pop("mask")
            splits[datalist.SPLITS[part[group[entry["patient"]]]]].append(entry)
        return splits, []

    return deal


def _list_of(entry: Entry) -> str:
    return str(entry["case"]).partition("/")[0]

"""A data list dealt anew for a study of recipes, beside the prepared pictures, which are linked and not copied.

    python benchmarks/deal_parts.py DATA OUT --parts 5
    python benchmarks/deal_parts.py DATA OUT --fraction 0.1

``--parts``: training and validation images are dealt class by class into parts, and OUT/0, OUT/1, … each have another
part as test, 15 % of the rest as validation. The test split of DATA stays closed. ``--fraction``: OUT has this share of
the training patients, a quarter of the validation patients, and the whole test split.
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from medtl import datalist
from medtl.datalist import DataList, Entry

VALIDATION = 0.15  # of what is not the test part
OF_VALIDATION = 0.25  # of the validation patients


def by_class(entries: Sequence[Entry]) -> dict[int, list[Entry]]:
    found: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        found[entry["label"]].append(entry)
    return dict(sorted(found.items()))


def parts(listed: DataList, number: int) -> Iterator[DataList]:
    """The lists of which each has another part of training and validation as its test split."""
    draws = random.Random(7)
    dealt: list[list[Entry]] = [[] for _ in range(number)]
    for entries in by_class([*listed.training, *listed.validation]).values():
        draws.shuffle(entries)
        for place, entry in enumerate(entries):
            dealt[place % number].append(entry)
    for part in range(number):
        training, validation = [], []
        for entries in by_class([entry for other in range(number) if other != part for entry in dealt[other]]).values():
            draws.shuffle(entries)
            count = round(VALIDATION * len(entries))
            validation += entries[:count]
            training += entries[count:]
        yield replace(listed, training=training, validation=validation, test=dealt[part])


def share(listed: DataList, fraction: float) -> DataList:
    """The list with a share of its training patients and a quarter of its validation patients."""
    patients = sorted({entry["patient"] for entry in listed.validation})
    random.Random(3).shuffle(patients)
    kept = set(patients[: int(OF_VALIDATION * len(patients))])
    validation = [entry for entry in listed.validation if entry["patient"] in kept]
    return replace(datalist.with_fraction(listed, fraction, seed=0), validation=validation)


def write(listed: DataList, folder: Path) -> None:
    """Write a list whose pictures stay where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("images", "masks"):
        source, link = (listed.folder / name).resolve(), folder / name
        if source.is_dir() and not link.is_symlink():
            link.symlink_to(source)
    datalist.write(replace(listed, folder=folder), folder)
    print(folder, ", ".join(f"{len(listed.split(split))} {split}" for split in datalist.SPLITS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", type=Path, metavar="OUT")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--parts", type=int)
    how.add_argument("--fraction", type=float)
    asked = parser.parse_args()
    listed = datalist.read(asked.data)
    if asked.parts:
        for number, part in enumerate(parts(listed, asked.parts)):
            write(part, asked.out / str(number))
    else:
        write(share(listed, asked.fraction), asked.out)


if __name__ == "__main__":
    main()

"""BreastMNIST dealt anew for the transfer study: few training images, and most of the set to test on.

    python benchmarks/deal_breastmnist.py DATA TABLE

The 76 test images at hand cannot tell starts apart. Here a quarter of all images is for training, an eighth for
validation, the rest for the test, class by class. Pictures that look alike count as one patient, so none has its like
in another split. DATA is what ``data_prep breastmnist`` wrote, TABLE what ``data_prep folder --table`` reads.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medtl import datalist, leaks
from medtl.datalist import DataList
from medtl.files import write_csv
from medtl.signatures import sign_list

SHARES = {"train": 0.25, "val": 0.125}


def alike(listed: DataList, name: str) -> dict[str, int]:
    """Image to the number of its group: pictures that are alike, directly or through others."""
    signed = sign_list(listed, name, workers=1)
    pairs = [(i, j) for i, j, _, _ in leaks.near_pairs(signed, signed)]
    count = len(signed.images)
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    _, groups = connected_components(coo_array(([1] * len(pairs), (rows, columns)), shape=(count, count)))
    return dict(zip(signed.images, map(int, groups), strict=True))


def deal(hashes: Sequence[str], labels: Sequence[int], groups: Sequence[int]) -> list[str]:
    """Split of each picture. Groups are dealt whole, within the class of their first picture and in the order of its
    hash, until a share is reached."""
    members: dict[int, list[int]] = {}
    for place in sorted(range(len(hashes)), key=lambda place: hashes[place]):
        members.setdefault(groups[place], []).append(place)
    splits = ["test"] * len(hashes)
    for label in sorted(set(labels)):
        own = [places for places in members.values() if labels[places[0]] == label]
        left = {split: round(share * sum(map(len, own))) for split, share in SHARES.items()}
        for places in own:
            split = next((split for split, room in left.items() if room >= len(places)), "test")
            left[split] = left.get(split, 0) - len(places)
            for place in places:
                splits[place] = split
    return splits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("table", type=Path, metavar="TABLE")
    asked = parser.parse_args()
    listed = datalist.read(asked.data)
    numbers = alike(listed, str(asked.data))
    entries = [*listed.training, *listed.validation, *listed.test]
    groups = [numbers[entry["image"]] for entry in entries]
    splits = deal([entry["sha256"] for entry in entries], [entry["label"] for entry in entries], groups)
    rows = [("path", "label", "patient", "split")]
    for entry, group, split in zip(entries, groups, splits, strict=True):
        rows.append((entry["image"], listed.classes[entry["label"]], f"group{group:04d}", split))
    write_csv(asked.table, rows)
    counts = ", ".join(f"{splits.count(split)} {split}" for split in (*SHARES, "test"))
    print(f"{len(entries)} images in {len(set(groups))} groups: {counts}; in {asked.table}")


if __name__ == "__main__":
    main()

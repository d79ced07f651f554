"""Whether the files that a data list names are there, are the ones that were listed, and keep patients apart."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import track

from medtl import datalist
from medtl.datalist import DataList, Entry
from medtl.files import file_hash

MOST_NAMED = 5


def problems_of_data(folder: Path) -> tuple[str, list[str]]:
    """Read a data list strictly, then look at every file it names.

    Returns:
        What was checked in words, and one line a problem (of many alike, the first few and their number).

    Raises:
        UsageError: there is no data list. MedtlError: it is not valid.
    """
    listed = datalist.read(folder)
    sizes = ", ".join(f"{len(getattr(listed, split)):,} {split}" for split in datalist.SPLITS)
    problems = [*_files(listed), *datalist.overlaps(listed), *_contradictions(listed)]
    has_folds = any("fold" in entry for entry in listed.training)  # each serves as validation by turns
    for split in ("training",) if has_folds else ("training", "validation"):
        if not getattr(listed, split):
            problems.append(f"the {split} split is empty")
    return f"data list {listed.name!r} with {sizes}", problems


def contradictions(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Return the entries of each picture, by its sha256, that several files show under different labels.

    One file that is listed under each of its findings is no contradiction, and a mask is no label.
    """
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry["sha256"] and not isinstance(entry.get("label", ""), str):
            found[entry["sha256"]].append(entry)

    def differs(one: Entry, other: Entry) -> bool:
        return bool(one["image"] != other["image"] and one["label"] != other["label"])

    return {digest: alike for digest, alike in found.items() if any(differs(alike[0], other) for other in alike[1:])}


def _contradictions(listed: DataList) -> list[str]:
    """Pictures that are listed under several labels."""
    found = contradictions([entry for _, entry in listed])
    lines = [
        f"one picture under several labels: {', '.join(sorted({entry['image'] for entry in alike})[:MOST_NAMED])}"
        for alike in found.values()
    ]
    more = [f"… and {len(lines) - MOST_NAMED:,} more pictures under several labels"] if len(lines) > MOST_NAMED else []
    return [*lines[:MOST_NAMED], *more]


def _files(listed: DataList) -> list[str]:
    """Unsafe paths, absent files and files that are not what was listed; each file is read once."""
    hashes: dict[str, set[str]] = defaultdict(set)  # several entries may name one file: each states its hash
    for _, entry in listed:
        hashes[datalist.file_of(entry)].add(entry["sha256"])
        if "mask_sha256" in entry:
            hashes[entry["label"]].add(entry["mask_sha256"])
    masks = {entry["label"] for _, entry in listed if isinstance(entry.get("label"), str)}
    masks |= {entry["mask"] for _, entry in listed if "mask" in entry}  # of a classified image's lesion
    found: dict[str, list[str]] = defaultdict(list)
    for name in track(sorted({*hashes, *masks}), "checking files", console=Console(stderr=True), transient=True):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            found["name(s) that lead out of the data list's folder"].append(name)
        elif not (listed.folder / name).is_file():
            found["missing file(s)"].append(name)
        elif name in hashes and hashes[name] != {file_hash(listed.folder / name)}:
            found["file(s) that differ from what was listed (sha256)"].append(name)
    lines = []
    for what, names in found.items():
        more = ", …" if len(names) > MOST_NAMED else ""
        lines.append(f"{len(names):,} {what}: {', '.join(names[:MOST_NAMED])}{more}")
    return lines

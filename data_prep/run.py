"""Runs the work of one or several raw downloads into one output folder: parallel, resumable, repeatable to the byte.

Each finished piece leaves a record in ``OUT/.progress``; a rerun takes finished pieces from there as long as their raw
files, the options and medtl's own version of the work are the same.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_prep import cluster, processes
from data_prep.piece import PROGRESS, DoAll, Piece, fingerprint, images, recall
from data_prep.work import Done, Rejected, Source
from medtl import datalist
from medtl.cards import DatasetCard
from medtl.datalist import DataList, Entry
from medtl.errors import UsageError
from medtl.files import OWNERS_FILE, parse_json, private_folder, remove_leftovers, write_text
from medtl.splits import assign_folds, assign_patients, same_people
from medtl.writers.tables import write_rejected

VALIDATION_FRACTION = 0.1
# entries with class names as labels, and the class names in index order → entries a split, and what is left out
Deal = Callable[[list[Entry], Sequence[str]], tuple[dict[str, list[Entry]], list[Rejected]]]


def prepare(
    card: DatasetCard,
    sources: Sequence[Source],
    out: Path,
    *,
    classes: Sequence[str] | None = None,
    created_by: str,
    sample: bool,
    workers: int,
    scheduler: str | None = None,
    seed: int,
    validation_fraction: float,
    test_fraction: float = 0.0,
    deal: Deal | None = None,
) -> tuple[DataList, list[Rejected]]:
    """Do all work that is not done yet, deal patients into training and validation, and write datalist.json and
    rejected.csv.

    Args:
        card: of the data set that is being made.
        sources: the raw downloads with their work.
        out: output folder; made if absent.
        classes: class names in index order where they differ from the card's.
        created_by: the command without paths.
        sample: made from phantoms.
        workers: processes; 1 works in this one.
        scheduler: address of a Dask cluster's, whose workers then do the work.
        seed: of the training/validation split.
        validation_fraction: share of the images, by class, for validation.
        test_fraction: share of the images, by class, for test, where the publisher has no test split.
        deal: gives the entries their splits and label indices, in place of the patients' deal by ``seed`` and
            ``validation_fraction``.

    Raises:
        UsageError: ``out`` holds another data set or is a raw folder, or another process works in it.
        MedtlError: a worker died, or the cluster cannot be reached or does not see the folders.
    """
    check_out(card, sources, out)
    progress_folder = out / PROGRESS
    try:
        with ExitStack() as stack:
            client = stack.enter_context(cluster.connected(scheduler)) if scheduler else None
            private_folder(progress_folder)  # its records name files, as rejected.csv does
            stack.enter_context(FileLock(progress_folder / "lock", timeout=0, mode=OWNERS_FILE))
            write_text(progress_folder / "name", card.name, private=True)
            _clear_up(out)
            do_all: DoAll = partial(processes.do_all, workers)
            if client:
                do_all = stack.enter_context(cluster.shared(client, sources, out))
            plans = [_plan(source, out) for source in sources]
            _remove_stale([piece for plan in plans for piece in plan], out)
            names = tuple(classes or card.classes)
            entries, rejected = [], []
            for source, plan in zip(sources, plans, strict=True):
                done = _all_done(source, plan, out, do_all)
                entries += [entry for one in done for entry in one.entries]
                rejected += [*source.rejected, *(row for one in done for row in one.rejected)]
            _remove_asides(progress_folder)  # of cluster workers that died over a piece which another one did
            if deal:
                splits, left_out = deal(entries, names)
                rejected += left_out
            else:
                fractions = (1 - validation_fraction - test_fraction, validation_fraction, test_fraction)
                splits = _split(entries, names, fractions, seed, max(source.folds for source in sources))
            made = DataList(
                name=card.name,
                classes=names,
                channels=max((entry.pop("channels", 1) for entry in entries), default=1),
                licence=card.licence,
                created_by=created_by,
                sample=sample,
                training=splits["training"],
                validation=splits["validation"],
                test=splits["test"],
                folder=out,
                positive=card.positive,
            )
            datalist.write(made, out)
            private = any(source.private for source in sources)
            write_rejected(out / "rejected.csv", ((row.file, row.reason) for row in rejected), private)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; the same command again takes up {card.name} where it stopped") from None
    except Timeout:
        raise UsageError(f"{out}: another data_prep is writing here; wait for it or choose another --out") from None
    return made, rejected


def check_out(card: DatasetCard, sources: Sequence[Source], out: Path) -> None:
    """Raise UsageError unless the data set may be prepared into ``out``."""
    for source in sources:
        if source.raw.resolve() == out.resolve():
            raise UsageError(f"--out {out} is the raw folder itself; choose another folder")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; expected a folder")
    there = _holds(out)
    if there not in (None, card.name):
        raise UsageError(f"--out {out} holds the data set {there!r}; choose another folder for {card.name!r}")


def _holds(out: Path) -> str | None:
    """Name of the data set that was, or began to be, prepared into ``out``."""
    name = out / PROGRESS / "name"
    if name.is_file():
        return name.read_text(encoding="utf-8").strip()
    return datalist.read(out).name if (out / datalist.FILE_NAME).exists() else None


def _clear_up(out: Path) -> None:
    """Remove what a killed run left unfinished."""
    remove_leftovers(out)
    _remove_asides(out / PROGRESS)


def _remove_asides(progress_folder: Path) -> None:
    """Remove what a killed process left of its pieces."""
    remove_leftovers(progress_folder)
    for folder in progress_folder.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)


def _plan(source: Source, out: Path) -> list[Piece]:
    """Return all pieces in the order of the work, with the results of earlier runs that still hold."""
    plan = []
    for work in source.works:
        record = out / PROGRESS / f"{source.name}-{work.id}.json"
        key = fingerprint(source, work)
        plan.append(Piece(work, record, key, recall(record, key, out)))
    return plan


def _all_done(source: Source, plan: Sequence[Piece], out: Path, do_all: DoAll) -> list[Done]:
    """Return every piece's result in the order of the work; what is not done yet is done."""
    todo = [piece for piece in plan if piece.done is None]
    with _progress_bar() as bar, closing(do_all(source, todo, out)) as results:
        task = bar.add_task(source.name, total=len(plan), completed=len(plan) - len(todo))
        for piece, done in results:
            piece.done = done
            bar.advance(task)
    return [piece.done for piece in plan if piece.done is not None]


def _remove_stale(pieces: Sequence[Piece], out: Path) -> None:
    """Drop what earlier runs with other options or other raw files recorded and wrote, and nothing that medtl did not
    write. A data list that names such images goes first."""
    current = {piece.record for piece in pieces if piece.done is not None}
    kept = {image for piece in pieces if piece.done is not None for image in images(piece.done.entries)}
    for record in sorted((out / PROGRESS).glob("*.json")):
        if record in current:
            continue
        (out / datalist.FILE_NAME).unlink(missing_ok=True)
        try:
            old = images(parse_json(record.read_text(encoding="utf-8"))["entries"])
        except (ValueError, KeyError, TypeError):
            old = set()
        for image in old - kept:
            (out / image).unlink(missing_ok=True)
        record.unlink()


def _split(
    entries: Sequence[Entry], classes: Sequence[str], fractions: Sequence[float], seed: int, folds: int = 0
) -> dict[str, list[Entry]]:
    """Class names to indices, masks to labels, entries with a publisher's split apart, the patients of the rest dealt
    into the three splits by ``fractions``; with folds, all into training."""
    index = {name: number for number, name in enumerate(classes)}
    splits: dict[str, list[Entry]] = {name: [] for name in datalist.SPLITS}
    if folds:
        labelled = [{"label" if key == "mask" else key: entry[key] for key in entry} for entry in entries]
        return {**splits, "training": assign_folds(labelled, folds, seed)}
    open_entries: list[Entry] = []
    people: dict[str, list[int]] = {}
    multi_hot = any(isinstance(entry.get("label"), list) for entry in entries)
    for entry in entries:
        fixed = entry.pop("split", None)
        if "label" not in entry:  # a picture with a mask
            entry["label"] = entry.pop("mask")
            (splits[fixed] if fixed else open_entries).append(entry)
            continue
        named = [entry["label"]] if isinstance(entry["label"], str) else entry["label"]
        entry["label"] = [int(name in named) for name in classes] if multi_hot else index[named[0]]
        if fixed:
            splits[fixed].append(entry)
        else:
            open_entries.append(entry)
    group = same_people(open_entries)
    for entry in open_entries:
        people.setdefault(group[entry["patient"]], []).extend(datalist.label_classes(entry["label"]))
    part = assign_patients(people, fractions, seed)
    for entry in open_entries:
        splits[datalist.SPLITS[part[group[entry["patient"]]]]].append(entry)
    return splits


def _progress_bar() -> Progress:
    """Return a bar on a terminal, silence in a log."""
    console = Console(stderr=True)
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    return Progress(*columns, console=console, disable=not console.is_terminal)


def promised(sources: Sequence[Source]) -> Counter[str]:
    """Return what tables and headers promise, over all sources."""
    counts: Counter[str] = Counter()
    for source in sources:
        counts.update(source.found)
    return counts

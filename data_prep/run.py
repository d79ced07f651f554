"""Runs the work of one or several raw downloads into one output folder: parallel, resumable, repeatable to the byte.

Each finished piece leaves a record in ``OUT/.progress``; a rerun takes finished pieces from there as long as their raw
files, the options and medtl's own version of the work are the same. A piece is made aside, recorded, and then renamed
into place, so that even a killed run leaves no image that no record names.
"""

import csv
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_prep.work import Done, Rejected, Source, Work
from medtl import datalist
from medtl.cards import DatasetCard
from medtl.console import tell
from medtl.datalist import DataList, Entry
from medtl.errors import MedtlError, UsageError
from medtl.writers.atomic import remove_leftovers, write_text

FORMAT = 1  # of records and images; raise it when the same raw file gives other bytes
VALIDATION_FRACTION = 0.1
PROGRESS = ".progress"
# entries with class names as labels, and the class names in index order → entries a split, and what is left out
Deal = Callable[[list[Entry], Sequence[str]], tuple[dict[str, list[Entry]], list[Rejected]]]


@dataclass
class Piece:
    """One piece of work, where its result is recorded, and the result once there is one."""

    work: Work
    record: Path
    fingerprint: str
    done: Done | None


def prepare(
    card: DatasetCard,
    sources: Sequence[Source],
    out: Path,
    *,
    classes: Sequence[str] | None = None,
    created_by: str,
    sample: bool,
    workers: int,
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
        seed: of the training/validation split.
        validation_fraction: share of the images, by class, for validation.
        test_fraction: share of the images, by class, for test, where the publisher has no test split.
        deal: gives the entries their splits and label indices, in place of the patients' deal by ``seed`` and
            ``validation_fraction``.

    Raises:
        UsageError: ``out`` holds another data set or is a raw folder, or another process works in it.
    """
    check_out(card, sources, out)
    progress_folder = out / PROGRESS
    progress_folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(progress_folder / "lock", timeout=0):
            write_text(progress_folder / "name", card.name)
            _clear_up(out)
            plans = [_plan(source, out) for source in sources]
            _remove_stale([piece for plan in plans for piece in plan], out)
            names = tuple(classes or card.classes)
            entries, rejected = [], []
            for source, plan in zip(sources, plans, strict=True):
                done = _all_done(source, plan, out, workers)
                entries += [entry for one in done for entry in one.entries]
                rejected += [*source.rejected, *(row for one in done for row in one.rejected)]
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
                folder=out,
                **splits,
            )
            datalist.write(made, out)
            _write_rejected(rejected, out)
    except KeyboardInterrupt:
        tell(f"data_prep: interrupted; the same command again takes up {card.name} where it stopped")
        raise
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
    for folder in (out / PROGRESS).iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)


def _plan(source: Source, out: Path) -> list[Piece]:
    """All pieces in the order of the work, with the results of earlier runs that still hold."""
    plan = []
    for work in source.works:
        record = out / PROGRESS / f"{source.name}-{work.id}.json"
        fingerprint = _fingerprint(source, work)
        plan.append(Piece(work, record, fingerprint, _recall(record, fingerprint, out)))
    return plan


def _all_done(source: Source, plan: Sequence[Piece], out: Path, workers: int) -> list[Done]:
    """Every piece's result in the order of the work; what is not done yet is done."""
    todo = [piece for piece in plan if piece.done is None]
    with _progress_bar() as bar:
        task = bar.add_task(source.name, total=len(plan), completed=len(plan) - len(todo))
        for piece, done in _process(source, todo, out, workers):
            piece.done = done
            bar.advance(task)
    return [piece.done for piece in plan if piece.done is not None]


def _process(source: Source, todo: Sequence[Piece], out: Path, workers: int) -> Iterator[tuple[Piece, Done]]:
    """Results as they finish; at most two pieces a worker wait in memory."""
    if workers == 1 or len(todo) < 2:
        for piece in todo:
            yield piece, _do(source, piece, out)
        return
    # not fork: the progress bar's thread may hold a lock at that moment
    context = multiprocessing.get_context("forkserver")
    alone = replace(source, works=(), rejected=())  # what a worker needs of it
    with ProcessPoolExecutor(min(workers, len(todo)), mp_context=context, initializer=_begin_worker) as pool:
        waiting = iter(todo)
        running: dict[Future[Done], Piece] = {}
        try:
            while True:
                for piece in waiting:
                    running[pool.submit(_do, alone, piece, out)] = piece
                    if len(running) >= 2 * workers:
                        break
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise MedtlError(
                f"{source.name}: a worker died (out of memory?); repeat the command with fewer --workers to resume"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin_worker() -> None:
    """A worker leaves Ctrl-C to the main process, and ends when that one is killed instead of waiting for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(source: Source, piece: Piece, out: Path) -> Done:
    """Do one piece aside, record it, then rename its images into place: a record whose images are not all there is
    not taken for finished."""
    aside = piece.record.with_suffix("")
    done = source.process(piece.work, source.raw, aside)
    _record(piece.record, piece.fingerprint, done)
    for image in sorted(_images(done.entries)):
        (out / image).parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside / image, out / image)
    shutil.rmtree(aside, ignore_errors=True)
    return done


def _fingerprint(source: Source, work: Work) -> str:
    """Changes with the raw files (size and time of change), what the tables say about them, the options and the format
    of the output."""
    files = [(path.name, *_size_and_time(path)) for path in work.files]
    content = [FORMAT, source.name, dict(source.options), work.payload, files]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _size_and_time(path: Path) -> tuple[int, int] | tuple[None, None]:
    try:
        status = path.stat()
    except (OSError, ValueError):  # absent, or a name that no file can have
        return None, None
    return status.st_size, status.st_mtime_ns


def _recall(record: Path, key: str, out: Path) -> Done | None:
    """A finished piece's result, if its record is whole and current and all its images are there."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        done = Done(content["entries"], [Rejected(*row) for row in content["rejected"]])
        images = _images(done.entries)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return done if content.get("fingerprint") == key and all((out / path).is_file() for path in images) else None


def _images(entries: Sequence[Entry]) -> set[str]:
    """Every file below the output folder that these entries name."""
    return {entry["image"] for entry in entries} | {entry["mask"] for entry in entries if "mask" in entry}


def _record(record: Path, key: str, done: Done) -> None:
    rows = [(row.file, row.reason) for row in done.rejected]
    write_text(record, json.dumps({"fingerprint": key, "entries": done.entries, "rejected": rows}) + "\n")


def _remove_stale(pieces: Sequence[Piece], out: Path) -> None:
    """Drop what earlier runs with other options or other raw files recorded and wrote, and nothing that medtl did not
    write. A data list that names such images goes first."""
    current = {piece.record for piece in pieces if piece.done is not None}
    kept = {image for piece in pieces if piece.done is not None for image in _images(piece.done.entries)}
    for record in sorted((out / PROGRESS).glob("*.json")):
        if record in current:
            continue
        (out / datalist.FILE_NAME).unlink(missing_ok=True)
        try:
            old = _images(json.loads(record.read_text(encoding="utf-8"))["entries"])
        except (ValueError, KeyError, TypeError):
            old = set()
        for image in old - kept:
            (out / image).unlink(missing_ok=True)
        record.unlink()


def _split(
    entries: Sequence[Entry], classes: Sequence[str], fractions: Sequence[float], seed: int, folds: int = 0
) -> dict[str, list[Entry]]:
    """Class names to indices, publisher's test entries apart, the patients of the rest dealt into the three splits by
    ``fractions``; with folds, masks to labels and all into training."""
    index = {name: number for number, name in enumerate(classes)}
    splits: dict[str, list[Entry]] = {name: [] for name in datalist.SPLITS}
    if folds:
        labelled = [{"label" if key == "mask" else key: entry[key] for key in entry} for entry in entries]
        return {**splits, "training": datalist.assign_folds(labelled, folds, seed)}
    open_entries: list[Entry] = []
    people: dict[str, list[int]] = {}
    multi_hot = any(isinstance(entry["label"], list) for entry in entries)
    for entry in entries:
        fixed = entry.pop("split", None)
        named = [entry["label"]] if isinstance(entry["label"], str) else entry["label"]
        entry["label"] = [int(name in named) for name in classes] if multi_hot else index[named[0]]
        if fixed:
            splits[fixed].append(entry)
        else:
            open_entries.append(entry)
    group = datalist.same_people(open_entries)
    for entry in open_entries:
        people.setdefault(group[entry["patient"]], []).extend(datalist.label_classes(entry["label"]))
    part = datalist.assign_patients(people, fractions, seed)
    for entry in open_entries:
        splits[datalist.SPLITS[part[group[entry["patient"]]]]].append(entry)
    return splits


def _write_rejected(rejected: Sequence[Rejected], out: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "reason"))
    writer.writerows((row.file, row.reason) for row in rejected)
    write_text(out / "rejected.csv", text.getvalue())


def _progress_bar() -> Progress:
    """A bar on a terminal, silence in a log."""
    console = Console(stderr=True)
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    return Progress(*columns, console=console, disable=not console.is_terminal)


def promised(sources: Sequence[Source]) -> Counter[str]:
    """What tables and headers promise, over all sources."""
    counts: Counter[str] = Counter()
    for source in sources:
        counts.update(source.found)
    return counts

"""Runs the work of one or several raw downloads into one output folder: parallel, resumable, repeatable to the byte.

Each finished piece leaves a record in ``OUT/.progress``; a rerun takes finished pieces from there as long as their raw
files, the options and medtl's own version of the work are the same. All files are renamed into place when whole.
"""

import csv
import hashlib
import io
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_prep.work import Done, Rejected, Source, Work
from medtl import datalist
from medtl.cards import DatasetCard
from medtl.datalist import DataList, Entry
from medtl.errors import MedtlError, UsageError
from medtl.writers.atomic import remove_leftovers, write_text

FORMAT = 1  # of records and images; raise it when the same raw file gives other bytes
VALIDATION_FRACTION = 0.1


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
) -> tuple[DataList, list[Rejected]]:
    """Do all work that is not done yet, deal patients into training and validation, and write datalist.json and rejected.csv.

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

    Raises:
        UsageError: ``out`` holds another data set or lies within the raw data, or another process works in it.
    """
    _check_out(card, sources, out)
    progress_folder = out / ".progress"
    progress_folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(progress_folder / "lock", timeout=0):
            remove_leftovers(out)
            names = tuple(classes or card.classes)
            entries, rejected = [], []
            for source in sources:
                done = _all_done(source, out, workers)
                entries += [entry for piece in done for entry in piece.entries]
                rejected += [*source.rejected, *(row for piece in done for row in piece.rejected)]
            _remove_stale(sources, out, entries)
            made = DataList(
                name=card.name,
                classes=names,
                channels=max((entry.pop("channels", 1) for entry in entries), default=1),
                licence=card.licence,
                created_by=created_by,
                sample=sample,
                folder=out,
                **_split(entries, names, validation_fraction, seed),
            )
            datalist.write(made, out)
            _write_rejected(rejected, out)
    except Timeout:
        raise UsageError(f"{out}: another data_prep is writing here; wait for it or choose another --out") from None
    return made, rejected


def _check_out(card: DatasetCard, sources: Sequence[Source], out: Path) -> None:
    for source in sources:
        if source.raw.resolve() == out.resolve():
            raise UsageError(f"--out {out} is the raw folder itself; choose another folder")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; expected a folder")
    if (out / datalist.FILE_NAME).exists():
        there = datalist.read(out).name
        if there != card.name:
            raise UsageError(f"--out {out} holds the data set {there!r}; choose another folder for {card.name!r}")


def _all_done(source: Source, out: Path, workers: int) -> list[Done]:
    """Every piece's result in the order of the work, from its record or freshly done."""
    records = {work.id: out / ".progress" / f"{source.name}-{work.id}.json" for work in source.works}
    results: dict[str, Done] = {}
    todo: list[tuple[Work, str]] = []
    for work in source.works:
        key = _fingerprint(source, work)
        done = _recall(records[work.id], key, out)
        if done is None:
            todo.append((work, key))
        else:
            results[work.id] = done
    keys = {work.id: key for work, key in todo}
    with _progress_bar() as bar:
        task = bar.add_task(source.name, total=len(source.works), completed=len(results))
        for work, done in _process(source, [work for work, _ in todo], out, workers):
            _record(records[work.id], keys[work.id], done)
            results[work.id] = done
            bar.advance(task)
    return [results[work.id] for work in source.works]


def _process(source: Source, todo: Sequence[Work], out: Path, workers: int) -> Iterator[tuple[Work, Done]]:
    """Results as they finish; at most two pieces a worker wait in memory."""
    if workers == 1 or len(todo) < 2:
        for work in todo:
            yield work, source.process(work, source.raw, out)
        return
    # not fork: the progress bar's thread may hold a lock at that moment
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(min(workers, len(todo)), mp_context=context) as pool:
        waiting = iter(todo)
        running: dict[Future[Done], Work] = {}
        try:
            while True:
                for work in waiting:
                    running[pool.submit(source.process, work, source.raw, out)] = work
                    if len(running) >= 2 * workers:
                        break
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise MedtlError(
                f"{source.name}: a worker process died (out of memory?); run the same command again to resume, with fewer --workers"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fingerprint(source: Source, work: Work) -> str:
    """Changes with the raw files (size and time of change), the options and the format of the output."""
    files = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else (path.name, None, None)
        for path in work.files
    ]
    text = json.dumps([FORMAT, source.name, dict(source.options), files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _recall(record: Path, key: str, out: Path) -> Done | None:
    """A finished piece's result, if its record is whole and current and all its images are there."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        done = Done(content["entries"], [Rejected(*row) for row in content["rejected"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if content.get("fingerprint") != key or not all((out / path).is_file() for path in _images(done.entries)):
        return None
    return done


def _images(entries: Sequence[Entry]) -> set[str]:
    """Every file below the output folder that these entries name."""
    return {entry["image"] for entry in entries} | {entry["mask"] for entry in entries if "mask" in entry}


def _record(record: Path, key: str, done: Done) -> None:
    rows = [(row.file, row.reason) for row in done.rejected]
    write_text(record, json.dumps({"fingerprint": key, "entries": done.entries, "rejected": rows}) + "\n")


def _remove_stale(sources: Sequence[Source], out: Path, entries: Sequence[Entry]) -> None:
    """Drop what earlier runs with other options recorded and wrote, and nothing that medtl did not write."""
    current = {f"{source.name}-{work.id}.json" for source in sources for work in source.works}
    kept = _images(entries)
    for record in sorted((out / ".progress").glob("*.json")):
        if record.name in current:
            continue
        try:
            old = _images(json.loads(record.read_text(encoding="utf-8"))["entries"])
        except (ValueError, KeyError, TypeError):
            old = set()
        for image in old - kept:
            (out / image).unlink(missing_ok=True)
        record.unlink()


def _split(
    entries: Sequence[Entry], classes: Sequence[str], validation_fraction: float, seed: int
) -> dict[str, list[Entry]]:
    """Class names to indices, publisher's test entries apart, the patients of the rest dealt into training and validation."""
    index = {name: number for number, name in enumerate(classes)}
    splits: dict[str, list[Entry]] = {name: [] for name in datalist.SPLITS}
    open_entries: list[Entry] = []
    patients: dict[str, list[int]] = {}
    multi_hot = any(isinstance(entry["label"], list) for entry in entries)
    for entry in entries:
        fixed = entry.pop("split", None)
        named = [entry["label"]] if isinstance(entry["label"], str) else entry["label"]
        entry["label"] = [int(name in named) for name in classes] if multi_hot else index[named[0]]
        if fixed:
            splits[fixed].append(entry)
        else:
            open_entries.append(entry)
            patients.setdefault(entry["patient"], []).extend(datalist.label_classes(entry["label"]))
    part = datalist.assign_patients(patients, (1 - validation_fraction, validation_fraction), seed)
    for entry in open_entries:
        splits["validation" if part[entry["patient"]] else "training"].append(entry)
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

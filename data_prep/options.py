"""The options that every data set's command shares, and the two ways in which a command ends."""

import inspect
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from data_prep import cluster, run, sample
from data_prep.work import EXIT_PARTLY_REJECTED, Source
from medtl import datalist
from medtl.cards import DatasetCard
from medtl.errors import MedtlError, UsageError, tell
from medtl.readers.find import counted

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Raw = Annotated[
    str, typer.Option(help="Read the official download, also from a folder above it; 'sample': the built-in phantoms.")
]
Out = Annotated[Path, typer.Option(help="Write images/, datalist.json and rejected.csv into this folder.")]
Workers = Annotated[int | None, typer.Option(min=1, show_default="one per CPU", help="Work in this many processes.")]
Dask = Annotated[
    str | None,
    typer.Option(
        callback=cluster.address,
        metavar="ADDRESS",
        help="Work on a Dask cluster instead: tcp://HOST:PORT of its scheduler, or its scheduler file (.json).",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Read tables and headers only, print the counts, write nothing.")
]
Seed = Annotated[int, typer.Option(help="Deal training and validation by this seed.")]
Validation = Annotated[float, typer.Option(min=0.0, max=0.9, help="Keep this share for validation, by patient.")]
Test = Annotated[
    float, typer.Option(min=0.0, max=0.9, help="Keep this share for test, by patient, where none is fixed.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

SHARED = {"workers": (Workers, None), "dask": (Dask, None), "dry_run": (DryRun, False)}
DEALT = {"seed": (Seed, 0), "validation_fraction": (Validation, run.VALIDATION_FRACTION)}


def shared(command: Callable[..., None], more: Mapping[str, tuple[Any, Any]] | None = None) -> Callable[..., None]:
    """Return a data set's command with the options that all have behind its own.

    Args:
        command: takes what its own options say, and ``**how``, which ``finish`` takes: ``workers``, ``dask`` and
            ``dry_run``.
        more: options in ``how`` beside these, name to type and default.
    """
    own = [each for each in inspect.signature(command).parameters.values() if each.kind is not each.VAR_KEYWORD]
    added = {**SHARED, **(more or {}), "debug": (Debug, False)}

    def called(debug: bool, **given: Any) -> None:  # ``main`` has read debug
        command(**given)

    behind = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=annotation)
        for name, (annotation, value) in added.items()
    ]
    called.__signature__ = inspect.Signature([*own, *behind])  # type: ignore[attr-defined]
    return called


def dealt(command: Callable[..., None]) -> Callable[..., None]:
    """Return ``shared`` of the command of a set whose patients are dealt into training and validation: ``seed`` and
    ``validation_fraction`` are in ``how``, too."""
    return shared(command, DEALT)


def raw_folder(raw: str, option: str, name: str, file_suffix: str | None = None) -> Path:
    """Return the folder that an option names; ``sample`` stands for the built-in phantom download of data set ``name``.
    With ``file_suffix`` a file of that kind is taken, too.

    Raises:
        UsageError: it does not exist or is no folder.
    """
    if raw == sample.WORD:
        return sample.download(name)
    folder = Path(raw)
    if not folder.exists():
        raise UsageError(f"{option} {raw}: no such folder")
    if not folder.is_dir() and folder.suffix != file_suffix:
        raise UsageError(f"{option} {raw} is a file; expected the folder of the unpacked download")
    return folder


def finish(
    card: DatasetCard,
    sources: Sequence[Source],
    out: Path,
    *,
    choices: dict[str, Any],
    is_sample: bool,
    workers: int | None,
    dry_run: bool,
    dask: str | None = None,
    seed: int | None = None,
    validation_fraction: float | None = None,
    test_fraction: float = 0.0,
    command: str | None = None,
    deal: run.Deal | None = None,
    after: Callable[[datalist.DataList], None] | None = None,
) -> None:
    """Prepare and print what was found beside the paper's counts; with ``dry_run`` only print what tables promise.
    Sets that are dealt into folds have no ``validation_fraction``, those whose splits the publisher made no ``seed``
    either. ``workers`` are processes (None: one per CPU), ``dask`` the address of a scheduler whose workers take their
    place. ``command`` is the word of the command where the data set's name is another, ``deal`` that of
    ``run.prepare``, and ``after`` is called with what was made.

    Raises:
        UsageError: ``workers`` and ``dask`` together.
        typer.Exit: with status 3 when something was rejected.
    """
    if workers and dask:
        raise UsageError("--workers and --dask exclude each other: a cluster has as many workers as were started there")
    if not card.seen:
        tell(f"data_prep: {card.name}: never tried on real files, written from the publisher's description alone")
    for source in sources:
        if source.passed:
            tell(f"data_prep: {source.name}: passed over: {counted(source.passed)}")
    incomplete = "" if is_sample else _missing_parts(card, sources)
    if dry_run:
        _print_dry_run(card, sources, incomplete)
        return
    if (validation_fraction or 0.0) + test_fraction >= 1:
        raise UsageError("--validation-fraction and --test-fraction leave nothing to train on")
    named = {
        "seed": seed,
        "validation-fraction": validation_fraction,
        "test-fraction": test_fraction or None,
        **choices,
    }
    options = " ".join(f"--{key} {value}" for key, value in named.items() if value is not None)
    made, rejected = run.prepare(
        card,
        sources,
        out,
        created_by=f"python -m data_prep {command or card.name} {options}".rstrip(),
        sample=is_sample,
        workers=workers or CPUS,
        scheduler=dask,
        seed=seed or 0,
        validation_fraction=validation_fraction or 0.0,
        test_fraction=test_fraction,
        deal=deal,
    )
    if after:
        after(made)
    console = Console()
    shown = {"segmentation": _sequences if card.published else _pictures, "regression": _numbers}
    console.print(shown.get(card.task, _classes)(card, made))
    sizes = ", ".join(f"{len(made.split(split)):,} {split}" for split in datalist.SPLITS)
    console.print(f"{card.name}: {sizes} entries in {datalist.FILE_NAME}{incomplete}", soft_wrap=True, highlight=False)
    for line in datalist.overlaps(made):
        tell(f"data_prep: {line}, as in the download")
    if not rejected and not any(made.split(split) for split in datalist.SPLITS):
        raise MedtlError("nothing usable was found: no entry for any class")
    if rejected:
        if not any(made.split(split) for split in datalist.SPLITS):
            console.print(f"nothing usable: {rejected[0].file} {rejected[0].reason}", soft_wrap=True, highlight=False)
        console.print(
            f"{len(rejected):,} rejected, each with its reason in rejected.csv", soft_wrap=True, highlight=False
        )
        raise typer.Exit(EXIT_PARTLY_REJECTED)


def _classes(card: DatasetCard, made: datalist.DataList) -> Table:
    """Return the table of entries of each class and split."""
    counts = {split: datalist.class_counts(made, split) for split in datalist.SPLITS}
    table = _table(card, "class", "training", "validation", "test")
    for name in made.classes:
        table.add_row(name, *(f"{counts[split][name]:,}" for split in datalist.SPLITS), *_paper(card, name))
    return table


def _numbers(card: DatasetCard, made: datalist.DataList) -> Table:
    """Entries of each split, and how its numbers are spread."""
    table = Table(title=f"{card.title}, {made.classes[0]}", title_justify="left")
    table.add_column("split")
    for column in ("entries", "smallest", "median", "largest"):
        table.add_column(column, justify="right")
    for split in datalist.SPLITS:
        labels = [entry["label"] for entry in made.split(split)]
        ends = [f"{f(labels):g}" for f in (min, statistics.median, max)] if labels else ["–"] * 3
        table.add_row(split, f"{len(labels):,}", *ends)
    return table


def _sequences(card: DatasetCard, made: datalist.DataList) -> Table:
    """Return slices of each sequence and fold, and the sequence's cases beside the publication's."""
    folds = sorted({entry["fold"] for entry in made.training})
    table = _table(card, "slices of", *(f"fold {fold}" for fold in folds), "cases")
    for name in card.published:
        own = [entry for entry in made.training if entry["sequence"] == name]
        slices = (f"{sum(entry['fold'] == fold for entry in own):,}" for fold in folds)
        table.add_row(name, *slices, f"{len({entry['case'] for entry in own}):,}", *_paper(card, name))
    return table


def _pictures(card: DatasetCard, made: datalist.DataList) -> Table:
    """Pictures with masks, and patients, of each split."""
    table = Table(title=card.title, title_justify="left")
    for column in ("", *datalist.SPLITS):
        table.add_column(column, justify="right")
    splits = [made.split(split) for split in datalist.SPLITS]
    table.add_row("pictures", *(f"{len(own):,}" for own in splits))
    table.add_row("patients", *(f"{len({entry['patient'] for entry in own}):,}" for own in splits))
    return table


def _missing_parts(card: DatasetCard, sources: Sequence[Source]) -> str:
    """Say which parts of a download differ from the publication; empty where none does."""
    less: list[str] = []
    other: list[str] = []
    for part, published in card.parts.items():
        there = {name: _found_in(part, name, sources) for name in published}
        if there != published:
            lacks = all(there[name] <= published[name] for name in published)
            (less if lacks else other).append(f"{part} {sum(there.values()):,} of {sum(published.values()):,}")
    lines = [f"; partial download: {', '.join(less)} images"] if less else []
    lines += [f"; not as published: {', '.join(other)} images"] if other else []
    return "".join(lines)


def _found_in(part: str, name: str, sources: Sequence[Source]) -> int:
    return sum(source.parts.get(part, {}).get(name, 0) for source in sources)


def _print_dry_run(card: DatasetCard, sources: Sequence[Source], incomplete: str) -> None:
    console = Console()
    console.print(_parts(card, sources) if card.parts else _promised(card, sources))
    for row in (row for source in sources for row in source.rejected):
        console.print(f"would reject {row.file}: {row.reason}", soft_wrap=True, highlight=False)
    console.print(f"{card.name}: dry run, nothing was written{incomplete}", soft_wrap=True, highlight=False)


def _promised(card: DatasetCard, sources: Sequence[Source]) -> Table:
    """Return what tables and headers promise of each class or sequence."""
    segmentation = card.task == "segmentation"
    table = _table(card, "sequence" if segmentation and card.published else "class", "found", "counted in")
    units = {name: source.unit for source in sources for name in source.found}
    found = run.promised(sources)
    for name in (card.published or card.classes) if segmentation else card.classes:
        table.add_row(name, f"{found[name]:,}", units.get(name, ""), *_paper(card, name))
    return table


def _parts(card: DatasetCard, sources: Sequence[Source]) -> Table:
    """Return images of each class in each part of the download, each beside the publication's."""
    table = Table(title=card.title, title_justify="left")
    table.add_column("class")
    for column in (column for part in card.parts for column in (part, "paper")):
        table.add_column(column, justify="right")
    for name in card.classes:
        pairs = ((_found_in(part, name, sources), published[name]) for part, published in card.parts.items())
        table.add_row(name, *(f"{number:,}" for pair in pairs for number in pair))
    return table


def _table(card: DatasetCard, kind: str, *columns: str) -> Table:
    table = Table(title=card.title, title_justify="left")
    table.add_column(kind)
    paper = f"paper ({' + '.join(card.parts)})" if card.parts else "paper"
    for column in (*columns, *([paper] if card.parts or card.published else [])):
        table.add_column(column, justify="right")
    return table


def _paper(card: DatasetCard, name: str) -> list[str]:
    """Return the last cell of a row of ``_table``: the count that was published; nothing where none was."""
    if card.parts:
        return [" + ".join(f"{published[name]:,}" for published in card.parts.values())]
    if card.published:
        return [f"{card.published[name]:,}" if name in card.published else "–"]
    return []

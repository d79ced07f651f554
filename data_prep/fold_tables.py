"""Sets that RadImageNet's authors published as tables of splits and folds, ``(NAME_)train(_foldN).csv``, validation and
test alike, with pictures beside them. A set's own file says which columns and labels its tables have."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
import typer

from data_prep import listed, options, sample
from data_prep.listed import Listed
from data_prep.sample.drawing import generator, smooth_field
from data_prep.work import Source
from medtl.cards import DatasetCard
from medtl.errors import UsageError
from medtl.files import write_csv
from medtl.readers.find import below
from medtl.writers.images import write_png

NAME = re.compile(r"(?:(?P<set>[a-z0-9]+)_)?(?P<split>train|val|test)(?:_fold(?P<fold>\d))?\.csv", re.IGNORECASE)
SPLITS = {"train": "training", "val": "validation", "test": "test"}
Command = Callable[..., None]
Outlines = tuple[tuple[tuple[float, float], ...], ...]  # of one picture, as of ``Listed``
# files by their names below the raw folder, to the outlines of pictures by their names without suffix, and (file,
# reason) of what cannot be read
FindOutlines = Callable[[Mapping[str, Path]], tuple[dict[str, Outlines], list[tuple[str, str]]]]


@dataclass(frozen=True)
class Tables:
    """What a set's tables look like.

    Attributes:
        file: names that the column with the picture's file may have.
        label: names that the column with the label may have.
        classes: what stands in it, in small letters, to the class's name.
        patient: pattern on the file's name within the set; its group ``patient`` is the patient. None: every picture is
            a patient of its own, as nobody says which are of one person.
        folds: whether the tables have folds.
        outlines: finds the lesions' outlines, where the set's own distributor has them.
    """

    file: tuple[str, ...]
    label: tuple[str, ...]
    classes: Mapping[str, str]
    patient: re.Pattern[str] | None
    folds: bool
    outlines: FindOutlines | None = None


def command_of(card: DatasetCard, tables: Tables) -> Command:
    """Return the command line of a set."""

    def command(
        raw: options.Raw,
        out: options.Out,
        fold: Annotated[
            int,
            typer.Option(
                min=1, max=9, help="Which fold's training, validation and test pictures, where there are folds."
            ),
        ] = 1,
        workers: options.Workers = None,
        dask: options.Dask = None,
        dry_run: options.DryRun = False,
        debug: options.Debug = False,
    ) -> None:
        folder = options.raw_folder(raw, "--raw", card.name)
        options.finish(
            card,
            [find(card, tables, folder, fold)],
            out,
            choices={"fold": fold if tables.folds else None},
            is_sample=raw == sample.WORD,
            workers=workers,
            dask=dask,
            dry_run=dry_run,
        )

    return command


def find(card: DatasetCard, tables: Tables, raw: Path, fold: int = 1) -> Source:
    """Return the work of a download: the rows of its tables.

    Args:
        card, tables: of the set.
        raw: a folder with the tables anywhere below it.
        fold: which fold's tables are read.

    Raises:
        UsageError: there is no such table, or it lacks a column.
    """
    tree = below(raw)
    rejected = [(one.name, one.reason) for one in tree.refused]
    there = {file.name: file.path for file in tree.files}
    found: dict[str, str] = {}
    folds = set()
    for name in sorted(there):
        match = NAME.fullmatch(PurePosixPath(name).name)
        if match is None:
            continue
        folds.add(match["fold"])
        if match["fold"] in (None, str(fold)):
            found.setdefault(SPLITS[match["split"].lower()], name)
    if not found:
        of = f"; there are the folds {', '.join(sorted(one for one in folds if one))}" if folds else ""
        raise UsageError(f"{raw} holds no table of {card.name}, fold {fold}: expected {card.layout}{of}")
    outlines, damaged = tables.outlines(there) if tables.outlines else ({}, [])
    rejected += damaged
    rows: list[Listed] = []
    for split, table in found.items():
        for file, label in read_table(there[table], table, tables.file, tables.label):
            picture = _locate(PurePosixPath(table).parent, file, there)
            if label.strip().lower() not in tables.classes:
                known = ", ".join(tables.classes)
                rejected.append((picture or file, f"{table} labels it {label!r}; expected {known}"))
            elif picture is None:
                rejected.append((file, f"is missing, though {table} lists it"))
            else:
                own = outlines.get(PurePosixPath(picture).stem, ())
                named = tables.classes[label.strip().lower()]
                rows.append(Listed(picture, named, _patient(tables, file), split, outlines=own))
    return listed.source(card, raw, rows, rejected)


def read_table(path: Path, name: str, file: Sequence[str], label: Sequence[str]) -> list[tuple[str, str]]:
    """Return file and label of each row of a CSV table.

    Args:
        path: of the table.
        name: what messages call it.
        file, label: names that the two columns may have, in small letters; the first that is there is taken.

    Raises:
        UsageError: a column is missing, or it cannot be read.
    """
    rows = list(listed.table(path, ()))
    columns = {column.strip().lower(): column for column in (rows[0] if rows else ())}
    chosen = []
    for wanted in (file, label):
        column = next((columns[one] for one in wanted if one in columns), None)
        if column is None:
            raise UsageError(f"{name} has no column {' or '.join(wanted)}; it has {', '.join(columns) or 'no rows'}")
        chosen.append(column)
    return [(row[chosen[0]], row[chosen[1]]) for row in rows]


def _locate(beside: PurePosixPath, file: str, there: Mapping[str, Path]) -> str | None:
    """Return where a table's picture lies below the raw folder: beside the table or above it, in images/ or not."""
    parents = (beside, *beside.parents)
    candidates = ((parent / between / file).as_posix() for parent in parents for between in ("", "images"))
    return next((one for one in candidates if one in there), None)


def _patient(tables: Tables, file: str) -> str:
    match = tables.patient.search(file) if tables.patient else None
    return match["patient"] if match else PurePosixPath(file).with_suffix("").as_posix()


def draw(
    folder: Path, tables: Tables, file: Callable[[int], str], prefix: str = "", people: int = 24
) -> dict[str, tuple[float, float]]:
    """Draw the official layout: a bright spot in pictures of the first class, none in the others.

    Args:
        folder: to write into.
        tables: of the set.
        file: number of a picture to its name, as the tables write it; two in a row are of one patient.
        prefix: of the tables' names.
        people: patients a class.

    Returns:
        Column and row of the bright spots' middles, by the pictures' names.
    """
    spots: dict[str, tuple[float, float]] = {}
    words = list(tables.classes)[:2]
    rows: dict[str, list[tuple[str, str]]] = {split: [] for split in SPLITS}
    y, x = np.mgrid[0:48, 0:48].astype(np.float32)
    for person in range(2 * people):
        word = words[person % 2]
        split = "train" if person < 1.2 * people else "val" if person < 1.6 * people else "test"
        for number in (2 * person, 2 * person + 1):
            rng = generator("fold_tables", number)
            image = 90 + 25 * smooth_field(rng, (48, 48), (6, 6))
            if person % 2 == 0:
                at = rng.uniform(14, 34, 2)
                image = image + 110 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 40)
                spots[file(number)] = (float(at[0]), float(at[1]))
            write_png(folder / "images" / file(number).removeprefix("images/"), np.clip(image, 0, 255).astype(np.uint8))
            rows[split].append((file(number), word))
    for split, own in rows.items():
        for fold in (1, 2) if tables.folds else (None,):
            name = f"{prefix}{split}{f'_fold{fold}' if fold else ''}.csv"
            write_csv(folder / "dataframe" / name, [(tables.file[0], tables.label[0]), *own])
    return spots

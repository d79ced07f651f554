"""One's own survival: a table of patients with time and event, and their features, or covariates in further columns."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import options, private, run
from data_prep.folder_rows import Line, read_table
from data_prep.work import Done, Rejected, Source, Work
from medtl import datalist
from medtl.cards import DatasetCard
from medtl.datalist import SURVIVAL, SURVIVAL_CLASSES, Entry
from medtl.errors import BadFileError, UsageError, tell
from medtl.files import file_hash, private_folder
from medtl.splits import assign_patients
from medtl.writers.features import write_features

REQUIRED = ("patient", "time", "event")
FEATURES = "features"
SEXES = {"F": 0.0, "FEMALE": 0.0, "M": 1.0, "MALE": 1.0}
OLDEST = 90  # all ages above 89, as HIPAA's safe harbour asks
FOLDS = 5


def prepare(
    card: DatasetCard,
    folder: Path,
    table: Path | None,
    out: Path,
    *,
    test_fraction: float,
    folds: int,
    seed: int,
    key_file: Path | None,
    again: dict[str, Any],
    **how: Any,
) -> None:
    """Prepare the patients of a table, each under a keyed hash.

    Args:
        card: of the data set, whose task is changed here.
        folder: that paths of the column ``features`` begin at.
        table: CSV with patient, time, event and either features (a path) or columns of numbers.
        out: where the data list goes.
        test_fraction: share of the patients for the test split, 0 for none.
        folds: that the others are dealt into; 0 for five.
        seed: of the dealing.
        key_file: secret behind the hashes.
        again: further options of the command, for the record.
        how: as of ``options.finish``.

    Raises:
        UsageError: the table is absent, or lacks a column.
    """
    if table is None:
        raise UsageError("--task survival needs a --table with the columns patient, time, event")
    header, lines = read_table(table, REQUIRED, ", ".join(REQUIRED))
    columns = covariates(table, tuple(header), [line.cells for line in lines if not line.fault])
    card = replace(card, task=SURVIVAL, classes=SURVIVAL_CLASSES)
    run.check_out(card, [], out)
    secret = b"dry run"
    if not how["dry_run"]:
        private_folder(out / run.PROGRESS)
        secret = private.key(key_file or out / run.PROGRESS / "key")
    options.finish(
        card,
        [find(card.name, folder, table, lines, columns, secret)],
        out,
        choices={"name": card.name, "task": SURVIVAL, "test-fraction": test_fraction, "folds": folds or FOLDS, **again},
        is_sample=False,
        seed=seed,
        command="folder",
        deal=partial(deal, test_fraction=test_fraction, folds=folds or FOLDS, seed=seed),
        **how,
    )


def covariates(table: Path, header: Sequence[str], rows: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """Return the columns, in small letters, that are covariates: none where a column names files of features, else all
    that hold numbers, and sex.

    Raises:
        UsageError: there is neither.
    """
    if FEATURES in header:
        return ()
    others = [name for name in header if name not in (*REQUIRED, "site")]
    found = [name for name in others if any(math.isfinite(number(row, name)) for row in rows)]
    passed = [name for name in others if name not in found]
    if not found:
        raise UsageError(f"--table {table} has neither a column 'features' nor one of numbers beside {REQUIRED[1]}")
    tell(f"data_prep: covariates: {', '.join(found)}" + (f"; not used: {', '.join(passed)}" if passed else ""))
    return tuple(found)


def number(row: Mapping[str, str], column: str) -> float:
    """Return a cell as a number, sex as 0 (F) and 1 (M), ages at most 90; NaN where it is none."""
    text = row.get(column, "")
    if column == "sex":
        return SEXES.get(text.upper(), math.nan)
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return min(value, OLDEST) if column == "age" else value


def find(
    name: str, folder: Path, table: Path, lines: Sequence[Line], columns: tuple[str, ...], secret: bytes
) -> Source:
    """Return the work: one patient a row. What is refused is named by its line, which tells nobody's name."""
    works, rejected, seen = [], [], set[str]()
    for line in lines:
        row = line.cells
        path = folder / row.get(FEATURES, "") if not columns else table
        reason = line.fault or ("names a patient twice" if row["patient"] in seen else _fault(row, columns))
        if not reason and not columns and not path.is_file():
            reason = "names features that are not there"
        seen.add(row["patient"])
        if reason:
            rejected.append(Rejected(f"{table.name} line {line.number}", reason))
            continue
        code = private.keyed_hash(secret, f"patient {row['patient']}")
        kept = {key: row[key] for key in (*REQUIRED[1:], "sex", "age", "site", *columns) if row.get(key)}
        works.append(Work(code, (path,), kept | {"line": line.number, "columns": list(columns)}))
    return Source(
        name=name,
        raw=folder,
        works=tuple(works),
        process=partial(process, name=name, table=table.name),
        options={"key": private.keyed_hash(secret, "which key")},
        found=Counter(SURVIVAL_CLASSES[int(float(work.payload["event"]))] for work in works),
        unit="patients",
        rejected=tuple(rejected),
    )


def _fault(row: Mapping[str, str], columns: tuple[str, ...]) -> str:
    if not row["patient"]:
        return "names no patient"
    time, event = number(row, "time"), number(row, "event")
    if not (math.isfinite(time) and time > 0) or event not in (0, 1):
        return "expected a time above 0 and an event of 0 or 1"
    lacking = [name for name in columns if not math.isfinite(number(row, name))]
    return f"has no number in {lacking[0]}" if lacking else ""


def process(work: Work, raw: Path, out: Path, *, name: str, table: str) -> Done:
    """Return one patient: its features as they are, or its covariates (1, d)."""
    row, target = work.payload, f"features/{work.id}.npz"
    try:
        if row["columns"]:
            bag = np.array([[number(row, column) for column in row["columns"]]], dtype=np.float32)
        else:
            from medtl.survival.bags import read_bag  # imports torch, which covariates do without

            bag = read_bag(work.files[0])
    except BadFileError as error:
        return Done(rejected=[Rejected(f"{table} line {row['line']}", str(error))])
    write_features(out / target, {"features": bag}, work.id)
    entry: Entry = {
        "features": target,
        "time": float(row["time"]),
        "event": int(float(row["event"])),
        "patient": f"{name}/{work.id}",
        "source": name,
        "sha256": file_hash(out / target),
    }
    group: dict[str, Any] = {key: row[key] for key in ("site",) if key in row}
    if math.isfinite(number(row, "sex")):
        group["sex"] = "FM"[int(number(row, "sex"))]
    if math.isfinite(number(row, "age")):
        group["age"] = int(number(row, "age"))
    return Done([{**entry, **({"group": group} if group else {})}])


def deal(
    entries: list[Entry], names: Any, *, test_fraction: float, folds: int, seed: int
) -> tuple[dict[str, list[Entry]], list[Rejected]]:
    """Return the patients as a test split and folds of the others, each with as many events."""
    strata = {entry["patient"]: [entry["event"]] for entry in entries}
    shares = [test_fraction, *([(1 - test_fraction) / folds] * folds)] if test_fraction else [1 / folds] * folds
    part = assign_patients(strata, shares, seed)
    first = 1 if test_fraction else 0
    dealt: dict[str, list[Entry]] = {split: [] for split in datalist.SPLITS}
    for entry in entries:
        place = part[entry["patient"]]
        if first and place == 0:
            dealt["test"].append(entry)
        else:
            dealt["training"].append({**entry, "fold": place - first})
    return dealt, []

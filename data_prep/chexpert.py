"""CheXpert-v1.0-small: two tables and their JPEGs. train.csv gives training and validation, valid.csv the test
split."""

import hashlib
import os
import re
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from data_prep import options, sample
from data_prep.pictures import read_checked
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import BadFileError, UsageError
from medtl.files import write_bytes

CARD = DatasetCard(
    name="chexpert",
    title="CheXpert-v1.0-small",
    task="classification",
    classes=(
        "No Finding",
        "Enlarged Cardiomediastinum",
        "Cardiomegaly",
        "Lung Opacity",
        "Lung Lesion",
        "Edema",
        "Consolidation",
        "Pneumonia",
        "Atelectasis",
        "Pneumothorax",
        "Pleural Effusion",
        "Pleural Other",
        "Fracture",
        "Support Devices",
    ),
    published={
        "No Finding": 22381,
        "Enlarged Cardiomediastinum": 10798,
        "Cardiomegaly": 27000,
        "Lung Opacity": 105581,
        "Lung Lesion": 9186,
        "Edema": 52246,
        "Consolidation": 14783,
        "Pneumonia": 6039,
        "Atelectasis": 33376,
        "Pneumothorax": 19448,
        "Pleural Effusion": 86187,
        "Pleural Other": 3523,
        "Fracture": 9040,
        "Support Devices": 116001,
    },
    licence="Stanford University Dataset Research Use Agreement (no redistribution)",
    citation="Irvin et al., CheXpert: a large chest radiograph dataset with uncertainty labels, AAAI 2019",
    url="https://stanfordmlgroup.github.io/competitions/chexpert/",
    how_to_get="Register and accept the agreement; download CheXpert-v1.0-small.zip and unzip it.",
    disk_gb=11.0,
    layout="CheXpert-v1.0-small/train.csv, valid.csv, train/, valid/",
)

FINDINGS = list(CARD.classes)
ROWS_A_PIECE = 256
BATCH = re.compile(r"CheXpert.*batch \d", re.IGNORECASE)
TABLES = {"train.csv": None, "valid.csv": "test"}


class Rule(StrEnum):
    """How a row's findings (1.0 positive, 0.0 negative, -1.0 uncertain, blank unmentioned) become labels."""

    PAPER = "paper"  # one entry for each positive finding: CPMID's counts
    MULTILABEL = "multilabel"  # one entry an image, multi-hot
    EXACTLY_ONE = "exactly-one"  # only images with a single positive finding


@options.dealt
def command(
    raw: options.Raw,
    out: options.Out,
    rule: Annotated[Rule, typer.Option(help="Say how several findings of one image become labels.")] = Rule.PAPER,
    **how: Any,
) -> None:
    folder = options.raw_folder(raw, "--raw", CARD.name)
    options.finish(
        CARD,
        [find(folder, rule, tables_only=how["dry_run"])],
        out,
        choices={"rule": rule.value},
        is_sample=raw == sample.WORD,
        **how,
    )


def find(raw: Path, rule: Rule = Rule.PAPER, tables_only: bool = False) -> Source:
    """Return the work of a CheXpert download: chunks of its tables' rows.

    Args:
        raw: the folder with train.csv, or one above it.
        rule: labels of images with several findings.
        tables_only: the images are not looked for; for --dry-run.

    Raises:
        UsageError: no train.csv.
    """
    folder = _locate(raw)
    place = folder.relative_to(raw).as_posix()
    rejected: list[Rejected] = []
    tables = {"train.csv": pd.DataFrame(columns=["Path", *FINDINGS])}
    for name in (name for name in TABLES if (folder / name).is_file()):
        try:
            tables[name], odd = read_table(folder / name)
        except BadFileError as error:
            rejected.append(Rejected(_shown(place, name), str(error)))
            continue
        rejected += [Rejected(_shown(place, _inside(path)), reason) for path, reason in odd]
    tables["train.csv"], twice = _without_test_patients(tables["train.csv"], tables.get("valid.csv"))
    rejected += [Rejected(_shown(place, path), "its patient is in valid.csv too, the test split") for path in twice]
    works: list[Work] = []
    if not tables_only:
        for name, table in tables.items():
            works += _pieces(folder, place, table, name, TABLES[name], rule)
    return Source(
        name=CARD.name,
        raw=raw,
        works=tuple(works),
        process=process,
        options={"rule": rule.value},
        found=count(tables["train.csv"], rule),
        unit="images",
        rejected=tuple(rejected),
    )


def _locate(raw: Path) -> Path:
    for folder in (raw, raw / "CheXpert-v1.0-small", *sorted(p for p in raw.iterdir() if p.is_dir())):
        if (folder / "train.csv").is_file():
            _refuse_batches(folder)
            return folder
    raise UsageError(f"{raw} holds no CheXpert download: expected {CARD.layout}, in it or one folder below")


def _refuse_batches(folder: Path) -> None:
    """Tell of the full-size download, whose training pictures lie in batches beside the tables' folder: each of its
    223,000 pictures would be missing."""
    if BATCH.search(os.path.basename(os.path.abspath(folder))) and not (folder / "train").is_dir():
        raise UsageError(
            f"{folder} is of CheXpert's full-size download in batches: move the patient folders of the training batches"
            f" into {folder / 'train'}, or take CheXpert-v1.0-small"
        )


def read_table(path: Path) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Return a CheXpert table: column ``Path`` as text, one small float column (1, 0, -1 or NaN) a finding.

    Returns:
        The usable rows, and (path, reason) of the others: odd values, and paths that stand there twice.

    Raises:
        BadFileError: it is no such table; names what is missing.
    """
    options: dict[str, Any] = {"usecols": lambda name: name in ("Path", *FINDINGS), "encoding": "utf-8-sig"}
    try:
        try:
            table = pd.read_csv(path, dtype={"Path": "str", **dict.fromkeys(FINDINGS, "float32")}, **options)
            words = table[[name for name in FINDINGS if name in table]]
        except ValueError:  # some cell is no number, or some byte no text: slower, but it tells which row
            words = pd.read_csv(path, dtype="str", encoding_errors="replace", **options)
            numbers = words[[name for name in FINDINGS if name in words]].apply(pd.to_numeric, errors="coerce")
            table = numbers.assign(Path=words["Path"]) if "Path" in words else numbers
    except (ValueError, pd.errors.ParserError, OSError) as error:
        raise BadFileError(f"is not CheXpert's table: {' '.join(str(error).split())}") from None
    missing = [name for name in ("Path", *FINDINGS) if name not in table]
    if missing:
        raise BadFileError(f"is not CheXpert's table: it has no column {', '.join(missing)}")
    values = table[FINDINGS].to_numpy(dtype="float32")
    is_odd = (~np.isnan(values) & ~np.isin(values, (-1, 0, 1))) | (
        np.isnan(values) & words[FINDINGS].notna().to_numpy()
    )
    odd_rows = is_odd.any(axis=1)
    # of a path that stands there twice the first usable row counts
    again = ~odd_rows & table["Path"].where(~odd_rows).duplicated().to_numpy()
    left_out = []
    for row in np.flatnonzero(odd_rows | again):
        column = FINDINGS[int(is_odd[row].argmax())]
        odd = f"line {row + 2} of {path.name}: {column} is not 1, 0, -1 or blank"
        left_out.append((str(table["Path"].iloc[row]), odd if odd_rows[row] else f"stands twice in {path.name}"))
    return table[~(odd_rows | again)], left_out


def positives(table: pd.DataFrame, rule: Rule) -> np.ndarray:
    """Return (rows, 14) bool: what each row is filed under by ``rule``; only 1.0 counts, for frontal and lateral views
    alike."""
    positive: np.ndarray = table[FINDINGS].to_numpy() == 1
    if rule is Rule.EXACTLY_ONE:
        positive = positive & (positive.sum(axis=1, keepdims=True) == 1)
    return positive


def count(table: pd.DataFrame, rule: Rule) -> dict[str, int]:
    """Return the number of images filed under each finding."""
    return {name: int(n) for name, n in zip(FINDINGS, positives(table, rule).sum(axis=0), strict=True)}


def _without_test_patients(train: pd.DataFrame, test: pd.DataFrame | None) -> tuple[pd.DataFrame, list[str]]:
    """Return the training table without patients of the test table, and what was left out (below the download's
    folder). The official tables share no patient."""
    if test is None:
        return train, []
    patients = [table["Path"].str.extract(r"/(patient[^/]*)/", expand=False) for table in (train, test)]
    shared = patients[0].isin(patients[1].dropna())
    return train[~shared], [_inside(path) for path in train["Path"][shared]]


def _inside(path: str) -> str:
    """Return a table's path without its first part: that is the download's own folder, whatever the user calls it."""
    return str(path).split("/", 1)[-1]


def _shown(folder: str, relative: str) -> str:
    return str(PurePosixPath(folder, relative.lstrip("/")))


def _pieces(
    folder: Path, place: str, table: pd.DataFrame, table_name: str, split: str | None, rule: Rule
) -> list[Work]:
    positive = positives(table, rule)
    kept = np.arange(len(table)) if rule is Rule.MULTILABEL else np.flatnonzero(positive.any(axis=1))
    paths = table["Path"].to_numpy()
    pieces = []
    for number, start in enumerate(range(0, len(kept), ROWS_A_PIECE)):
        rows = []
        for row in kept[start : start + ROWS_A_PIECE]:
            rows.append((_inside(paths[row]), [FINDINGS[c] for c in np.flatnonzero(positive[row])]))
        files = tuple(folder / relative for relative, _ in rows)
        stem = Path(table_name).stem
        pieces.append(Work(f"{stem}-{number:05d}", files, (place, stem, split, rule.value, rows)))
    return pieces


def process(work: Work, raw: Path, out: Path) -> Done:
    """Check, copy and file one chunk of rows. Images are copied byte for byte: grey JPEG needs no second
    compression."""
    folder, table, split, rule, rows = work.payload
    done = Done()
    for relative, findings in rows:
        try:
            patient, target = _names(relative, table)
            content = read_checked(raw / folder / relative)
        except BadFileError as error:
            done.rejected.append(Rejected(_shown(folder, relative), str(error)))
            continue
        write_bytes(out / target, content)
        entry = {
            "image": target,
            "label": findings,
            "patient": f"{CARD.name}/{patient}",
            "source": CARD.name,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        if split:
            entry["split"] = split
        labels = [findings] if rule == Rule.MULTILABEL else findings
        done.entries += [{**entry, "label": label} for label in labels]
    return done


def _names(relative: str, table: str) -> tuple[str, str]:
    """Return the patient and output name of ``train/patient00001/study1/view1_frontal.jpg``."""
    parts = Path(relative).parts
    if len(parts) != 4 or not parts[1].startswith("patient") or ".." in parts:
        raise BadFileError(f"the path in {table}.csv is not <split>/patientNNNNN/studyN/viewN_<view>.jpg")
    return parts[1], f"images/{CARD.name}/{'/'.join((table, parts[1], f'{parts[2]}_{parts[3]}'))}"

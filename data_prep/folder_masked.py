"""``data_prep folder --masks DIR``: one's own pictures with masks become a segmentation's data list, as privately as
pictures with classes do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep import folder_masks, options, private, run, sample
from data_prep.folder_deal import Shares, dealer_of_masks
from data_prep.folder_people import People
from data_prep.folder_rows import about_pictures, compiled
from data_prep.work import Rejected
from medtl.cards import DatasetCard
from medtl.datalist import DataList
from medtl.errors import UsageError, tell
from medtl.files import private_folder

DEFAULT = "foreground"
SEGMENTATION = "segmentation"

Masks = Annotated[Path | None, typer.Option(help="Take masks from this folder, which may lie in DIR, by name.")]
Suffix = Annotated[
    str, typer.Option(help="Pair NAME with the mask NAME plus this suffix (_1stHO); leave others out, counted.")
]


@dataclass(frozen=True)
class WantedMasks:
    """What the command was told of pictures with masks.

    Attributes:
        raw, masks: the folders.
        suffix: of the masks' names; empty where known words are looked for.
        classes: as ``folder_masks.classes_of`` reads it; empty for one class of every value above 0.
        patient_pattern: regular expression on a picture's path whose first group is the patient, or empty.
        table: CSV of the pictures' patients, splits and groups, also from within ``raw``; None for none.
        key_file: secret behind the patients' hashes; None for the one in the output folder.
    """

    raw: Path
    masks: Path
    suffix: str
    classes: str
    patient_pattern: str
    table: Path | None
    key_file: Path | None


def check(raw: str, others: Mapping[str, Any]) -> None:
    """Raise UsageError where an option was given that means nothing beside ``--masks``."""
    if raw == sample.WORD:
        raise UsageError("--raw sample has no masks; try --raw sample of a set with masks, such as chase_db1")
    for name, value in others.items():
        if value and not (name == "task" and value == SEGMENTATION):
            raise UsageError(f"--{name} {value}: not with --masks, whose pictures have masks in place of labels")


def prepare(
    card: DatasetCard,
    wanted: WantedMasks,
    out: Path,
    shares: Shares,
    choices: Mapping[str, Any],
    *,
    workers: int | None,
    dask: str | None,
    dry_run: bool,
) -> None:
    """Prepare pictures with masks, print what was found, and write what leads back into a file for its owner alone.

    Args:
        card: with name, title and licence.
        wanted: the folders and what their names and values mean.
        out: output folder.
        shares: of the splits; patients are dealt.
        choices: further options that the data list records.
        workers, dask, dry_run: as of ``options.finish``.

    Raises:
        UsageError: an argument cannot be used.
        typer.Exit: with status 3 when something was rejected.
    """
    if not wanted.masks.is_dir():
        raise UsageError(f"--masks {wanted.masks}: no such folder")
    if out.resolve().is_relative_to(wanted.masks.resolve()):
        raise UsageError(f"--out {out} lies in the folder of masks; choose another folder")
    classes = folder_masks.classes_of(wanted.classes or DEFAULT)
    if not wanted.classes:
        tell(f"data_prep: every value above 0 of a mask is the one class {DEFAULT!r}; --classes says otherwise")
    card = replace(card, task=SEGMENTATION, classes=classes.names)
    pattern = compiled(wanted.patient_pattern) if wanted.patient_pattern else None
    table = None
    if wanted.table:
        table = about_pictures(wanted.table if wanted.table.is_file() else wanted.raw / wanted.table, wanted.raw)
    run.check_out(card, [], out)
    secret = b"dry run"
    if not dry_run:
        private_folder(out / run.PROGRESS)
        secret = private.key(wanted.key_file or out / run.PROGRESS / "key")
    pairing = folder_masks.Pairing(card.name, classes, People(pattern, table), wanted.suffix, secret)
    source, mapping, telling = folder_masks.find(wanted.raw, wanted.masks, pairing)
    _warn_of_unknown_patients(wanted, [patient for _, patient in mapping.values()])
    options.finish(
        card,
        [source],
        out,
        choices={
            "name": card.name,
            "classes": wanted.classes or None,
            "mask-suffix": wanted.suffix or None,
            "test-fraction": shares.test,
            "folds": shares.folds or None,
            "patient-pattern": wanted.patient_pattern or None,
            **choices,
        },
        is_sample=False,
        workers=workers,
        dask=dask,
        seed=shares.seed,
        validation_fraction=shares.validation,
        dry_run=dry_run,
        command="folder",
        deal=dealer_of_masks(shares, lambda entry: telling.hidden(Rejected(mapping[entry["image"]][0], "")).file),
        after=partial(_write_mapping, mapping),
    )


def _warn_of_unknown_patients(wanted: WantedMasks, patients: Sequence[str]) -> None:
    """Say of how many pictures the patient is unknown; ``patients`` are empty where the table names none."""
    if wanted.table is None and not wanted.patient_pattern:
        tell(
            "data_prep: warning: the patients are unknown: each picture is taken for a patient of its own, so pictures"
            " of one person may lie in several splits (--patient-pattern or --table tells them)"
        )
    elif unknown := patients.count(""):
        tell(
            f"data_prep: warning: of {unknown:,} of {len(patients):,} pictures the patient is unknown: each is taken"
            " for a patient of its own, so pictures of one person may lie in several splits (--patient-pattern or the"
            " table's column patient tells them)"
        )


def _write_mapping(mapping: Mapping[str, tuple[str, str]], made: DataList) -> None:
    """Write what leads back to the files; ``mapping`` is picture to file and patient as given."""
    entries = {entry["image"]: entry["patient"] for _, entry in made}
    rows = [
        (image if image in entries else "", file, entries.get(image, ""), patient)
        for image, (file, patient) in mapping.items()
    ]
    private.write_mapping(rows, made.folder)
    tell(f"data_prep: {private.MAPPING}, rejected.csv and .progress name your files: keep them to yourself")

"""One's own images, in class folders or listed in a table: neutral names, keyed hashes in place of patients."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep import folder_masked, folder_survival, options, private, run, sample
from data_prep.folder_deal import Shares, dealer
from data_prep.folder_labels import CLASSIFICATION, REGRESSION, Wanted, in_order
from data_prep.folder_pixels import kind_of, read
from data_prep.folder_rows import LOST, Found, Row, from_folders, from_table, with_classes, with_patients
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.datalist import SURVIVAL, DataList, Entry
from medtl.errors import BadFileError, UsageError, tell
from medtl.files import file_hash, private_folder
from medtl.readers.find import counted
from medtl.writers.images import write_png

CARD = DatasetCard(
    name="folder",
    title="Own images",
    task="classification",
    classes=(),
    licence="that of the images",
    citation="that of the images",
    url="",
    how_to_get="Put them into one folder a class, or list them in a CSV with columns path, label, patient and split; a"
    " label is a class, several findings, or a number.",
    disk_gb=None,
    layout="DIR/<class>/… or DIR/{train,val,test}/<class>/… of PNG, JPEG, TIFF, DICOM; or --table FILE.csv;"
    " or --masks DIR with a mask for each picture",
)

TEST_FRACTION = 0.2
ROWS_A_PIECE = 64
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SAMPLE_PATTERN = r"(p\d+)_"
SAMPLE_SHARES = Shares(validation=0.2, test=0.2, folds=0, seed=0)
SAMPLE_KEY = b"phantoms have no secrets"

Name = Annotated[str, typer.Option(help="Name the data set.")]


def command(
    raw: options.Raw,
    out: options.Out,
    table: Annotated[
        Path | None,
        typer.Option(
            help="Read labels from this CSV: path, label (not with --masks) and, where known, patient, split."
        ),
    ] = None,
    masks: folder_masked.Masks = None,
    mask_suffix: folder_masked.Suffix = "",
    classes: Annotated[
        str,
        typer.Option(
            help="Name the classes in index order, comma-separated; of a table without a column label those of 0 and 1,"
            " with --task regression the column of the number; of masks NAME=VALUE. Default: all, or label."
        ),
    ] = "",
    task: Annotated[
        str | None,
        typer.Option(
            help="Prepare for classification, multilabel or regression (a number), by default what the labels are; or"
            " for survival: a table with patient, time, event and features (paths) or columns of numbers."
        ),
    ] = None,
    separator: Annotated[str, typer.Option(help="Split the findings in a cell of a table here; default: | or ;.")] = "",
    name: Name = CARD.name,
    positive: Annotated[
        str,
        typer.Option(help="Take this class of two for the positive one, of the sensitivity; by default the second."),
    ] = "",
    test_fraction: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Keep this share of the images for test, by patient.")
    ] = TEST_FRACTION,
    validation_fraction: options.Validation = run.VALIDATION_FRACTION,
    folds: Annotated[
        int, typer.Option(min=0, help="Deal the training patients into this many folds; 0: none (survival: 5).")
    ] = 0,
    patient_pattern: Annotated[
        str, typer.Option(help="Find the patient in the path by the first group of this regular expression.")
    ] = "",
    size: Annotated[int, typer.Option(min=0, help="Shrink pictures to this longest side in pixels. 0: as is.")] = 0,
    licence: Annotated[str, typer.Option(help="State the images' licence.")] = CARD.licence,
    key_file: Annotated[
        Path | None,
        typer.Option(help="Hash patients with the secret in this file, made if absent; by default in OUT."),
    ] = None,
    workers: options.Workers = None,
    dask: options.Dask = None,
    dry_run: options.DryRun = False,
    seed: options.Seed = 0,
    debug: options.Debug = False,
) -> None:
    check_name(name)
    shares = Shares(validation_fraction, test_fraction, folds, seed)
    folder = options.raw_folder(raw, "--raw", CARD.name)
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"--out {out} lies in the raw folder; choose another folder")
    if masks is not None:
        others = {"task": task, "separator": separator, "positive": positive, "size": size}
        folder_masked.check(raw, others)
        card = replace(CARD, name=name, title=f"{CARD.title}: {name}", licence=licence)
        asked = folder_masked.WantedMasks(folder, masks, mask_suffix, classes, patient_pattern, table, key_file)
        again = {"licence": licence if licence != CARD.licence else None}
        folder_masked.prepare(card, asked, out, shares, again, workers=workers, dask=dask, dry_run=dry_run)
        return
    if task == SURVIVAL:
        card = replace(CARD, name=name, title=f"Own patients: {name}", licence=licence)
        again = {"licence": licence if licence != CARD.licence else None}
        folder_survival.prepare(
            card, folder, table, out, test_fraction=test_fraction, folds=folds, seed=seed, key_file=key_file,
            again=again, workers=workers, dask=dask, dry_run=dry_run,
        )  # fmt: skip
        return
    if mask_suffix:
        raise UsageError(f"--mask-suffix {mask_suffix}: expected --masks DIR beside it")
    wanted = Wanted(task, tuple(word.strip() for word in classes.split(",") if word.strip()), separator)
    if raw == sample.WORD and not patient_pattern and table is None:
        patient_pattern = SAMPLE_PATTERN
    found = look(folder, table, wanted, patient_pattern)
    card = with_positive(own_card(found, wanted.classes, name, licence), positive, found.task)
    for note in found.notes:
        tell(f"data_prep: {note}")
    if found.passed:
        tell(f"data_prep: passed over: {counted(found.passed)}")
    for row, reason in found.rejected:
        if LOST in reason:
            tell(f"data_prep: error: {row.file}: {reason}")
    run.check_out(card, [], out)
    secret = b"dry run"
    if not dry_run:
        private_folder(out / run.PROGRESS)
        secret = private.key(key_file or out / run.PROGRESS / "key")
    source = find(folder, found, name, size, secret)
    options.finish(
        card,
        [source],
        out,
        choices={
            "name": name,
            "classes": classes or None,
            "positive": positive or None,
            "task": task,
            "separator": separator or None,
            "test-fraction": test_fraction,
            "folds": folds or None,
            "patient-pattern": patient_pattern or None,
            "size": size or None,
            "licence": licence if licence != CARD.licence else None,
        },
        is_sample=raw == sample.WORD,
        workers=workers,
        dask=dask,
        seed=seed,
        validation_fraction=validation_fraction,
        dry_run=dry_run,
        command=CARD.name,
        deal=dealer(shares, found.task, partial(_shown, found.rows, secret)),
        after=partial(_write_mapping, found.rows),
    )


def check_name(name: str) -> None:
    """Raise UsageError unless a data set's name can be part of a path and of a patient's id."""
    if not SAFE_NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: expected letters, digits, '.', '_' and '-' only")


def look(raw: Path, table: Path | None, wanted: Wanted, patient_pattern: str) -> Found:
    """Return the pictures to be prepared, with labels and what is known of patients and splits.

    Raises:
        UsageError: there are none, or fewer than two classes or numbers.
    """
    if table is None and wanted.task not in (None, CLASSIFICATION):
        raise UsageError(f"--task {wanted.task} needs a --table: a picture in a class folder has one class")
    found = from_folders(raw) if table is None else from_table(table if table.is_file() else raw / table, raw, wanted)
    if found.rows and wanted.classes and found.task != REGRESSION:
        found = with_classes(found, wanted.classes)
    if found.rows and patient_pattern:
        found = with_patients(found, patient_pattern)
    labels = {row.labels for row in found.rows}
    if found.task != CLASSIFICATION and len(labels) == 1:
        raise UsageError(f"all pictures have the same label, {', '.join(labels.pop()) or 'no finding'}")
    names = sorted({name for row in found.rows for name in row.labels})
    if found.task == REGRESSION:
        return found
    if found.task == CLASSIFICATION and len(names) == 1 and len(wanted.classes) < 2:
        deeper = table is None and any(len(Path(row.file).parts) > 2 for row in found.rows)
        hint = f"; if its folders are the classes, say --raw {raw / names[0]}" if deeper else ""
        raise UsageError(f"only one class, {names[0]!r}: expected at least two{hint}")
    alike = [(a, b) for a in names for b in names if a < b and a.casefold() == b.casefold()]
    for one, other in alike:
        tell(f"data_prep: warning: {one!r} and {other!r} are taken for two classes")
    return found


def own_card(found: Found, classes: Sequence[str], name: str, licence: str) -> DatasetCard:
    """Return the card of what was found.

    Class names in index order are the wanted ones, those of the table's columns, or all in order.
    """
    names = classes or found.names or in_order({label for row in found.rows for label in row.labels})
    title = f"{CARD.title}: {name}"
    return replace(CARD, name=name, title=title, task=found.task, classes=tuple(names), licence=licence)


def with_positive(card: DatasetCard, positive: str, task: str) -> DatasetCard:
    """Return the card with the class from whose side two classes are told: the one that is asked for, or the second,
    which is said then.

    Raises:
        UsageError: no such class, or not two of them.
    """
    there = ", ".join(card.classes)
    if len(card.classes) != 2 or task != CLASSIFICATION:
        if positive:
            raise UsageError(
                f"--positive {positive}: expected two classes with one of them an image; there are {there}"
            )
        return card
    if positive and positive not in card.classes:
        raise UsageError(f"--positive {positive} is not one of {there}")
    if not positive:
        positive = card.classes[1]
        tell(
            f"data_prep: positive class: {positive}, the second of {there}; --positive {card.classes[0]} says otherwise"
        )
    return replace(card, positive=positive)


def find(raw: Path, found: Found, name: str, size: int, secret: bytes) -> Source:
    """Return the work: chunks of the pictures.

    Args:
        raw: the folder.
        found: its pictures.
        name: of the data set.
        size: longest side in pixels, 0 for any.
        secret: key of the patients' hashes.
    """
    works = []
    number = found.task == REGRESSION
    for first in range(0, len(found.rows), ROWS_A_PIECE):
        rows = found.rows[first : first + ROWS_A_PIECE]
        payload = [(first + k, row.file, row.labels, row.patient, row.split, row.group) for k, row in enumerate(rows)]
        works.append(Work(f"{first // ROWS_A_PIECE:05d}", tuple(row.path for row in rows), payload))
    return Source(
        name=name,
        raw=raw,
        works=tuple(works),
        process=partial(process, name=name, size=size, secret=secret),
        options={"size": size, "key": private.keyed_hash(secret, "which key")},
        found=Counter(label for row in found.rows for label in (found.names if number else row.labels)),
        unit="images",
        rejected=tuple(Rejected(_masked(row, secret), reason) for row, reason in found.rejected),
        private=True,
    )


def process(work: Work, raw: Path, out: Path, *, name: str, size: int, secret: bytes) -> Done:
    """Read one chunk of pictures and write each as 8-bit PNG under a number."""
    done = Done()
    for path, (number, file, labels, patient, split, group) in zip(work.files, work.payload, strict=True):
        known = patient or (private.dicom_identity(path)[0] if kind_of(path) == "dicom" else "")
        code = private.keyed_hash(secret, f"patient {known}" if known else f"image {name} {file}")
        try:
            pixels = read(path, size)
        except BadFileError as error:
            done.rejected.append(Rejected(_masked(Row(file, path, tuple(labels), patient), secret), str(error)))
            continue
        target = _image(name, number)
        write_png(out / target, pixels)
        entry: Entry = {
            "image": target,
            "label": list(labels),
            "patient": f"{name}/{code}",
            "source": name,
            "sha256": file_hash(out / target),
            "channels": 3 if pixels.ndim == 3 else 1,
        }
        extra: dict[str, Any] = ({"split": split} if split else {}) | ({"group": dict(group)} if group else {})
        done.entries.append({**entry, **extra} if known else {**entry, **extra, "alone": True})
    return done


def _image(name: str, number: int) -> str:
    return f"images/{name}/{number:06d}.png"


def _masked(row: Row, secret: bytes) -> str:
    """Return what rejected.csv calls a picture: its path, without words that are known to tell who it shows."""
    identity, words = private.dicom_identity(row.path) if kind_of(row.path) == "dicom" else ("", ())
    code = private.keyed_hash(secret, f"patient {row.patient or identity}")
    return private.masked(row.file, [row.patient, *words], code)


def _shown(rows: Sequence[Row], secret: bytes, entry: Entry) -> str:
    return _masked(rows[int(Path(entry["image"]).stem)], secret)


def _write_mapping(rows: Sequence[Row], made: DataList) -> None:
    entries = {entry["image"]: entry["patient"] for _, entry in made}
    mapping = []
    for number, row in enumerate(rows):
        image = _image(made.name, number)
        mapping.append((image if image in entries else "", row.file, entries.get(image, ""), row.patient))
    private.write_mapping(mapping, made.folder)
    tell(f"data_prep: {private.MAPPING}, rejected.csv and .progress name your files: keep them to yourself")


def prepare_sample(raw: Path, out: Path) -> None:
    """Prepare what ``--raw sample`` gives, without the files that lead back."""
    found = look(raw, None, Wanted(), SAMPLE_PATTERN)
    run.prepare(
        own_card(found, (), CARD.name, CARD.licence),
        [find(raw, found, CARD.name, 0, SAMPLE_KEY)],
        out,
        created_by=f"python -m data_prep {CARD.name}, built-in sample",
        sample=True,
        workers=1,  # worker processes would import the caller's script, which may have no __main__ guard
        seed=SAMPLE_SHARES.seed,
        validation_fraction=SAMPLE_SHARES.validation,
        deal=dealer(SAMPLE_SHARES, found.task, partial(_shown, found.rows, SAMPLE_KEY)),
    )

"""``medtl explain``: overlays of a run's pictures, and how well they cover lesions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medtl import datalist
from medtl.datalist import DataList
from medtl.errors import BadFileError, UsageError, tell
from medtl.explain import table
from medtl.explain.heat import METHODS, NAMES, Heat
from medtl.explain.overlap import DICE, overlap
from medtl.explain.panel import Panel, write_panel
from medtl.explain.pictures import Item, from_files, from_list, panel_names, read, with_hashes
from medtl.explain.subject import Subject, of_run
from medtl.readers.find import Refused
from medtl.registry import did_you_mean
from medtl.runs.classifier import few
from medtl.writers.tables import write_rejected

PREDICTED, LABEL = "predicted", "label"
FOLDER = "explain"


@dataclass(frozen=True)
class Outcome:
    """What a call did.

    Attributes:
        line: in words.
        rejected: each file that could not be used, and why.
    """

    line: str
    rejected: tuple[Refused, ...]


def explain_run(
    run: Path,
    images: Sequence[Path] = (),
    *,
    dataset_dir: Path | None = None,
    split: str = "val",
    number: int = 12,
    seed: int = 0,
    method: str = "gradcam",
    asked: str = PREDICTED,
    out: Path | None = None,
) -> Outcome:
    """Explain a run's network on pictures, or on a balanced choice of a data list. What cannot be used is named in
    ``rejected.csv`` beside the overlays.

    Args:
        run: folder of a finished run of a classification or a regression.
        images: PNG, JPEG, DICOM or NIfTI files, or folders of them.
        dataset_dir: a data_prep output instead of ``images``.
        split: of the data list; a run of a fold is explained on that fold.
        number, seed: of the choice; see ``from_list``.
        method: one of ``METHODS``.
        asked: "predicted", "label" (the true class) or a class name; of a regression "predicted" or its name, which are
            both the number.
        out: folder of the overlays, RUN/explain by default.

    Raises:
        UsageError: an argument that cannot be.
        MedtlError: the run or the data list is damaged, or of another kind.
    """
    if bool(images) == (dataset_dir is not None):
        raise UsageError("expected pictures, or --dataset_dir DIR to choose some of a data list, and not both")
    if method not in METHODS:
        raise UsageError(f"--method {method}: expected {' or '.join(METHODS)}{did_you_mean(method, tuple(METHODS))}")
    if asked == LABEL and dataset_dir is None:
        raise UsageError(f"--class {LABEL}: only a data list (--dataset_dir DIR) knows the true class")
    rejected: list[Refused] = []
    if dataset_dir is None:
        items, rejected = from_files(images)
        _told(rejected)
        subject = of_run(run)
    else:
        listed = datalist.read(dataset_dir)
        subject = of_run(run)
        _check_same_classes(listed, subject, dataset_dir)
        fold = None if split == "test" else subject.fold
        items = from_list(datalist.with_fold(listed, fold), split, number, seed)
    done = explain_items(subject, items, out or run / FOLDER, method, asked)
    refused = (*rejected, *done.rejected)
    table = (out or run / FOLDER) / "rejected.csv"
    if refused or table.exists():  # a list of an earlier command would be taken for this one's
        write_rejected(table, refused)
    return Outcome(done.line, refused)


def explain_items(
    subject: Subject, items: Sequence[Item], out: Path, method: str = "gradcam", asked: str = PREDICTED
) -> Outcome:
    """Write overlays, explain.csv and explain.json; what earlier calls left in the folder stays.

    Args:
        subject: the network.
        items: the pictures; one that cannot be read is named and left out.
        out: the folder.
        method, asked: as of ``explain_run``.

    Raises:
        UsageError: no such class, or the folder holds overlays of other weights.
    """
    _check_class(asked, subject, items)
    old = table.read_rows(out, subject.sha256)
    suffix = "".join(f"_{word}" for word in _apart(method, asked))
    hashed, unread = with_hashes(items)
    names = panel_names(hashed, suffix, {Path(r["panel"]).stem: (r["image"], r["sha256"]) for r in old})
    rejected = _told(unread)
    rows = []
    for item, name in zip(hashed, names, strict=True):
        try:
            rows.append(_explain(subject, item, out, name, method, asked))
        except BadFileError as error:
            rejected += _told([Refused(item.image, str(error))])
    if not rows:
        return Outcome(f"none of {len(items)} pictures could be read", tuple(rejected))
    about = {"weights_sha256": subject.sha256, "backbone": subject.backbone, "layer": subject.layer}
    maps = table.write(out, table.merged(old, rows), {**about, "not for clinical use": True})
    key = (rows[0]["split"], method, asked)
    found = next(each for each in maps if (each["split"], each["method"], each["asked"]) == key)
    return Outcome(_line(rows, subject, method, asked, out, found), tuple(rejected))


def _apart(method: str, asked: str) -> list[str]:
    """What tells an overlay from the usual one, as parts of a file name."""
    words = [method.replace("+", "p")] if method != "gradcam" else []
    return [*words, *(["".join(c if c.isalnum() else "-" for c in asked)] if asked != PREDICTED else [])]


def _check_same_classes(listed: DataList, subject: Subject, dataset_dir: Path) -> None:
    if listed.classes != subject.classes:
        theirs, ours = (few(names) for names in (listed.classes, subject.classes))
        raise UsageError(f"--dataset_dir {dataset_dir} has the classes {theirs}; the run has {ours}")
    if listed.task != subject.task:
        raise UsageError(f"--dataset_dir {dataset_dir} is for {listed.task}; the run is of {subject.task}")


def _told(refused: Sequence[Refused]) -> list[Refused]:
    for one in refused:
        tell(f"{one.name} {one.reason}")
    return list(refused)


def _check_class(asked: str, subject: Subject, items: Sequence[Item]) -> None:
    known = (PREDICTED, LABEL, *subject.classes)
    if asked not in known:
        raise UsageError(f"--class {asked}: expected one of {', '.join(known)}{did_you_mean(asked, known)}")
    if asked == LABEL and subject.is_regression:
        raise UsageError(f"--class {LABEL}: a regression has one number, {subject.classes[0]}, and no classes")
    if asked == LABEL and any(isinstance(item.label, list) for item in items):
        raise UsageError(f"--class {LABEL} needs one label a picture, and these have several: name a class instead")


def _explain(subject: Subject, item: Item, out: Path, name: str, method: str, asked: str) -> table.Row:
    """Write one overlay; its row."""
    pixels, mask = read(item, subject.channels)
    wanted: Any = item.label if asked == LABEL else None if asked == PREDICTED else subject.classes.index(asked)
    heat = subject.explain(pixels, wanted, method)
    covered = overlap(heat.values, mask) if mask is not None and mask.any() else None
    row = dict.fromkeys(table.COLUMNS, "") | {
        "image": item.image,
        "patient": item.patient,
        "split": item.split,
        "method": method,
        "asked": asked,
        "class": subject.classes[heat.class_index],
        **(_number if subject.is_regression else _class)(subject, item, heat),
        "empty": str(int(not heat.values.any())),
        "panel": f"{name}.png",
        "sha256": str(item.sha256),
        **table.overlap_cells(covered, None if mask is None else int(mask.sum())),
    }
    panel = Panel(
        pixels=pixels,
        values=heat.values,
        mask=mask,
        left=name.removesuffix("".join(f"_{word}" for word in _apart(method, asked))),
        right=f"{NAMES[method]} for {'a larger ' if subject.is_regression else ''}{row['class']}",
        lines=_lines(row),
    )
    write_panel(out / row["panel"], panel)
    return row


def _class(subject: Subject, item: Item, heat: Heat) -> table.Row:
    """A row's part of what a classifier answers."""
    probabilities = subject.answers(heat)
    best = int(probabilities.argmax())
    known = datalist.label_classes(item.label if item.label is not None else [])
    return {
        "label": "; ".join(subject.classes[c] for c in known),
        "predicted": subject.classes[best],
        "prob": f"{probabilities[best]:.7g}",
        "prob_class": f"{probabilities[heat.class_index]:.7g}",
    }


def _number(subject: Subject, item: Item, heat: Heat) -> table.Row:
    """A row's part of what a regression answers: numbers, and no probability."""
    return {
        "label": "" if item.label is None else f"{item.label:.7g}",
        "predicted": f"{subject.answers(heat)[0]:.7g}",
    }


def _lines(row: table.Row) -> tuple[str, ...]:
    """The words below an overlay."""
    is_other = row["prob"] and row["class"] != row["predicted"]
    other = f"; {row['class']} has {float(row['prob_class']):.2f}" if is_other else ""
    known = f"; label {row['label']}" if row["label"] else ""
    sure = f" ({float(row['prob']):.2f})" if row["prob"] else ""
    lines = [f"predicted {row['predicted']}{sure}{other}{known}"]
    if row["empty"] == "1":
        what = "speaks for the class" if row["prob"] else "raises the number"
        lines.append(f"the map is empty: nothing at this layer {what}")
    if row["dice_180"]:
        dice, random, centre = (float(row[name]) for name in DICE)
        by_chance = f"at random {random:.2f}, centred {centre:.2f}"
        lines.append(f"Dice of > 180/255 (white line) with the lesion (dashed) {dice:.2f}; {by_chance}")
    elif row["empty"] != "1":
        lines.append("white line: 180 of 255, the map's own maximum")
    return (*lines, "not for clinical use")


def _line(
    rows: Sequence[table.Row], subject: Subject, method: str, asked: str, out: Path, found: dict[str, Any]
) -> str:
    """A call's last line."""
    whose = asked if asked not in (PREDICTED, LABEL) else f"the {'predicted' if asked == PREDICTED else 'true'} class"
    whose = f"a larger {subject.classes[0]}" if subject.is_regression else whose
    empty = sum(row["empty"] == "1" for row in rows)
    parts = [f"{len(rows)} overlays ({NAMES[method]} at {subject.layer} of {subject.backbone} for {whose}) in {out}"]
    parts += [f"{empty} of them empty"] if empty else []
    if found["lesions"]:
        ends = f" ({found['dice_180_lo']:.3f} to {found['dice_180_hi']:.3f})" if "dice_180_lo" in found else ""
        by_chance = f"at random {found['dice_180_random']:.3f}, centred {found['dice_180_centre']:.3f}"
        parts.append(f"Dice with {found['lesions']} lesions {found['dice_180']:.3f}{ends}, {by_chance}")
    return "; ".join((*parts, "not for clinical use"))

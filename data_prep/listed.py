"""What all sets share whose pictures stand in a table or in class folders: a set's own file says which picture is of
whom and shows what, and the rest is here. Pictures are copied byte for byte."""

import csv
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from data_prep import options, sample
from data_prep.pictures import read_checked
from data_prep.run import VALIDATION_FRACTION
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import BadFileError, UsageError
from medtl.files import write_bytes
from medtl.readers.raster import read_labels, read_raster
from medtl.writers.images import write_png

ROWS_A_PIECE = 256
OLDEST = 90  # ages above 89 may tell who it is
COLOUR = 3
# what is done with a picture's mask: kept beside it, or everything outside or inside it made black
KEEP, ONLY, OUT = "keep", "only", "out"


@dataclass(frozen=True)
class Listed:
    """One picture.

    Attributes:
        file: relative to the raw folder, with slashes.
        label: class name.
        patient: the person, or the lesion where the publisher names no person; empty where nothing is known, and then
            the picture is taken for a patient of its own.
        split: "test" where the publisher fixed it.
        group: what reports may compare groups by: sex, age, site.
        masks: files of 0 and other values, relative to the raw folder; their union becomes the picture's mask.
        outlines: closed lines of (x, y) = (column, row) pixels of the picture; what they enclose becomes its mask.
    """

    file: str
    label: str
    patient: str = ""
    split: str = ""
    group: Mapping[str, str | int] = field(default_factory=dict)
    masks: tuple[str, ...] = ()
    outlines: tuple[tuple[tuple[float, float], ...], ...] = ()


def source(
    card: DatasetCard,
    raw: Path,
    rows: Sequence[Listed],
    rejected: Sequence[tuple[str, str]] = (),
    channels: int = COLOUR,
    masks: str = KEEP,
) -> Source:
    """Return the work: chunks of the rows.

    Args:
        card: of the set; rows of classes that it does not name are rejected, unless it names none.
        raw: the folder that rows are relative to.
        rows: in a repeatable order.
        rejected: (file, reason) of what is known to be of no use.
        channels: of the pictures, 1 or 3.
        masks: what becomes of masks: ``keep``, ``only`` (what lies outside is made black) or ``out`` (what lies inside
            is); with these two, pictures are written anew in grey.

    Raises:
        UsageError: there is no picture.
    """
    known = set(card.classes)
    good = [row for row in rows if not known or row.label in known]
    bad = [
        (row.file, f"its class {row.label!r} is none of the set's") for row in rows if known and row.label not in known
    ]
    if not good and not rejected and not bad:
        raise UsageError(f"{raw} holds no {card.title}: expected {card.layout}")
    works = []
    for number, start in enumerate(range(0, len(good), ROWS_A_PIECE)):
        piece = good[start : start + ROWS_A_PIECE]
        payload = [
            [row.file, row.label, row.patient, row.split, dict(row.group), list(row.masks), list(row.outlines)]
            for row in piece
        ]
        files = tuple(raw / file for row in piece for file in (row.file, *row.masks))
        works.append(Work(f"{number:05d}", files, (card.name, channels, masks, payload)))
    return Source(
        name=card.name,
        raw=raw,
        works=tuple(works),
        process=process,
        options={"masks": masks},
        found=Counter(row.label for row in good),
        unit="images",
        rejected=tuple(Rejected(*each) for each in (*rejected, *bad)),
    )


def process(work: Work, raw: Path, out: Path) -> Done:
    """Check and copy one chunk of pictures, each with its mask."""
    name, channels, masks, rows = work.payload
    done = Done()
    for file, label, patient, split, group, files, outlines in rows:
        row = Listed(file, label, patient, split, group, tuple(files), tuple(outlines))
        try:
            done.entries.append(_entry(name, channels, masks, row, raw, out))
        except BadFileError as error:
            done.rejected.append(Rejected(row.file, str(error)))
    return done


def _entry(name: str, channels: int, masks: str, row: Listed, raw: Path, out: Path) -> dict[str, Any]:
    """Write one picture and its mask, and return its entry."""
    content = read_checked(raw / row.file)
    mask = _drawn(raw / row.file, row.outlines) if row.outlines else _union(raw, row.masks)
    target = f"images/{name}/{row.file}"
    if masks == KEEP:
        write_bytes(out / target, content)
    else:
        target = Path(target).with_suffix(".png").as_posix()
        write_png(out / target, _blackened(read_raster(raw / row.file), mask, masks))
        content = (out / target).read_bytes()
    entry: dict[str, Any] = {
        "image": target,
        "label": row.label,
        "patient": f"{name}/{row.patient or row.file}",
        "source": name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "channels": channels,
    }
    if mask is not None and masks == KEEP:
        entry["mask"] = f"masks/{name}/{Path(row.file).with_suffix('.png').as_posix()}"
        write_png(out / entry["mask"], mask)
    return entry | {key: value for key, value in (("split", row.split), ("group", dict(row.group))) if value}


def _drawn(picture: Path, outlines: Sequence[Sequence[Sequence[float]]]) -> NDArray[np.uint8]:
    """Return what some outlines enclose, 0 and 1, in the picture's size.

    Raises:
        BadFileError: the picture cannot be read, or they enclose nothing of it.
    """
    rows, columns = read_raster(picture).shape[:2]
    canvas = Image.new("L", (columns, rows))
    pen = ImageDraw.Draw(canvas)
    for outline in outlines:
        pen.polygon([(x, y) for x, y in outline], fill=1)
    mask = np.asarray(canvas)
    if not mask.any():
        raise BadFileError(f"its outlines enclose nothing of its {rows} rows and {columns} columns")
    return mask


def _union(raw: Path, files: Sequence[str]) -> NDArray[np.uint8] | None:
    """Return the union of some masks, 0 and 1; None of none.

    Raises:
        BadFileError: one cannot be read, or they differ in size; the text names it.
    """
    union: NDArray[np.uint8] | None = None
    for file in files:
        try:
            found = read_labels(raw / file)
        except BadFileError as error:
            raise BadFileError(f"its mask {Path(file).name} {error}") from None
        one = ((found if found.ndim == 2 else found.max(axis=2)) > 0).astype(np.uint8)
        if union is not None and union.shape != one.shape:
            raise BadFileError(f"its masks differ in size: {union.shape} and {one.shape}")
        union = one if union is None else union | one
    return union


def _blackened(pixels: NDArray[np.uint8], mask: NDArray[np.uint8] | None, masks: str) -> NDArray[np.uint8]:
    """Return the picture with what its mask hides in black.

    Raises:
        BadFileError: it has no mask, or nothing is left to see.
    """
    if mask is None:
        raise BadFileError("has no mask, so nothing can be made black by it")
    if mask.shape != pixels.shape:
        mask = np.asarray(Image.fromarray(mask).resize(pixels.shape[::-1], Image.Resampling.NEAREST))
    shown: NDArray[np.uint8] = np.where((mask > 0) == (masks == ONLY), pixels, 0).astype(np.uint8)
    if shown.min() == shown.max():
        raise BadFileError("shows nothing where its mask leaves it visible")
    return shown


def command_of(card: DatasetCard, find: Callable[[Path], Source]) -> Callable[..., None]:
    """Return a set's command, with the options that all sets share.

    Args:
        card: of the set; one without classes takes those that are found.
        find: the work of a download.
    """

    def command(
        raw: options.Raw,
        out: options.Out,
        workers: options.Workers = None,
        dask: options.Dask = None,
        dry_run: options.DryRun = False,
        seed: options.Seed = 0,
        validation_fraction: options.Validation = VALIDATION_FRACTION,
        test_fraction: options.Test = 0.0,
        debug: options.Debug = False,
    ) -> None:
        found = find(options.raw_folder(raw, "--raw", card.name))
        options.finish(
            card if card.classes else replace(card, classes=tuple(sorted(found.found))),
            [found],
            out,
            choices={},
            is_sample=raw == sample.WORD,
            workers=workers,
            dask=dask,
            seed=seed,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            dry_run=dry_run,
        )

    return command


def below(raw: Path, name: str, what: DatasetCard) -> Path:
    """Return the file or folder of a name in a download, or up to two folders below it.

    Args:
        raw: the download.
        name: with ``*`` where the publisher's names vary.
        what: whose layout the error tells.

    Raises:
        UsageError: there is none.
    """
    for depth in ("", "*/", "*/*/"):
        found = sorted(path for path in raw.glob(depth + name) if path.name[0] not in "._")
        if found:
            return found[0]
    raise UsageError(f"{raw} holds no {name}: expected {what.layout}, in it or up to two folders below")


def table(path: Path, needed: Sequence[str], delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Yield the rows of a publisher's CSV by column, without blanks around the fields.

    Args:
        path: of the table.
        needed: columns that must be there.
        delimiter: between the fields.

    Raises:
        UsageError: it is no such table.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise UsageError(f"{path} has no column {missing[0]!r}; expected {', '.join(needed)}")
            for row in reader:
                yield {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no CSV in UTF-8: {error}") from None


def files_by_stem(raw: Path, suffixes: Sequence[str] = (".jpg", ".jpeg", ".png")) -> dict[str, str]:
    """Return picture files below a folder, hidden ones left out: name without suffix to path relative to the folder; of
    several of one name the first.

    Args:
        raw: the folder.
        suffixes: that pictures have, small.
    """
    found: dict[str, str] = {}
    for path in sorted(raw.rglob("*")):
        place = path.relative_to(raw)
        if path.suffix.lower() in suffixes and not any(part[0] in "._" for part in place.parts):
            found.setdefault(path.stem, place.as_posix())
    return found


def beside(table_: Path, raw: Path) -> tuple[Path, dict[str, str]]:
    """Return the folder that pictures are named relative to, and ``files_by_stem`` of it: the table's own folder, so
    that names do not depend on how far above it ``raw`` lies, or ``raw`` where that holds none.

    Args:
        table_: path of the table.
        raw: the download.
    """
    files = files_by_stem(table_.parent)
    return (table_.parent, files) if files else (raw, files_by_stem(raw))


def group_of(sex: str = "", age: str = "", site: str = "") -> dict[str, str | int]:
    """Return what is known of a person, for reports by group: sex F or M, age in whole years (over 89 is 90), site.

    Args:
        sex: as the table says it, in any case; what is neither female nor male is left out.
        age: a number in text; what is none is left out.
        site: any word; "unknown" is left out.
    """
    found: dict[str, str | int] = {}
    if sex[:1].upper() in ("F", "M"):
        found["sex"] = sex[0].upper()
    try:
        years = float(age)
    except ValueError:
        years = math.nan
    if math.isfinite(years) and years >= 0:
        found["age"] = min(OLDEST, int(years))
    if site and site.lower() not in ("unknown", "nan"):
        found["site"] = site
    return found

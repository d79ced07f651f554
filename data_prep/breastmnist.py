"""BreastMNIST (MedMNIST v2): breast ultrasound, malignant or not, in the splits that the publisher made.

Taken from the .npz of any released size, or from the folder of PNGs that the medmnist package exports. Lesion masks of
the same pictures in the same order, in ``<name>_lesion_masks.npz`` beside the .npz, become PNGs of 0 and 1.
"""

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from data_prep import options, sample
from data_prep.medmnist import SPLITS, Release, chosen, written
from data_prep.medmnist_sets import SIZES
from data_prep.pictures import read_checked
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.datalist import Entry
from medtl.errors import BadFileError, UsageError
from medtl.readers.npz import open_npz, read_array, read_array_header
from medtl.readers.raster import UNREADABLE, opened_picture
from medtl.writers.images import write_png

CARD = DatasetCard(
    name="breastmnist",
    title="BreastMNIST, breast ultrasound",
    task="classification",
    classes=("malignant", "normal_or_benign"),
    published={"malignant": 210, "normal_or_benign": 570},
    parts={
        "train": {"malignant": 147, "normal_or_benign": 399},
        "val": {"malignant": 21, "normal_or_benign": 57},
        "test": {"malignant": 42, "normal_or_benign": 114},
    },
    licence="CC BY 4.0",
    citation="Yang et al., MedMNIST v2, Scientific Data 2023; images: Al-Dhabyani et al., Dataset of breast ultrasound"
    " images, Data in Brief 2020",
    url="https://medmnist.com/",
    how_to_get="Download breastmnist_224.npz (or _128, _64, or breastmnist.npz, 28 pixels) from MedMNIST on Zenodo.",
    disk_gb=None,
    layout="breastmnist.npz or breastmnist_{64,128,224}.npz, or the folder of PNGs that medmnist exports",
)

RELEASED = re.compile(r"breastmnist(?:_(\d+))?")  # without a number: 28 pixels
EXPORTED = re.compile(r"(train|val|test)(\d+)_(\d+)\.png")
MASKS = "_lesion_masks"
Pixels = NDArray[np.uint8]


@options.shared
def command(
    raw: options.Raw,
    out: options.Out,
    size: Annotated[
        int | None, typer.Option(help="Take the release of 28, 64, 128 or 224 pixels, by default the largest there is.")
    ] = None,
    **how: Any,
) -> None:
    place = options.raw_folder(raw, "--raw", CARD.name, file_suffix=".npz")
    source = find(place, size)
    options.finish(
        CARD,
        [source],
        out,
        choices={"size": source.options["size"]},
        is_sample=raw == sample.WORD,
        **how,
    )


def find(raw: Path, size: int | None = None) -> Source:
    """Return the work of a download: its three splits.

    Args:
        raw: an .npz, a folder with one or several, up to two above it, or an export's folder.
        size: pixels of a side; None takes the largest that is there, and says so where there are several.

    Raises:
        UsageError: nothing there, or not of that size.
    """
    release = _choose(raw, size)
    root = raw if raw.is_dir() else raw.parent
    found: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    rejected: list[Rejected] = []
    works: list[Work] = []
    place = release.path.relative_to(root).as_posix()
    if release.path.is_dir():
        for split, rows in _exported(release.path).items():
            found[split].update(CARD.classes[label] for _, _, label in rows if 0 <= label < len(CARD.classes))
            files = tuple(release.path / name for name, _, _ in rows)
            works.append(Work(split, files, ("export", place, split, rows)))
    else:
        masks = release.path.with_name(f"{release.path.stem}{MASKS}.npz")
        beside = [masks] if masks.is_file() else []
        for split in SPLITS:
            try:
                labels = _labels(release.path, split)
            except BadFileError as error:
                rejected.append(Rejected(place, str(error)))
                continue
            found[split].update(CARD.classes[label] for label in labels if 0 <= label < len(CARD.classes))
            works.append(Work(split, (release.path, *beside), ("npz", place, split, [path.name for path in beside])))
    return Source(
        name=CARD.name,
        raw=root,
        works=tuple(works),
        process=process,
        options={"size": release.size},
        found=sum(found.values(), Counter()),
        unit="images",
        rejected=tuple(dict.fromkeys(rejected)),  # a file that cannot be opened has one reason for all its splits
        parts=found,
    )


def _choose(raw: Path, size: int | None) -> Release:
    """Return the one release to take of those that lie nearest to ``raw``."""
    if raw.is_file():
        match = RELEASED.fullmatch(raw.stem)
        if match is None:
            raise UsageError(f"--raw {raw} is not BreastMNIST: expected {CARD.layout}")
        there = [Release(int(match[1] or SIZES[0]), raw)]
    else:
        there = next(filter(None, (_releases(raw, depth) for depth in ("", "*/", "*/*/"))), [])
    if not there:
        raise UsageError(f"{raw} holds no BreastMNIST: expected {CARD.layout}, in it or up to two folders below")
    return chosen(there, size, f"{raw} holds BreastMNIST", CARD.name)


def _releases(raw: Path, depth: str) -> list[Release]:
    """Return those so many folders below, by size; of one size the .npz comes last."""
    found = []
    for path in raw.glob(f"{depth}*"):
        inside = path.relative_to(raw)
        match = RELEASED.fullmatch(path.stem if path.suffix == ".npz" else path.name)
        if match is None or any(part[0] in "._" for part in inside.parts):
            continue
        if path.suffix == ".npz" or _is_export(path):
            found.append(Release(int(match[1] or SIZES[0]), path))
    if not depth and _is_export(raw):
        found.append(Release(_width(raw), raw))
    return sorted(found, key=lambda one: (one.size, one.path.suffix, one.path.as_posix()))


def _is_export(path: Path) -> bool:
    return path.is_dir() and any(EXPORTED.fullmatch(file.name) for file in path.glob("*.png"))


def _width(folder: Path) -> int:
    """Return the width of an export's first readable picture, for a folder that the user named."""
    for rows in _exported(folder).values():
        for name, _, _ in rows:
            try:
                with opened_picture(folder / name) as image:
                    return image.width
            except (BadFileError, *UNREADABLE):
                continue
    return 0


def _exported(folder: Path) -> dict[str, list[tuple[str, int, int]]]:
    """Split to (file, index, label), by index."""
    rows: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for path in folder.glob("*.png"):
        if match := EXPORTED.fullmatch(path.name):
            rows[match[1]].append((path.name, int(match[2]), int(match[3])))
    return {split: sorted(rows[split], key=lambda row: row[1:]) for split in SPLITS if rows[split]}


def _labels(path: Path, split: str) -> list[int]:
    """Return a split's labels as they stand in the .npz, once its images' header is seen to fit them.

    Raises:
        BadFileError: they cannot be read, or are no BreastMNIST.
    """
    with open_npz(path) as archive:
        labels = read_array(archive, f"{split}_labels")
        shape, dtype = read_array_header(archive, f"{split}_images")
    if labels.dtype.kind not in "iu" or labels.ndim not in (1, 2) or labels.size != labels.shape[0]:
        raise BadFileError(f"{split}_labels is {labels.dtype}, shape {labels.shape}; expected a whole number an image")
    count = len(labels)
    if dtype != np.uint8 or len(shape) != 3 or shape[0] != count or shape[1] != shape[2]:
        raise BadFileError(f"{split}_images is {dtype}, shape {shape}; expected uint8, ({count}, pixels, pixels)")
    return [int(label) for label in labels.ravel()]


def process(work: Work, raw: Path, out: Path) -> Done:
    """Process one split, picture by picture."""
    kind, place, split, more = work.payload
    return (_process_export if kind == "export" else _process_npz)(raw, place, split, more, out)


def _process_npz(raw: Path, place: str, split: str, masks: list[str], out: Path) -> Done:
    done = Done()
    try:
        labels = _labels(raw / place, split)
        with open_npz(raw / place) as archive:
            images = read_array(archive, f"{split}_images")
    except BadFileError as error:
        return Done(rejected=[Rejected(place, str(error))])
    lesions = None
    for name in masks:
        beside = (Path(place).parent / name).as_posix()
        try:
            lesions = _masks(raw / beside, split, images.shape)
        except BadFileError as error:
            done.rejected.append(Rejected(beside, f"{error}; {split} is without masks"))
    for index, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        try:
            entry = _entry(pixels, label, split, index, out)
        except BadFileError as error:
            done.rejected.append(Rejected(place, f"{split}_images[{index}] {error}"))
            continue
        if lesions is not None:
            entry["mask"] = f"masks/{CARD.name}/{split}-{index:04d}.png"
            write_png(out / entry["mask"], lesions[index])
        done.entries.append(entry)
    return done


def _masks(path: Path, split: str, shape: tuple[int, ...]) -> Pixels:
    """Return the lesion masks of a split: 1 inside.

    Raises:
        BadFileError: they are not those of the pictures.
    """
    with open_npz(path) as archive:
        masks = read_array(archive, f"{split}_masks")
    if masks.shape != shape:
        raise BadFileError(f"{split}_masks has shape {masks.shape}, the pictures {shape}")
    if not np.isin(masks, (0, 1)).all():
        raise BadFileError(f"{split}_masks has other values than 0 and 1")
    return masks.astype(np.uint8)


def _process_export(raw: Path, place: str, split: str, rows: list[tuple[str, int, int]], out: Path) -> Done:
    done = Done()
    numbers: set[int] = set()
    for name, index, label in rows:
        try:
            if index in numbers:
                raise BadFileError("another file has the same number")
            read_checked(raw / place / name)
            with opened_picture(raw / place / name) as image:
                pixels = np.asarray(image.convert("L"))
            done.entries.append(_entry(pixels, label, split, index, out))
            numbers.add(index)
        except BadFileError as error:
            done.rejected.append(Rejected((Path(place) / name).as_posix(), str(error)))
    return done


def _entry(pixels: Pixels, label: int, split: str, index: int, out: Path) -> Entry:
    if not 0 <= label < len(CARD.classes):
        raise BadFileError(f"has label {label}; expected 0 (malignant) or 1 (normal or benign)")
    return written(pixels, CARD.classes[label], CARD.name, split, f"{index:04d}", out)

"""Every two-dimensional set of MedMNIST (v2 and MedMNIST+) but BreastMNIST, which has a command of its own: one .npz of
any released size becomes pictures in the splits that the publisher made."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from data_prep import options, run, sample
from data_prep.medmnist_sets import SETS, SIZES, Subset
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.datalist import Entry
from medtl.errors import BadFileError, UsageError, tell
from medtl.files import file_hash
from medtl.readers.npz import open_npz, read_array, read_array_header, rows_of
from medtl.writers.images import write_png

CARD = DatasetCard(
    name="medmnist",
    title="MedMNIST, any two-dimensional set",
    task="classification",
    classes=(),
    licence="CC BY 4.0; DermaMNIST CC BY-NC 4.0",
    citation="Yang et al., MedMNIST v2, Scientific Data 2023, and the source of the set",
    url="https://medmnist.com/",
    how_to_get="Download NAME_224.npz (or _128, _64, or NAME.npz, 28 pixels) from MedMNIST on Zenodo; NAME (of"
    " --subset) is pathmnist, chestmnist, dermamnist, octmnist, pneumoniamnist, retinamnist, bloodmnist, tissuemnist,"
    " organamnist, organcmnist or organsmnist.",
    disk_gb=None,
    layout="NAME.npz or NAME_{64,128,224}.npz; --subset NAME",
)

SPLITS = {"train": "training", "val": "validation", "test": "test"}
OWN_COMMAND = "breastmnist"
SAMPLE_SUBSET = "pneumoniamnist"


class Release(NamedTuple):
    """One size of a set: an .npz; of BreastMNIST also the folder of an export."""

    size: int
    path: Path


@options.shared
def command(
    raw: options.Raw,
    out: options.Out,
    subset: Annotated[str, typer.Option(help=f"Prepare this set: {', '.join(SETS)}.")],
    size: Annotated[
        int | None, typer.Option(help="Take the release of 28, 64, 128 or 224 pixels, by default the largest there is.")
    ] = None,
    **how: Any,
) -> None:
    name = known(subset)
    place = options.raw_folder(raw, "--raw", CARD.name, file_suffix=".npz")
    source = find(place, name, size)
    if SETS[name].ordinal:
        tell(f"{name}: its labels are grades in an order, and are taken for classes that have none")
    if raw != sample.WORD:
        told = verified(source.works[0].files[0], name, source.parts) if source.works else ""
        if told:
            tell(f"{name}: {told}")
    options.finish(
        card_of(name),
        [source],
        out,
        choices={"subset": name, "size": source.options["size"]},
        is_sample=raw == sample.WORD,
        command=CARD.name,
        **how,
    )


def known(subset: str) -> str:
    """Return the name of a set in small letters.

    Raises:
        UsageError: there is none of that name here.
    """
    name = subset.lower()
    if name == OWN_COMMAND:
        raise UsageError(f"--subset {subset} has a command of its own: python -m data_prep {OWN_COMMAND}")
    if name not in SETS:
        raise UsageError(f"--subset {subset} is not one of {', '.join(SETS)}")
    return name


def card_of(name: str) -> DatasetCard:
    """Return the card of one set."""
    what = SETS[name]
    task = "multilabel" if what.multilabel else "classification"
    title = f"{what.title}, {what.images}"
    return replace(CARD, name=name, title=title, task=task, classes=what.classes, licence=what.licence)


def find(raw: Path, name: str = SAMPLE_SUBSET, size: int | None = None) -> Source:
    """Return the work of a download: its three splits.

    Args:
        raw: an .npz, a folder with one or several, or up to two above it.
        name: of the set.
        size: pixels of a side; None takes the largest that is there, and says so where there are several.

    Raises:
        UsageError: nothing there, or not of that size.
    """
    release = _choose(raw, name, size)
    root = raw if raw.is_dir() else raw.parent
    place = release.path.relative_to(root).as_posix()
    found: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    rejected: list[Rejected] = []
    works: list[Work] = []
    for split in SPLITS:
        try:
            labels = _labels(release, name, split)
        except BadFileError as error:
            rejected.append(Rejected(place, str(error)))
            continue
        found[split].update(each for row in labels for each in _names(row, SETS[name]) or ())
        found[split][""] = len(labels)
        works.append(Work(split, (release.path,), (place, name, release.size, split)))
    return Source(
        name=name,
        raw=root,
        works=tuple(works),
        process=process,
        options={"size": release.size},
        found=sum(found.values(), Counter()),
        unit="images",
        rejected=tuple(dict.fromkeys(rejected)),
        parts=found,
    )


def verified(path: Path, name: str, parts: Any) -> str:
    """Return how a file differs from the published one, in words; empty where it does not.

    Args:
        path: the .npz.
        name: of the set.
        parts: split to the number of its images, under "".
    """
    what = SETS[name]
    counts = tuple(int(parts[split][""]) for split in SPLITS)
    published = {
        what.counts: dict(zip(SIZES, what.md5, strict=True)),
        **{c: {28: md5} for c, md5 in what.earlier.items()},
    }
    if counts not in published:
        pairs = zip(SPLITS, counts, what.counts, strict=True)
        return "not the published set: " + ", ".join(f"{split} {own:,} of {all_:,}" for split, own, all_ in pairs)
    told = "" if counts == what.counts else "the images of an earlier release, not of 3.0"
    expected = published[counts].get(_size_of(path, name) or 0)
    if expected and _md5(path) != expected:
        told = f"{told}; " * bool(told) + "its MD5 is not the published one"
    return told


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _choose(raw: Path, name: str, size: int | None) -> Release:
    """The one file to take of those that lie nearest to ``raw``."""
    places = [raw] if raw.is_file() else []
    for depth in ("", "*/", "*/*/") if raw.is_dir() else ():
        places = places or [path for path in raw.glob(f"{depth}{name}*.npz") if path.name[0] not in "._"]
    there = sorted(Release(pixels, path) for path in places if (pixels := _size_of(path, name)) is not None)
    if not there:
        raise UsageError(f"{raw} holds no {SETS[name].title}: expected {name}.npz or {name}_{{64,128,224}}.npz")
    return chosen(there, size, f"{raw} holds {SETS[name].title}", name)


def chosen(there: Sequence[Release], size: int | None, what: str, name: str) -> Release:
    """Return the release of a size; without one the largest, and say so where there are several.

    Args:
        there: by rising size.
        size: pixels of a side, or None.
        what: which place holds what, for the error.
        name: of the set.

    Raises:
        UsageError: there is none of that size.
    """
    sizes = ", ".join(str(one.size) for one in there)
    fitting = [one for one in there if size in (None, one.size)]
    if not fitting:
        raise UsageError(f"--size {size}: {what} at {sizes} pixels")
    if len(there) > 1 and size is None:
        tell(f"{name}: of {sizes} pixels the largest is taken, {fitting[-1].path.name}; --size chooses another")
    return fitting[-1]


def _size_of(path: Path, name: str) -> int | None:
    match = re.fullmatch(rf"{name}(?:_(\d+))?", path.stem)
    return int(match[1] or SIZES[0]) if match else None


def _labels(release: Release, name: str, split: str) -> NDArray:
    """A split's labels (n,) or (n, findings), once its images' header is seen to fit them.

    Raises:
        BadFileError: they cannot be read, or are not of this set.
    """
    what, side = SETS[name], release.size
    with open_npz(release.path) as archive:
        labels = read_array(archive, f"{split}_labels")
        shape, dtype = read_array_header(archive, f"{split}_images")
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    expected = (len(labels), len(what.classes)) if what.multilabel else (len(labels),)
    if labels.dtype.kind not in "iub" or labels.shape != expected:
        raise BadFileError(
            f"{split}_labels is {labels.dtype}, shape {labels.shape}; expected whole numbers, {expected}"
        )
    pixels = (len(labels), side, side, *((3,) if what.channels == 3 else ()))
    if dtype != np.uint8 or shape != pixels:
        raise BadFileError(f"{split}_images is {dtype}, shape {shape}; expected uint8, {pixels}")
    return labels


def _names(label: NDArray, what: Subset) -> list[str] | None:
    """The names of a picture's labels; None where a label is none of the set's."""
    if what.multilabel:
        return [what.classes[c] for c in np.flatnonzero(label)] if np.isin(label, (0, 1)).all() else None
    return [what.classes[int(label)]] if 0 <= int(label) < len(what.classes) else None


def process(work: Work, raw: Path, out: Path) -> Done:
    """Process one split, picture by picture: the large files do not fit into memory."""
    place, name, size, split = work.payload
    done = Done()
    try:
        labels = _labels(Release(size, raw / place), name, split)
        with open_npz(raw / place) as archive:
            for index, pixels in enumerate(rows_of(archive, f"{split}_images")):
                try:
                    done.entries.append(_entry(pixels, _names(labels[index], SETS[name]), (name, split, index), out))
                except BadFileError as error:
                    done.rejected.append(Rejected(place, f"{split}_images[{index}] {error}"))
    except BadFileError as error:  # of a damaged file no picture is sure
        return Done(rejected=[Rejected(place, str(error))])
    return done


def _entry(pixels: NDArray[np.uint8], names: Sequence[str] | None, key: tuple[str, str, int], out: Path) -> Entry:
    name, split, index = key
    if names is None:
        raise BadFileError("has a label that the set does not know")
    label = list(names) if SETS[name].multilabel else names[0]
    return written(pixels, label, name, split, f"{index:06d}", out) | {"channels": SETS[name].channels}


def written(pixels: NDArray[np.uint8], label: Any, name: str, split: str, number: str, out: Path) -> Entry:
    """Write one picture, and return its entry; it is its own patient, as nobody says which pictures are of one person.

    Raises:
        BadFileError: all its pixels are alike.
    """
    if pixels.min() == pixels.max():
        raise BadFileError("shows nothing: all its pixels are alike")
    target = f"images/{name}/{split}-{number}.png"
    write_png(out / target, pixels)
    return {
        "image": target,
        "label": label,
        "patient": f"{name}/{split}-{number}",
        "source": name,
        "sha256": file_hash(out / target),
        "split": SPLITS[split],
    }


def prepare_sample(raw: Path, out: Path) -> None:
    """Prepare what ``--subset pneumoniamnist --raw sample`` gives."""
    run.prepare(
        card_of(SAMPLE_SUBSET),
        [find(raw)],
        out,
        created_by=f"python -m data_prep {CARD.name} --subset {SAMPLE_SUBSET}, built-in sample",
        sample=True,
        workers=1,  # worker processes would import the caller's script, which may have no __main__ guard
        seed=0,
        validation_fraction=0.0,
    )

"""BUSI: breast ultrasound with lesion masks; benign, malignant or normal."""

import re
from collections import defaultdict
from dataclasses import replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

import typer

from data_prep import alike, listed, masked, options, sample
from data_prep.listed import Listed
from data_prep.masked import Mask, Row
from data_prep.sample.breastmnist import ultrasound
from data_prep.work import Rejected, Source
from medtl.cards import DatasetCard
from medtl.errors import UsageError
from medtl.readers.find import below
from medtl.writers.images import write_png

CARD = DatasetCard(
    name="busi",
    title="BUSI, breast ultrasound with lesion masks",
    task="classification",
    classes=("malignant", "normal_or_benign"),
    published={"malignant": 210, "normal_or_benign": 570},
    licence="CC BY 4.0",
    citation="Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 2020",
    url="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    how_to_get="Download Dataset_BUSI.zip from the authors' page and unzip it.",
    disk_gb=0.3,
    layout="{benign,malignant,normal}/KIND (N).png with KIND (N)_mask.png, _mask_1.png … beside it",
)
LESIONS = replace(CARD, task="segmentation", classes=("lesion",), published={})
TEST_FRACTION = 0.15  # nobody published a split
MALIGNANT, MERGED = CARD.classes
PUBLISHED = {"benign": 437, "malignant": 210, "normal": 133}
NAME = re.compile(r"(?P<kind>benign|malignant|normal) \((?P<number>\d+)\)(?P<mask>_mask(?:_\d+)?)?\.png", re.IGNORECASE)


class Task(StrEnum):
    """What is learned."""

    CLASSIFICATION = "classification"
    SEGMENTATION = "segmentation"  # of the lesions


class Normals(StrEnum):
    """Say what pictures without a lesion are."""

    BENIGN = "benign"  # filed with the benign ones, as BreastMNIST and RadImageNet's authors did
    CLASS = "class"  # a class of their own
    LEFT_OUT = "left-out"


@options.shared
def command(
    raw: options.Raw,
    out: options.Out,
    normals: Annotated[Normals, typer.Option(help="Say what pictures without a lesion are.")] = Normals.BENIGN,
    task: Annotated[
        Task, typer.Option(help="Prepare for classification of the pictures, or for segmentation of their lesions.")
    ] = Task.CLASSIFICATION,
    seed: options.Seed = 0,
    validation_fraction: options.Validation = 0.1,
    test_fraction: options.Test = TEST_FRACTION,
    **how: Any,
) -> None:
    lesions = task is Task.SEGMENTATION
    source = (find_lesions if lesions else find)(options.raw_folder(raw, "--raw", CARD.name), normals)
    shares = (validation_fraction, test_fraction)
    deal = alike.dealer(out, CARD.name, shares, seed, how["workers"] or options.CPUS, None)
    options.finish(
        LESIONS if lesions else card(normals),
        [source],
        out,
        choices={"normals": normals.value, "task": task.value if lesions else None},
        is_sample=raw == sample.WORD,
        **how,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        deal=alike.with_masks(deal) if lesions else deal,
    )


def card(normals: Normals) -> DatasetCard:
    """Return the set's card with the classes of a choice."""
    if normals is Normals.BENIGN:
        return CARD
    kinds = ("malignant", "benign", "normal") if normals is Normals.CLASS else ("malignant", "benign")
    return replace(CARD, classes=kinds, published={kind: PUBLISHED[kind] for kind in kinds})


def find(raw: Path, normals: Normals = Normals.BENIGN) -> Source:
    """Return the work of a download: its pictures, each with its masks.

    Args:
        raw: a folder with the pictures anywhere below it. Their names say what they show.
        normals: what pictures without a lesion are.

    Raises:
        UsageError: it holds no picture of the set.
    """
    usable, rejected = _usable(raw, normals)
    rows = []
    for kind, number, file, masks in usable:
        label = kind if kind == MALIGNANT or normals is not Normals.BENIGN else MERGED
        rows.append(Listed(file, label, f"{kind}-{number}", masks=masks))
    return listed.source(card(normals), raw, rows, rejected, channels=1)


def find_lesions(raw: Path, normals: Normals = Normals.BENIGN) -> Source:
    """Return the work of a download: its pictures, each with its lesions' outlines as one mask, empty for a picture
    without a lesion. Arguments and errors as of ``find``."""
    usable, rejected = _usable(raw, normals)
    rows = [Row(file, tuple(Mask(mask, 1) for mask in masks), f"{kind}-{n}") for kind, n, file, masks in usable]
    return masked.source(CARD.name, raw, rows, [Rejected(*one) for one in rejected], LESIONS.classes)


class Usable(NamedTuple):
    """A picture: what it shows, its number among these, its file and those of its masks."""

    kind: str
    number: int
    file: str
    masks: tuple[str, ...]


def _usable(raw: Path, normals: Normals) -> tuple[list[Usable], list[tuple[str, str]]]:
    """Return the pictures that are wanted, and files that cannot be used, with the reason."""
    tree = below(raw)
    rejected = [(one.name, one.reason) for one in tree.refused]
    pictures: dict[tuple[str, int], str] = {}
    masks: dict[tuple[str, int], list[str]] = defaultdict(list)
    for file in sorted(one.name for one in tree.files):
        match = NAME.fullmatch(PurePosixPath(file).name)
        if match is None:
            continue
        key = (match["kind"].lower(), int(match["number"]))
        if match["mask"]:
            masks[key].append(file)
        elif key in pictures:
            rejected.append((file, f"{pictures[key]} has the same name"))
        else:
            pictures[key] = file
    rejected += [(masks[key][0], "is a mask without its picture") for key in sorted(masks.keys() - pictures)]
    if not pictures and not rejected:
        raise UsageError(f"{raw} holds no picture of BUSI: expected {CARD.layout}")
    usable = []
    for (kind, number), file in sorted(pictures.items()):
        if kind == "normal" and normals is Normals.LEFT_OUT:
            continue
        if kind != "normal" and not masks[kind, number]:
            rejected.append((file, "has no mask beside it"))
            continue
        usable.append(Usable(kind, number, file, tuple(masks[kind, number])))
    return usable, rejected


def make_sample(folder: Path) -> None:
    """Draw the official layout: lesions with masks, one with two, and pictures without a lesion."""
    for kind, count in {"benign": 48, "malignant": 32, "normal": 16}.items():
        for number in range(1, count + 1):
            image, mask = ultrasound(f"busi-{kind}-{number}", kind == "malignant", kind != "normal")
            stem = folder / "Dataset_BUSI_with_GT" / kind / f"{kind} ({number})"
            write_png(stem.with_name(f"{stem.name}.png"), image)
            write_png(stem.with_name(f"{stem.name}_mask.png"), mask * 255)
            if (kind, number) == ("benign", 1):
                write_png(stem.with_name(f"{stem.name}_mask_1.png"), mask[::-1] * 255)

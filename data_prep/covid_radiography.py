"""The COVID-19 Radiography Database: chest X-rays of many collections, with COVID-19, other pneumonia, or neither.

Class and source go together in it: its viral pneumonias and many of its normals are children of ChestXRay2017, the
others adults. So it comes with controls: pictures without their lungs, or the lungs alone.
"""

import random
import re
from collections import Counter, defaultdict
from dataclasses import replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
import typer

from data_prep import alike, listed, options, sample
from data_prep.listed import KEEP, Listed
from data_prep.sample.drawing import generator
from data_prep.work import Source
from medtl.cards import DatasetCard
from medtl.errors import UsageError, tell
from medtl.readers.find import below
from medtl.writers.images import write_png

CARD = DatasetCard(
    name="covid_radiography",
    title="COVID-19 Radiography Database",
    task="classification",
    classes=("covid", "normal", "viral_pneumonia"),
    published={"covid": 3616, "normal": 10192, "viral_pneumonia": 1345},
    licence="as stated by the database's makers: that of the original collections, which were not cleared; do not"
    " redistribute",
    citation="Chowdhury et al., Can AI help in screening viral and COVID-19 pneumonia?, IEEE Access 2020; Rahman"
    " et al., Computers in Biology and Medicine 2021",
    url="https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database",
    how_to_get="Download the archive from Kaggle and unzip it.",
    disk_gb=0.8,
    layout="{COVID,Normal,Viral Pneumonia,Lung_Opacity}/images/NAME-N.png and …/masks/NAME-N.png",
)
TEST_FRACTION = 0.2  # nobody published a split
OPACITY = "lung_opacity"
FOLDERS = {"covid": "covid", "covid19": "covid", "normal": "normal", "viralpneumonia": "viral_pneumonia"}
FOLDERS |= {"lungopacity": OPACITY}
# pictures a class in what was released, by which a download is recognised
VERSIONS = {
    "version 1": {"covid": 219, "normal": 1341, "viral_pneumonia": 1345},
    "version 2": {"covid": 1200, "normal": 1341, "viral_pneumonia": 1345},
    "version 3": {"covid": 3616, "normal": 10192, "viral_pneumonia": 1345, OPACITY: 6012},
}
SUFFIXES = (".png", ".jpg", ".jpeg")


class Lungs(StrEnum):
    """What is shown."""

    KEEP = KEEP
    OUT = listed.OUT  # without the lungs: what is still told apart is not told by disease
    ONLY = listed.ONLY


@options.shared
def command(
    raw: options.Raw,
    out: options.Out,
    classes: Annotated[int, typer.Option(min=3, max=4, help="Take 3 classes, or 4 with lung opacity.")] = 3,
    balance: Annotated[int, typer.Option(min=0, help="Draw this many a class (paper: 1345; 0: all).")] = 0,
    mask_lungs: Annotated[Lungs, typer.Option(help="Black the lungs out, or all else, as a control.")] = Lungs.KEEP,
    chestxray2017: Annotated[
        Path | None, typer.Option(help="Find the patients of this prepared ChestXRay2017 again.")
    ] = None,
    seed: options.Seed = 0,
    validation_fraction: options.Validation = 0.2,
    test_fraction: options.Test = TEST_FRACTION,
    **how: Any,
) -> None:
    source = find(options.raw_folder(raw, "--raw", CARD.name), classes, balance, mask_lungs, seed)
    shares = (validation_fraction, test_fraction)
    choices = {"classes": classes, "balance": balance or None, "mask-lungs": mask_lungs.value}
    options.finish(
        card(classes),
        [source],
        out,
        choices=choices | {"chestxray2017": "DIR" if chestxray2017 else None},
        is_sample=raw == sample.WORD,
        **how,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        deal=alike.dealer(out, CARD.name, shares, seed, how["workers"] or options.CPUS, chestxray2017),
    )


def card(classes: int) -> DatasetCard:
    """Return the set's card with three or four classes."""
    if classes == len(CARD.classes):
        return CARD
    published = {**CARD.published, OPACITY: VERSIONS["version 3"][OPACITY]}
    return replace(CARD, classes=(*CARD.classes, OPACITY), published=published)


def find(raw: Path, classes: int = 3, balance: int = 0, lungs: Lungs = Lungs.KEEP, seed: int = 0) -> Source:
    """Return the work of a download: its pictures, each with its mask of the lungs where there is one.

    Args:
        raw: a folder with the class folders anywhere below it, with or without ``images`` and ``masks`` in them.
        classes: Take 3 classes, or 4 with lung opacity.
        balance: pictures drawn a class; 0 takes all.
        lungs: what is shown.
        seed: of the draw.

    Raises:
        UsageError: it holds no picture of the set.
    """
    tree = below(raw)
    rejected = [(one.name, one.reason) for one in tree.refused]
    pictures: dict[str, dict[str, str]] = defaultdict(dict)
    masks: dict[tuple[str, str], str] = {}
    for file in sorted(one.name for one in tree.files):
        path = PurePosixPath(file)
        label = next(filter(None, (FOLDERS.get(plain(part)) for part in reversed(path.parts[:-1]))), None)
        if label is None or path.suffix.lower() not in SUFFIXES:
            continue
        if any(part.lower() == "masks" for part in path.parts[:-1]):
            masks[label, path.stem.lower()] = file
        elif (other := pictures[label].setdefault(path.stem.lower(), file)) != file:
            rejected.append((file, f"{other} has the same name"))
    if not pictures and not rejected:
        raise UsageError(f"{raw} holds no picture of the database: expected {CARD.layout}")
    _tell_version({label: len(own) for label, own in pictures.items()})
    names = card(classes).classes
    rows = []
    for label in names:
        stems = sorted(pictures[label], key=lambda stem: (len(stem), stem))
        if balance and len(stems) > balance:
            stems = sorted(random.Random(f"{seed} {label}").sample(stems, balance), key=lambda stem: (len(stem), stem))
        for stem in stems:
            mask = masks.get((label, stem))
            rows.append(Listed(pictures[label][stem], label, f"{label}-{stem}", masks=(mask,) if mask else ()))
    return listed.source(card(classes), raw, rows, rejected, channels=1, masks=lungs.value)


def plain(name: str) -> str:
    """Return a folder's name without case, spaces and signs."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _tell_version(counts: dict[str, int]) -> None:
    version = next((name for name, published in VERSIONS.items() if published == counts), None)
    there = ", ".join(f"{number:,} {label}" for label, number in sorted(counts.items()))
    tell(f"{CARD.name}: {there}: {version or 'the counts of no released version'}")


def make_sample(folder: Path) -> None:
    """Draw the official layout: a chest in each picture, brighter lungs where they are ill, and masks of the lungs."""
    rows, columns = np.mgrid[0:64, 0:64].astype(np.float32)
    for label, count in Counter({"COVID": 40, "Normal": 40, "Viral Pneumonia": 32, "Lung_Opacity": 24}).items():
        for number in range(1, count + 1):
            rng = generator("covid", label, number)
            centre = 32 + rng.uniform(-3, 3)
            lungs = [((columns - centre - side * 12) / 9) ** 2 + ((rows - 32) / 18) ** 2 < 1 for side in (-1, 1)]
            image = 150 + 12 * rng.standard_normal((64, 64)) - 90 * (lungs[0] | lungs[1])
            if label != "Normal":
                at = {"COVID": 44, "Viral Pneumonia": 32, "Lung_Opacity": 22}[label]
                image += (lungs[0] | lungs[1]) * 60 * np.exp(-(((rows - at) / 7) ** 2))
            place = folder / "COVID-19_Radiography_Dataset" / label
            write_png(place / "images" / f"{label}-{number}.png", np.clip(image, 0, 255).astype(np.uint8))
            write_png(place / "masks" / f"{label}-{number}.png", ((lungs[0] | lungs[1]) * 255).astype(np.uint8))

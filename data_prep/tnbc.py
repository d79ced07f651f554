"""TNBC: nuclei in histology of triple-negative breast cancer; every nucleus is of the one class."""

import re
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from data_prep import masked, options, sample
from data_prep.masked import Mask, Row
from data_prep.sample.drawing import generator
from data_prep.work import Rejected, Source
from medtl.cards import DatasetCard
from medtl.errors import UsageError
from medtl.readers.find import below
from medtl.writers.images import write_png

CARD = DatasetCard(
    name="tnbc",
    title="TNBC, nuclei in histology of breast cancer",
    task="segmentation",
    classes=("nucleus",),
    licence="CC BY 4.0",
    citation="Naylor et al., Segmentation of Nuclei in Histopathology Images by Deep Regression of the Distance Map,"
    " IEEE Transactions on Medical Imaging 2019",
    url="https://zenodo.org/record/1175282",
    how_to_get="Download TNBC_NucleiSegmentation.zip from Zenodo and unzip it.",
    disk_gb=0.05,
    layout="images/NN_K.png with labels_instance/NN_K_label.png, or the authors' Slide_NN/NN_K.png with GT_NN/NN_K.png",
)
NAME = re.compile(r"(?P<slide>\d{2})_(?P<number>\d+)(?:_label)?\.png", re.IGNORECASE)
MASKS = re.compile(r"labels?_?\w*|gt_\d+|masks?", re.IGNORECASE)
TEST_FRACTION = 0.25  # nobody published a split: slides are dealt


def command(
    raw: options.Raw,
    out: options.Out,
    workers: options.Workers = None,
    dask: options.Dask = None,
    dry_run: options.DryRun = False,
    seed: options.Seed = 0,
    validation_fraction: options.Validation = 0.15,
    test_fraction: options.Test = TEST_FRACTION,
    debug: options.Debug = False,
) -> None:
    options.finish(
        CARD,
        [find(options.raw_folder(raw, "--raw", CARD.name))],
        out,
        choices={},
        is_sample=raw == sample.WORD,
        workers=workers,
        dask=dask,
        dry_run=dry_run,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
    )


def find(raw: Path) -> Source:
    """Return the work of a download: its pictures, each with its mask. A slide is a patient.

    Args:
        raw: a folder with the pictures anywhere below it; masks lie in folders of their own.

    Raises:
        UsageError: it holds no picture of the set.
    """
    tree = below(raw)
    rejected = [Rejected(*one) for one in tree.refused]
    found: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for file in sorted(one.name for one in tree.files):
        path = PurePosixPath(file)
        if NAME.fullmatch(path.name):
            found[bool(MASKS.fullmatch(path.parent.name))].setdefault(path.stem.removesuffix("_label"), file)
    pictures, masks = found[False], found[True]
    rows = []
    for stem, file in sorted(pictures.items()):
        if stem in masks:
            rows.append(Row(file, (Mask(masks[stem], 1),), stem.split("_")[0]))
        else:
            rejected.append(Rejected(file, "has no mask of its name"))
    rejected += [Rejected(masks[stem], "is a mask without its picture") for stem in sorted(masks.keys() - pictures)]
    if not rows and not rejected:
        raise UsageError(f"{raw} holds no picture of TNBC: expected {CARD.layout}")
    return masked.source(CARD.name, raw, rows, rejected, CARD.classes)


def make_sample(folder: Path) -> None:
    """Draw the layout: violet nuclei on pink tissue, and instance masks."""
    rows, columns = np.mgrid[0:96, 0:96].astype(np.float32)
    for slide in range(1, 12):
        for number in (1, 2):
            rng = generator("tnbc", slide, number)
            labels = np.zeros((96, 96), np.uint8)
            for nucleus in range(1, int(rng.integers(12, 22))):
                centre, radii = rng.uniform(0, 96, 2), rng.uniform(3, 7, 2)
                inside = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < 1
                labels[inside & (labels == 0)] = nucleus
            tissue = np.array([225, 160, 195]) + rng.normal(0, 9, (96, 96, 3))
            tissue[labels > 0] = np.array([105, 65, 140]) + rng.normal(0, 12, (int((labels > 0).sum()), 3))
            (folder / "images").mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(np.clip(tissue, 0, 255).astype(np.uint8))
            picture.save(folder / "images" / f"{slide:02d}_{number}.png")
            write_png(folder / "labels_instance" / f"{slide:02d}_{number}_label.png", labels)

"""TNBC: nuclei in histology of triple-negative breast cancer; every nucleus is of the one class."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep import mask_pairs
from data_prep.mask_pairs import Pairs
from data_prep.masked import Mask
from data_prep.sample.drawing import generator
from data_prep.work import Source
from medtl.cards import DatasetCard
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
TEST_FRACTION = 0.25  # nobody published a split: slides are dealt
MASK = re.compile(r"(?:^|/)(?:labels?\w*|gt_\d+|masks?)/(?P<key>\d{2}_\d+)(?:_label)?\.png$", re.IGNORECASE)
PAIRS = Pairs(
    picture=re.compile(r"(?P<key>(?P<patient>\d{2})_\d+)\.png$", re.IGNORECASE),
    masks=((MASK, Mask("", 1)),),
)
command = mask_pairs.command_of(CARD, PAIRS, TEST_FRACTION)


def find(raw: Path) -> Source:
    """Return the work of a download; raises as ``mask_pairs.find``."""
    return mask_pairs.find(CARD, PAIRS, raw)


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

"""OCT2017 (Kermany et al. 2018): optical coherence tomography of the retina in four classes; names tell class and
patient. Patients of the released train and test overlap, which data preparation names."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep import listed
from data_prep.listed import Listed
from data_prep.work import Source
from medtl.cards import DatasetCard

CARD = DatasetCard(
    name="oct2017",
    title="OCT2017, optical coherence tomography of the retina",
    task="classification",
    classes=("CNV", "DME", "DRUSEN", "NORMAL"),
    licence="CC BY 4.0",
    citation="Kermany et al.: Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep Learning,"
    " Cell 2018",
    url="https://data.mendeley.com/datasets/rscbjbr9sj",
    how_to_get="Download OCT2017 from Mendeley Data and unpack it. ChestXRay2017 lies beside it.",
    disk_gb=None,
    layout="OCT2017/{train,val,test}/{CNV,DME,DRUSEN,NORMAL}/CLASS-PATIENT-NUMBER.jpeg",
    seen=False,
)
SPLITS = {"train": "", "val": "", "test": "test"}
NAME = re.compile(r"(CNV|DME|DRUSEN|NORMAL)-(\d+)-\d+\.jpe?g", re.IGNORECASE)


def find(raw: Path) -> Source:
    """Return the work of a download: the released test stays test, val (of 32 pictures) joins train."""
    root = listed.below(raw, "train", CARD).parent
    rows, odd = [], []
    for split, kept in SPLITS.items():
        for path in sorted((root / split).glob("*/*")):
            file = path.relative_to(root).as_posix()
            match = NAME.fullmatch(path.name)
            if path.name[0] in "._":
                continue
            if match is None or match[1].upper() != path.parent.name:
                odd.append((file, "its name is not CLASS-PATIENT-NUMBER.jpeg of its folder's class"))
            else:
                rows.append(Listed(file, path.parent.name, match[2], split=kept))
    return listed.source(CARD, root, rows, odd, channels=1)


def make_sample(folder: Path) -> None:
    """Draw a download in the official layout: two pictures a patient, few in val."""
    rng = np.random.default_rng(0)
    for split, patients in (("train", 12), ("val", 2), ("test", 4)):
        for number, name in enumerate(CARD.classes):
            for patient in range(patients):
                person = 100000 + 1000 * number + 100 * len(split) + patient
                for picture in (1, 2):
                    pixels = rng.integers(0, 60, (48, 64))
                    pixels[10 + 8 * number : 20 + 8 * number] += 120
                    path = folder / "OCT2017" / split / name / f"{name}-{person}-{picture}.jpeg"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=92)


command = listed.command_of(CARD, find)

"""HAM10000: dermoscopies of pigmented lesions in seven classes; several pictures show one lesion."""

from pathlib import Path

import numpy as np
from PIL import Image

from data_prep import listed
from data_prep.listed import Listed
from data_prep.work import Source
from medtl.cards import DatasetCard
from medtl.files import write_csv

CARD = DatasetCard(
    name="ham10000",
    title="HAM10000, dermoscopy of pigmented lesions",
    task="classification",
    classes=("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"),
    published={"akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142},
    licence="CC BY-NC 4.0",
    citation="Tschandl, Rosendahl, Kittler: The HAM10000 dataset, Scientific Data 2018",
    url="https://doi.org/10.7910/DVN/DBW86T",
    how_to_get="Download both parts of the images and the metadata from Harvard Dataverse. ISIC 2019 holds them,"
    " too: never pretrain on one and judge on the other.",
    disk_gb=None,
    layout="HAM10000_metadata (CSV) and folders of ISIC_….jpg",
)
COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")


def find(raw: Path) -> Source:
    """Return the work of a download; the lesion stands for the patient, whom nobody names."""
    table = listed.below(raw, "HAM10000_metadata*", CARD)
    root, files = listed.beside(table, raw)
    rows, lost = [], []
    for row in listed.table(table, COLUMNS):
        file = files.get(row["image_id"])
        if file is None:
            lost.append((f"{row['image_id']}.jpg", "is missing, and the table lists it"))
            continue
        group = listed.group_of(row["sex"], row["age"], row["localization"])
        rows.append(Listed(file, row["dx"], row["lesion_id"], group=group))
    return listed.source(CARD, root, sorted(rows, key=lambda row: row.file), lost)


def make_sample(folder: Path) -> None:
    """Draw a download in the official layout: two parts, and two pictures of every third lesion."""
    rng = np.random.default_rng(0)
    rows: list[tuple[object, ...]] = [COLUMNS]
    number = 0
    for lesion in range(12 * len(CARD.classes)):
        label = CARD.classes[lesion % len(CARD.classes)]
        person = ("histo", 40 + lesion % 55, ("female", "male", "unknown")[lesion % 3], ("back", "face")[lesion % 2])
        for _ in range(1 + (lesion % 3 == 0)):
            number += 1
            image = f"ISIC_{24000 + number:07d}"
            pixels = rng.integers(120, 150, (48, 64, 3))
            top = 8 + CARD.classes.index(label) * 3
            pixels[top : top + 16, 16:40] -= np.array([20, 60, 60]) + CARD.classes.index(label) * 5
            path = folder / f"HAM10000_images_part_{1 + number % 2}" / f"{image}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=92)
            rows.append((f"HAM_{lesion:07d}", image, label, *person))
    write_csv(folder / "HAM10000_metadata.csv", rows)


command = listed.command_of(CARD, find)

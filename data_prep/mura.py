"""MURA (Rajpurkar et al. 2018): X-rays of arms and hands, abnormal or not; a label holds for a study."""

from pathlib import Path

import numpy as np
from PIL import Image

from data_prep import listed
from data_prep.listed import Listed
from data_prep.work import Source
from medtl.cards import DatasetCard
from medtl.errors import UsageError

CARD = DatasetCard(
    name="mura",
    title="MURA, X-rays of arms and hands",
    task="classification",
    classes=("negative", "positive"),
    licence="research use agreement, no redistribution",
    citation="Rajpurkar et al.: MURA, Large Dataset for Abnormality Detection in Musculoskeletal Radiographs, 2018",
    url="https://stanfordmlgroup.github.io/competitions/mura/",
    how_to_get="Register at Stanford ML Group and download MURA-v1.1.",
    disk_gb=None,
    layout="MURA-v1.1/{train,valid}_labeled_studies.csv and MURA-v1.1/{train,valid}/XR_…/patient…/study…/image….png",
    seen=False,
)
TABLES = {"train_labeled_studies.csv": "", "valid_labeled_studies.csv": "test"}
LABELS = {"0": "negative", "1": "positive"}


def find(raw: Path) -> Source:
    """Return the work of a download: valid becomes test, for the publisher keeps its own test set."""
    first, second = (listed.below(raw, name, CARD) for name in TABLES)
    if first.parent != second.parent:
        raise UsageError(f"{raw} holds the tables of MURA in two folders; expected {CARD.layout}")
    root = first.parent
    rows, odd = [], []
    for name, split in TABLES.items():
        for study, label in _studies(root / name):
            # a study's path begins with the folder that the tables lie in
            place = Path(*Path(study).parts[1:])
            if label not in LABELS or len(place.parts) != 4 or ".." in place.parts:
                odd.append((study, f"{name} gives it label {label!r}; expected 0 or 1, and a study's folder"))
                continue
            pictures = sorted(path for path in (root / place).glob("*.png") if path.name[0] not in "._")
            if not pictures:
                odd.append((study, "holds no picture, and the table lists it"))
            _, part, patient, _ = place.parts
            group = listed.group_of(site=part)
            rows += [Listed(p.relative_to(root).as_posix(), LABELS[label], patient, split, group) for p in pictures]
    return listed.source(CARD, root, rows, odd, channels=1)


def _studies(table: Path) -> list[tuple[str, str]]:
    """(folder, label) of a table, which has no header."""
    lines = [line.strip() for line in table.read_text(encoding="utf-8-sig").splitlines()]
    return [(study.rstrip("/"), label) for study, _, label in (line.rpartition(",") for line in lines if line)]


def make_sample(folder: Path) -> None:
    """Draw a download in the official layout: studies of one to three pictures, patients with several studies."""
    rng = np.random.default_rng(0)
    for split, first, patients in (("train", 1, 24), ("valid", 101, 8)):
        lines = []
        for patient in range(first, first + patients):
            part = ("XR_WRIST", "XR_ELBOW", "XR_HAND")[patient % 3]
            for study in range(1, 2 + (patient % 4 == 0)):
                label = (patient + study) % 2
                place = f"MURA-v1.1/{split}/{part}/patient{patient:05d}/study{study}_{LABELS[str(label)]}"
                (folder / place).mkdir(parents=True)
                for picture in range(1, 2 + patient % 3):
                    pixels = rng.integers(0, 60, (64, 48))
                    pixels[8:56, 14:34] += 90
                    pixels[28:32, 14:34] -= 60 * label
                    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / place / f"image{picture}.png")
                lines.append(f"{place}/,{label}\n")
        (folder / "MURA-v1.1" / f"{split}_labeled_studies.csv").write_text("".join(lines), encoding="utf-8")


command = listed.command_of(CARD, find)

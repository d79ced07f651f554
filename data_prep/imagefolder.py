"""Pictures in folders of their class, as ImageNet and its subsets are laid out; nobody is in them whom one must keep
apart, and files keep their names. For pictures of patients there is ``folder``."""

from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from data_prep import listed
from data_prep.listed import Listed
from data_prep.work import Source
from medtl.cards import DatasetCard
from medtl.errors import UsageError

CARD = DatasetCard(
    name="imagefolder",
    title="Pictures in class folders (ImageNet subsets)",
    task="classification",
    classes=(),
    licence="that of the pictures; ImageNet's are for non-commercial research",
    citation="that of the pictures",
    url="",
    how_to_get="One folder a class, or train/ and val/ with one folder a class each; val/ then becomes the test split.",
    disk_gb=None,
    layout="DIR/<class>/….JPEG or DIR/{train,val,test}/<class>/….JPEG",
)
SPLITS = {"train": "", "val": "test", "test": "test"}
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def find(raw: Path) -> Source:
    """Return the work of a folder: classes are folders' names, and training is what lies in no val/ or test/."""
    tops = {path.name for path in raw.iterdir() if path.is_dir() and path.name[0] not in "._"}
    splits = tops & set(SPLITS)
    if splits and tops - splits:
        raise UsageError(f"{raw} holds {', '.join(sorted(splits))} beside other folders; expected {CARD.layout}")
    rows = []
    for path in sorted(raw.rglob("*")):
        parts = path.relative_to(raw).parts
        inside = parts[1:] if splits else parts
        if path.suffix.lower() in SUFFIXES and len(inside) > 1 and not any(part[0] in "._" for part in parts):
            split = SPLITS[parts[0]] if splits else ""
            rows.append(Listed(PurePosixPath(*parts).as_posix(), inside[0], split=split))
    if len({row.label for row in rows}) < 2:
        raise UsageError(f"{raw} holds pictures of fewer than two classes; expected {CARD.layout}")
    return listed.source(CARD, raw, rows)


def make_sample(folder: Path) -> None:
    """Draw three classes of coloured stripes under WordNet's numbers."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("n01443537", "n02123045", "n07753592")):
        for image in range(16):
            pixels = rng.integers(0, 90, (64, 64, 3))
            pixels[:, number * 16 : number * 16 + 20, number] += 150
            path = folder / name / f"{name}_{image}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path, format="JPEG", quality=92)


command = listed.command_of(CARD, find)

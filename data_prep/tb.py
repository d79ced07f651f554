"""TB: the tuberculosis chest X-rays of Montgomery County and of Shenzhen, one picture a person."""

import re
from collections import Counter
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from data_prep import options, sample
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import BadFileError, UsageError
from medtl.files import file_hash
from medtl.readers.find import OTHER, Tree, below, left_over
from medtl.readers.raster import read_raster
from medtl.writers.images import write_png

CARD = DatasetCard(
    name="tb",
    title="Tuberculosis chest X-rays of Montgomery County and Shenzhen",
    task="classification",
    classes=("normal", "tuberculosis"),
    published={"normal": 406, "tuberculosis": 394},
    parts={
        "Montgomery": {"normal": 80, "tuberculosis": 58},
        "Shenzhen": {"normal": 326, "tuberculosis": 336},
    },
    licence="public for research; the National Library of Medicine asks to be named and the paper to be cited",
    citation="Jaeger et al., Two public chest X-ray datasets for computer-aided screening of pulmonary diseases,"
    " Quantitative Imaging in Medicine and Surgery 2014",
    url="https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/",
    how_to_get="Download the CXR_png folders of both sites and put them under one folder.",
    disk_gb=None,
    layout="MCUCXR_NNNN_{0,1}.png (Montgomery) and CHNCXR_NNNN_{0,1}.png (Shenzhen), anywhere below",
)

SITES = {"MCU": "Montgomery", "CHN": "Shenzhen"}
FILE = re.compile(r"((MCU|CHN)CXR_\d{4})(?:_(\d+))?\.png", re.IGNORECASE)
FILES_A_PIECE = 16  # of 20 million pixels each
LUNG_MASKS = "lung masks"
SIZE = 512
PAPER_SHARE = 79 / 800  # the paper's "9:1": 40 of 406 normal and 39 of 394 with tuberculosis


class Split(StrEnum):
    """How people are dealt."""

    PAPER = "paper"  # training and validation, sites mixed
    LEAVE_ONE_SITE_OUT = "leave-one-site-out"  # fold 0 is Montgomery, fold 1 Shenzhen


@options.shared
def command(
    raw: options.Raw,
    out: options.Out,
    split: Annotated[Split, typer.Option(help="Mix the sites 9:1, or make each a fold.")] = Split.PAPER,
    size: Annotated[int, typer.Option(min=32, help="Shrink the longer side to this many pixels.")] = SIZE,
    seed: options.Seed = 0,
    validation_fraction: options.Validation = PAPER_SHARE,
    **how: Any,
) -> None:
    folder = options.raw_folder(raw, "--raw", CARD.name)
    if out.resolve().is_relative_to(folder.resolve()):  # names alone say what is a picture of the set
        raise UsageError(f"--out {out} lies in the raw folder; choose another folder")
    dealt = split is Split.PAPER
    options.finish(
        CARD,
        [find(folder, split, size)],
        out,
        choices={"split": split.value, "size": size},
        is_sample=raw == sample.WORD,
        seed=seed if dealt else None,
        validation_fraction=validation_fraction if dealt else None,
        **how,
    )


def find(raw: Path, split: Split = Split.PAPER, size: int = SIZE) -> Source:
    """Return the work of a download: chunks of its pictures. Names alone say site, person and class.

    Args:
        raw: a folder with the pictures of one or both sites anywhere below it.
        split: how people are dealt.
        size: pixels of the longer side at most.

    Raises:
        UsageError: no picture, or only one site where each is to be left out in turn.
    """
    tree = below(raw)
    rejected = [Rejected(*one) for one in tree.refused]
    rows: list[tuple[str, str, str]] = []
    parts: dict[str, Counter[str]] = {site: Counter() for site in SITES.values()}
    seen: set[str] = set()
    for file in _files(tree):
        match = FILE.fullmatch(Path(file).name)
        if match is None:
            continue
        person, site, mark = match[1].upper(), SITES[match[2].upper()], match[3]
        if mark not in ("0", "1"):
            rejected.append(Rejected(file, "its name ends neither in _0 (normal) nor in _1 (tuberculosis)"))
        elif f"{person}_{mark}" in seen:
            rejected.append(Rejected(file, "another folder holds the same picture"))
        else:
            seen.add(f"{person}_{mark}")
            rows.append((file, person, CARD.classes[int(mark)]))
            parts[site][CARD.classes[int(mark)]] += 1
    if not rows and not rejected:
        raise UsageError(f"{raw} holds no picture of either site: expected {CARD.layout}")
    missing = [site for site, counts in parts.items() if not counts]
    if missing and split is Split.LEAVE_ONE_SITE_OUT:
        raise UsageError(f"--split {split.value} needs both sites; {raw} holds none of {missing[0]}")
    works = []
    for number, start in enumerate(range(0, len(rows), FILES_A_PIECE)):
        piece = rows[start : start + FILES_A_PIECE]
        works.append(Work(f"{number:05d}", tuple(raw / file for file, _, _ in piece), (split.value, size, piece)))
    return Source(
        name=CARD.name,
        raw=raw,
        works=tuple(works),
        process=process,
        options={"split": split.value, "size": size},
        found=sum(parts.values(), Counter()),
        unit="images",
        rejected=tuple(rejected),
        parts=parts,
        passed=left_over(tree, [file for file, _, _ in rows], [row.file for row in rejected], _why),
    )


def _why(name: str) -> str:
    return LUNG_MASKS if _in_mask_folder(PurePosixPath(name)) else OTHER


def _in_mask_folder(path: PurePosixPath) -> bool:
    return any("mask" in part.lower() for part in path.parts[:-1])


def _files(tree: Tree) -> list[str]:
    """Return PNG files by site and name, without folders of lung masks, which repeat the pictures' names."""
    inside = [PurePosixPath(file.name) for file in tree.files]
    shown = [path for path in inside if path.suffix.lower() == ".png" and not path.name.startswith("_")]
    found = [path for path in shown if not _in_mask_folder(path)]
    return [str(path) for path in sorted(found, key=lambda path: (path.name, len(path.parts), str(path)))]


def process(work: Work, raw: Path, out: Path) -> Done:
    """Read, shrink and write one chunk of pictures as 8-bit grey."""
    split, size, rows = work.payload
    done = Done()
    for file, person, label in rows:
        try:
            pixels = read_grey(raw / file, size)
        except BadFileError as error:
            done.rejected.append(Rejected(file, str(error)))
            continue
        site = SITES[person[:3]]
        target = f"images/{CARD.name}/{site}/{person}_{CARD.classes.index(label)}.png"
        write_png(out / target, pixels)
        entry = {
            "image": target,
            "label": label,
            "patient": f"{CARD.name}/{person}",
            "source": CARD.name,
            "sha256": file_hash(out / target),
            "site": site,
        }
        if split == Split.LEAVE_ONE_SITE_OUT:
            entry |= {"split": "training", "fold": list(SITES.values()).index(site)}
        done.entries.append(entry)
    return done


def read_grey(path: Path, size: int) -> NDArray[np.uint8]:
    """Return a picture as 8-bit grey (rows, columns) whose longer side has at most ``size`` pixels.

    Pictures of more than 8 bits are scaled by the bits that they use (12 of 16 in a radiograph); pictures are only
    shrunk, each new pixel being an average over what it covers.

    Raises:
        BadFileError: missing, empty, no picture, cut short, or all its pixels alike.
    """
    if not path.is_file():
        raise BadFileError("is missing")
    if not path.stat().st_size:
        raise BadFileError("is empty (0 bytes)")
    grey = Image.fromarray(read_raster(path))
    low, high = grey.getextrema()
    if low == high:
        raise BadFileError("shows nothing: all its pixels are alike")
    factor = size / max(grey.size)
    if factor < 1:
        columns, rows = (max(1, round(side * factor)) for side in grey.size)
        grey = grey.resize((columns, rows), Image.Resampling.BILINEAR)
    return np.asarray(grey)

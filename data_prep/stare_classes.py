"""STARE's diagnoses: fundus pictures under the codes of all-mg-codes.txt; for the vessels of twenty of them there is
``stare``, whose names of patients these keep."""

import re
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from data_prep import listed, options, sample
from data_prep.sample.fundus import fundus
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import BadFileError
from medtl.files import file_hash, write_text
from medtl.readers.find import Passed
from medtl.readers.raster import read_raster
from medtl.writers.images import write_png

CARD = DatasetCard(
    name="stare_classes",
    title="STARE, diagnoses",
    task="classification",
    classes=(
        "normal", "Hollenhorst emboli", "branch retinal artery occlusion", "cilio-retinal artery occlusion",
        "branch retinal vein occlusion", "central retinal vein occlusion", "hemi-central retinal vein occlusion",
        "background diabetic retinopathy", "proliferative diabetic retinopathy", "arteriosclerotic retinopathy",
        "hypertensive retinopathy", "Coats' disease", "macroaneurysm", "choroidal neovascularization", "other",
    ),
    licence="not stated",
    citation="Hoover et al., IEEE Transactions on Medical Imaging 2000; Hoover and Goldbaum, ibid. 2003",
    url="https://cecas.clemson.edu/~ahoover/stare/",
    how_to_get="Download the pictures (all-images.zip) and the list of diagnoses (diagnoses/all-mg-codes.txt), and put"
    " both under one folder.",
    disk_gb=None,
    layout="all-mg-codes.txt (imNNNN, codes 0 to 14, words; tabs between them) and imNNNN.ppm",
    seen=False,
)  # fmt: skip
TABLE = "all-mg-codes.txt"
LINE = re.compile(r"(?P<image>im\d{4})\s+(?P<codes>\d{1,2}(?:(?: |, ?)\d{1,2})*)(?!\S)")
SUFFIXES = (".ppm", ".png", ".jpg", ".jpeg")
VESSELS = "stare"  # the set that has twenty of the pictures, too
FILES_A_PIECE = 32


class Rule(StrEnum):
    """How one to three diagnoses of a picture become labels."""

    EXACTLY_ONE = "exactly-one"  # only pictures with a single one
    MULTILABEL = "multilabel"  # one entry a picture, multi-hot


@options.dealt
def command(
    raw: options.Raw,
    out: options.Out,
    rule: Annotated[Rule, typer.Option(help="Say how several diagnoses of one picture become labels.")] = (
        Rule.EXACTLY_ONE
    ),
    test_fraction: options.Test = 0.0,
    **how: Any,
) -> None:
    folder = options.raw_folder(raw, "--raw", CARD.name)
    source = find(folder, rule)
    is_sample = raw == sample.WORD
    options.finish(
        CARD, [source], out, choices={"rule": rule.value}, is_sample=is_sample, test_fraction=test_fraction, **how
    )


def find(raw: Path, rule: Rule = Rule.EXACTLY_ONE) -> Source:
    """Return the work of a download; each picture is its own patient, for nobody says whose it is.

    Args:
        raw: a folder with the table in it or up to two folders below, and the pictures in any folders.
        rule: of pictures with several diagnoses.

    Raises:
        UsageError: there is no table.
    """
    table = listed.below(raw, TABLE, CARD)
    pictures = listed.files_by_stem(raw, SUFFIXES)
    rows: list[tuple[str, list[str]]] = []
    lost, passed = [], []
    for line in table.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        image = line.split(maxsplit=1)[0] if line.strip() else ""
        if not image:
            continue
        match = LINE.match(line)
        codes = sorted({int(code) for code in re.findall(r"\d+", match["codes"])}) if match else []
        file = pictures.pop(image, None)
        if file is None:
            lost.append(Rejected(image, f"has no picture, or a second line in {TABLE}"))
        elif not codes or codes[-1] >= len(CARD.classes):
            lost.append(Rejected(file, f"{TABLE} gives it no codes from 0 to {len(CARD.classes) - 1}"))
        elif len(codes) > 1 and rule is Rule.EXACTLY_ONE:
            passed.append(Passed(file, "of several diagnoses"))
        else:
            rows.append((file, [CARD.classes[code] for code in codes]))
    passed += [Passed(file, f"not in {TABLE}") for file in pictures.values()]
    pieces = [sorted(rows)[start : start + FILES_A_PIECE] for start in range(0, len(rows), FILES_A_PIECE)]
    return Source(
        name=CARD.name,
        raw=raw,
        works=tuple(
            Work(f"{number:05d}", tuple(raw / file for file, _ in piece), [rule.value, piece])
            for number, piece in enumerate(pieces)
        ),
        process=process,
        options={"rule": rule.value},
        found=Counter(name for _, names in rows for name in names),
        unit="images",
        rejected=tuple(lost),
        passed=tuple(passed),
    )


def process(work: Work, raw: Path, out: Path) -> Done:
    """Write one chunk of pictures as PNG, because training does not read PPM."""
    rule, rows = work.payload
    done = Done()
    for file, names in rows:
        image = Path(file).stem
        target = f"images/{CARD.name}/{image}.png"
        try:
            write_png(out / target, read_raster(raw / file, channels=3))
        except BadFileError as error:
            done.rejected.append(Rejected(file, str(error)))
            continue
        entry = {
            "image": target,
            "label": names if rule == Rule.MULTILABEL else names[0],
            "patient": f"{VESSELS}/{image}",
            "source": CARD.name,
            "sha256": file_hash(out / target),
            "channels": 3,
        }
        done.entries.append(entry)
    return done


def make_sample(folder: Path) -> None:
    """Draw a download in the official layout: the pictures of ``stare``'s sample among them, some of two diagnoses,
    and lines whose words hold numbers."""
    lines = []
    (folder / "all-images").mkdir(parents=True)
    for number in range(1, 91):
        picture, _, _ = fundus(VESSELS, number)
        Image.fromarray(picture).save(folder / "all-images" / f"im{number:04d}.ppm")
        codes = [number % len(CARD.classes)]
        if number % 9 == 4:
            codes.append(13)
        words = " AND ".join(CARD.classes[code] for code in codes)
        lines.append(f"im{number:04d}\t{' '.join(map(str, codes))}\t\t{words}{' 2 disc areas' * (number % 10 == 0)}\n")
    write_text(folder / TABLE, "".join(lines))

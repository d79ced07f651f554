"""ChestXRay2017 (Kermany et al.): paediatric chest X-rays, normal or with bacterial or viral pneumonia.

The released train and val folders are pooled, because val holds 16 images; validation is dealt from them by patient.
The test folder stays the test split; where it was not downloaded, a share of the others can take its place.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from data_prep import options, sample
from data_prep.pictures import read_checked
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import BadFileError, UsageError
from medtl.files import write_bytes

CARD = DatasetCard(
    name="chestxray2017",
    title="ChestXRay2017, paediatric pneumonia",
    task="classification",
    classes=("normal", "bacterial", "viral"),
    published={"normal": 1349, "bacterial": 2538, "viral": 1345},
    parts={
        "train and val": {"normal": 1349, "bacterial": 2538, "viral": 1345},
        "test": {"normal": 234, "bacterial": 242, "viral": 148},
    },
    licence="CC BY 4.0",
    citation="Kermany et al., Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep Learning,"
    " Cell 2018",
    url="https://data.mendeley.com/datasets/rscbjbr9sj",
    how_to_get="Download the chest X-rays from Mendeley Data, or Kaggle's chest-xray-pneumonia, and unzip them.",
    disk_gb=1.2,
    layout="chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg",
)

FOLDERS = {"train": None, "val": None, "test": "test"}
TRAIN_AND_VAL, TEST = CARD.parts
PREFIX = {TRAIN_AND_VAL: "trainval-", TEST: "test-"}
KINDS = ("NORMAL", "PNEUMONIA")
FILES_A_PIECE = 256
NORMAL, BACTERIAL, VIRAL = CARD.classes
PNEUMONIA = "pneumonia"
# Kaggle's copy: person1_bacteria_1.jpeg, IM-0115-0001.jpeg, NORMAL2-IM-0383-0001.jpeg
NUMBERED = re.compile(
    r"person(?P<person>\d+)_(?P<germ>bacteria|virus)_\d+(_\d+)?|(?P<series>NORMAL2-)?IM-(?P<im>\d+)-.*"
)
# Mendeley's: (disease)-(randomised patient id)-(image number)
RANDOMISED = re.compile(r"(?P<disease>NORMAL|BACTERIA|VIRUS)-(?P<id>\d+)-\d+")
CLASS_OF = {"bacteria": BACTERIAL, "virus": VIRAL, "NORMAL": NORMAL, "BACTERIA": BACTERIAL, "VIRUS": VIRAL}


class Rule(StrEnum):
    """What the classes are."""

    THREE_CLASS = "three-class"  # normal, bacterial, viral: the CPMID paper's task
    TWO_CLASS = "two-class"  # normal, pneumonia: that of the publication


class Picture(NamedTuple):
    """One file, by its name alone.

    Attributes:
        file: relative to the chest_xray folder.
        label: class name of the three.
        numbering: which sequence of numbers ``patient`` belongs to; empty for Mendeley's ids, of which there is one.
        patient: the number with what stands before it.
    """

    file: str
    label: str
    numbering: str
    patient: str

    @property
    def part(self) -> str:
        return TEST if self.file.startswith("test/") else TRAIN_AND_VAL


@options.dealt
def command(
    raw: options.Raw,
    out: options.Out,
    rule: Annotated[Rule, typer.Option(help="Take three classes, or pneumonia against normal.")] = Rule.THREE_CLASS,
    test_fraction: Annotated[
        float,
        typer.Option(min=0.0, max=0.9, help="Keep this share for test, by patient, where test/ was not downloaded."),
    ] = 0.0,
    **how: Any,
) -> None:
    folder = options.raw_folder(raw, "--raw", CARD.name)
    source = find(folder, rule)
    if test_fraction and source.parts[TEST]:
        raise UsageError(
            f"--test-fraction {test_fraction}: {raw} has the official test folder, which stays the test split"
        )
    options.finish(
        card(rule),
        [source],
        out,
        choices={"rule": rule.value},
        is_sample=raw == sample.WORD,
        test_fraction=test_fraction,
        **how,
    )


def card(rule: Rule) -> DatasetCard:
    """Return the data set's card with the classes of a rule."""
    if rule is Rule.THREE_CLASS:
        return CARD
    return replace(
        CARD,
        classes=(NORMAL, PNEUMONIA),
        published=_by_rule(CARD.published, rule),
        parts={part: _by_rule(counts, rule) for part, counts in CARD.parts.items()},
    )


def _by_rule(counts: Mapping[str, int], rule: Rule) -> dict[str, int]:
    summed: Counter[str] = Counter()
    for name, number in counts.items():
        summed[_label(name, rule)] += number
    return dict(summed)


def _label(name: str, rule: Rule) -> str:
    return PNEUMONIA if rule is Rule.TWO_CLASS and name != NORMAL else name


def find(raw: Path, rule: Rule = Rule.THREE_CLASS) -> Source:
    """Return the work of a download: chunks of its files. Names alone say class and patient.

    Args:
        raw: the chest_xray folder, or up to two above it.
        rule: of the classes.

    Raises:
        UsageError: no such folder.
    """
    folder = _locate(raw)
    place = folder.relative_to(raw)
    pictures, rejected = _pictures(folder)
    patients = _patients(pictures)
    parts: dict[str, Counter[str]] = {part: Counter() for part in CARD.parts}
    for picture in pictures:
        parts[picture.part][_label(picture.label, rule)] += 1
    rows = [(one.file, _label(one.label, rule), patient) for one, patient in zip(pictures, patients, strict=True)]
    works = []
    for number, start in enumerate(range(0, len(rows), FILES_A_PIECE)):
        piece = rows[start : start + FILES_A_PIECE]
        files = tuple(folder / file for file, _, _ in piece)
        works.append(Work(f"{number:05d}", files, (place.as_posix(), piece)))
    return Source(
        name=CARD.name,
        raw=raw,
        works=tuple(works),
        process=process,
        options={"rule": rule.value},
        found=sum(parts.values(), Counter()),
        unit="images",
        rejected=tuple(Rejected((place / file).as_posix(), reason) for file, reason in rejected),
        parts=parts,
    )


def _locate(raw: Path) -> Path:
    """Return the folder with train, val and test; the outermost, as Kaggle's archive holds a second copy inside the
    first."""
    for depth in ("", "*/", "*/*/"):
        for folder in sorted(raw.glob(depth)) if depth else [raw]:
            hidden = any(part[0] in "._" for part in folder.relative_to(raw).parts)
            if not hidden and any((folder / split / kind).is_dir() for split in FOLDERS for kind in KINDS):
                return folder
    raise UsageError(f"{raw} holds no ChestXRay2017: expected {CARD.layout}, in it or up to two folders below")


def _pictures(folder: Path) -> tuple[list[Picture], list[tuple[str, str]]]:
    """Return what every file's name says, and (file, reason) of those whose names say nothing."""
    found: list[Picture] = []
    rejected: list[tuple[str, str]] = []
    for file in _files(folder):
        try:
            found.append(_read_name(file))
        except BadFileError as error:
            rejected.append((file, str(error)))
    return found, rejected


def _files(folder: Path) -> Iterator[str]:
    for split in FOLDERS:
        for kind in KINDS:
            place = folder / split / kind
            names = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
            yield from (f"{split}/{kind}/{name}" for name in names if name[0] not in "._")


def _read_name(file: str) -> Picture:
    _, kind, name = file.split("/")
    stem = Path(name).stem
    if match := NUMBERED.fullmatch(stem):
        numbering = match["germ"] or f"{match['series'] or ''}IM"
        label = CLASS_OF[match["germ"] or "NORMAL"]
        picture = Picture(file, label, numbering, f"person{match['person']}" if match["germ"] else f"IM-{match['im']}")
    elif match := RANDOMISED.fullmatch(stem):
        picture = Picture(file, CLASS_OF[match["disease"]], "", match["id"])
    else:
        raise BadFileError("its name says no class and patient (person1_bacteria_1, IM-0115-0001, VIRUS-1007618-0001)")
    if (picture.label == NORMAL) != (kind == "NORMAL"):
        raise BadFileError(f"its name says {picture.label}, its folder {kind}")
    return picture


def _patients(pictures: Sequence[Picture]) -> list[str]:
    """Return each picture's patient.

    Persons with bacteria and persons with a virus are numbered apart, as are both series of normal images; each
    numbering runs on from one folder to the next, and the publisher dealt whole numbers into train and test. Whether
    one number in two numberings is one child nobody says: in the pooled train and val it is taken for one, to be on
    the safe side. Test is the publisher's, so ids there carry their part: person1 with a virus (test) is no proof of
    a leak from person1 with bacteria (train). A number of one numbering in both parts would be: it keeps one id,
    which data preparation and ``medtl check`` name as shared.
    """
    parts = defaultdict(set)
    for one in pictures:
        parts[one.numbering, one.patient].add(one.part)
    leaks = {(one.part, one.patient) for one in pictures if len(parts[one.numbering, one.patient]) > 1}
    ids = []
    for one in pictures:
        prefix = "" if not one.numbering or (one.part, one.patient) in leaks else PREFIX[one.part]
        ids.append(f"{CARD.name}/{prefix}{one.patient}")
    return ids


def process(work: Work, raw: Path, out: Path) -> Done:
    """Check and copy one chunk of files. Images are copied byte for byte: a JPEG needs no second compression."""
    place, rows = work.payload
    done = Done()
    for file, label, patient in rows:
        try:
            content = read_checked(raw / place / file)
        except BadFileError as error:
            done.rejected.append(Rejected((Path(place) / file).as_posix(), str(error)))
            continue
        target = f"images/{CARD.name}/{file}"
        write_bytes(out / target, content)
        entry = {
            "image": target,
            "label": label,
            "patient": patient,
            "source": CARD.name,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        split = FOLDERS[file.split("/")[0]]
        done.entries.append({**entry, "split": split} if split else entry)
    return done

"""CHAOS: abdominal CT and MR slices with masks of liver, kidneys and spleen, every sequence, in three folds."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from data_prep import options, sample, windows
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import BadFileError, UsageError, tell
from medtl.files import file_hash
from medtl.readers import intensity
from medtl.readers.chaos import check_liver, natural, pair, read_mask
from medtl.readers.dicom import Series, check_volume, read_volume, scan
from medtl.readers.find import OTHER, below, left_over
from medtl.readers.kinds import kind
from medtl.readers.volume import Volume, display
from medtl.transforms import key_slice
from medtl.writers.images import write_png

CARD = DatasetCard(
    name="chaos",
    title="CHAOS, combined healthy abdominal organ segmentation",
    task="segmentation",
    classes=(
        "liver",
        "right_kidney",
        "left_kidney",
        "spleen",
    ),
    published={
        "CT": 20,
        "T1DUAL-in": 20,
        "T1DUAL-out": 20,
        "T2SPIR": 20,
    },
    licence="CC BY-NC-SA 4.0 (non-commercial)",
    citation="Kavur et al., CHAOS Challenge: combined (CT-MR) healthy abdominal organ segmentation, Medical Image"
    " Analysis 2021",
    url="https://chaos.grand-challenge.org/",
    how_to_get="Follow the data link of the challenge's page; unzip Train_Sets (the test sets have no ground truth).",
    disk_gb=None,
    layout="CT/NN/{DICOM_anon,Ground}/ and MR/NN/{T1DUAL,T2SPIR}/{DICOM_anon,Ground}/, as in Train_Sets",
)

# organs in the order of their index in our masks, with the grey values of the MR masks
MR_GREYS = {"liver": (55, 70), "right_kidney": (110, 135), "left_kidney": (175, 200), "spleen": (240, 255)}
FOLDS = 3
# modality → folder of ground truth → sequence → folder of its images
LAYOUT: dict[str, dict[str, dict[str, str]]] = {
    "CT": {"Ground": {"CT": "DICOM_anon"}},
    "MR": {
        "T1DUAL/Ground": {"T1DUAL-in": "T1DUAL/DICOM_anon/InPhase", "T1DUAL-out": "T1DUAL/DICOM_anon/OutPhase"},
        "T2SPIR/Ground": {"T2SPIR": "T2SPIR/DICOM_anon"},
    },
}
SEQUENCES = tuple(name for grounds in LAYOUT.values() for images in grounds.values() for name in images)

UNLABELLED = "of cases without ground truth"
EVERY = "all"  # for segmentation that means slices without an organ too: a case is scored whole

KeySlices = Annotated[
    str, typer.Option(help=f"Choose slices by a rule: {key_slice.RULES} (here every slice, with or without an organ).")
]


class Part(NamedTuple):
    """One sequence of one case; folders relative to the raw folder."""

    modality: str
    case: str
    sequence: str
    images: str
    ground: str


@options.shared
def command(
    raw: options.Raw,
    out: options.Out,
    key_slices: KeySlices = EVERY,
    seed: Annotated[int, typer.Option(help="Deal the folds by this seed.")] = 0,
    **how: Any,
) -> None:
    folder = options.raw_folder(raw, "--raw", CARD.name)
    options.finish(
        CARD,
        [find(folder, key_slices, read_headers=how["dry_run"])],
        out,
        choices={"key-slices": key_slices},
        is_sample=raw == sample.WORD,
        seed=seed,
        **how,
    )


def find(raw: Path, key_slices: str = EVERY, read_headers: bool = False) -> Source:
    """Return the work of a CHAOS download: every sequence of every case that has ground truth.

    Args:
        raw: the folder with CT/ and/or MR/, up to two above it, or CT or MR itself.
        key_slices: rule of the slices.
        read_headers: check each series already, for --dry-run.

    Raises:
        UsageError: no case with ground truth, or a rule that is none.
    """
    key_slice.select([1], key_slices)  # a wrong rule is told before the work
    works: list[Work] = []
    rejected: list[Rejected] = []
    found = dict.fromkeys(SEQUENCES, 0)
    unlabelled: set[Path] = set()
    for case in _cases(raw):
        for item in _parts(case, raw):
            if isinstance(item, Rejected):
                rejected.append(item)
                continue
            if not (raw / item.ground).is_dir():
                unlabelled.add(case)
                continue
            name = f"{item.modality}-{item.case}-{item.sequence}"
            if any(work.id == name for work in works):
                rejected.append(Rejected(item.images, "another folder holds the same case"))
                continue
            if read_headers:
                series, reasons = _series(item, raw)
                rejected += reasons
                if series is None:
                    continue
            try:
                files = (*_files(raw / item.images), *_files(raw / item.ground, ".png"))
            except OSError as error:
                rejected.append(Rejected(item.images, f"a folder cannot be opened: {error.strerror}"))
                continue
            found[item.sequence] += 1
            works.append(Work(name, files, (item, key_slices)))
    if unlabelled:
        names = ", ".join(sorted((case.relative_to(raw).as_posix() for case in unlabelled), key=natural))
        tell(f"{CARD.name}: {len(unlabelled)} case(s) without ground truth (test sets) are passed over: {names}")
    if not works and not rejected:
        raise UsageError(
            f"{raw} holds no CHAOS case with ground truth: expected {CARD.layout}, in it or up to two folders below"
        )
    tree = below(raw)
    known = {
        *(row.file for row in rejected),
        *(work.payload[0].images for work in works),
    }
    rejected += [
        Rejected(*one)
        for one in tree.refused
        if known.isdisjoint({one.name.rstrip("/"), *map(str, PurePosixPath(one.name).parents)})
    ]
    used = [_below(path, raw) for work in works for path in work.files if _is_read(path)]
    without = {_below(case, raw) for case in unlabelled}

    def why(name: str) -> str:
        return UNLABELLED if without & {parent.as_posix() for parent in PurePosixPath(name).parents} else OTHER

    return Source(
        name=CARD.name,
        raw=raw,
        works=tuple(works),
        process=process,
        options={"key_slices": key_slices},
        found=found,
        unit="cases",
        rejected=tuple(rejected),
        folds=FOLDS,
        passed=left_over(tree, used, [row.file for row in rejected], why),
    )


def _below(path: Path, raw: Path) -> str:
    return path.relative_to(raw).as_posix()


def _is_read(path: Path) -> bool:
    """Whether a file of a case's folders is an image or a mask; one that cannot be opened is named when it is read."""
    try:
        return kind(path) in ("dicom", "raster")
    except OSError:
        return True


def _cases(raw: Path) -> Iterator[Path]:
    """Return folders below every CT or MR folder (of the sets that lie nearest to ``raw``), the modality's name above
    each."""
    for depth in ("", "*/", "*/*/"):
        folders = [path for name in LAYOUT for path in sorted(raw.glob(depth + name)) if _shown(path, raw)]
        if folders:
            break
    else:
        own = os.path.basename(os.path.abspath(raw))  # a link keeps its own name
        folders = [raw] if own in LAYOUT else []
    for folder in folders:
        yield from sorted((p for p in folder.iterdir() if _shown(p, raw)), key=lambda path: natural(path.name))


def _shown(folder: Path, raw: Path) -> bool:
    return folder.is_dir() and not any(part[0] in "._" for part in folder.relative_to(raw).parts)


def _parts(case: Path, raw: Path) -> Iterator[Part | Rejected]:
    """Return the sequences that a case's folder holds; a folder that holds none is no case."""
    name = case.relative_to(raw).as_posix()
    modality = os.path.basename(os.path.abspath(case.parent))
    for ground, sequences in LAYOUT[modality].items():
        there = {sequence: images for sequence, images in sequences.items() if (case / images).is_dir()}
        if there and not (case.name.isascii() and case.name.isdigit()):
            yield Rejected(name, "is not named by a case's number")
            return
        if not there and (case / ground).is_dir():
            expected = " or ".join(sequences.values())
            yield Rejected(f"{name}/{ground}", f"ground truth without images: no {expected} beside it")
        for sequence, images in there.items():
            yield Part(modality, case.name, sequence, f"{name}/{images}", f"{name}/{ground}")


def _files(folder: Path, suffix: str = "") -> tuple[Path, ...]:
    """Return files directly in a folder that are not hidden, by name, with one suffix in upper or lower case."""
    shown = (path for path in folder.iterdir() if path.is_file() and path.name[0] not in "._")
    return tuple(sorted(path for path in shown if path.suffix.lower() == suffix or not suffix))


def _series(part: Part, raw: Path) -> tuple[Series | None, list[Rejected]]:
    """Return the one series of a part, checked by headers alone, or None; and what is wrong."""
    scanned = scan(raw / part.images)
    rejected = [Rejected(path.relative_to(raw).as_posix(), reason) for path, reason in scanned.rejected]
    try:
        if not scanned.series:
            raise BadFileError("no usable DICOM image")
        if len(scanned.series) > 1:
            raise BadFileError(f"{len(scanned.series)} series where one is expected")
        (series,) = scanned.series
        if series.modality != part.modality:
            raise BadFileError(f"modality {series.modality or 'missing'} where {part.modality} is expected")
        check_volume(series)
        pair(series, _files(raw / part.ground, ".png"))
    except BadFileError as error:
        return None, [*rejected, Rejected(part.images, str(error))]
    return series, rejected


def process(work: Work, raw: Path, out: Path) -> Done:
    """Process one sequence of one case: images by position, masks by file name, checked against each other, slice by
    slice."""
    part, rule = Part(*work.payload[0]), work.payload[1]
    series, rejected = _series(part, raw)
    done = Done(rejected=rejected)
    if series is None:
        return done
    planes = []
    for path in pair(series, _files(raw / part.ground, ".png")):
        try:
            planes.append(read_mask(path, MR_GREYS if part.modality == "MR" else None))
        except BadFileError as error:
            reason = f"{error}; the case's {part.sequence} is left out"
            done.rejected.append(Rejected(path.relative_to(raw).as_posix(), reason))
            return done
    try:
        sizes = {f"{rows} × {columns}" for rows, columns in (plane.shape for plane in planes)}
        size = f"{series.headers[0].rows} × {series.headers[0].columns}"
        if sizes != {size}:
            raise BadFileError(f"images of {size} pixels, but masks of {' and '.join(sorted(sizes))}")
        volume = read_volume(series)
        mask = Volume(np.stack(planes).transpose(2, 1, 0), volume.affine)
        if not mask.array.any():
            raise BadFileError("the ground truth is empty")
        if part.modality == "CT":
            check_liver(volume.array, mask.array)
        done.entries = _slices(part, rule, volume.canonical(), mask.canonical(), out)
    except BadFileError as error:
        done.rejected.append(Rejected(part.images, str(error)))
    return done


def _slices(part: Part, rule: str, volume: Volume, mask: Volume, out: Path) -> list[dict[str, Any]]:
    """Yield picture, mask and entry of each chosen slice; ``volume`` and ``mask`` (organ indices) are canonical."""
    if part.modality == "CT":
        centre, width = windows.SOFT_TISSUE
        low, high = centre - width / 2, centre + width / 2
    else:
        low, high = intensity.mr_range(volume.array)
    organs = CARD.classes[:1] if part.modality == "CT" else CARD.classes
    entries = []
    areas_of_slices = key_slice.slice_areas(mask.array)
    chosen = np.arange(len(areas_of_slices)) if rule == EVERY else key_slice.select(areas_of_slices, rule)
    for index in chosen:
        labels = display(mask.array[:, :, index])
        areas = np.bincount(labels.ravel(), minlength=len(CARD.classes) + 1)[1:].tolist()
        name = f"{CARD.name}/{part.modality}/{part.case}/{part.sequence}_z{index:03d}.png"
        write_png(out / "images" / name, intensity.scale(display(volume.array[:, :, index]), low, high))
        write_png(out / "masks" / name, labels)
        entries.append(
            {
                "image": f"images/{name}",
                "mask": f"masks/{name}",
                "patient": f"{CARD.name}/{part.modality}/{part.case}",
                "source": CARD.name,
                "sha256": file_hash(out / "images" / name),
                "mask_sha256": file_hash(out / "masks" / name),
                "case": f"{part.modality}/{part.case}",
                "slice": int(index),
                "spacing": [round(mm, 4) for mm in volume.spacing],
                "sequence": part.sequence,
                "areas": {organ: areas[number] for number, organ in enumerate(organs)},
            }
        )
    return entries

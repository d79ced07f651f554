"""LIDC-IDRI: 224 × 224 crops around the nodules of 3 mm and more, without resampling, in a lung window."""

import functools
import hashlib
import os
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from data_prep import options, sample, windows
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.datalist import Entry
from medtl.errors import BadFileError, UsageError
from medtl.files import file_hash
from medtl.readers import intensity
from medtl.readers.dicom import Series, read_slices, scan
from medtl.readers.find import Tree, below, is_hidden, left_over
from medtl.readers.lidc import (
    Annotation,
    Box,
    Nodule,
    crop,
    join_marks,
    missing_slices,
    read_xml,
    slices,
    unique_positions,
)
from medtl.writers.images import write_png

CARD = DatasetCard(
    name="lidc",
    title="LIDC-IDRI, nodule crops",
    task="classification",
    classes=("Nodule",),
    published={
        "Nodule": 4708,
    },
    licence="CC BY 3.0",
    citation="Armato et al., The Lung Image Database Consortium (LIDC) and IDRI, Medical Physics 2011",
    url="https://www.cancerimagingarchive.net/collection/lidc-idri/",
    how_to_get="Download the CT images with the NBIA Data Retriever and the readers' XML; keep both under one folder.",
    disk_gb=125.0,
    layout="LIDC-IDRI-NNNN/ patient folders of DICOM series, LidcReadMessage XML anywhere below the same folder",
)

(NODULE,) = CARD.classes
CROP = 224
AIR = -1000  # HU, beyond the border of the slice
PATIENT = re.compile(r"LIDC-IDRI-\d{4}")
SERIES_UID = re.compile(rb"<(?:\w+:)?SeriesInstanceUid>\s*([0-9.]+)\s*</")
# The collection's folder tells the patient, whatever a copy's PatientID says.
SHARED = ("StudyInstanceUID", "FrameOfReferenceUID")
LARGEST_MATRIX = (512, 512)  # of the collection's CT; joining marks needs no more than room for their coordinates


class Slices(StrEnum):
    """Which slices of a nodule become crops."""

    LARGEST = "largest"
    ALL = "all"


NoduleSlices = Annotated[Slices, typer.Option(help="Take the slice of the nodule's largest area, or all slices.")]
MinReaders = Annotated[
    int, typer.Option(min=1, max=4, help="Take nodules that at least this many of four readers marked.")
]


@options.dealt
def command(
    raw: options.Raw,
    out: options.Out,
    nodule_slices: NoduleSlices = Slices.LARGEST,
    min_readers: MinReaders = 1,
    **how: Any,
) -> None:
    folder = options.raw_folder(raw, "--raw", CARD.name)
    options.finish(
        CARD,
        [find(folder, nodule_slices, min_readers, read_annotations=how["dry_run"])],
        out,
        choices={"nodule-slices": nodule_slices.value, "min-readers": min_readers},
        is_sample=raw == sample.WORD,
        **how,
    )


def find(
    raw: Path, nodule_slices: Slices = Slices.LARGEST, min_readers: int = 1, read_annotations: bool = False
) -> Source:
    """Return the work of a LIDC-IDRI download: its patients. Annotations may lie with the images or anywhere else below
    ``raw``.

    Args:
        raw: a folder of LIDC-IDRI-NNNN folders, one above it, or a single patient's.
        nodule_slices: which slices of a nodule become crops.
        min_readers: readers that must have marked a nodule.
        read_annotations: count the nodules from the XML already, for --dry-run.

    Raises:
        UsageError: no patient folder.
    """
    tree = below(raw)
    patients, second = _patients(raw, tree)
    loose = _loose_annotations(tree)
    stamp = hashlib.sha256(repr([(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in loose]).encode()).hexdigest()
    works, rejected, nodules = [], [*(Rejected(*one) for one in tree.refused), *second], 0
    used = [path.relative_to(raw).as_posix() for path in loose]
    for name, (folder, files) in patients.items():
        used += [path.relative_to(raw).as_posix() for path in files]
        payload = (name, folder.relative_to(raw).as_posix(), nodule_slices.value, min_readers)
        works.append(Work(name, files, payload))
        if read_annotations:
            annotations, unusable = _annotations(files, raw, stamp)
            rejected += [Rejected(xml.relative_to(raw).as_posix(), reason) for xml, reason in unusable]
            for _, annotation in annotations:
                for nodule in _nodules(annotation, LARGEST_MATRIX, min_readers):
                    nodules += len(slices(nodule, nodule_slices.value))
    return Source(
        name=CARD.name,
        raw=raw,
        works=tuple(works),
        process=functools.partial(process, stamp=stamp),
        options={"slices": nodule_slices.value, "min_readers": min_readers, "loose": stamp},
        found={NODULE: nodules},
        unit="crops",
        rejected=tuple(rejected),
        passed=left_over(tree, used, [row.file for row in second]),
    )


def _patients(raw: Path, tree: Tree) -> tuple[dict[str, tuple[Path, tuple[Path, ...]]], list[Rejected]]:
    """Return each patient's folder, the nearest that holds a file, with its files; and second folders of a patient,
    which are to be named. A download in parts may have both, and nothing tells whether they agree."""
    found: dict[str, list[Path]] = {}
    for folder in (raw, *sorted(raw.glob("*")), *sorted(raw.glob("*/*"))):
        name = os.path.basename(os.path.abspath(folder))  # a link keeps its own name
        if PATIENT.fullmatch(name) and folder.is_dir() and not any(map(is_hidden, folder.relative_to(raw).parts)):
            own = found.setdefault(name, [])
            own += [folder] if not any(folder.is_relative_to(above) for above in own) else []
    if not found:
        raise UsageError(f"{raw} holds no LIDC-IDRI patient: expected {CARD.layout}, in it or up to two folders below")
    files: dict[Path, list[Path]] = {folder: [] for own in found.values() for folder in own}
    for file in tree.files:
        above = next((folder for folder in file.path.parents if folder in files), None)
        if above is not None:
            files[above].append(file.path)
    patients, second = {}, []
    for name, own in sorted(found.items()):
        whole = [folder for folder in own if files[folder]] or own[:1]
        patients[name] = whole[0], tuple(sorted(files[whole[0]]))
        reason = "is a second folder of this patient; the first is taken"
        second += [Rejected(folder.relative_to(raw).as_posix(), reason) for folder in whole[1:]]
    return patients, second


def _loose_annotations(tree: Tree) -> list[Path]:
    """Return XML files outside the patients' folders: the collection's archive offers them as a download of
    their own."""
    files = (file.path for file in tree.files if file.name.lower().endswith(".xml"))
    return sorted(path for path in files if not any(PATIENT.fullmatch(part) for part in path.parts))


@functools.cache
def _loose_by_series(raw: Path, stamp: str) -> dict[str, list[Path]]:
    """Return loose annotations by the series they name, from the first few kB of each; once a process and ``stamp``,
    which changes with them."""
    found: dict[str, list[Path]] = {}
    for path in _loose_annotations(below(raw)):
        try:
            with open(path, "rb") as file:
                match = SERIES_UID.search(file.read(8192))
        except OSError:  # then no patient has it
            continue
        if match:
            found.setdefault(match[1].decode(), []).append(path)
    return found


def _annotations(
    files: tuple[Path, ...], raw: Path, stamp: str, series: tuple[Series, ...] = ()
) -> tuple[list[tuple[Path, Annotation]], list[tuple[Path, str]]]:
    """Return one annotation a CT series of a patient, and (file, reason) of the XML files that cannot be used.

    The patient's own files come first; where none of them is about a CT series of the patient (archives put the chest
    X-ray's beside it), the loose ones that name one. Copies of one file count once; files that differ about one series
    are refused, since nothing tells which holds.
    """
    own = [path for path in files if path.suffix.lower() == ".xml"]
    found, unusable = _read_all(own)
    uids = {one.uid for one in series}
    if not any(annotation.series_uid in uids for _, annotation in found) if series else not found:
        there = series or scan([p for p in files if p.suffix.lower() != ".xml"], modality="CT", shared=SHARED).series
        by_series = _loose_by_series(raw, stamp)
        loose = [path for uid in dict.fromkeys(one.uid for one in there) for path in by_series.get(uid, [])]
        more, also_unusable = _read_all(loose)
        found, unusable = [*found, *more], [*unusable, *also_unusable]
    kept: list[tuple[Path, Annotation]] = []
    for uid in dict.fromkeys(annotation.series_uid for _, annotation in found):
        same = [(path, annotation) for path, annotation in found if annotation.series_uid == uid]
        if len({path.read_bytes() for path, _ in same}) == 1:
            kept.append(same[0])
        else:
            names = " and ".join(path.name for path, _ in same)
            unusable += [(path, f"annotates the same series as another file, differently: {names}") for path, _ in same]
    return kept, unusable


def _read_all(paths: Sequence[Path]) -> tuple[list[tuple[Path, Annotation]], list[tuple[Path, str]]]:
    """Return every CT annotation with its file, and (file, reason) of those that cannot be read; those of chest X-rays
    are passed over."""
    found, unusable = [], []
    for path in paths:
        try:
            annotation = read_xml(path)
        except BadFileError as error:
            unusable.append((path, str(error)))
            continue
        if annotation is not None:
            found.append((path, annotation))
    return found, unusable


def _nodules(annotation: Annotation, shape: tuple[int, int], min_readers: int) -> list[Nodule]:
    return [nodule for nodule in join_marks(annotation.marks, shape) if nodule.readers >= min_readers]


def process(work: Work, raw: Path, out: Path, *, stamp: str) -> Done:
    """Process one patient: headers, annotations, then only the pixels of the slices that are cut."""
    patient, folder, rule, min_readers = work.payload
    done = Done()
    if not work.files:
        return Done(rejected=[Rejected(folder, "the patient's folder is empty")])

    def reject(path: Path, reason: str) -> None:
        done.rejected.append(Rejected(path.relative_to(raw).as_posix(), reason))

    scanned = scan([path for path in work.files if path.suffix.lower() != ".xml"], modality="CT", shared=SHARED)
    for path, reason in scanned.rejected:
        reject(path, reason)
    annotations, unusable = _annotations(work.files, raw, stamp, scanned.series)
    for xml, reason in unusable:
        reject(xml, reason)
    if not annotations and not unusable:
        reject(raw / folder, "no annotation: no LidcReadMessage XML names one of its CT series")
    for xml, annotation in annotations:
        try:
            number, series = _series_of(annotation, scanned.series)
        except BadFileError as error:
            reject(xml, str(error))
            continue
        shape = (series.headers[0].rows, series.headers[0].columns)
        for count, nodule in enumerate(_nodules(annotation, shape, min_readers)):
            try:
                done.entries += _crops(nodule, series, rule, f"{patient}_s{number}_n{count:02d}", patient, out)
            except BadFileError as error:
                reject(xml, str(error))
    return done


def _series_of(annotation: Annotation, found: tuple[Series, ...]) -> tuple[int, Series]:
    for number, series in enumerate(found):
        if series.uid == annotation.series_uid:
            return number, series
    raise BadFileError("annotates a CT series that is not among the patient's files")


def _crops(nodule: Nodule, series: Series, rule: str, name: str, patient: str, out: Path) -> list[Entry]:
    entries = []
    for index, box, pixels in crops(nodule, series, rule):
        target = f"images/{CARD.name}/{patient}/{name}_z{index:03d}.png"
        write_png(out / target, pixels)
        entries.append(
            {
                "image": target,
                "label": NODULE,
                "patient": f"{CARD.name}/{patient}",
                "source": CARD.name,
                "sha256": file_hash(out / target),
                "case": patient,
                "slice": index,
                "spacing": [round(mm, 4) for mm in _spacing(series)],
                "sequence": "CT",
                "box": list(box),
                "readers": nodule.readers,
            }
        )
    return entries


def crops(nodule: Nodule, series: Series, rule: str) -> list[tuple[int, Box, NDArray[np.uint8]]]:
    """Return the crops around one nodule; only the slices that are cut are decoded.

    Args:
        nodule: with outlines on slices of the series.
        series: of CT slices.
        rule: of ``Slices``.

    Returns:
        Of each crop: the slice's place in the series, the nodule's box in it, and 224 × 224 pixels in the lung window.

    Raises:
        BadFileError: the series lacks a slice that is named, or one cannot be decoded.
    """
    absent = missing_slices(nodule, series)
    if absent:
        places = ", ".join(f"{z:g}" for z in absent)
        raise BadFileError(f"names slices that are absent from the series (z = {places} mm); that nodule is left out")
    place = {header.sop_uid: index for index, header in enumerate(series.headers)}
    uids = slices(nodule, Slices(rule).value)
    pictures = read_slices(series, [place[uid] for uid in uids])
    found = []
    for uid, picture in zip(uids, pictures, strict=True):
        box = nodule.box(uid)
        cut = crop(picture.astype(np.float32), box, CROP, AIR)
        found.append((place[uid], box, intensity.ct_window(cut, *windows.LUNG)))
    return found


def _spacing(series: Series) -> tuple[float, ...]:
    """Return (x, y, z) mm, a position that two slices share counted once; (x, y) alone where a single slice leaves z
    open."""
    rows, columns = series.headers[0].pixel_spacing or (0.0, 0.0)
    apart = unique_positions(series)
    return apart.spacing if len(apart.headers) > 1 else (columns, rows)

"""Medical Segmentation Decathlon: transverse key slices chosen by the segmentation mask, at native size."""

import os
import unicodedata
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from data_prep import options, sample
from data_prep.msd_tasks import MSD_TASKS, MsdTask
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import BadFileError, UsageError
from medtl.files import file_hash, parse_json
from medtl.readers import intensity
from medtl.readers.find import OTHER, below, is_hidden, left_over
from medtl.readers.kinds import NIFTI, named
from medtl.readers.nifti import read_header, read_image_and_mask
from medtl.readers.volume import Volume, display
from medtl.transforms import key_slice
from medtl.writers.images import write_png

CARD = DatasetCard(
    name="msd",
    title="Medical Segmentation Decathlon, key slices",
    task="classification",
    classes=(
        "Brain",
        "Heart",
        "Liver",
        "Hippocampus",
        "Prostate",
        "Lung",
        "Pancreas",
        "Hepatic Vessel",
        "Spleen",
        "Colon",
    ),
    published={
        "Brain": 4788,
        "Heart": 372,
        "Liver": 2143,
        "Prostate": 216,
        "Lung": 465,
    },
    licence="CC BY-SA 4.0",
    citation="Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 2022",
    url="http://medicaldecathlon.com/",
    how_to_get="Download the task archives (CPMID needs 01, 02, 03, 05 and 06) and untar them side by side.",
    disk_gb=45.0,
    layout="TaskNN_*/dataset.json, imagesTr/, labelsTr/",
)

TABLE = "dataset.json"
UNLABELLED = "of test cases, whose labels were never published"


class Channels(StrEnum):
    """Which channels of a multi-channel image become pictures."""

    FIRST = "first"  # FLAIR of the brain, T2 of the prostate: one picture a key slice, as the paper's counts say
    ALL = "all"  # one picture a key slice and channel


KeySlices = Annotated[
    str, typer.Option(help=f"Choose key slices by a rule: {key_slice.RULES}. 'card' takes each task's own.")
]
WhichChannels = Annotated[Channels, typer.Option(help="Make pictures of these channels of an image.")]


@options.dealt
def command(
    raw: options.Raw,
    out: options.Out,
    key_slices: KeySlices = "card",
    channels: WhichChannels = Channels.FIRST,
    **how: Any,
) -> None:
    folder = options.raw_folder(raw, "--raw", CARD.name)
    options.finish(
        CARD,
        [find(folder, key_slices, channels, read_headers=how["dry_run"])],
        out,
        choices={"key-slices": key_slices, "channels": channels.value},
        is_sample=raw == sample.WORD,
        **how,
    )


def find(
    raw: Path,
    key_slices: str = "card",
    channels: Channels = Channels.FIRST,
    tasks: tuple[int, ...] = tuple(MSD_TASKS),
    read_headers: bool = False,
) -> Source:
    """Return the work of a folder of ``TaskNN_*`` folders (or of one of them): its training cases.

    Args:
        raw: the folder.
        key_slices: a rule for all tasks, or ``card`` for each task's own.
        channels: of multi-channel images.
        tasks: numbers of the tasks to take.
        read_headers: look into each image's header already, for --dry-run.

    Raises:
        UsageError: no task folder, or a rule that is none.
    """
    if key_slices != "card":
        key_slice.select([1], key_slices)  # a wrong rule is told before hours of work
    works: list[Work] = []
    rejected: list[Rejected] = []
    found: dict[str, int] = {}
    folders, unusable = _task_folders(raw)
    rejected += unusable
    for number, folder in folders.items():
        if number not in tasks:
            continue
        task = MSD_TASKS[number]
        rule = task.key_slices if key_slices == "card" else key_slices
        try:
            pairs = _pairs(folder)
        except BadFileError as error:
            rejected.append(Rejected(_place(folder / TABLE, raw), str(error)))
            continue
        if not pairs:
            rejected.append(
                Rejected(_place(folder, raw), f"the task {task.organ!r} is lost: it holds no training case")
            )
        for image, label in pairs:
            case = _case(image.name)
            if read_headers:
                try:
                    read_header(image)
                except BadFileError as error:
                    rejected.append(Rejected(image.relative_to(raw).as_posix(), str(error)))
                    continue
            found[task.organ] = found.get(task.organ, 0) + 1
            works.append(Work(f"{number:02d}-{case}", (image, label), (number, case, rule, channels.value)))
    used = [_place(path, raw) for work in works for path in work.files if path.exists()]
    used += [_place(folder / TABLE, raw) for number, folder in folders.items() if number in tasks]
    tree = below(raw)
    rejected += [Rejected(*one) for one in tree.refused]
    return Source(
        name=CARD.name,
        raw=raw,
        works=tuple(works),
        process=process,
        options={"key_slices": key_slices, "channels": channels.value},
        found=found,
        unit="cases",
        rejected=tuple(rejected),
        passed=left_over(tree, used, [row.file for row in rejected], _why),
    )


def _why(name: str) -> str:
    return UNLABELLED if PurePosixPath(name).parent.name in ("imagesTs", "labelsTs") else OTHER


def _task_folders(raw: Path) -> tuple[dict[int, Path], list[Rejected]]:
    """Return each task's folder, nearest first, and what is to be named: folders of a task that hold no case, and a
    second folder of a task. Some archives unpack into a folder of their own name, so a task may lie in a folder of its
    own."""
    found: dict[int, list[Path]] = {}
    for folder in (raw, *sorted(raw.glob("*/")), *sorted(raw.glob("*/*/")), *sorted(raw.glob("*/*/*/"))):
        name = os.path.basename(os.path.abspath(folder))  # a link keeps its own name
        number = name[4:6] if name.lower().startswith("task") else ""
        hidden = folder != raw and any(is_hidden(part) for part in folder.relative_to(raw).parts)
        if number.isdigit() and int(number) in MSD_TASKS and not hidden:
            found.setdefault(int(number), []).append(folder)
    if not found:
        raise UsageError(f"{raw} holds no MSD task: expected {CARD.layout}, in it or up to two folders below")
    folders: dict[int, Path] = {}
    rejected = []
    for task, candidates in sorted(found.items()):
        whole = [folder for folder in candidates if any((folder / part).exists() for part in (TABLE, "imagesTr"))]
        if whole:
            folders[task] = whole[0]
            rejected += [
                Rejected(_place(one, raw), "is a second folder of this task; the first is taken") for one in whole[1:]
            ]
        else:
            organ = MSD_TASKS[task].organ
            reason = f"the task {organ!r} is lost: it holds neither {TABLE} nor imagesTr"
            rejected.append(Rejected(_place(candidates[0], raw), reason))
    return folders, rejected


def _place(path: Path, raw: Path) -> str:
    return path.relative_to(raw).as_posix()


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Return (image, label) of the training cases that dataset.json names and of any other in imagesTr, packed or not;
    hidden files are not cases."""
    table = folder / TABLE
    names: set[str] = set()
    if table.is_file():
        try:  # bytes: the decoder knows the marks that editors put in front of UTF-8 and UTF-16
            names = {Path(item["image"]).name for item in parse_json(table.read_bytes())["training"]}
        except (ValueError, KeyError, TypeError):
            raise BadFileError("is not MSD's table of training images and labels") from None
    there = {part: _volumes(folder / part) for part in ("imagesTr", "labelsTr")}
    cases = {_case(name): name for name in sorted(names) if name and name[0] not in "._"}
    cases |= {case: path.name for case, path in there["imagesTr"].items() if case not in cases}
    return [
        (
            there["imagesTr"].get(case, folder / "imagesTr" / cases[case]),
            there["labelsTr"].get(case, folder / "labelsTr" / cases[case]),
        )
        for case in sorted(cases)
    ]


def _volumes(folder: Path) -> dict[str, Path]:
    """Return the file of each case in a folder, packed or not, packed first; the case of suffixes is ignored."""
    if not folder.is_dir():
        return {}
    files = (path for path in folder.iterdir() if path.name[0] not in "._" and named(path.name) == "nifti")
    return {_case(path.name): path for path in sorted(files, key=lambda path: (len(path.name), path.name))}


def _case(name: str) -> str:
    """Return the name without .nii or .nii.gz, in one Unicode form."""
    normal = unicodedata.normalize("NFC", name)
    suffix = next((each for each in sorted(NIFTI, key=len, reverse=True) if normal.lower().endswith(each)), "")
    return normal[: len(normal) - len(suffix)]


def process(work: Work, raw: Path, out: Path) -> Done:
    """Process one case: read mask and image once, choose the slices, write each as an 8-bit PNG."""
    number, case, rule, channels = work.payload
    image, label = work.files
    task = MSD_TASKS[number]
    try:
        volume, mask = read_image_and_mask(image, label, channel=None if channels == Channels.ALL else 0)
        _check_channels(task, read_header(image).shape)
        entries = _key_slices(task, case, rule, channels, volume, mask, out)
    except BadFileError as error:
        return Done(rejected=[Rejected(image.relative_to(raw).as_posix(), str(error))])
    return Done(entries)


def _check_channels(task: MsdTask, shape: tuple[int, ...]) -> None:
    count = shape[3] if len(shape) == 4 else 1
    if count < len(task.channels):
        raise BadFileError(f"has {count} channel(s); {task.organ} has {len(task.channels)}: {', '.join(task.channels)}")


def _key_slices(
    task: MsdTask, case: str, rule: str, channels: str, volume: Volume, mask: Volume, out: Path
) -> list[dict[str, Any]]:
    entries = []
    for sequence, index, pixels in key_pictures(task, rule, channels, volume, mask):
        suffix = f"_{sequence}" if channels == Channels.ALL else ""
        target = f"images/{CARD.name}/{task.organ.replace(' ', '')}/{case}{suffix}_z{index:03d}.png"
        write_png(out / target, pixels)
        entries.append(
            {
                "image": target,
                "label": task.organ,
                "patient": f"{CARD.name}/{case}",
                "source": CARD.name,
                "sha256": file_hash(out / target),
                "case": case,
                "slice": index,
                "spacing": [round(mm, 4) for mm in volume.spacing],
                "sequence": sequence,
            }
        )
    return entries


def key_pictures(
    task: MsdTask, rule: str, channels: str, volume: Volume, mask: Volume
) -> Iterator[tuple[str, int, NDArray[np.uint8]]]:
    """Return the key slices of one case as pictures.

    Args:
        task: decides names of the channels and the grey range.
        rule: of the key slices.
        channels: of ``Channels``.
        volume: (x, y, z), or (x, y, z, channel); the first channel is enough for ``first``.
        mask: (x, y, z) labels on the same grid.

    Yields:
        Name of the channel, slice counted from the feet, (rows, columns) pixels as radiologists look at them; ordered
        by channel, then slice.
    """
    array = volume.array if volume.array.ndim == 4 else volume.array[..., np.newaxis]
    chosen = key_slice.select(key_slice.slice_areas(mask.array), rule)
    names = task.channels if channels == Channels.ALL else task.channels[:1]
    for channel, sequence in enumerate(names):
        low, high = _grey_range(task, array[..., channel])
        for index in chosen:
            yield sequence, int(index), intensity.scale(display(array[:, :, index, channel]), low, high)


def _grey_range(task: MsdTask, channel: np.ndarray) -> tuple[float, float]:
    """Return the grey range: CT's by its organ's window, MR's by the percentiles of the whole case, so that its slices
    are comparable."""
    if task.window:
        centre, width = task.window
        return centre - width / 2, centre + width / 2
    return intensity.mr_range(channel)

"""Key slices from raw files: medtl against MONAI's LoadImage and against the bare decoding, on the same files.

    python benchmarks/key_slices.py [--repetitions N]

Three ways from files to the same 8-bit key slices, one process, one thread, warm page cache, nothing kept from one
repetition to the next:

* medtl: what data preparation does, without writing the PNG files.
* monai: LoadImaged on image and label, EnsureChannelFirstd, Orientationd, then the same slices and the same scaling.
* bare: what no program can leave out, by somebody who knows beforehand which slices are wanted: decompression, mask or
  XML decoding, the pixels of those slices. No geometry, no check, no scaling.

Real files are looked for in $MEDTL_SHARED (../shared beside the repository); where they are absent, phantoms stand in.
Only ratios are printed: seconds of one machine say nothing about another.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch start their threads

import argparse
import contextlib
import logging
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage.draw import polygon

from data_prep import lidc, msd, sample
from data_prep.msd_tasks import MSD_TASKS
from data_prep.windows import LUNG, SOFT_TISSUE
from medtl.readers import intensity
from medtl.readers.dicom import read_slices, scan
from medtl.readers.lidc import join_marks, read_xml
from medtl.readers.nifti import gzip_reader, read_image_and_mask
from medtl.transforms import key_slice

ROOT = Path(__file__).resolve().parents[1]
AREA = "area:0.90"
CHUNK = 2**18

Slices = dict[int, NDArray[np.uint8]]  # slice counted from the feet → picture, 0..255


@dataclass(frozen=True)
class Case:
    """One case as it lies on the disk.

    Attributes:
        kind: "msd", "chaos" or "lidc". is_real: not a phantom.
        image: the NIfTI file, or the folder of the DICOM series.
        marks: the label's NIfTI file, the folder of PNG masks, or the XML file.
    """

    kind: str
    image: Path
    marks: Path
    is_real: bool = True


def find_cases() -> list[Case]:
    """One case a kind: the real one where it is there, otherwise a phantom; a kind without either is left out."""
    data = ROOT / os.environ.get("MEDTL_SHARED", "../shared") / "data"
    brain, ct = data / "msd/Task01_BrainTumour", data / "chaos/Train_Sets/CT/3"
    found = []
    if brain.is_dir():
        found.append(msd_case(brain))
    else:
        found.append(msd_case(next(sample.download("msd").rglob("Task01_*")), is_real=False))
    if ct.is_dir():
        found.append(Case("chaos", ct / "DICOM_anon", ct / "Ground"))
    if (data / "lidc").is_dir():
        found.append(lidc_case(data / "lidc/LIDC-IDRI/LIDC-IDRI-0001"))
    else:
        found.append(lidc_case(next(sample.download("lidc").rglob("LIDC-IDRI-0001")), is_real=False))
    return found


def msd_case(task: Path, is_real: bool = True) -> Case:
    """The first case of an MSD task's folder."""
    image = min(task.glob("imagesTr/[!._]*.nii.gz"))
    return Case("msd", image, task / "labelsTr" / image.name, is_real)


def lidc_case(patient: Path, is_real: bool = True) -> Case:
    """The annotated CT series of one patient's folder."""
    xml = min(patient.rglob("*.xml"))
    return Case("lidc", xml.parent, xml, is_real)


# --- medtl ---


def medtl_slices(case: Case) -> Slices:
    """Files to pictures as radiologists look at them, (rows, columns), as data preparation does it."""
    return {"msd": _medtl_msd, "chaos": _medtl_chaos, "lidc": _medtl_lidc}[case.kind](case)


def _medtl_msd(case: Case) -> Slices:
    volume, mask = read_image_and_mask(case.image, case.marks, channel=0)
    return {index: pixels for _, index, pixels in msd.key_pictures(MSD_TASKS[1], AREA, "first", volume, mask)}


def _medtl_chaos(case: Case) -> Slices:
    (series,) = scan(case.image, modality="CT").series
    order = {path: k for k, path in enumerate(sorted(case.image.iterdir()))}  # images and masks pair by file name
    masks = sorted(case.marks.iterdir())
    areas = [np.count_nonzero(_png(masks[order[header.path]])) for header in series.headers]
    chosen = key_slice.select(areas, AREA).tolist()
    pictures = read_slices(series, chosen)
    return {k: intensity.ct_window(picture, *SOFT_TISSUE) for k, picture in zip(chosen, pictures, strict=True)}


def _medtl_lidc(case: Case) -> Slices:
    (series,) = scan([path for path in case.image.iterdir() if path != case.marks], modality="CT").series
    annotation = read_xml(case.marks)
    assert annotation is not None
    nodules = join_marks(annotation.marks, (series.headers[0].rows, series.headers[0].columns))
    return {k: pixels for nodule in nodules for k, _, pixels in lidc.crops(nodule, series, "largest")}


# --- MONAI ---


def monai_slices(case: Case) -> Slices:
    """Files to pictures in MONAI's axes, (x, y) of a RAS+ volume, by its own loading transforms."""
    with quiet():
        return {"msd": _monai_msd, "chaos": _monai_chaos, "lidc": _monai_lidc}[case.kind](case)


def _monai_msd(case: Case) -> Slices:
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd

    keys = ["image", "label"]
    load = Compose([LoadImaged(keys), EnsureChannelFirstd(keys), Orientationd(keys, axcodes="RAS")])
    loaded = load({"image": case.image, "label": case.marks})
    channel, label = loaded["image"][0].numpy(), loaded["label"][0].numpy()
    low, high = np.percentile(channel[channel != 0], (0.5, 99.5))
    chosen = key_slice.select((label > 0).sum(axis=(0, 1)), AREA)
    return {int(k): intensity.scale(channel[:, :, k], float(low), float(high)) for k in chosen}


def _monai_chaos(case: Case) -> Slices:
    from monai.data import MetaTensor
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd

    keys = ["image", "label"]
    load = Compose([LoadImaged("image", reader="PydicomReader"), LoadImaged("label", reader="PILReader")])
    loaded = load({"image": case.image, "label": sorted(case.marks.iterdir())})
    # The PNG files come as channels, (slice, x, y) in the order of their names, and do not know where they lie.
    loaded["label"] = MetaTensor(loaded["label"].permute(1, 2, 0), affine=loaded["image"].affine)
    turn = Compose([EnsureChannelFirstd(keys, channel_dim="no_channel"), Orientationd(keys, axcodes="RAS")])
    turned = turn(loaded)
    image, label = turned["image"][0].numpy(), turned["label"][0].numpy()
    chosen = key_slice.select((label > 0).sum(axis=(0, 1)), AREA)
    return {int(k): intensity.ct_window(image[:, :, k], *SOFT_TISSUE) for k in chosen}


def _monai_lidc(case: Case) -> Slices:
    from monai.data import MetaTensor
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd

    keys = ["image", "label"]
    loaded = LoadImaged("image", reader="PydicomReader", fname_regex=r".*\.dcm$")({"image": case.image})
    image = loaded["image"]
    first, step = float(image.affine[2, 3]), float(image.affine[2, 2])
    label = np.zeros(image.shape, np.uint8)
    for z, points in _outlines(case.marks):
        label[(*polygon(points[:, 0], points[:, 1], label.shape[:2]), round((z - first) / step))] = 1
    loaded["label"] = MetaTensor(label, affine=image.affine)
    turn = Compose([EnsureChannelFirstd(keys, channel_dim="no_channel"), Orientationd(keys, axcodes="RAS")])
    turned = turn(loaded)
    image, label = turned["image"][0].numpy(), turned["label"][0].numpy()
    chosen = int((label > 0).sum(axis=(0, 1)).argmax())
    return {chosen: intensity.ct_window(image[:, :, chosen], *LUNG)}


def _outlines(xml: Path) -> Iterator[tuple[float, NDArray[np.int64]]]:
    """z in mm and (n, 2) points (x, y) of every outline of more than one point."""
    for roi in ElementTree.parse(xml).iterfind(".//{*}unblindedReadNodule/{*}roi"):
        edges = [
            (int(e.findtext("{*}xCoord") or 0), int(e.findtext("{*}yCoord") or 0)) for e in roi.iterfind("{*}edgeMap")
        ]
        if len(edges) > 1:
            yield float(roi.findtext("{*}imageZposition") or 0), np.array(edges)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep MONAI's warnings and log lines away while inside, and only there."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


# --- the floor ---


def bare_decoding(case: Case, files: list[Path]) -> None:
    """Decode what must be decoded of a case whose wanted slices lie in these DICOM files; nothing is made of it."""
    if case.kind == "msd":
        for path in (case.marks, case.image):
            with gzip_reader.open(path) as file:
                while file.read(CHUNK):
                    pass
    elif case.kind == "chaos":
        for path in sorted(case.marks.iterdir()):
            _png(path)
    else:
        ElementTree.parse(case.marks)
    for path in files:
        _ = pydicom.dcmread(path).pixel_array


def bare_headers(case: Case) -> None:
    """Where every slice of a DICOM series lies, by pydicom: the least that tells which file holds a wanted slice."""
    for path in case.image.iterdir():
        if path != case.marks:
            dataset = pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=["ImagePositionPatient", "SOPInstanceUID"]
            )
            _ = dataset.ImagePositionPatient, dataset.SOPInstanceUID


def wanted_files(case: Case) -> list[Path]:
    """The DICOM files that hold the key slices; none for NIfTI."""
    if case.kind == "msd":
        return []
    (series,) = scan([path for path in case.image.iterdir() if path != case.marks], modality="CT").series
    return [series.headers[k].path for k in medtl_slices(case)]


def _png(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        return np.asarray(image)


# --- measuring ---


def measure(case: Case, repetitions: int) -> dict[str, float]:
    """Median seconds of each way, taken in turn; for DICOM also of looking at all headers."""
    files = wanted_files(case)
    ways: dict[str, Callable[[], object]] = {
        "medtl": lambda: medtl_slices(case),
        "monai": lambda: monai_slices(case),
        "bare": lambda: bare_decoding(case, files),
    }
    if case.kind != "msd":
        ways["headers"] = lambda: bare_headers(case)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(repetitions + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if repetition:  # the first round fills the page cache and imports what is imported late
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def volume_bytes(case: Case) -> int:
    """Size of one decoded volume as it is stored: all channels of a NIfTI file, all slices of a series."""
    if case.kind == "msd":
        volume, _ = read_image_and_mask(case.image, case.marks)
        return volume.array.nbytes
    (series,) = scan([path for path in case.image.iterdir() if path != case.marks], modality="CT").series
    return read_slices(series, [0]).nbytes * len(series.headers)


def memory_growth(case: Case) -> int:
    """Bytes by which medtl's way raises the peak memory of a process that has done nothing but the imports."""
    command = [sys.executable, __file__, "--memory-of", case.kind]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_memory(kind: str) -> None:
    """What ``memory_growth`` runs in a process of its own."""
    (case,) = (case for case in find_cases() if case.kind == kind)
    before = _resident()
    medtl_slices(case)
    print(_peak() - before)


def _resident() -> int:
    """Bytes of this process in memory now; where the system does not tell, the most there ever were."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return _peak()


def _peak() -> int:
    """Most bytes of this process that were ever in memory at once."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):  # unlike getrusage's figure, not inherited from the parent process
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


NAMES = {"msd": "MSD brain, .nii.gz", "chaos": "CHAOS CT, DICOM + PNG", "lidc": "LIDC-IDRI, DICOM + XML"}
TARGETS = {"msd": 1.5, "chaos": 3.0, "lidc": 3.0}  # times faster than MONAI
NEAR = 1.3  # times the bare decoding
VOLUMES = 1.0  # peak memory in decoded volumes


def report(cases: list[Case], repetitions: int) -> None:
    """Measure and print: one table, then one line a claim."""
    table = Table(title=f"Key slices from raw files, ratios of medians of {repetitions} interleaved repetitions")
    for column in ("case", "MONAI / medtl", "medtl / bare", "medtl / (bare + headers)", "peak memory / volume"):
        table.add_column(column, justify="left" if column == "case" else "right")
    lines = []
    for case in cases:
        memory = memory_growth(case) / volume_bytes(case)  # before MONAI's import makes this process large
        seconds = measure(case, repetitions)
        faster, near = seconds["monai"] / seconds["medtl"], seconds["medtl"] / seconds["bare"]
        found = seconds["medtl"] / (seconds["bare"] + seconds.get("headers", 0.0))
        name = NAMES[case.kind] + ("" if case.is_real else " (phantom)")
        table.add_row(name, f"{faster:.1f}", f"{near:.2f}", f"{found:.2f}", f"{memory:.2f}")
        lines += [
            _claim(f"{name}: {faster:.1f} times as fast as MONAI", faster >= TARGETS[case.kind], TARGETS[case.kind]),
            _claim(f"{name}: {near:.2f} times the bare decoding of slices known beforehand", near <= NEAR, NEAR),
            _claim(f"{name}: peak memory grows by {memory:.2f} decoded volumes", memory <= VOLUMES, VOLUMES),
        ]
        if "headers" in seconds:
            lines.insert(-1, _claim(f"{name}: {found:.2f} times bare decoding + headers", found <= NEAR, NEAR))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    print("\n".join(lines))


def _claim(text: str, holds: bool, target: float) -> str:
    return f"{text} (target {target:g}: {'met' if holds else 'NOT met'})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Key slices: medtl, MONAI and bare decoding on the same files.")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--memory-of", choices=tuple(NAMES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print_memory(arguments.memory_of)
        return
    cases = find_cases()
    if not all(case.is_real for case in cases):
        print("Real files are absent (set MEDTL_SHARED): phantoms stand in, whose ratios differ from real ones.")
    report(cases, arguments.repetitions)


if __name__ == "__main__":
    main()

"""ACDC: cine MR of the heart, both ends of the cycle of each patient, with both ventricles and the muscle between.

It is the set that today's papers use where Wen et al. (2021) took York's; ``york_cardiac`` prepares that one.
"""

import re
from pathlib import Path

import numpy as np

from data_prep import masked, masked_volumes
from data_prep.masked_volumes import Row
from data_prep.sample.drawing import generator, write_nifti
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import UsageError
from medtl.readers.find import OTHER, below, left_over
from medtl.readers.nifti import read_image_and_mask

CARD = DatasetCard(
    name="acdc",
    title="ACDC, cine MR of the heart",
    task="segmentation",
    classes=("right_ventricle", "myocardium", "left_ventricle"),
    licence="for research, after registration (the challenge's terms)",
    citation="Bernard et al., Deep Learning Techniques for Automatic MRI Cardiac Multi-structures Segmentation and"
    " Diagnosis: Is the Problem Solved?, IEEE Transactions on Medical Imaging 2018",
    url="https://www.creatis.insa-lyon.fr/Challenge/acdc/databases.html",
    how_to_get="Register on the challenge's page, download the database and unzip it.",
    disk_gb=None,
    layout="training/patientNNN/patientNNN_frameMM.nii.gz with …_frameMM_gt.nii.gz, and testing/ of the same kind",
    seen=False,
)
FRAME = re.compile(r"(?P<patient>patient\d{3})_frame(?P<frame>\d{2})(?P<gt>_gt)?\.nii(?:\.gz)?$", re.IGNORECASE)
VALUES = {1: 1, 2: 2, 3: 3}


def find(raw: Path) -> Source:
    """Return the work of a download: each frame that has a mask; those without one are named, the whole cycles
    (``_4d``) passed over.

    Raises:
        UsageError: it holds no frame of the set.
    """
    tree = below(raw)
    frames: dict[tuple[str, str], dict[bool, str]] = {}
    for name in sorted(one.name for one in tree.files):
        if match := FRAME.search(name):
            own = frames.setdefault((match["patient"].lower(), match["frame"]), {})
            own.setdefault(bool(match["gt"]), name)
    rejected = [Rejected(*one) for one in tree.refused]
    rows = []
    for (patient, frame), own in sorted(frames.items()):
        if len(own) < 2:
            reason = "is a mask without its frame" if True in own else "has no mask"
            rejected.append(Rejected(next(iter(own.values())), reason))
            continue
        split = "test" if "testing" in Path(own[False]).parts else ""
        rows.append(Row(f"{patient}_{frame}", own[False], own[True], patient, split))
    if not rows and not rejected:
        raise UsageError(f"{raw} holds no frame of {CARD.name}: expected {CARD.layout}")
    used = [name for row in rows for name in (row.image, row.mask)]
    passed = left_over(tree, used, [row.file for row in rejected], _why)
    works = tuple(masked_volumes.works(rows, raw))
    found = dict.fromkeys(CARD.classes, len(rows))
    return Source(CARD.name, raw, works, process, {}, found, "cases", tuple(rejected), passed)


def _why(name: str) -> str:
    return "of whole cycles" if "_4d." in name else OTHER


def process(work: Work, raw: Path, out: Path) -> Done:
    """Process one frame."""
    return masked_volumes.done(CARD.name, work, raw, out, read_image_and_mask, VALUES)


command = masked.command_of(CARD, find, 0.0)


def make_sample(folder: Path) -> None:
    """Draw the layout: hearts as rings in a chest, wide at the one end of the cycle and narrow at the other."""
    x, y, z = np.mgrid[0:72, 0:64, 0:5].astype(np.float32)
    for number in range(1, 11):
        rng = generator("acdc", number)
        part, name = "testing" if number > 8 else "training", f"patient{number:03d}"
        centre = rng.uniform(28, 38, 2)
        for frame, wide in ((1, 9.0), (12, 6.0)):
            radius = np.hypot(x - centre[0], y - centre[1]) + z
            right = np.hypot(x - centre[0] + 16, (y - centre[1]) / 1.4) + z
            labels = np.select([radius < wide, radius < wide + 4, right < wide], [3, 2, 1], 0)
            grey = np.array([60, 210, 90, 220])[labels] + rng.normal(0, 12, labels.shape)
            affine = np.diag([1.5, 1.5, 8.0, 1.0])
            place = folder / part / name / f"{name}_frame{frame:02d}"
            place.parent.mkdir(parents=True, exist_ok=True)
            write_nifti(place.with_name(f"{place.name}.nii.gz"), np.clip(grey, 0, 400).astype(np.int16), affine)
            write_nifti(place.with_name(f"{place.name}_gt.nii.gz"), labels.astype(np.uint8), affine)

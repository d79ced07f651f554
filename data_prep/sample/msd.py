"""A phantom download of five tasks of the Medical Segmentation Decathlon, in the official layout."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.sample import anatomy
from data_prep.sample.drawing import Array, generator, write_nifti

Affine = NDArray[np.float64]
Phantom = Callable[[np.random.Generator, anatomy.Coordinates], tuple[Array, anatomy.Labels]]

# macOS leaves such a file beside each file that it packs; this is the head of its format.
RESOURCE_FORK = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(58)


@dataclass(frozen=True)
class Task:
    """One task of the Decathlon.

    Attributes:
        folder, name, description: as in the official download.
        modality: channels.
        labels: classes, background first.
        stems: file names of the labelled cases, without suffix.
        unlabelled: file name of the test case.
        size: voxels towards right, front and head.
        spacing: the same in mm.
        codes: for each case, by turns, the directions in which its array axes grow.
        dtype: type of the stored voxels.
        air: lowest value that is stored.
        phantom: draws image and labels.
        tilts: case number to its turn about the left-right axis, in degrees.
    """

    folder: str
    name: str
    description: str
    modality: tuple[str, ...]
    labels: tuple[str, ...]
    stems: tuple[str, ...]
    unlabelled: str
    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    codes: tuple[str, ...]
    dtype: str
    air: int
    phantom: Phantom
    tilts: tuple[tuple[int, float], ...] = ()


TASKS = (
    Task(
        folder="Task01_BrainTumour",
        name="BRATS",
        description="Gliomas segmentation tumour and oedema in on brain images",
        modality=("FLAIR", "T1w", "t1gd", "T2w"),
        labels=("background", "edema", "non-enhancing tumor", "enhancing tumour"),
        stems=tuple(f"BRATS_{n:03d}" for n in (1, 2, 3, 4, 5, 6)),
        unlabelled="BRATS_485",
        size=(112, 128, 30),
        spacing=(1.5, 1.5, 3.5),
        codes=("LPS",),
        dtype="int16",
        air=0,
        phantom=anatomy.brain,
    ),
    Task(
        folder="Task02_Heart",
        name="LeftAtrium",
        description="Left Atrium Segmentation",
        modality=("MRI",),
        labels=("background", "left atrium"),
        stems=tuple(f"la_{n:03d}" for n in (3, 4, 5, 7, 9, 10)),
        unlabelled="la_001",
        size=(136, 112, 26),
        spacing=(2.5, 2.5, 2.7),
        codes=("RAS", "RAS", "ASR", "RAS", "RAS", "LPS"),  # the third was stored as sagittal slices
        dtype="float32",
        air=0,
        phantom=anatomy.heart,
    ),
    Task(
        folder="Task03_Liver",
        name="Liver",
        description="Liver and cancer segmentation",
        modality=("CT",),
        labels=("background", "liver", "cancer"),
        stems=tuple(f"liver_{n}" for n in (0, 1, 2, 3, 10, 11, 12)),
        unlabelled="liver_131",
        size=(144, 112, 28),
        spacing=(2.5, 2.5, 5.0),
        codes=("LAS", "RAS", "LPS"),
        dtype="int16",
        air=-1024,
        phantom=anatomy.liver,
    ),
    Task(
        folder="Task05_Prostate",
        name="PROSTATE",
        description="Prostate transitional zone and peripheral zone segmentation",
        modality=("T2", "ADC"),
        labels=("background", "PZ", "TZ"),
        stems=tuple(f"prostate_{n:02d}" for n in (0, 1, 2, 4, 6, 7)),
        unlabelled="prostate_03",
        size=(128, 128, 18),
        spacing=(1.45, 1.45, 3.6),
        codes=("LAS",),
        dtype="float32",
        air=0,
        phantom=anatomy.prostate,
        tilts=((1, 11.0), (4, -7.0)),
    ),
    Task(
        folder="Task06_Lung",
        name="Lung",
        description="Lung and cancer segmentation",
        modality=("CT",),
        labels=("background", "cancer"),
        stems=tuple(f"lung_{n:03d}" for n in (1, 3, 4, 5, 6, 9, 10)),
        unlabelled="lung_002",
        size=(144, 112, 22),
        spacing=(2.4, 2.4, 2.5),
        codes=("LAS", "RAS"),
        dtype="int16",
        air=-1024,
        phantom=anatomy.lung,
    ),
)


def make(folder: Path, seed: int = 0) -> None:
    """Write the phantom download below `folder`; the same seed gives the same bytes."""
    for task in TASKS:
        root = folder / task.folder
        for number, stem in enumerate((*task.stems, task.unlabelled)):
            test = stem == task.unlabelled
            image, labels, affine = scan(task, number, generator(seed, task.name, stem))
            write_nifti(root / ("imagesTs" if test else "imagesTr") / f"{stem}.nii.gz", image, affine)
            if not test:
                write_nifti(root / "labelsTr" / f"{stem}.nii.gz", labels, affine)
        (root / "imagesTr" / f"._{task.stems[0]}.nii.gz").write_bytes(RESOURCE_FORK)
        (root / "dataset.json").write_text(json.dumps(description(task), indent=4) + "\n", encoding="utf-8")


def description(task: Task) -> dict[str, object]:
    """Return the content of dataset.json."""
    return {
        "name": task.name,
        "description": task.description,
        "reference": "drawn by a program: a phantom, no patient",
        "licence": "CC0-1.0",
        "release": "1.0 04/05/2018",
        "tensorImageSize": "4D" if len(task.modality) > 1 else "3D",
        "modality": {str(i): name for i, name in enumerate(task.modality)},
        "labels": {str(i): name for i, name in enumerate(task.labels)},
        "numTraining": len(task.stems),
        "numTest": 1,
        "training": [
            {"image": f"./imagesTr/{stem}.nii.gz", "label": f"./labelsTr/{stem}.nii.gz"} for stem in task.stems
        ],
        "test": [f"./imagesTs/{task.unlabelled}.nii.gz"],
    }


def scan(task: Task, number: int, rng: np.random.Generator) -> tuple[NDArray, anatomy.Labels, Affine]:
    """Return one case: image, labels and affine, in the orientation that the task stores case `number` in."""
    shape, affine = placement(
        task.size, task.spacing, task.codes[number % len(task.codes)], dict(task.tilts).get(number, 0.0)
    )
    image, labels = task.phantom(rng, coordinates(shape, affine))
    # Where the scanner's origin lies says nothing about where in the volume the patient lies.
    affine[:3, 3] += np.round(rng.uniform(-40, 40, 3), 2) if task.name != "BRATS" else _brats_origin(shape, affine)
    return np.clip(np.rint(image), task.air, 32767).astype(task.dtype), labels, affine


def _brats_origin(shape: tuple[int, ...], affine: Affine) -> NDArray[np.float64]:
    """Return the shift that puts the origin where all cases of BRATS have it: x and z at the first voxel, y at the
    last."""
    return np.array([0, affine[1, 1] * -(shape[1] - 1), 0]) - affine[:3, 3]


def placement(
    size: tuple[int, int, int], spacing: tuple[float, float, float], codes: str, tilt: float
) -> tuple[tuple[int, int, int], Affine]:
    """Return the shape and affine of a volume whose middle lies at the origin.

    Args:
        size: voxels towards right, front and head.
        spacing: the same in mm.
        codes: the directions in which the array axes grow, such as LPS.
        tilt: turn of the volume about the left-right axis, in degrees.
    """
    affine = np.eye(4)
    affine[:3, :3] = 0
    shape = [0, 0, 0]
    for axis, code in enumerate(codes):
        world = next(i for i, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        affine[world, axis] = spacing[world] * (1 if code in "RAS" else -1)
        shape[axis] = size[world]
    if tilt:
        c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ affine[:3, :3]
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return (shape[0], shape[1], shape[2]), affine


def coordinates(shape: tuple[int, int, int], affine: Affine) -> list[Array]:
    """Return millimetres towards right, front and head of every voxel; kept as thin arrays where the axes are
    straight."""
    thin = [
        np.arange(n, dtype=np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
        for axis, n in enumerate(shape)
    ]
    result = []
    for row in affine[:3]:
        at = np.full((1, 1, 1), row[3], dtype=np.float32)
        for axis in range(3):
            if row[axis]:
                at = at + np.float32(row[axis]) * thin[axis]
        result.append(at)
    return result

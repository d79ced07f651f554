"""A phantom download of LIDC-IDRI: CT series in DICOM and the XML marks of four readers, in the official layout.

The series are targeted reconstructions of one lung, so that a nodule has as many pixels as in the real
512 × 512 images.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from scipy.ndimage import distance_transform_edt

from data_prep.sample.anatomy import thorax_ct
from data_prep.sample.drawing import Array, blend, generator, noise, soft
from data_prep.sample.lidc_marks import READERS, Mark, Mask, Series, Voxel, message, session
from data_prep.sample.slices import common_header, write_slice

PIXELS = 256
LARGE_NODULES = (3, 2, 4, 3, 3, 2, 4, 3, 3, 3)  # of each patient
CAVITIES = ((1, 0), (4, 1), (7, 0))  # patient and nodule, counted from 0
BORDER_PATIENT = 2  # the first nodule of this one lies at the upper border of the image


@dataclass(frozen=True)
class Nodule:
    """A lump in the lung; lengths in pixels and slices.

    Attributes:
        centre: slice, row and column of its middle.
        radius: in the slice.
        half: half of its height.
        lobes: size and phase of the 2nd to 4th harmonic of its outline.
        density: Hounsfield units.
        hollow: radius of the cavity as a part of `radius`, 0 for none.
        readers: who marks it.
    """

    centre: Voxel
    radius: float
    half: float
    lobes: tuple[tuple[float, float], ...]
    density: float
    hollow: float
    readers: tuple[int, ...]

    def level(self, shape: tuple[int, ...], grow: float = 1.0, turn: float = 0.0, size: float = 1.0) -> Array:
        """Return signed distance in pixels within each slice; a reader sees it grown by a factor and turned by an
        angle."""
        z, y, x = (np.arange(n, dtype=np.float32) - c for n, c in zip(shape, self.centre, strict=True))
        x, y, z = x[None, None, :], y[None, :, None], z[:, None, None]
        angle = np.arctan2(y, x)
        outline = 1 + sum(a * np.cos(k * angle + phase + turn) for k, (a, phase) in enumerate(self.lobes, start=2))
        height = np.sqrt(np.clip(1 - np.abs(z / np.float32(self.half * grow * size)) ** 2.5, 0, None))
        return np.sqrt(x * x + y * y) - np.float32(self.radius * grow * size) * outline * height + 0.01


def make(folder: Path, seed: int = 0) -> None:
    """Write the phantom download below `folder`; the same seed gives the same bytes."""
    for number in range(len(LARGE_NODULES)):
        _write_patient(folder / "LIDC-IDRI", number, seed)


def _write_patient(folder: Path, number: int, seed: int) -> None:
    name = f"LIDC-IDRI-{number + 1:04d}"
    rng = generator(seed, name)
    slices = int(rng.integers(16, 25))
    pixel = round(rng.uniform(0.7, 0.82), 4)
    spacing = float(rng.choice([2.0, 2.5]))
    corner = _corner(rng, number, pixel, slices * spacing)
    series = Series(
        study=_uid(seed, name, "study"),
        uid=_uid(seed, name, "series"),
        heights=tuple(round(corner[2] + k * spacing, 3) for k in range(slices)),
        instances=tuple(_uid(seed, name, str(k)) for k in range(slices)),
    )
    hounsfield, air = thorax_ct(rng, _coordinates(corner, pixel, spacing, slices))
    lungs = air > 0.5
    nodules = _place_nodules(rng, number, lungs, pixel, spacing)
    specks = _places(rng, lungs, nodules, 2)
    for nodule in nodules:
        _draw(hounsfield, nodule)
    for z, y, x in specks:
        hounsfield[z, y : y + 2, x : x + 2] = -50
    hounsfield += noise(rng, hounsfield.shape, 20)

    where = folder / name / series.study / series.uid
    where.mkdir(parents=True)
    header = _header(name, series, _uid(seed, name, "frame"), pixel, spacing)
    stored = np.clip(np.rint(hounsfield) + 1024, 0, 4095).astype("<i2")
    # The first instance is the uppermost slice, and the names of the files follow no order, as in the real set.
    for file, k in enumerate(rng.permutation(slices).tolist(), start=1):
        position = (corner[0], corner[1], series.heights[k])
        write_slice(where / f"{file:06d}.dcm", header, stored[k], series.instances[k], slices - k, position)
    root = message(series, number)
    others = _places(rng, lungs, nodules, 3)
    for reader in range(READERS):
        marks = [_seen(rng, nodule, lungs.shape) for nodule in nodules if reader in nodule.readers]
        noticed = [speck for speck in specks if rng.random() < 0.6]
        refused = [other for other in others if rng.random() < 0.5]
        root.append(session(rng, reader, series, marks, noticed, refused))
    ET.indent(root, space="  ")
    ET.ElementTree(root).write(where / f"{69 + 7 * number:03d}.xml", encoding="UTF-8", xml_declaration=True)


def _uid(seed: int, *keys: str) -> str:
    return str(generate_uid(entropy_srcs=[str(seed), *keys]))


def _corner(rng: np.random.Generator, number: int, pixel: float, height: float) -> tuple[float, float, float]:
    """Return the position of the first voxel in DICOM's axes (left, back, head): the field of view lies about one
    lung."""
    side = float(rng.choice((-1, 1)))
    back = 75.0 if number == BORDER_PATIENT else rng.uniform(-5, 5)
    half = pixel * (PIXELS - 1) / 2
    return (
        round(side * rng.uniform(66, 76) - half, 3),
        round(back - half, 3),
        round(-height / 2 + rng.uniform(-15, 5), 1),
    )


def _coordinates(corner: Sequence[float], pixel: float, spacing: float, slices: int) -> list[Array]:
    """Return millimetres towards right, front and head of the voxels (slice, row, column)."""
    step = np.arange(PIXELS, dtype=np.float32) * np.float32(pixel)
    right, front = -(step + np.float32(corner[0])), -(step + np.float32(corner[1]))
    head = np.float32(corner[2]) + np.arange(slices, dtype=np.float32) * np.float32(spacing)
    return [right[None, None, :], front[None, :, None], head[:, None, None]]


def _place_nodules(rng: np.random.Generator, number: int, lungs: Mask, pixel: float, spacing: float) -> list[Nodule]:
    """Return the large nodules of a patient, inside the lung and clear of each other."""
    slices = len(lungs)
    inside = np.stack([distance_transform_edt(plane) for plane in lungs])
    nodules: list[Nodule] = []
    for k in range(LARGE_NODULES[number]):
        rows = (24, 48) if (number, k) == (BORDER_PATIENT, 0) else (60, 196)
        hollow = 0.45 if (number, k) in CAVITIES else 0.0
        for attempt in range(1000):
            radius = rng.uniform(10.5, 14) if hollow else rng.uniform(5, 13)
            half = max(3.0, radius * pixel * rng.uniform(0.9, 1.15) / spacing)
            z = int(rng.integers(3, slices - 3))
            y, x = int(rng.integers(*rows)), int(rng.integers(60, 196))
            gaps = [np.hypot(y - n.centre[1], x - n.centre[2]) - radius - n.radius for n in nodules]
            if inside[z, y, x] > (radius * 0.7 if attempt < 500 else 2) and all(gap > 10 for gap in gaps):
                break
        lobes = tuple((rng.uniform(0.02, 0.1), rng.uniform(0, 6.28)) for _ in range(3))
        readers = sorted(
            rng.choice(READERS, int(rng.choice([1, 2, 3, 4], p=[0.2, 0.2, 0.25, 0.35])), replace=False).tolist()
        )
        density = float(rng.choice([30, 60, -350], p=[0.5, 0.3, 0.2]))
        nodules.append(Nodule((z, y, x), radius, half, lobes, 30.0 if hollow else density, hollow, tuple(readers)))
    return nodules


def _places(rng: np.random.Generator, lungs: Mask, nodules: Sequence[Nodule], count: int) -> list[Voxel]:
    """Return points in the lung, away from the nodules."""
    inside = np.argwhere(lungs)
    found: list[Voxel] = []
    for z, y, x in inside[rng.integers(len(inside), size=200)].tolist():
        clear = all(np.hypot(y - n.centre[1], x - n.centre[2]) > n.radius + 8 for n in nodules)
        if clear and 4 < y < PIXELS - 4 and 4 < x < PIXELS - 4 and len(found) < count:
            found.append((z, y, x))
    return found


def _seen(rng: np.random.Generator, nodule: Nodule, shape: tuple[int, ...]) -> Mark:
    """Return a nodule as a reader sees it: a little larger or smaller, and of a slightly other shape."""
    grow, turn = rng.uniform(0.93, 1.08), rng.uniform(-0.4, 0.4)
    cavity = nodule.level(shape, grow, turn, nodule.hollow) < 0 if nodule.hollow else None
    return Mark(nodule.level(shape, grow, turn) < 0, cavity)


def _draw(hounsfield: Array, nodule: Nodule) -> None:
    level = nodule.level(hounsfield.shape)
    blend(hounsfield, soft(level, 2.0 if nodule.density > -100 else 4.0), nodule.density)
    if nodule.hollow:
        blend(hounsfield, soft(nodule.level(hounsfield.shape, size=nodule.hollow), 1.5), -900)


def _header(name: str, series: Series, frame: str, pixel: float, spacing: float) -> Dataset:
    """Return everything that the slices of a series have in common."""
    header = common_header("CT", "CHEST", PIXELS, pixel, spacing)
    header.PatientID = name
    header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = series.study, series.uid, frame
    header.SeriesNumber = 3
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation = 15, 1
    header.WindowCenter, header.WindowWidth = -600, 1600
    return header

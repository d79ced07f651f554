"""A phantom Train_Sets of CHAOS: abdominal CT and MR in DICOM and the masks as PNG, in the official layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from data_prep.sample.drawing import Array, blend, ellipse, ellipsoid, generator, noise, smooth_field, soft
from data_prep.sample.slices import common_header, write_slice

CT_CASES = (1, 2, 5)
MR_CASES = (1, 2, 3, 5, 8, 10)
MR_GREYS = np.array([0, 63, 126, 189, 252], np.uint8)  # background, liver, right kidney, left kidney, spleen
# Tissue: HU, T1 signal of its water, T1 signal of its fat, T2 signal with the fat suppressed.
TISSUES: Mapping[str, tuple[float, float, float, float]] = {
    "air": (-1000, 0, 0, 0),
    "couch": (-500, 0, 0, 0),
    "skin": (40, 120, 20, 60),
    "fat": (-100, 20, 420, 55),
    "muscle": (60, 150, 5, 70),
    "bone": (350, 20, 5, 15),
    "marrow": (180, 90, 150, 110),
    "cord": (25, 70, 0, 560),
    "lung": (-820, 10, 0, 12),
    "bowel": (40, 160, 0, 300),
    "gas": (-900, 0, 0, 4),
    "blood": (160, 105, 0, 40),
    "heart": (130, 130, 5, 90),
    "bile": (10, 90, 0, 680),
    "kidney": (190, 225, 0, 340),
    "medulla": (150, 165, 0, 420),
    "spleen": (125, 140, 0, 290),
    "liver": (108, 265, 15, 150),
}


@dataclass
class Abdomen:
    """Tissues in the order in which they cover each other, and the organs' indices.

    Attributes:
        shape: of the voxels (slice, row, column).
        layers: (share of the voxel from 0 to 1, tissue).
        labels: 0 background, 1 liver, 2 right kidney, 3 left kidney, 4 spleen.
    """

    shape: tuple[int, ...]
    labels: NDArray[np.uint8]
    layers: list[tuple[Array, str]] = field(default_factory=list)

    def add(self, share: Array, tissue: str) -> None:
        self.layers.append((share, tissue))

    def organ(self, level: Array, tissue: str, index: int) -> None:
        self.add(soft(level, 3.0), tissue)
        self.labels[np.broadcast_to(level < 0, self.shape)] = index

    def seen(self, column: int, without: Sequence[str] = ()) -> Array:
        """Return the signal of one column of `TISSUES` in each voxel."""
        image = np.full(self.shape, TISSUES["air"][column], dtype=np.float32)
        for share, tissue in self.layers:
            if tissue not in without:
                blend(image, share, TISSUES[tissue][column])
        return image


def make(folder: Path, seed: int = 0) -> None:
    """Write the phantom download below `folder`; the same seed gives the same bytes."""
    for case in CT_CASES:
        _write_ct(folder / "Train_Sets/CT" / str(case), generator(seed, f"CHAOS CT {case}"), f"{seed} CT {case}")
    for case in MR_CASES:
        _write_mr(folder / "Train_Sets/MR" / str(case), generator(seed, f"CHAOS MR {case}"), f"{seed} MR {case}")


def _write_ct(folder: Path, rng: np.random.Generator, key: str) -> None:
    """Write a CT case whose file names run from the head down, against the positions."""
    slices, spacing = int(rng.integers(18, 21)), 7.5
    corner, xyz = _grid(rng, 160, 2.4, slices, spacing)
    abdomen = _abdomen(rng, xyz)
    stored = np.clip(np.rint(abdomen.seen(0) + noise(rng, abdomen.shape, 14)) + 1024, 0, 4095)
    header = _header(f"{key} CT", "CT", 160, 2.4, spacing)
    for file, k in enumerate(reversed(range(slices))):
        position = (*corner[:2], corner[2] + k * spacing)
        _write_slice(folder / f"DICOM_anon/i{file:04d},0000b.dcm", header, stored[k], f"{key} {k}", file + 1, position)
        _write_mask(folder / f"Ground/liver_GT_{file:03d}.png", np.uint8(255) * (abdomen.labels[k] == 1))


def _write_mr(folder: Path, rng: np.random.Generator, key: str) -> None:
    """Write an MR case whose file names run with the positions.

    The phases of T1-DUAL share a series and number their files by turns.
    """
    slices, spacing, pixel = int(rng.integers(14, 17)), 9.0, 2.9
    corner, xyz = _grid(rng, 128, pixel, slices, spacing)
    abdomen = _abdomen(rng, xyz)
    water, fat = abdomen.seen(1, without=("couch",)), abdomen.seen(2, without=("couch",))
    spir = abdomen.seen(3, without=("couch",))
    coil = 1 + 0.12 * smooth_field(rng, abdomen.shape, (3, 3, 3))
    masks = MR_GREYS[abdomen.labels]
    scans = (
        ("T1DUAL/DICOM_anon/InPhase", "T1DUAL", "IMG-0004-{:05d}", 4.6, 2, 0, water + fat),
        ("T1DUAL/DICOM_anon/OutPhase", "T1DUAL", "IMG-0004-{:05d}", 2.3, 2, 1, np.abs(water - fat)),
        ("T2SPIR/DICOM_anon", "T2SPIR", "IMG-0002-{:05d}", 70.0, 1, 0, spir),
    )
    for images, series, name, echo, step, less, signal in scans:
        real = signal * coil + noise(rng, abdomen.shape, 9)
        stored = np.clip(np.rint(np.hypot(real, noise(rng, abdomen.shape, 9))), 0, 4095)
        header = _header(f"{key} {series}", "MR", 128, pixel, spacing)
        header.EchoTime = echo
        for k in range(slices):
            number = step * (k + 1) - less
            position = (*corner[:2], corner[2] + k * spacing)
            _write_slice(
                folder / images / f"{name.format(number)}.dcm",
                header,
                stored[k],
                f"{key} {images} {k}",
                number,
                position,
            )
            if not less:
                _write_mask(folder / series / f"Ground/{name.format(number)}.png", masks[k])


def _grid(
    rng: np.random.Generator, pixels: int, pixel: float, slices: int, spacing: float
) -> tuple[tuple[float, float, float], list[Array]]:
    """Return the position of the first voxel in DICOM's axes (left, back, head), and the millimetres towards right,
    front and head of the voxels (slice, row, column) about the middle of the abdomen."""
    half = pixel * (pixels - 1) / 2
    shift = rng.uniform(-6, 6, 2).round(2)
    step = np.arange(pixels, dtype=np.float32) * np.float32(pixel) - np.float32(half)
    height = (np.arange(slices, dtype=np.float32) - np.float32((slices - 1) / 2)) * np.float32(spacing)
    right, front = -(step + np.float32(shift[0])), -(step + np.float32(shift[1]))
    # Where the scanner's origin lies says nothing about where the abdomen is.
    corner = (float(shift[0]) - half, float(shift[1]) - half, round(float(rng.uniform(-900, 900)), 1))
    return corner, [right[None, None, :], front[None, :, None], height[:, None, None]]


def _abdomen(rng: np.random.Generator, xyz: Sequence[Array]) -> Abdomen:
    """Draw a patient: liver on the right, spleen on the left, the right kidney lower than the left one."""
    x, y, z = xyz
    shape = np.broadcast_shapes(x.shape, y.shape, z.shape)
    abdomen = Abdomen(shape, np.zeros(shape, np.uint8))
    grow = rng.uniform(0.93, 1.05)
    rx, ry, rim = 162 * grow, 112 * grow, rng.uniform(14, 24)
    abdomen.add(soft(np.abs(y + ry + 9 - 0.0009 * x * x) - 3, 4.0) * soft(np.abs(x) - 180, 4.0), "couch")
    skin = np.maximum(ellipse(x, y, (0, 0), (rx, ry)), ellipse(x, y, (0, 0.37 * ry), (1.5 * rx, 1.29 * ry)))
    wall = ellipse(x, y, (0, 3), (rx - rim, ry - rim))
    abdomen.add(soft(skin, 4.0), "skin")
    abdomen.add(soft(skin + 4, 3.0), "fat")
    abdomen.add(soft(wall, 4.0), "muscle")
    abdomen.add(soft(wall + 12, 4.0), "fat")
    ring = soft(np.abs(ellipse(x, y, (0, 2), (rx - rim - 7, ry - rim - 7))) - 4.5, 3.0)
    ribs = soft(0.25 - np.cos((z + 0.55 * y) * np.float32(2 * np.pi / 30)), 0.4) * soft(15 - np.abs(x), 10)
    abdomen.add(ring * ribs * soft(-z - 10, 40), "bone")
    abdomen.add(soft(ellipse(np.abs(x), y, (42, -70), (26, 17), 0.2), 3.0), "muscle")
    abdomen.add(soft(ellipse(x, y, (0, -54), (20, 16)), 3.0), "bone")
    abdomen.add(soft(ellipse(x, y, (0, -54), (16, 12)), 3.0), "marrow")
    abdomen.add(soft(ellipse(x, y, (0, -77), (13, 11)), 3.0), "bone")
    abdomen.add(soft(ellipse(x, y, (0, -77), (8, 7)), 2.0), "cord")
    for centre, radius in (((-12, -32), 10), ((17, -28), 11)):
        abdomen.add(soft(ellipse(x, y, centre, (radius, radius)), 3.0), "blood")

    inside = wall + 14
    loops = smooth_field(rng, shape, (8, 15, 20))
    gut = np.maximum(inside, ellipsoid(xyz, (-8, 30, -45), (118 * grow, 48, 62)))
    abdomen.add(soft(gut, 5.0) * soft(-0.2 - loops, 0.4), "bowel")
    abdomen.add(soft(np.maximum(gut, 24 - y), 5.0) * soft(1.3 - loops, 0.4), "gas")
    stomach = np.maximum(ellipsoid(xyz, (-58 * grow, 38, 22), (44, 34, 48), spin=0.4), inside)
    abdomen.add(soft(stomach, 3.0), "bowel")
    abdomen.add(soft(np.maximum(stomach + 5, 52 - y), 3.0), "gas")

    bumps = 2.5 * smooth_field(rng, shape, (4, 8, 8))
    for index, side, low in ((2, 1, -26), (3, -1, -14)):  # the right one and the left one
        at = (side * rng.uniform(60, 66) * grow, rng.uniform(-42, -36), low + rng.uniform(-5, 5))
        kidney = ellipsoid(xyz, at, (25 * grow, 30 * grow, 46), spin=side * 0.45) + 0.4 * bumps
        abdomen.organ(kidney, "kidney", index)
        abdomen.add(soft(kidney + 9, 5.0) * soft(-np.abs(loops) + 0.25, 0.3), "medulla")
    base = 52 + rng.uniform(-3, 3) - 0.0011 * ((np.abs(x) - 60) ** 2 + y * y)
    abdomen.add(soft(np.maximum(inside, base - z), 6.0) * soft(28 - np.abs(x), 8), "lung")

    heart = ellipsoid(xyz, (-22 * grow, 26, 88), (56 * grow, 44, 34), spin=0.5)
    abdomen.add(soft(np.maximum(heart, inside), 4.0), "heart")

    spleen = ellipsoid(xyz, (-98 * grow, -28, 24 + rng.uniform(-4, 4)), (31, 50, 40), spin=-0.3)
    hilum = ellipsoid(xyz, (-62 * grow, -8, 24), (22, 30, 70))
    abdomen.organ(np.maximum(np.maximum(spleen, -hilum), inside) + 0.4 * bumps, "spleen", 4)
    tall = rng.uniform(45, 50)
    right = ellipsoid(xyz, (64 * grow, 4, 13), (74 * grow, 82 * grow, tall))
    left = ellipsoid(xyz, (4, 48 * grow, 20), (62 * grow, 32, 0.75 * tall), spin=-0.25)
    liver = np.maximum(np.maximum(np.minimum(right, left) + bumps, inside), -ellipse(x, y, (0, -54), (36, 34)))
    liver = np.where(np.isin(abdomen.labels, (2, 3)), np.float32(4), liver)  # it does not grow into the kidneys
    abdomen.organ(liver, "liver", 1)
    veins = soft(np.abs(smooth_field(rng, shape, (4, 7, 7))) - 0.05, 0.08) * soft(liver + 8, 5.0)
    abdomen.add(0.5 * veins, "blood")
    bile = ellipsoid(xyz, (44 * grow, 52 * grow, -24), (14, 17, 20))
    abdomen.add(soft(np.maximum(bile, -liver + 1), 3.0), "bile")
    return abdomen


def _header(key: str, modality: str, pixels: int, pixel: float, spacing: float) -> Dataset:
    """Return everything that the slices of a series have in common."""
    header = common_header(modality, "ABDOMEN", pixels, pixel, spacing)
    header.StudyInstanceUID, header.SeriesInstanceUID = _uid(key, "study"), _uid(key, "series")
    header.FrameOfReferenceUID = _uid(key, "frame")
    header.SeriesNumber = 1
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    return header


def _uid(*keys: str) -> str:
    return str(generate_uid(entropy_srcs=list(keys)))


def _write_slice(
    path: Path, header: Dataset, stored: NDArray, key: str, number: int, position: tuple[float, float, float]
) -> None:
    placed = [round(at, 3) for at in position]
    write_slice(path, header, stored.astype("<u2"), _uid(key, "slice"), number, placed)


def _write_mask(path: Path, grey: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(grey)
    (image.convert("1") if path.name.startswith("liver") else image).save(path, format="PNG")

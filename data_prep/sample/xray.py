"""Chest X-ray phantoms: the anatomy of the frontal and the lateral view.

Coordinates: y runs from -1 at the neck to 1 in the abdomen, x has the same scale. In the frontal view negative x is the
patient's right side; in the lateral view the patient looks towards negative x. Brightness runs from 0 (air) to 1
(metal).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.sample.drawing import Array, blend, curve, ellipse, noise, smooth_field, soft


@dataclass(frozen=True)
class Patient:
    """What stays the same from one image of a person to the next."""

    scale: float
    slender: float
    heart: float
    ribs: float
    breasts: float
    scoliosis: float

    @staticmethod
    def draw(rng: np.random.Generator, female: bool) -> "Patient":
        """Draw a random person."""
        return Patient(
            scale=rng.uniform(0.92, 1.06),
            slender=rng.uniform(0.93, 1.06),
            heart=rng.uniform(0.92, 1.1),
            ribs=rng.uniform(0.75, 1.2),
            breasts=rng.uniform(0.03, 0.09) if female else 0.0,
            scoliosis=rng.normal(0, 0.02),
        )


@dataclass(frozen=True)
class Shape:
    """What a finding changes in the anatomy itself, before anything is drawn on top of it."""

    heart: float = 1.0
    mediastinum: float = 0.0
    raised: float = 0.0


@dataclass(frozen=True, eq=False)
class View:
    """A drawn chest and the landmarks that the findings are placed by; both views offer the same ones.

    Attributes:
        image: brightness, changed in place by the findings.
        x, y: coordinates of the pixels, bent with the patient.
        lung: mask of the lung on the affected side (both, one behind the other, in the lateral view).
        lungs: mask of both lungs.
        across: 0 where the lung begins (heart; in the lateral view sternum), 1 at its outer wall (back).
        wall: distance from the outer wall, positive inside the chest.
        base: y of the diaphragm.
        side: -1 or 1, the sign of x towards the outer wall.
        middle: x of the middle of the lung.
        hilum: the point where the vessels enter.
        ribs: brightness pattern of the ribs, 0 to 1.
        lateral: whether this is the lateral view.
    """

    image: Array
    x: Array
    y: Array
    lung: Array
    lungs: Array
    across: Array
    wall: Array
    base: Array
    side: int
    middle: float
    hilum: tuple[float, float]
    ribs: Array
    lateral: bool


def frame(rng: np.random.Generator, patient: Patient, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Return coordinates of the pixels, with the patient's build and the take's position, turn and bend."""
    height, width = shape
    y0 = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x0 = np.linspace(-width / height, width / height, width, dtype=np.float32)[None, :]
    # A narrow image must still show both lungs.
    zoom = patient.scale * min(1.0, 1.05 * width / height)
    turn = rng.normal(0, 0.035)
    dx, dy = rng.normal(0, 0.03, 2)
    c, s = np.float32(np.cos(turn) / zoom), np.float32(np.sin(turn) / zoom)
    x = (c * (x0 - dx) + s * (y0 - dy)) / np.float32(patient.slender)
    y = c * (y0 - dy) - s * (x0 - dx)
    bend = smooth_field(rng, (2 * height, width), (8, 4)) * np.float32(0.012)
    return x + bend[:height] + np.float32(patient.scoliosis) * np.sin(3 * y), y + bend[height:]


def _vessels(rng: np.random.Generator, x: Array, y: Array, hilum: tuple[float, float]) -> Array:
    """Draw branches that leave a hilum and fade towards the wall."""
    dx, dy = x - np.float32(hilum[0]), y - np.float32(hilum[1])
    r = np.sqrt(dx * dx + dy * dy)
    angle = np.arctan2(dy, dx) + np.float32(0.8) * smooth_field(rng, x.shape, (7, 7)) * r
    around = rng.random(72).astype(np.float32) ** 3
    rays = np.interp(angle, np.linspace(-np.pi, np.pi, 73), np.append(around, around[0])).astype(np.float32)
    return rays * np.exp(-2.2 * r) + np.float32(0.8) * np.exp(-((r / 0.10) ** 2))


def frontal(
    rng: np.random.Generator, patient: Patient, shape: tuple[int, int], change: Shape | None = None, side: int = 1
) -> View:
    """Draw the frontal view of a chest.

    Args:
        rng: randomness of this take.
        patient: the person.
        shape: rows and columns.
        change: anatomy changed by a finding.
        side: the affected side, -1 the patient's right or 1 the left.
    """
    change = change or Shape()
    x, y = frame(rng, patient, shape)
    ax, left = np.abs(x), x > 0
    heart = patient.heart * change.heart
    body = soft(ax - curve(y, [(-1, 0.28), (-0.9, 0.33), (-0.72, 0.8), (-0.55, 0.97), (0.2, 0.88), (1, 0.83)]), 0.05)
    cage = curve(y, [(-0.82, 0.0), (-0.79, 0.2), (-0.7, 0.38), (-0.5, 0.55), (-0.2, 0.67), (0.2, 0.75), (0.7, 0.78)])
    wide = 1 + change.mediastinum * soft(y + 0.02, 0.3) * soft(-0.9 - y, 0.2)
    middle_left = curve(y, [(-0.8, 0.1), (-0.45, 0.17), (-0.28, 0.13), (-0.05, 0.16)]) * wide
    middle_right = curve(y, [(-0.8, 0.1), (-0.4, 0.13), (-0.05, 0.14)]) * wide
    bulge = np.sqrt(np.clip(1 - ((y - 0.3) / np.float32(0.38 + 0.1 * (heart - 1))) ** 2, 0.0004, 1))
    middle_left += bulge * np.float32(0.28 + 0.46 * (heart - 1))
    middle_right += bulge * np.float32(0.09 + 0.36 * (heart - 1))
    middle = np.where(left, middle_left, middle_right)
    fall = curve(ax, [(0.0, 0.05), (0.3, 0.0), (0.42, 0.0), (0.6, 0.06), (0.78, 0.28)])
    base = (
        np.float32(0.47)
        + np.where(left, np.float32(0.05), 0)
        + fall
        - np.float32(change.raised) * soft(0.1 - x * side, 0.2)
    )

    in_cage = soft(ax - cage, 0.03) * soft(y - 0.95, 0.1)
    mediastinum = soft(ax - middle, 0.035) * soft(-0.95 - y, 0.2)
    above = soft(y - base, 0.03)
    lungs = in_cage * above * (1 - mediastinum)

    image = np.float32(0.05) + np.float32(0.4) * body
    image += body * soft(ax - 0.7, 0.8) * 0.09
    blend(image, in_cage * above, 0.2)
    blend(image, mediastinum * body, 0.62)
    blend(image, body * (1 - above) * soft(ax - 0.9, 0.2), 0.72 + 0.05 * soft(ax - 0.2, 0.3))
    blend(image, (1 - above) * soft(ellipse(x, y, (0.4, 0.68), (0.13, 0.08)), 0.04), 0.5)
    image += soft(ax - 0.085, 0.03) * body * (0.05 + 0.025 * np.sin(y * 34)) * (0.5 + 0.5 * above)
    image -= 0.1 * soft(ax - 0.035, 0.03) * soft(y + 0.25, 0.1)
    for hilum in ((-0.22, -0.06), (0.24, -0.1)):
        image += lungs * _vessels(rng, x, y, hilum) * (x * hilum[0] > 0) * 0.3
    ribs = _frontal_ribs(ax, y) * soft(ax - cage - 0.03, 0.03) * soft(y - 0.75, 0.3) * soft(0.06 - ax, 0.1)
    image += ribs * np.float32(0.085 * patient.ribs) * (0.25 + 0.75 * lungs)
    clavicle = soft(np.abs(y + 0.6 + 0.16 * ax + 0.03 * np.sin(6 * ax)) - 0.02, 0.025)
    image += 0.13 * clavicle * soft(np.abs(ax - 0.42) - 0.34, 0.05)
    image += 0.14 * soft(ellipse(ax, y, (0.84, -0.58), (0.11, 0.13)), 0.05) * body
    image += np.float32(patient.breasts) * body * soft(ellipse(ax, y, (0.46, 0.3), (0.36, 0.33)), 0.12)
    across = ((ax - middle) / np.maximum(cage - middle, 0.05)).astype(np.float32)
    return View(
        image=image,
        x=x,
        y=y,
        lung=lungs * (x * side > 0),
        lungs=lungs,
        across=across,
        wall=cage - ax,
        base=base,
        side=side,
        middle=0.45 * side,
        hilum=(0.24 * side, -0.08),
        ribs=ribs,
        lateral=False,
    )


def _frontal_ribs(ax: Array, y: Array) -> Array:
    """Draw posterior ribs, which fall a little towards the wall, and fainter anterior ones, which rise."""
    back = np.sin((y - 0.42 * (ax - 0.35) ** 2 * 2 + 0.2 * ax) * 44)
    front = np.sin((y - 0.45 * ax) * 40 + 1)
    return soft(-back + 0.1, 0.7) + 0.35 * soft(-front + 0.3, 0.7) * soft(0.3 - ax, 0.1)


def lateral(rng: np.random.Generator, patient: Patient, shape: tuple[int, int], change: Shape | None = None) -> View:
    """Draw the lateral view of a chest; arguments as for `frontal`."""
    change = change or Shape()
    x, y = frame(rng, patient, shape)
    heart = patient.heart * change.heart
    front = curve(y, [(-1, -0.2), (-0.85, -0.28), (-0.5, -0.58), (-0.1, -0.7), (0.4, -0.76), (1, -0.74)])
    back = curve(y, [(-1, 0.36), (-0.75, 0.58), (-0.3, 0.78), (0.1, 0.78), (0.6, 0.68), (1, 0.66)])
    body = soft(np.maximum(front - x, x - back), 0.04)
    start, end = front + 0.1, back - 0.1
    dome = curve(x, [(-0.8, 0.5), (-0.6, 0.41), (-0.3, 0.36), (0.1, 0.44), (0.45, 0.62), (0.7, 0.86)])
    base = dome - np.float32(change.raised) * soft(x - 0.35, 0.5)
    in_cage = soft(np.maximum(start - x, x - end), 0.03) * soft(-0.74 - y + 0.5 * (x - 0.12) ** 2 * 2, 0.08)
    above = soft(y - base, 0.03)
    lungs = in_cage * above

    image = np.float32(0.05) + np.float32(0.45) * body
    image += body * soft(y + 0.68, 0.3) * 0.14
    blend(image, lungs, 0.25)
    image += lungs * _vessels(rng, x, y, (0.02, -0.08)) * 0.25
    radii = (0.24 + 0.42 * (heart - 1), 0.27 + 0.35 * (heart - 1))
    muscle = ellipse(x, y, (-0.36 + 0.9 * (radii[0] - 0.24), 0.2 - 0.4 * (radii[1] - 0.27)), radii, 0.5)
    blend(image, in_cage * soft(muscle, 0.06), 0.56)
    stem = ellipse(x, y, (-0.02 - 0.08 * change.mediastinum, -0.42), (0.1 + 0.24 * change.mediastinum, 0.5))
    blend(image, in_cage * soft(stem, 0.12), 0.34 + 0.2 * min(change.mediastinum, 1.0))
    blend(image, body * (1 - above), 0.66)
    blend(image, body * soft(dome + 0.05 + 0.06 * x - y, 0.03), 0.72)  # the other dome, a little lower
    spine = np.abs(x - 0.5 - 0.09 * np.cos(2 * y + 0.3)) - 0.085
    image += soft(spine, 0.04) * body * (0.14 + 0.06 * np.sin(y * 36)) * (0.4 + 0.6 * above)
    image -= 0.12 * soft(np.abs(x - 0.05 - 0.12 * y) - 0.03, 0.03) * soft(y + 0.25, 0.1)
    ribs = soft(-np.sin((y - 0.55 * x - 0.25 * x * x) * 34) + 0.2, 0.7) * in_cage
    image += ribs * np.float32(0.07 * patient.ribs) * (0.2 + 0.8 * lungs)
    image += 0.14 * soft(np.abs(x - front - 0.075) - 0.02, 0.02) * soft(np.abs(y + 0.1) - 0.45, 0.1)
    image += np.float32(patient.breasts) * body * soft(ellipse(x, y, (-0.7, 0.25), (0.24, 0.28)), 0.1)
    across = ((x - start) / np.maximum(end - start, 0.05)).astype(np.float32)
    return View(
        image=image,
        x=x,
        y=y,
        lung=lungs,
        lungs=lungs,
        across=across,
        wall=end - x,
        base=base,
        side=1,
        middle=0.1,
        hilum=(0.02, -0.08),
        ribs=ribs,
        lateral=True,
    )


def develop(rng: np.random.Generator, image: Array, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Enlarge a drawing to `size` (rows, columns) and give it exposure, scatter and quantum noise."""
    # The drawing is smooth: making it at half size costs a quarter of the time and nothing to the eye.
    image = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))
    image = image * rng.uniform(0.92, 1.1) + rng.uniform(-0.02, 0.05)
    image = image + np.float32(0.02) * smooth_field(rng, size, (5, 5)) * image
    image = image + noise(rng, size, rng.uniform(0.012, 0.025))
    bright = np.clip(image, 0, 1) ** np.float32(rng.uniform(0.78, 1.08))
    return (255 * bright + 0.5).astype(np.uint8)

"""The signs of the fourteen CheXpert findings, drawn on a chest X-ray phantom.

Each sign is larger and plainer than in a patient, so that it is still there when the image is reduced to 64 pixels.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from data_prep.sample.drawing import bend, blend, ellipse, path_distance, smooth_field, soft
from data_prep.sample.xray import Patient, Shape, View, develop, frontal, lateral

Sign = Callable[[np.random.Generator, View, float], None]


def _pleural_effusion(rng: np.random.Generator, view: View, strength: float) -> None:
    """Draw fluid at the base whose upper border climbs towards the wall."""
    top = rng.uniform(0.2, 0.34) - 0.36 * strength * np.clip(view.across, 0, 1.2) ** 3
    blend(view.image, view.lung * soft(top - view.y, 0.06) * strength, 0.74)


def _pneumothorax(rng: np.random.Generator, view: View, strength: float) -> None:
    """Draw air without vessels round a shrunken lung, and the thin bright line of its pleura."""
    centre = (view.middle - 0.12 * view.side, 0.12 + rng.normal(0, 0.03))
    radii = (0.32, 0.5) if view.lateral else (0.24, 0.46)
    level = ellipse(view.x, view.y, centre, radii)
    outside = soft(-level, 0.02) * view.lung * strength
    blend(view.image, outside, 0.05 + 0.05 * view.ribs)
    blend(view.image, soft(level, 0.03) * view.lung * 0.35 * strength, 0.5)
    blend(view.image, soft(np.abs(level) - 0.008, 0.012) * view.lung * strength, 0.7)


def _edema(rng: np.random.Generator, view: View, strength: float) -> None:
    """Draw haze spreading from both hila, densest in the middle, the periphery spared."""
    haze = np.exp(-((view.across / 0.62) ** 2) - ((view.y - 0.02) / 0.42) ** 2)
    if view.lateral:
        haze = np.exp(-(((view.x - 0.08) / 0.34) ** 2) - ((view.y - 0.0) / 0.42) ** 2)
    clouds = 0.8 + 0.25 * smooth_field(rng, view.x.shape, (14, 14))
    blend(view.image, view.lungs * np.clip(1.05 * haze * clouds * strength, 0, 0.95), 0.7)


def _consolidation(rng: np.random.Generator, view: View, strength: float) -> None:
    """Draw one lobe filled: dense, homogeneous, cut off sharply by the fissure, with dark bronchi in it."""
    fissure = rng.uniform(-0.2, -0.05) + 0.2 * (view.across - 0.5) * rng.choice((-1, 1))
    lobe = view.lung * soft(view.y - fissure, 0.025)
    blend(view.image, lobe * 0.92 * strength, 0.68)
    x, y = view.hilum
    for _ in range(2):
        tip = (view.middle + rng.uniform(-0.05, 0.15) * view.side, rng.uniform(-0.6, -0.35))
        bronchus = path_distance(view.x, view.y, [(x, y), ((x + tip[0]) / 2, (y + tip[1]) / 2 + 0.03), tip])
        blend(view.image, lobe * soft(bronchus - 0.006, 0.012) * 0.6 * strength, 0.35)


def _pneumonia(rng: np.random.Generator, view: View, strength: float) -> None:
    """Draw several ragged patches, all in one lung."""
    patches = np.zeros_like(view.image)
    for _ in range(rng.integers(8, 12)):
        at = (view.middle + rng.uniform(-0.26, 0.26), rng.uniform(-0.55, 0.45))
        patches = np.maximum(
            patches, soft(ellipse(view.x, view.y, at, (rng.uniform(0.06, 0.13), rng.uniform(0.06, 0.13))), 0.1)
        )
    ragged = np.clip(0.85 + 0.3 * smooth_field(rng, view.x.shape, (36, 36)), 0.1, 1)
    blend(view.image, view.lung * patches * ragged * strength, 0.74)


def _lung_lesion(rng: np.random.Generator, view: View, strength: float) -> None:
    """Draw one round mass with a sharp border."""
    radius = rng.uniform(0.12, 0.18)
    at = (view.middle + rng.uniform(-0.04, 0.1) * view.side, rng.uniform(-0.4, 0.2))
    level = ellipse(view.x, view.y, at, (radius, radius * rng.uniform(0.88, 1.1)), rng.uniform(0, 3))
    level = level + 0.008 * smooth_field(rng, view.x.shape, (16, 16))
    inside = np.maximum(view.lung, 0.5 * view.lungs)
    blend(view.image, inside * soft(level, 0.025) * 0.95 * strength, 0.76)


def _lung_opacity(rng: np.random.Generator, view: View, strength: float) -> None:
    """Draw an even veil over the whole of one lung, through which ribs still show."""
    veil = rng.uniform(0.55, 0.7) * (1 + 0.06 * smooth_field(rng, view.x.shape, (5, 5)))
    blend(view.image, view.lung * np.clip(veil * strength, 0, 1), 0.56 + 0.1 * view.ribs)


def _atelectasis(rng: np.random.Generator, view: View, strength: float) -> None:
    """Draw plate-like bands above a raised diaphragm (which is part of the anatomy, see `shape`)."""
    for step in range(2):
        slope = rng.uniform(-0.22, 0.22)
        height = view.base - 0.13 - 0.17 * step + slope * (view.x - view.middle)
        band = soft(np.abs(view.y - height) - 0.022, 0.02) * soft(np.abs(view.across - 0.5) - 0.36, 0.1)
        blend(view.image, view.lung * band * strength, 0.78)


def _pleural_other(rng: np.random.Generator, view: View, strength: float) -> None:
    """Draw thickened pleura with chalky plaques along both walls (in the lateral view at the front and the back)."""
    wobble = smooth_field(rng, view.x.shape, (9, 5))
    wall = np.minimum(view.wall, 1.3 * view.across) if view.lateral else view.wall
    rind = soft(wall - 0.11 - 0.02 * wobble, 0.03) * soft(np.abs(view.y + 0.05) - 0.48, 0.1)
    blend(view.image, view.lungs * rind * strength, 0.66 + 0.1 * np.clip(wobble, -1, 2))


def _fracture(rng: np.random.Generator, view: View, strength: float) -> None:
    """Draw three or four neighbouring ribs broken: a step in each, the ends in a bright callus."""
    column = view.middle + rng.uniform(0.05, 0.16) * view.side * (0.5 if view.lateral else 1)
    top, count = rng.uniform(-0.42, -0.1), int(rng.integers(3, 5))
    for k in range(count):
        x, y = column + 0.02 * k * view.side + rng.normal(0, 0.008), top + 0.145 * k
        rise = 0.06 * rng.choice((-1, 1))
        for sign in (-1, 1):
            end = (x + sign * 0.2, y + sign * 0.03)
            piece = path_distance(view.x, view.y, [end, (x + sign * 0.02, y + sign * rise / 2)])
            blend(view.image, soft(piece - 0.016, 0.016) * 0.8 * strength, 0.66)
        blend(view.image, soft(ellipse(view.x, view.y, (x, y), (0.045, 0.06)), 0.06) * strength, 0.88)


def _support_devices(rng: np.random.Generator, view: View, strength: float) -> None:
    """Draw a pacemaker with its lead, or a tracheal tube, a venous line and monitor electrodes."""
    shift = 0.0 if view.lateral else 0.03
    wires: list[list[tuple[float, float]]] = []
    if rng.random() < 0.6:
        side = float(rng.choice((-1, 1))) if not view.lateral else -0.65
        box = (side * 0.5, -0.42 if not view.lateral else -0.4)
        can = ellipse(view.x, view.y, box, (0.13, 0.11), rng.uniform(-0.4, 0.4))
        blend(view.image, soft(can, 0.02) * strength, 0.98)
        wires.append([box, (side * 0.3, -0.66), (side * 0.08, -0.5), (-0.1, -0.1), (-0.02, 0.22), (0.16, 0.36)])
    else:
        wires.append([(shift, -1), (shift, -0.6), (shift, -0.3)])
        wires.append([(-0.3, -0.9), (-0.26, -0.6), (-0.11, -0.4), (-0.09, 0.05)])
        wires.append([(0.02, -1), (0.03, 0.0), (0.1, 0.4), (0.3, 0.62)])
        for x in (-0.5, 0.5):
            y = rng.uniform(-0.45, 0.3)
            blend(view.image, soft(ellipse(view.x, view.y, (x, y), (0.055, 0.055)), 0.02) * strength, 0.98)
            wires.append([(x, y), (x * 1.2, y + 0.25), (x * 1.1, 0.95)])
    for wire in wires:
        points = [(px + rng.normal(0, 0.012), py) for px, py in wire]
        blend(view.image, soft(path_distance(view.x, view.y, bend(points)) - 0.011, 0.014) * strength, 0.96)


# No Finding, Enlarged Cardiomediastinum and Cardiomegaly are anatomy alone: see `shape`.
SIGNS: dict[str, Sign] = {
    "Lung Opacity": _lung_opacity,
    "Edema": _edema,
    "Consolidation": _consolidation,
    "Pneumonia": _pneumonia,
    "Lung Lesion": _lung_lesion,
    "Atelectasis": _atelectasis,
    "Pleural Effusion": _pleural_effusion,
    "Pleural Other": _pleural_other,
    "Pneumothorax": _pneumothorax,
    "Fracture": _fracture,
    "Support Devices": _support_devices,
}


def shape(signs: Mapping[str, float]) -> Shape:
    """Return the anatomy that goes with the findings, given as name to strength (0 to 1)."""
    return Shape(
        heart=1 + 0.5 * signs.get("Cardiomegaly", 0.0),
        mediastinum=1.25 * signs.get("Enlarged Cardiomediastinum", 0.0),
        raised=0.24 * signs.get("Atelectasis", 0.0),
    )


def radiograph(
    rng: np.random.Generator,
    patient: Patient,
    signs: Mapping[str, float],
    view: str,
    size: tuple[int, int],
    side: int = 1,
) -> NDArray[np.uint8]:
    """Draw a chest X-ray with findings.

    Args:
        rng: randomness of this take.
        patient: the person.
        signs: CheXpert's finding to strength, 0 (absent) to 1.
        view: `frontal` or `lateral`.
        size: rows and columns.
        side: the affected side, -1 the patient's right or 1 the left.

    Returns:
        Grey values of shape `size`.
    """
    change = shape(signs)
    half = (size[0] // 2, size[1] // 2)
    chest = lateral(rng, patient, half, change) if view == "lateral" else frontal(rng, patient, half, change, side)
    for name, draw in SIGNS.items():
        if signs.get(name):
            draw(rng, chest, signs[name])
    return develop(rng, chest.image.astype(np.float32), size)

"""CT and MR phantoms of five regions of the body.

Every function takes the coordinates of the voxels in millimetres about the middle of the region, towards the patient's
right, front and head (RAS+), as three arrays that broadcast together. So the same patient can be scanned in any
orientation.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_prep.sample.drawing import Array, blend, ellipse, ellipsoid, noise, smooth_field, soft

Coordinates = Sequence[Array]
Labels = NDArray[np.uint8]


def _size(xyz: Coordinates) -> tuple[int, ...]:
    return np.broadcast_shapes(*(a.shape for a in xyz))


def _cells(xyz: Coordinates, pitch: float) -> list[int]:
    """Return numbers of cells for `smooth_field` such that its bumps measure about `pitch` mm, whichever axis is
    which."""
    size = _size(xyz)
    extent = [0.0] * 3
    for a in xyz:
        for axis, n in enumerate(size):
            if a.shape[axis] == n and n > 1:
                extent[axis] += float(np.ptp(np.take(a, [0, n - 1], axis=axis), axis=axis).max()) ** 2
    return [max(3, round(e**0.5 / pitch)) for e in extent]


def _field(rng: np.random.Generator, xyz: Coordinates, pitch: float) -> Array:
    return smooth_field(rng, _size(xyz), _cells(xyz, pitch))


def _spine(image: Array, xyz: Coordinates, back: float, bone: float, marrow: float, cord: float) -> None:
    """Draw a vertebra with its arch, at y = `back`; every third part of the height is disc."""
    x, y, z = xyz
    body = ellipse(x, y, (0, back), (19, 15))
    disc = soft(-np.cos(z * (2 * np.pi / 32)) - 0.75, 0.3)
    blend(image, soft(body, 3.0), bone * disc + (1 - disc) * 0.5 * (bone + marrow))
    blend(image, soft(body + 3.5, 3.0), marrow)
    blend(image, soft(np.abs(ellipse(x, y, (0, back - 23), (13, 11))) - 3, 2.0), bone)
    blend(image, soft(ellipse(x, y, (0, back - 23), (9, 8)), 2.0), cord)
    blend(image, soft(ellipse(np.abs(x), y, (25, back - 24), (14, 4), -0.3), 2.0), bone)
    blend(image, soft(ellipse(x, y, (0, back - 40), (4, 9)), 2.0), bone)


def _trunk(image: Array, xyz: Coordinates, radii: tuple[float, float], fat: float, muscle: float, rim: float) -> Array:
    """Draw skin, fat and the muscle wall; return the level of the muscle's outer surface."""
    x, y, _ = xyz
    skin = ellipse(x, y, (0, 0), radii)
    # The back is flatter than the front.
    skin = np.maximum(skin, ellipse(x, y, (0, 0.37 * radii[1]), (1.5 * radii[0], 1.29 * radii[1])))
    blend(image, soft(skin, 4.0), muscle)
    blend(image, soft(skin + 2.5, 2.0), fat)
    wall = ellipse(x, y, (0, 3), (radii[0] - rim, radii[1] - rim))
    blend(image, soft(wall, 4.0), muscle)
    return wall


def _rib_ring(image: Array, xyz: Coordinates, radii: tuple[float, float], bone: float) -> None:
    """Draw ribs that run down from back to front, so that a transverse slice meets each for a short way only."""
    x, y, z = xyz
    ring = np.abs(ellipse(x, y, (0, 2), radii)) - 4.5
    along = np.cos((z + 0.55 * y) * (2 * np.pi / 30))
    blend(image, soft(ring, 3.0) * soft(0.25 - along, 0.4) * soft(15 - np.abs(x), 10), bone)
    blend(image, soft(ellipse(x, y, (0, radii[1] + 2), (14, 6)), 3.0), 0.7 * bone)


def thorax_ct(rng: np.random.Generator, xyz: Coordinates) -> tuple[Array, Array]:
    """Draw chest CT in Hounsfield units, and the mask of the lungs (0 to 1)."""
    x, y, z = xyz
    grow = rng.uniform(0.92, 1.08)
    rx, ry = 162 * grow, 118 * grow
    contrast = rng.uniform(40, 160)
    image = np.full(_size(xyz), -1000, dtype=np.float32)
    couch = np.abs(y + ry * 0.98 + 10 - 0.0009 * x * x) - 2
    blend(image, soft(couch, 3.0) * soft(np.abs(x) - 200, 4.0), -500)
    _trunk(image, xyz, (rx, ry), -95, 50, 16 * grow)
    taper = np.clip(z - 20, 0, None) * np.float32(0.25)

    lungs = np.zeros_like(image)
    for sign in (-1, 1):
        lobe = ellipse(x, y, (sign * 74 * grow, -6), (58 * grow, 82 * grow), sign * 0.12) + taper
        lungs = np.maximum(lungs, soft(lobe, 3.0))
    apex = 35 * grow
    heart = ellipsoid(xyz, (-24, 22, -35), (60 * grow, 46 * grow, 65), spin=0.5)
    lungs *= soft(-heart, 4.0)
    lungs *= soft(-ellipsoid(xyz, (80, 0, -95), (70, 80, 70)), 5.0) * soft(ellipse(x, y, (0, 20), (rx, ry - 15)), 5.0)
    air = -865 + 0.25 * y + 25 * _field(rng, xyz, 25)
    blend(image, lungs, air)
    hilum = np.exp(-(((np.abs(x) - 32) / 26) ** 2) - ((y + 2) / 32) ** 2)
    blend(image, lungs * soft(2.0 - 0.3 * hilum - _field(rng, xyz, 3.4), 0.8), contrast - 60)
    blend(image, lungs * soft(2.6 - 1.4 * hilum - _field(rng, xyz, 6.5), 0.5), contrast - 30)

    middle = soft(ellipse(x, y, (-2, 10), (32, 62)), 4.0)
    blend(image, middle * (1 - lungs), -60)
    blend(
        image, soft(heart, 5.0), 45 + 0.6 * contrast * soft(ellipsoid(xyz, (-20, 24, -35), (36, 26, 50), spin=0.5), 10)
    )
    for centre, radius in (((-20, -48), 13), ((16, 28), 16), ((-8, 22), 13), ((26, 12), 9)):
        blend(image, soft(ellipse(x, y, centre, (radius, radius)), 3.0), contrast + 20)
    split = np.clip(apex - 25 - z, 0, 40) * 0.55
    blend(image, soft(ellipse(np.abs(x) - split, y, (0, -8), (8, 8)), 2.5), -980)
    _spine(image, xyz, -57, 420, 190, 35)
    _rib_ring(image, xyz, (rx - 24, ry - 20), 480)
    for sign in (-1, 1):
        blend(image, soft(ellipse(x, y, (sign * 105 * grow, -ry * 0.72), (42, 4), sign * 0.5), 3.0), 380)
    return image, lungs


def lung(rng: np.random.Generator, xyz: Coordinates) -> tuple[Array, Labels]:
    """Draw chest CT with one small tumour (label 1)."""
    image, _ = thorax_ct(rng, xyz)
    sign = rng.choice((-1, 1))
    radius = rng.uniform(11, 17)
    centre = (sign * rng.uniform(70, 92), rng.uniform(-45, 35), rng.uniform(-6, 6))
    level = ellipsoid(
        xyz, centre, (radius, radius * rng.uniform(0.8, 1.1), rng.uniform(12, 15)), flat=5, spin=rng.uniform(0, 3)
    )
    level = level + 1.0 * _field(rng, xyz, 14)
    blend(image, soft(level, 3.0), 40 + 15 * _field(rng, xyz, 9))
    return image + noise(rng, image.shape, 22), (level < 0).astype(np.uint8)


def liver(rng: np.random.Generator, xyz: Coordinates) -> tuple[Array, Labels]:
    """Draw portal-venous abdominal CT: liver (1) with tumours (2), spleen, stomach, kidneys, vessels."""
    x, y, _ = xyz
    grow = rng.uniform(0.93, 1.07)
    rx, ry = 165 * grow, 118 * grow
    enhanced = rng.uniform(95, 125)
    image = np.full(_size(xyz), -1000, dtype=np.float32)
    couch = np.abs(y + ry * 0.98 + 10 - 0.0009 * x * x) - 2
    blend(image, soft(couch, 3.0) * soft(np.abs(x) - 200, 4.0), -500)
    wall = _trunk(image, xyz, (rx, ry), -100, 55, rng.uniform(14, 24))
    blend(image, soft(wall + 13, 3.0), -90 + 70 * soft(0.6 - _field(rng, xyz, 22), 0.5))
    inside = soft(wall + 11, 3.0)
    _rib_ring(image, xyz, (rx - 27, ry - 24), 450)
    _spine(image, xyz, -55, 430, 200, 30)
    for sign in (-1, 1):
        blend(image, soft(ellipse(x, y, (sign * 40, -72), (26, 17), sign * 0.2), 3.0), 60)
        kidney = ellipsoid(xyz, (sign * 62 * grow, -42, -48), (24, 28, 52), spin=sign * 0.4)
        blend(image, soft(kidney, 3.0), 175)
        blend(image, soft(kidney + 12, 4.0), 120)
    stomach = ellipsoid(xyz, (-62 * grow, 34, 5), (44, 36, 60), spin=0.4)
    blend(image, inside * soft(stomach, 3.0), 40)
    blend(image, inside * soft(stomach + 4, 3.0), np.where(y > 46, -950, 15))
    spleen = np.maximum(
        ellipsoid(xyz, (-98 * grow, -28, 12), (40, 52, 50), spin=-0.3),
        -ellipsoid(xyz, (-66 * grow, -18, 12), (30, 36, 60)),
    )
    blend(image, inside * soft(spleen, 3.0), enhanced + 15)

    bumps = 4 * _field(rng, xyz, 40)
    tall = rng.uniform(42, 48)
    right = ellipsoid(xyz, (66 * grow, 2, 0), (74 * grow, 84 * grow, tall))
    left = ellipsoid(xyz, (6, 50 * grow, 4), (66 * grow, 34, tall * 0.85), spin=-0.25)
    level = np.maximum(np.minimum(right, left) + bumps, wall + 12)
    level = np.maximum(level, -ellipse(x, y, (0, -62), (34, 34)))
    blend(image, soft(level, 3.0), enhanced + 5 * _field(rng, xyz, 12))
    veins = np.abs(_field(rng, xyz, 26))
    blend(image, soft(level + 8, 5.0) * soft(veins - 0.05, 0.08) * 0.6, enhanced + 55)
    labels = (level < 0).astype(np.uint8)
    for _ in range(rng.integers(1, 4)):
        radius = rng.uniform(9, 20)
        at = (rng.uniform(45, 100) * grow, rng.uniform(-30, 45), rng.uniform(-20, 20))
        tumour = ellipsoid(xyz, at, (radius, radius, radius)) + 1.5 * _field(rng, xyz, 15)
        tumour = np.maximum(tumour, level + 1)
        blend(image, soft(tumour, 4.0), enhanced - 60)
        labels[tumour < 0] = 2
    for centre, radius, value in (((-12, -34), 11, 160), ((20, -28), 12, 140), ((14, 4), 7, 170)):
        blend(image, soft(ellipse(x, y, centre, (radius, radius)), 3.0) * (labels == 0), value)
    return image + noise(rng, image.shape, 14), labels


def brain(rng: np.random.Generator, xyz: Coordinates) -> tuple[Array, Labels]:
    """Draw skull-stripped brain in FLAIR, T1w, T1gd and T2w (last axis) with a glioma: oedema 1, core 2, enhancing rim
    3."""
    x, y, z = xyz
    grow = rng.uniform(0.93, 1.05)
    surface = ellipsoid(xyz, (0, 0, -6), (67 * grow, 84 * grow, 66 * grow), flat=2.3)
    folds = _field(rng, xyz, 8)
    sulci = soft(np.abs(folds) - 0.06, 0.3) * soft(-surface - 17, 8)
    ends = 40 - np.abs(y) - 0.6 * np.clip(z - 20, 0, None)  # the corpus callosum bridges the middle
    cleft = soft(np.abs(x + 1.5 * np.sin(y / 9)) - 1.2, 2.0) * soft(ends, 14)
    white = soft(surface + 14 + 9 * folds, 4.0)
    deep = soft(ellipsoid([np.abs(x), y, z], (20, 2, -4), (11, 24, 18)), 4.0)
    wide = rng.uniform(0.8, 1.35)
    bent = np.abs(x) - 0.006 * (y - 4) ** 2
    ventricle = soft(ellipsoid([bent, y, z], (9, 2, 6), (6.5 * wide, 38 * wide, 17)), 3.0)
    csf = np.clip(np.maximum(np.maximum(sulci, cleft), ventricle), 0, 1)

    tall = rng.uniform(20, 25)
    centre = (rng.choice((-1, 1)) * rng.uniform(25, 36), rng.uniform(-40, 40), rng.uniform(-5, 10))
    spin, radius = rng.uniform(0, 3), rng.uniform(18, 24)
    wobble = 2.0 * _field(rng, xyz, 18)
    swelling = ellipsoid(xyz, centre, (radius * 1.4, radius, tall), flat=4, spin=spin) + wobble
    core = ellipsoid(xyz, centre, (radius * 0.75, radius * 0.62, tall * 0.7), flat=3, spin=spin) + 0.6 * wobble
    swelling = np.maximum(swelling, surface + 4)
    rim = np.abs(core + 1.5) - 2.2

    scans = []
    #         grey, white, CSF, oedema, core, rim
    for values in (
        (560, 450, 130, 980, 760, 800),
        (620, 860, 230, 520, 400, 560),
        (640, 860, 240, 540, 380, 1450),
        (720, 520, 1350, 1150, 1250, 900),
    ):
        grey, pale, fluid, wet, dead, rind = values
        scan = np.full(_size(xyz), grey, dtype=np.float32)
        blend(scan, white, pale)
        blend(scan, deep, 0.6 * grey + 0.4 * pale)
        blend(scan, csf, fluid)
        blend(scan, soft(swelling, 4.0) * (1 - 0.6 * ventricle) * (1 - 0.3 * sulci), wet)
        blend(scan, soft(core, 2.5), dead)
        blend(scan, soft(rim, 2.0), rind)
        scan *= 1 + 0.05 * _field(rng, xyz, 90)
        scan += noise(rng, scan.shape, 22)
        scans.append(np.clip(scan, 1, None) * (surface < 0))
    labels = (swelling < 0).astype(np.uint8)
    labels[core < 0] = 2
    labels[rim < 0] = 3
    labels[surface >= 0] = 0
    return np.stack(scans, axis=-1), labels


def heart(rng: np.random.Generator, xyz: Coordinates) -> tuple[Array, Labels]:
    """Draw cardiac MR with bright blood; the left atrium is labelled 1."""
    x, y, _ = xyz
    grow = rng.uniform(0.92, 1.08)
    image = np.full(_size(xyz), 8, dtype=np.float32)
    _trunk(image, xyz, (158 * grow, 112 * grow), 420, 150, rng.uniform(13, 20))
    for sign in (-1, 1):
        blend(image, soft(ellipse(x, y, (sign * 78 * grow, -6), (54 * grow, 78 * grow), sign * 0.12), 4.0), 28)
    _rib_ring(image, xyz, (132 * grow, 90 * grow), 60)
    _spine(image, xyz, -55, 90, 210, 320)
    blend(image, soft(ellipse(x, y, (-2, 8), (34, 60)), 4.0), 260)
    sac = ellipsoid(xyz, (-24, 18, -6), (62 * grow, 48 * grow, 75), spin=0.5)
    blend(image, soft(sac, 5.0), 170)
    chambers = (
        ((-46, 14, -8), (36, 24, 52), 0.75, 330),  # left ventricle
        ((-12, 40, -8), (38, 17, 50), 0.35, 310),  # right ventricle
        ((24, 18, 2), (19, 25, 34), 0.2, 315),  # right atrium
    )
    for centre, radii, spin, value in chambers:
        blend(image, soft(ellipsoid(xyz, [c * grow for c in centre], radii, spin=spin), 4.0), value)
    blend(image, soft(ellipse(x, y, (-20, -46), (11, 11)), 3.0), 340)
    blend(image, soft(ellipsoid(xyz, (8, 12, 45), (15, 15, 40)), 4.0), 340)
    tall = rng.uniform(24, 29)
    at = (-4 + rng.normal(0, 3), -14 + rng.normal(0, 2), rng.uniform(-4, 4))
    atrium = ellipsoid(xyz, at, (33 * grow, 19 * grow, tall), flat=3, spin=0.1) + 1.0 * _field(rng, xyz, 25)
    for sign in (-1, 1):
        vein = ellipsoid(xyz, (at[0] + sign * 34, at[1] - 6, at[2] + 4), (24, 7, 9), spin=sign * -0.35)
        atrium = np.minimum(atrium, vein)
    blend(image, soft(atrium - 3, 3.0), 150)
    blend(image, soft(atrium, 3.0), 400)
    image *= 1 + 0.12 * _field(rng, xyz, 160)
    return np.clip(image + noise(rng, image.shape, 12), 0, None), (atrium < 0).astype(np.uint8)


def prostate(rng: np.random.Generator, xyz: Coordinates) -> tuple[Array, Labels]:
    """Draw pelvic MR in T2 and ADC (last axis): peripheral zone 1, transition zone 2."""
    x, y, z = xyz
    grow = rng.uniform(0.93, 1.08)
    wide, deep, tall = rng.uniform(24, 29), rng.uniform(19, 22), rng.uniform(21, 25)
    gland = ellipsoid(xyz, (0, 0, 0), (wide, deep, tall), flat=3) + 0.8 * _field(rng, xyz, 14)
    inner = ellipsoid(xyz, (0, 5, 1), (wide * 0.72, deep * 0.7, tall * 0.9), flat=3) + 0.8 * _field(rng, xyz, 12)
    inner = np.maximum(inner, gland + 2)
    nodules = _field(rng, xyz, 9)
    fat = _field(rng, xyz, 16)
    bladder = ellipsoid(xyz, (0, 26, 44), (42 * grow, 30, 34))
    rectum = ellipsoid(xyz, (rng.normal(0, 3), -deep - 15, 0), (15, 12, 90))
    parts = []
    #          fat, muscle, marrow, cortex, urine, bowel wall, gas, PZ, TZ
    for values in ((520, 130, 430, 30, 900, 260, 15, 640, 330), (240, 950, 300, 60, 2900, 1000, 30, 1750, 1250)):
        lipid, muscle, marrow, cortex, urine, bowel, gas, outer, middle = values
        scan = np.full(_size(xyz), 5, dtype=np.float32)
        body = ellipse(x, y, (0, -8), (170 * grow, 105 * grow))
        blend(scan, soft(body, 4.0), lipid * (1 + 0.06 * fat))
        ax = np.abs(x)
        for centre, radii, angle in (
            ((62, -2), (11, 40), -0.25),
            ((60, -66), (40, 15), 0.55),
            ((36, 62), (24, 12), 0.2),
        ):
            blend(scan, soft(ellipse(ax, y, (centre[0] * grow, centre[1]), radii, angle), 4.0), muscle)
        blend(scan, soft(ellipse(ax, y, (88 * grow, 8), (25, 27)), 3.0), cortex)
        blend(scan, soft(ellipse(ax, y, (88 * grow, 8), (22, 24)), 3.0), marrow)
        blend(scan, soft(ellipsoid([ax, y, z], (20, 48, -14), (20, 11, 30), spin=-0.4), 3.0), cortex)
        blend(scan, soft(ellipsoid([ax, y, z], (20, 48, -14), (16, 8, 28), spin=-0.4), 3.0), marrow)
        blend(scan, soft(ellipsoid([ax, y, z], (17, 0, -22), (6, 36, 40)), 4.0), muscle)
        blend(scan, soft(bladder, 4.0), muscle)
        blend(scan, soft(bladder + 4, 3.0), urine)
        blend(scan, soft(rectum, 3.0), bowel)
        blend(scan, soft(rectum + 4, 3.0), gas)
        blend(scan, soft(gland - 1.5, 2.0), muscle)
        blend(scan, soft(gland, 2.0), outer)
        blend(scan, soft(inner - 1, 1.5), 0.6 * middle)
        blend(scan, soft(inner, 2.0), middle * (1 + 0.25 * nodules))
        scan *= 1 + 0.08 * _field(rng, xyz, 110)
        parts.append(np.clip(scan + noise(rng, scan.shape, 0.025 * urine), 0, None))
    labels = (gland < 0).astype(np.uint8)
    labels[inner < 0] = 2
    return np.stack(parts, axis=-1), labels

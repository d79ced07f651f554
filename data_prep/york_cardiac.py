"""York University's cine MR of children's hearts, the cardiac set of Wen et al. (2021): contours become masks.

The layout of its MATLAB files is that of the publisher's own notes.
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from data_prep import masked
from data_prep.sample.drawing import generator
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import BadFileError, UsageError
from medtl.files import file_hash
from medtl.limits import check_growth
from medtl.readers import intensity
from medtl.readers.find import below, left_over
from medtl.writers.images import write_png

CARD = DatasetCard(
    name="york_cardiac",
    title="York University, cine MR of children's hearts",
    task="segmentation",
    classes=("myocardium", "left_ventricle"),
    licence="for research, free of charge; the paper is to be cited (the publisher's notes)",
    citation="Andreopoulos and Tsotsos, Efficient and Generalizable Statistical Models of Shape and Appearance for"
    " Analysis of Cardiac MRI, Medical Image Analysis 2008",
    url="http://www.cse.yorku.ca/~mridataset/",
    how_to_get="Download images and segmentations of the 33 subjects and unpack them under one folder.",
    disk_gb=None,
    layout="sol_yxzt_patN.mat with manual_seg_32points_patN.mat, in any folders",
    seen=False,
)
PICTURES = re.compile(r"(?:^|/)sol_yxzt_pat(?P<key>\d+)\.mat$", re.IGNORECASE)
CONTOURS = re.compile(r"(?:^|/)manual_seg_32points_pat(?P<key>\d+)\.mat$", re.IGNORECASE)
POINTS = 32  # of either contour; a row of zeros stands between them


def find(raw: Path) -> Source:
    """Return the work of a download: each subject with both files; what has no partner is named.

    Raises:
        UsageError: it holds no file of the set.
    """
    tree = below(raw)
    names = [one.name for one in tree.files]
    pictures, contours = (
        {int(match["key"]): name for name in names if (match := pattern.search(name))}
        for pattern in (PICTURES, CONTOURS)
    )
    rejected = [Rejected(*one) for one in tree.refused]
    if not pictures and not contours and not rejected:
        raise UsageError(f"{raw} holds no file of {CARD.name}: expected {CARD.layout}")
    rejected += [Rejected(pictures[key], "has no contours") for key in sorted(pictures.keys() - contours)]
    rejected += [Rejected(contours[key], "has no pictures") for key in sorted(contours.keys() - pictures)]
    works = tuple(
        Work(f"{key:02d}", (raw / pictures[key], raw / contours[key]), [key, pictures[key], contours[key]])
        for key in sorted(pictures.keys() & contours)
    )
    used = [name for work in works for name in work.payload[1:]]
    passed = left_over(tree, used, [row.file for row in rejected])
    found = dict.fromkeys(CARD.classes, len(works))
    return Source(CARD.name, raw, works, process, {}, found, "subjects", tuple(rejected), passed)


def process(work: Work, raw: Path, out: Path) -> Done:
    """Write the slices of one subject that have contours; each frame is a case. Slices without contours are left out,
    for the heart may be on them."""
    key, pictures, contours = work.payload
    done = Done()
    try:
        volume, drawn = _variable(raw / pictures, "sol_yxzt"), _variable(raw / contours, "manual_seg_32points")
        if volume.ndim != 4 or volume.dtype.kind not in "uif":
            raise BadFileError(f"sol_yxzt has {volume.ndim} axes; expected row, column, slice and frame")
        if drawn.shape != volume.shape[2:]:
            raise BadFileError(f"has {volume.shape[2:]} slices and frames, its contours {drawn.shape}")
        low, high = intensity.mr_range(volume)
        for frame in range(volume.shape[3]):
            for number in range(volume.shape[2]):
                if np.size(drawn[number, frame]) == 1:  # -99999: no segmentation
                    continue
                labels = filled(np.asarray(drawn[number, frame]), volume.shape[:2])
                picture = intensity.scale(volume[:, :, number, frame], low, high)
                done.entries.append(_entry(key, frame, number, picture, labels, out))
    except BadFileError as error:
        return Done(rejected=[Rejected(pictures, str(error))])
    if not done.entries:
        done.rejected.append(Rejected(pictures, "its contours mark nothing"))
    return done


def _variable(path: Path, name: str) -> NDArray[Any]:
    """Return a variable of a MATLAB file.

    Raises:
        BadFileError: there is none, or the file cannot be read.
    """
    from scipy.io import loadmat, whosmat

    try:
        claimed = sum(8 * math.prod(shape) for _, shape, _ in whosmat(path))
        check_growth(path.stat().st_size, claimed)
        return np.asarray(loadmat(path, variable_names=[name])[name])
    except KeyError:
        raise BadFileError(f"{path.name} holds no {name}") from None
    except BadFileError:
        raise
    except Exception:  # scipy has no error of its own for damaged files
        raise BadFileError(f"{path.name} is no readable MATLAB file") from None


def filled(points: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the mask (rows, columns) of both contours: the chamber within the inner, the muscle between the two.

    Args:
        points: (65, 2), x (column) and y (row), from 1 as MATLAB counts: the inner contour, zeros, the outer one.
        shape: rows and columns.

    Raises:
        BadFileError: they are no such contours.
    """
    if points.shape != (2 * POINTS + 1, 2) or not np.isfinite(points).all():
        raise BadFileError(f"has contours of {points.shape}; expected {2 * POINTS + 1} points of two numbers")
    mask = Image.new("L", (shape[1], shape[0]))
    pen = ImageDraw.Draw(mask)
    for label, contour in ((1, points[POINTS + 1 :]), (2, points[:POINTS])):
        pen.polygon([(float(x), float(y)) for x, y in contour - 1], fill=label)
    return np.asarray(mask).astype(np.uint8)


def _entry(
    key: int, frame: int, number: int, picture: NDArray[np.uint8], labels: NDArray[np.uint8], out: Path
) -> dict[str, Any]:
    case = f"pat{key:02d}_{frame + 1:02d}"
    file = f"{CARD.name}/{case}_z{number:02d}.png"
    write_png(out / "images" / file, picture)
    write_png(out / "masks" / file, labels)
    return {
        "image": f"images/{file}",
        "mask": f"masks/{file}",
        "patient": f"{CARD.name}/{key:02d}",
        "source": CARD.name,
        "sha256": file_hash(out / "images" / file),
        "mask_sha256": file_hash(out / "masks" / file),
        "case": case,
        "slice": number,
        "spacing": [1.0, 1.0, 1.0],  # the files do not say the millimetres
    }


command = masked.command_of(CARD, find, 0.2)


def make_sample(folder: Path) -> None:
    """Draw the layout: rings in a chest, four frames of three slices, the last of which has no contours."""
    from scipy.io import savemat

    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:64, 0:64]
    turns = np.linspace(0, 2 * np.pi, POINTS + 1)[:-1]
    for key in range(1, 9):
        rng = generator("york", key)
        centre = rng.uniform(26, 38, 2)
        volume = rng.normal(90, 8, (64, 64, 3, 4))
        contours = np.full((3, 4), None, object)
        for frame in range(4):
            for number in range(3):
                contours[number, frame] = np.array([[-99999]])
                wide = 10.0 - 1.5 * frame - number
                away = np.hypot(x - centre[0], y - centre[1])
                volume[away < wide + 5, number, frame] -= 50
                volume[away < wide, number, frame] += 120
                if number < 2:
                    rings = [centre + 1 + r * np.stack((np.cos(turns), np.sin(turns)), 1) for r in (wide, wide + 5)]
                    contours[number, frame] = np.concatenate((rings[0], np.zeros((1, 2)), rings[1]))
        savemat(folder / f"sol_yxzt_pat{key}.mat", {"sol_yxzt": np.clip(volume, 0, 255).astype(np.uint8)})
        savemat(folder / f"manual_seg_32points_pat{key}.mat", {"manual_seg_32points": contours})

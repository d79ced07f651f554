"""Pictures that runs left in their folders, small enough to be carried along: heat maps of ``medtl explain``, and masks
over the slices of segmented cases."""

import base64
import io
from collections import defaultdict
from pathlib import Path

from PIL import Image

from medtl.errors import BadFileError, MedtlError
from medtl.readers.raster import UNREADABLE, opened_picture
from medtl.report.arms import Study
from medtl.report.collect import Run
from medtl.report.layout import Figure

MOST = 12
SIDE = 320  # pixels of the longer side of a heat map's panel
ROW = 640  # of a slice three times in a row


def heat_maps(study: Study) -> tuple[list[Figure], int]:
    """Return at most a dozen panels, images that most runs explain first, and the number of all.

    Raises:
        MedtlError: a panel is no picture.
    """
    return _panels(study, "explain", "*.png", "Grad-CAM overlay", SIDE)


def segmented_slices(study: Study) -> tuple[list[Figure], int]:
    """Return at most a dozen slices (picture, ground truth, prediction) of the reported split, cases that most runs
    segment first, and the number of all.

    Raises:
        MedtlError: one is no picture.
    """
    what = "picture, ground truth and prediction"
    return _panels(study, "overlays", f"{study.split}_*.png", what, ROW)


def _panels(study: Study, folder: str, pattern: str, what: str, side: int) -> tuple[list[Figure], int]:
    by_image: dict[str, list[tuple[Run, Path]]] = defaultdict(list)
    for run in study.found.runs:
        for path in sorted((run.folder / folder).glob(pattern)):
            by_image[path.stem].append((run, path))
    found = [pair for stem in sorted(by_image, key=lambda s: (-len(by_image[s]), s)) for pair in by_image[stem]]
    return [_figure(run, path, what, side) for run, path in found[:MOST]], len(found)


def _figure(run: Run, path: Path, what: str, side: int) -> Figure:
    who = f"{run.backbone} from {run.init}, seed {run.seed}" + ("" if run.fold is None else f", fold {run.fold}")
    caption = f"{path.stem}: {who}"
    return Figure(caption, f"{what} of {caption}", uri=data_uri(path, side))


def data_uri(path: Path, side: int) -> str:
    """Return a picture whose longer side is scaled down to so many pixels, as a data URI without its metadata."""
    try:
        with opened_picture(path) as image:
            small = image.convert("RGB")
    except (BadFileError, *UNREADABLE):
        raise MedtlError(f"{path} is no picture that can be read") from None
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    small.save(written, "JPEG", quality=88, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode("ascii")

"""Grad-CAM panels that ``medtl explain`` left in the runs' folders, small enough to be carried along."""

import base64
import io
from collections import defaultdict
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from medtl.errors import MedtlError
from medtl.report.arms import Study
from medtl.report.collect import Run
from medtl.report.layout import Figure

FOLDER = "explain"
MOST = 12
SIDE = 320  # pixels of the longer side


def panels(study: Study) -> tuple[list[Figure], int]:
    """At most a dozen panels, images that most runs explain first, and the number of all.

    Raises:
        MedtlError: a panel is no picture.
    """
    by_image: dict[str, list[tuple[Run, Path]]] = defaultdict(list)
    for run in study.found.runs:
        for path in sorted((run.folder / FOLDER).glob("*.png")):
            by_image[path.stem].append((run, path))
    found = [pair for stem in sorted(by_image, key=lambda s: (-len(by_image[s]), s)) for pair in by_image[stem]]
    return [_figure(run, path) for run, path in found[:MOST]], len(found)


def _figure(run: Run, path: Path) -> Figure:
    who = f"{run.backbone} from {run.init}, seed {run.seed}" + ("" if run.fold is None else f", fold {run.fold}")
    caption = f"{path.stem}: {who}"
    return Figure(caption, f"Grad-CAM overlay of {caption}", uri=data_uri(path))


def data_uri(path: Path) -> str:
    """A picture scaled down to SIDE pixels, as a data URI without its metadata."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        raise MedtlError(f"{path} is no picture that can be read") from None
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    small.save(written, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode("ascii")

"""Pictures that runs left in their folders, small enough to be carried along: heat maps of ``medtl explain``, and masks
over the slices of segmented cases."""

import base64
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
SLICES = "picture, ground truth and prediction"


def heat_maps(study: Study) -> tuple[list[Figure], int]:
    """Return at most a dozen panels, images that most runs explain first, and the number of all.

    Raises:
        MedtlError: a panel is no picture.
    """
    by_image = _found(study, "explain", "*.png")
    return _figures(by_image, "Grad-CAM overlay", SIDE, {}), sum(map(len, by_image.values()))


def segmented_slices(study: Study) -> tuple[list[Figure], str]:
    """Return at most a dozen slices (picture, ground truth, prediction) of the reported split; and, where there are
    more, which of how many these are.

    Cases that most runs segment come first. Where not all are shown, cases are chosen from the worst to the best by
    Dice (mean over organs and runs), evenly by rank, with the median among them.

    Raises:
        MedtlError: one is no picture.
    """
    by_case = _found(study, "overlays", f"{study.split}_*.png")
    count = sum(map(len, by_case.values()))
    dice = {run.name: _dice_of_cases(run, study.split) for run in study.found.runs}
    if count > MOST:
        means = {stem: _mean(dice[run.name].get(stem, math.nan) for run, _ in own) for stem, own in by_case.items()}
        ranked = sorted((stem for stem in by_case if not math.isnan(means[stem])), key=lambda stem: (means[stem], stem))
        runs = max(map(len, by_case.values()))
        wanted = max(3, MOST // runs // 2 * 2 - 1)  # an odd number, for the median
        if len(ranked) >= wanted:
            chosen = [ranked[round(place * (len(ranked) - 1) / (wanted - 1))] for place in range(wanted)]
            by_case = {stem: by_case[stem][: MOST // wanted] for stem in chosen}
            drawn = _figures(by_case, SLICES, ROW, dice, in_order=True)
            return drawn, f"{len(drawn)} of {count} slices are shown, of cases from the worst to the best by Dice."
    return _figures(by_case, SLICES, ROW, dice), f"{MOST} of {count} slices are shown." if count > MOST else ""


def _dice_of_cases(run: Run, split: str) -> dict[str, float]:
    """Return the Dice of each case, mean over its organs, by the name of its overlay; NaN where it has none."""
    if split not in run.splits:
        return {}
    sample = run.splits[split]
    columns = [place for place, name in enumerate(sample.columns) if name.startswith("dice_")]
    return {
        f"{split}_{case.replace('/', '_')}": _mean(values)
        for case, values in zip(sample.names, sample.values[:, columns], strict=True)
    }


def _mean(values: Iterable[float]) -> float:
    known = [float(value) for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _found(study: Study, folder: str, pattern: str) -> dict[str, list[tuple[Run, Path]]]:
    """Return the panels of each image, with the runs that made them."""
    by_image: dict[str, list[tuple[Run, Path]]] = defaultdict(list)
    for run in study.found.runs:
        for path in sorted((run.folder / folder).glob(pattern)):
            by_image[path.stem].append((run, path))
    return by_image


def _figures(
    by_image: Mapping[str, Sequence[tuple[Run, Path]]],
    what: str,
    side: int,
    dice: Mapping[str, Mapping[str, float]],
    in_order: bool = False,
) -> list[Figure]:
    stems = list(by_image) if in_order else sorted(by_image, key=lambda s: (-len(by_image[s]), s))
    found = [pair for stem in stems for pair in by_image[stem]]
    return [_figure(run, path, what, side, dice.get(run.name, {}).get(path.stem)) for run, path in found[:MOST]]


def _figure(run: Run, path: Path, what: str, side: int, dice: float | None) -> Figure:
    who = f"{run.backbone} from {run.init}, seed {run.seed}" + ("" if run.fold is None else f", fold {run.fold}")
    caption = f"{path.stem}: {who}" + ("" if dice is None or math.isnan(dice) else f", Dice {dice:.2f}")
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

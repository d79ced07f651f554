"""How well heat maps cover lesions over the settings of a design: what ``medtl explain`` wrote into the runs' folders,
as Mei et al. (Radiology: Artificial Intelligence 2022) compare starts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import shapiro, ttest_rel

from medtl.errors import MedtlError
from medtl.files import read_rows
from medtl.metrics import paired, weighted
from medtl.metrics.bootstrap import difference_of, distribution, percentile
from medtl.report.arms import Study
from medtl.report.collect import Run
from medtl.report.layout import Field, Section, Table
from medtl.report.settings import FEWEST, settings_of
from medtl.report.words import NONE, count, interval, number, p_value, signed

ROWS = "explain.csv"
DICE, CHANCE = "dice_180", "dice_180_random"
METHOD, ASKED = "gradcam", "predicted"  # what is compared: the usual maps


@dataclass(frozen=True, eq=False)
class Covered:
    """Dice of one start's maps with lesions.

    Attributes:
        init: the start.
        dice: (settings, pictures), the mean over the trainings of a setting.
        chance: likewise, of the same hot regions anywhere.
    """

    init: str
    dice: NDArray[np.float64]
    chance: NDArray[np.float64]


def over_settings(study: Study, baseline: str) -> Section:
    """Return the section; empty where there are no settings, or fewer than three were explained from every start.

    Raises:
        MedtlError: a table of maps is damaged.
    """
    title = "Grad-CAM and lesions"
    rows = settings_of(study)
    inits = [init for init in study.inits if rows and (rows[0], init) in study.arms]
    tables = {(row, init): _maps(study.arms[row, init].runs, study.split) for row in rows for init in inits}
    explained = [row for row in rows if all(tables[row, init] for init in inits)]
    pictures = [set(each) for row in explained for init in inits for each in tables[row, init]]
    shared = sorted(set.intersection(*pictures)) if pictures else []
    if len(explained) < FEWEST or not shared:
        return Section("maps", title)
    patients = [tables[explained[0], inits[0]][0][image][2] for image in shared]
    found = []
    for init in inits:
        trainings = [[[each[image][:2] for image in shared] for each in tables[row, init]] for row in explained]
        values = np.array([np.mean(each, axis=0) for each in trainings])
        found.append(Covered(init, values[:, :, 0], values[:, :, 1]))
    text = "Such maps show what drives an answer, not that it is right. Only runs that medtl explain was run on count."
    return Section("maps", title, [text], tables=[_table(study, found, patients, baseline)])


def _maps(runs: Sequence[Run], split: str) -> list[dict[str, tuple[float, float, str]]]:
    """Of each training, image to Dice, Dice by chance and patient; none where a training was not explained."""
    found = [_of_run(run, split) for run in runs]
    return found if all(found) else []


def _of_run(run: Run, split: str) -> dict[str, tuple[float, float, str]]:
    path = run.folder / "explain" / ROWS
    if not path.is_file():
        return {}
    try:
        return {
            row["image"]: (float(row[DICE]), float(row[CHANCE]), row["patient"])
            for row in read_rows(path)
            if (row["split"], row["method"], row["asked"]) == (split, METHOD, ASKED) and row[DICE]
        }
    except (KeyError, ValueError):
        raise MedtlError(f"{path} is no table of medtl explain; remove it, and explain the run again") from None


def _table(study: Study, found: Sequence[Covered], patients: Sequence[str], baseline: str) -> Table:
    base = next((each for each in found if each.init == baseline), None)
    compared = base is not None and len(found) > 1
    header = ["mean ± SD over settings", "95 % interval over patients", "anywhere"]
    if compared:
        header += [f"less {baseline}", "95 % interval over patients", "Shapiro p", "paired t p", "Wilcoxon p"]
    lines = []
    for each in found:
        settings = each.dice.mean(axis=1)
        low, high = percentile(_drawn(each.dice.mean(axis=0), patients))
        said = [
            f"{number(float(settings.mean()))} ± {number(float(settings.std(ddof=1)))}",
            interval(low, high) or NONE,
            number(float(each.chance.mean())),
        ]
        if compared and base is not None and each is not base:
            said += _against(each, base, patients)
        elif compared:
            said += [""] * 5
        lines.append([Field(each.init, init=each.init, left=True), *map(Field, said)])
    caption = (
        f"Dice of the Grad-CAM pixels above 180 of 255 with the lesion's mask: {count(len(patients), 'picture')}, "
        f"{count(len(found[0].dice), 'setting')}."
    )
    notes = [
        "Anywhere: the mean Dice of the same hot regions moved to every place of the picture.",
        "Interval over patients: bootstrap of whole patients, the trained networks taken as they are.",
    ]
    if compared:
        notes.append(
            "Shapiro, t and Wilcoxon: of the differences setting by setting, as the paper has them. They tell whether "
            "the settings of this design agree on these pictures. Settings share pictures and networks and are no "
            "independent trials, so these are no tests of other patients. t assumes normal differences, which "
            "Shapiro's p below 0.05 speaks against; Wilcoxon does not."
        )
    return Table(caption, [Field("start", left=True), *map(Field, header)], lines, notes)


def _against(own: Covered, base: Covered, patients: Sequence[str]) -> list[str]:
    gaps = own.dice - base.dice
    drawn = difference_of(float(gaps.mean()), _drawn(gaps.mean(axis=0), patients))
    each = gaps.mean(axis=1)
    alike = bool(np.ptp(each) < 1e-12)
    normal = math.nan if alike else float(shapiro(each).pvalue)
    t = math.nan if alike else float(ttest_rel(own.dice.mean(axis=1), base.dice.mean(axis=1)).pvalue)
    ranks = paired.wilcoxon(own.dice.mean(axis=1), base.dice.mean(axis=1))
    ends = interval(drawn.low, drawn.high, sign=True) or NONE
    return [signed(drawn.value), ends, p_value(normal), p_value(t), p_value(ranks)]


def _drawn(values: NDArray[np.float64], patients: Sequence[str]) -> NDArray[np.float64]:
    """(replicates,) means of (pictures,) values on drawn patients; none of fewer than two."""
    place, people = weighted.by_patient(patients)
    scorer = weighted.means({"mean": values}, place, people)
    return distribution(scorer, people)["mean"] if people > 1 else np.empty(0)

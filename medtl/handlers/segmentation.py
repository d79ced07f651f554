"""What a segmentation run leaves behind: as ``medtl.handlers.results``, with cases in place of images."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from medtl.data.stored import Squeezed
from medtl.datalist import DataList
from medtl.files import write_csv
from medtl.handlers.best import BestEpoch
from medtl.handlers.results import Finish, Save
from medtl.metrics.ignite_segmentation import CaseResult, OrganScores
from medtl.metrics.segmentation import case_means, case_scores, guess_scores, intervals, mean_scores, names
from medtl.readers.picture import read_picture
from medtl.writers.images import write_png
from medtl.writers.masks import side_by_side, write_nifti
from medtl.writers.tables import write_metrics


@dataclass(frozen=True, eq=False)
class ScoredCases:
    """One split, scored.

    Attributes:
        split: short name.
        cases: each predicted and scored.
        metrics: ``<split>_<score>`` to value.
    """

    split: str
    cases: tuple[CaseResult, ...]
    metrics: Mapping[str, float]

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain numbers, for a checkpoint; cases and ground truth are the data list's.
        Of each case the shape of its mask, and the mask compressed."""
        return {
            "split": self.split,
            "predicted": {
                each.case.name: (
                    list(each.squeezed_mask.shape),
                    torch.from_numpy(np.frombuffer(each.squeezed_mask.content, np.uint8).copy()),
                )
                for each in self.cases
            },
            "metrics": {name: float(value) for name, value in self.metrics.items()},
        }


def scored_cases(engine: Engine, split: str) -> ScoredCases:
    """Return what an evaluator's last epoch found on ``split``."""
    own = {name: value for name, value in engine.state.metrics.items() if name.startswith(f"{split}_")}
    return ScoredCases(split, engine.state.cases, own)


def with_distances(scored: ScoredCases, organs: Sequence[str]) -> ScoredCases:
    """Return the same with what is measured of contours, and with ``_lo`` and ``_hi`` (95 %, by patient) beside every
    metric that has an interval."""
    cases = tuple(
        replace(each, scores=case_scores(each.truth, each.predicted, organs, each.case.spacing))
        for each in scored.cases
    )
    scores = [each.scores for each in cases]
    found = intervals(scores, [each.case.patient or each.case.name for each in cases])
    metrics: dict[str, float] = {}
    for name, value in mean_scores(scores).items():
        metrics[f"{scored.split}_{name}"] = value
        if name in found:
            metrics[f"{scored.split}_{name}_lo"], metrics[f"{scored.split}_{name}_hi"] = found[name]
    return ScoredCases(scored.split, cases, metrics)


def write_cases(folder: Path, organs: Sequence[str], splits: Sequence[ScoredCases]) -> dict[str, float]:
    """Write ``predictions.csv`` (``case,patient,split,iou_<organ>…,dice_<organ>…``, with distances ``hd95_<organ>…``
    and more of contours, then ``mean_iou,mean_dice…`` of the case) and ``metrics.json``.

    Args:
        folder: the run's.
        organs: names in index order.
        splits: in the order of their rows; all with distances, or none.

    Returns:
        What metrics.json holds.
    """
    distances = all(set(names(organs)) <= each.scores.keys() for each in splits[0].cases)
    columns = names(organs, distances)
    means = [f"mean_{kind}" for kind in dict.fromkeys(name.split("_")[0] for name in columns)]
    rows: list[list[str]] = [["case", "patient", "split", *columns, *means]]
    for scored in splits:
        for each in scored.cases:
            values = each.scores | case_means(each.scores)
            numbers = [_number(values[name]) for name in (*columns, *means)]
            rows.append([each.case.name, each.case.patient, scored.split, *numbers])
    write_csv(folder / "predictions.csv", rows)
    metrics = {name: value for scored in splits for name, value in scored.metrics.items()}
    write_metrics(folder / "metrics.json", metrics)
    return metrics


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.7g}"


class KeepBestCases(BestEpoch[ScoredCases]):
    """``BestEpoch`` of whole cases. The distances and intervals, which take time, are added by ``FinishCases``.

    Args:
        network, output_dir, key_metric, listed, split: of ``BestEpoch``.
        scores: of the validation; knows its cases and their ground truth.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        output_dir: str,
        key_metric: str,
        listed: DataList,
        scores: OrganScores,
        split: str = "val",
    ) -> None:
        super().__init__(network, output_dir, key_metric, listed, split)
        self.scores = scores

    def found(self, engine: Engine, split: str) -> ScoredCases:
        """Return what an evaluator's last epoch found on ``split``."""
        return scored_cases(engine, split)

    def chance(self) -> float:
        """Return the key metric of calling every voxel the organ: what can be had without looking at a picture."""
        guesses = [guess_scores(self.scores.truth(case), self.scores.organs) for case in self.scores.cases]
        return mean_scores(guesses)[self.key_metric.removeprefix(f"{self.split}_")]

    def _write_tables(self, scored: ScoredCases) -> None:
        write_cases(self.folder, self.listed.classes, [scored])

    def _restored(self, state: Mapping[str, Any]) -> ScoredCases:
        cases = []
        for case in self.scores.cases:
            shape, content = state["predicted"][case.name]
            predicted = Squeezed(tuple(shape), content.numpy().tobytes())
            cases.append(self.scores.result(case, predicted.array()))
        return ScoredCases(state["split"], tuple(cases), state["metrics"])


class FinishCases(Finish[ScoredCases]):
    """``Finish`` of whole cases, with distances, and a picture of each."""

    best: KeepBestCases
    left = "predictions, metrics and overlays"

    def _written(self, splits: list[ScoredCases], outcome: dict[str, Any]) -> Mapping[str, float]:
        listed = self.best.listed
        found = [with_distances(each, listed.classes) for each in splits]
        metrics = write_cases(self.folder, listed.classes, found)
        for each in found:
            write_overlays(self.folder, each, listed, self.best.best_epoch)
        return metrics

    def _blind(self) -> tuple[float, str]:
        return self.best.chance(), "chance"


class SaveCases(Save):
    """``Save`` of whole cases, with distances, a picture and a mask of each."""

    def _written(self, engine: Engine) -> tuple[Mapping[str, float], str]:
        what = with_distances(scored_cases(engine, self.split), self.listed.classes)
        metrics = write_cases(self.folder, self.listed.classes, [what])
        write_overlays(self.folder, what, self.listed, 0)
        for each, name in zip(what.cases, file_names([each.case.name for each in what.cases]), strict=True):
            path = self.folder / "masks" / f"{name}.nii.gz"
            write_nifti(path, each.predicted, grid(each))
        return metrics, f"{len(what.cases)} cases"


def grid(result: CaseResult) -> NDArray[np.float64]:
    """Return the affine (RAS+ mm) of a data list's case: spacing and directions are the patient's; where the patient
    lay in the scanner is not in a data list, so the first column, row and slice lie at 0."""
    x, y, z = result.case.spacing
    # columns run from the patient's right to left, rows from front to back (medtl.readers.volume.display)
    return np.diag([-x, -y, z, 1.0])


def file_names(cases: Sequence[str]) -> list[str]:
    """Return the names of a split's cases as files': ``MR_1`` of ``MR/1``; with a number where two would be one."""
    found: dict[str, str] = {}
    for case in cases:
        wanted = case.replace("/", "_")
        numbered = (f"{wanted}_{number}" for number in itertools.count(2))
        found[next(name for name in itertools.chain([wanted], numbered) if name not in found)] = case
    return list(found)


def write_overlays(folder: Path, scored: ScoredCases, listed: DataList, epoch: int) -> None:
    """Write ``overlays/<split>_<case>.png`` (picture, ground truth, prediction) of each case's slice with the most
    organ, and the same for TensorBoard."""
    entries = listed.absolute(scored.split)
    names = file_names([each.case.name for each in scored.cases])
    with SummaryWriter(str(folder / "tensorboard")) as board:
        for each, name in zip(scored.cases, names, strict=True):
            both = (each.truth, each.predicted)
            areas = [(volume > 0).sum(axis=(0, 1)) for volume in both]
            number = int(np.argmax(areas[0] if areas[0].any() else areas[1])) + each.case.numbers[0]
            if number not in each.case.numbers:  # an empty slice where the data list has none
                number = each.case.numbers[0]
            place = each.case.index[each.case.numbers.index(number)]
            picture = read_picture(Path(entries[place]["image"]), channels=listed.channels)
            masks = [volume[:, :, number - each.case.numbers[0]].T for volume in both]
            panels = side_by_side(picture, masks)
            write_png(folder / "overlays" / f"{scored.split}_{name}.png", panels)
            board.add_image(f"overlays/{scored.split} {each.case.name}", panels, epoch, dataformats="HWC")

"""What a survival run leaves behind: as ``medtl.handlers.results``, with a risk a patient in place of probabilities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from medtl.datalist import DataList, Entry
from medtl.errors import MedtlError
from medtl.files import write_csv
from medtl.handlers.best import BestEpoch
from medtl.handlers.results import Finish, Save
from medtl.metrics import survival
from medtl.metrics.survival import Followed
from medtl.writers.tables import write_metrics

COLUMNS = ("patient", "split", "time", "event", "risk")
KEY_METRICS = ("c_index", "c_index_harrell", "c_index_ipcw")
CHANCE = 0.5


@dataclass(frozen=True, eq=False)
class ScoredRisks:
    """One split, scored.

    Attributes:
        split: short name.
        entries: of the data list.
        risk: (n,) of each entry; higher is an earlier event.
        metrics: ``<split>_<score>`` to value.
    """

    split: str
    entries: Sequence[Entry]
    risk: NDArray[np.float64]
    metrics: Mapping[str, float]

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain numbers, for a checkpoint; the entries are the data list's."""
        metrics = {name: float(value) for name, value in self.metrics.items()}
        return {"split": self.split, "risk": torch.from_numpy(self.risk), "metrics": metrics}


def follow_up(entries: Sequence[Entry]) -> Followed:
    """Return times and events of the entries of a survival."""
    return survival.followed([entry["time"] for entry in entries], [entry["event"] for entry in entries])


def reference_of(listed: DataList) -> Followed | None:
    """Return the patients whose censoring weights the IPCW C-index: those of training; None, for the scored ones
    themselves, of a list that has none, as one from elsewhere."""
    return follow_up(listed.training) if listed.training else None


class RiskScores:
    """Evaluator handler: ``engine.state.risks`` (n,) and, as ``<split>_<score>``, ``engine.state.metrics`` after each
    epoch.

    Args:
        split: short name of the split.
        entries: of it, all of which come in batches with their ``index``.
        reference: of ``reference_of``.
    """

    def __init__(self, split: str, entries: Sequence[Entry], reference: Followed | None) -> None:
        self.split = split
        self.entries = entries
        self.reference = reference
        self._risks = np.full(len(entries), np.nan)

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator. Attach it before handlers that read the scores."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._score)

    def _collect(self, engine: Engine) -> None:
        index = engine.state.batch["index"].cpu().numpy()
        self._risks[index] = engine.state.output["pred"].detach()[:, 0].double().cpu().numpy()

    def _score(self, engine: Engine) -> None:
        broken = int((~np.isfinite(self._risks)).sum())
        if broken:
            raise MedtlError(
                f"the network gives no number for {broken:,} of {len(self._risks):,} patients: training has diverged,"
                " try a lower --learning_rate"
            )
        engine.state.risks = self._risks.copy()
        found = survival.scores(follow_up(self.entries), self._risks, self.reference)
        engine.state.metrics.update({f"{self.split}_{name}": value for name, value in found.items()})


def scored_risks(engine: Engine, listed: DataList, split: str) -> ScoredRisks:
    """Return what an evaluator's last epoch found on ``split``."""
    own = {name: value for name, value in engine.state.metrics.items() if name.startswith(f"{split}_")}
    return ScoredRisks(split, listed.split(split), engine.state.risks, own)


def with_intervals(scored: ScoredRisks, reference: Followed | None) -> ScoredRisks:
    """Return the same with ``_lo`` and ``_hi`` (95 %, by patient) beside every C-index that has an interval."""
    found = survival.intervals(follow_up(scored.entries), scored.risk, reference)
    metrics: dict[str, float] = {}
    for name, value in scored.metrics.items():
        metrics[name] = value
        ends = found.get(name.removeprefix(f"{scored.split}_"))
        if ends is not None:
            metrics[f"{name}_lo"], metrics[f"{name}_hi"] = ends
    return ScoredRisks(scored.split, scored.entries, scored.risk, metrics)


def write_risks(folder: Path, splits: Sequence[ScoredRisks]) -> dict[str, float]:
    """Write ``predictions.csv`` (``patient,split,time,event,risk``) and ``metrics.json``, whose content is returned."""
    rows: list[Sequence[object]] = [COLUMNS]
    for scored in splits:
        for entry, risk in zip(scored.entries, scored.risk, strict=True):
            time = np.format_float_positional(entry["time"], trim="-")  # whole: rounded times would be tied
            rows.append([entry["patient"], scored.split, time, entry["event"], f"{risk:.7g}"])
    write_csv(folder / "predictions.csv", rows)
    metrics = {name: value for scored in splits for name, value in scored.metrics.items()}
    write_metrics(folder / "metrics.json", metrics)
    return metrics


class KeepBestRisks(BestEpoch[ScoredRisks]):
    """``BestEpoch`` of patients with risks."""

    def found(self, engine: Engine, split: str) -> ScoredRisks:
        """Return what an evaluator's last epoch found on ``split``."""
        return scored_risks(engine, self.listed, split)

    def _write_tables(self, scored: ScoredRisks) -> None:
        write_risks(self.folder, [scored])

    def _restored(self, state: Mapping[str, Any]) -> ScoredRisks:
        split = state["split"]
        return ScoredRisks(split, self.listed.split(split), state["risk"].numpy(), state["metrics"])


class FinishRisks(Finish[ScoredRisks]):
    """``Finish`` of patients with risks."""

    left = "risks and metrics"

    def _written(self, splits: list[ScoredRisks], outcome: dict[str, Any]) -> Mapping[str, float]:
        reference = reference_of(self.best.listed)
        return write_risks(self.folder, [with_intervals(each, reference) for each in splits])

    def _blind(self) -> tuple[float, str]:
        return CHANCE, "chance"


class SaveRisks(Save):
    """``Save`` of patients with risks."""

    def _written(self, engine: Engine) -> tuple[Mapping[str, float], str]:
        what = with_intervals(scored_risks(engine, self.listed, self.split), reference_of(self.listed))
        return write_risks(self.folder, [what]), f"{len(what.entries):,} patients"

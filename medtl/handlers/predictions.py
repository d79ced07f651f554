"""What an inference leaves behind."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from medtl.errors import PartlyRejected, tell
from medtl.metrics.ignite import answers
from medtl.writers.tables import Table, write_predictions, write_rejected


class SavePredictions:
    """Evaluator handler of an inference: ``predictions.csv`` without a label column, and one last line.

    Pictures that came with a ``reason`` (``ReadablePictures``) are named in ``rejected.csv`` instead, and the run ends
    with ``PartlyRejected`` (status 3).

    Args:
        output_dir: where to write.
        data: what ``medtl.data.pictures.found`` gave.
        classes: class names in index order.
        task: "classification", "multilabel" or "regression".
    """

    def __init__(self, output_dir: str, data: Sequence[Mapping[str, Any]], classes: Sequence[str], task: str) -> None:
        self.folder = Path(output_dir)
        self.data = data
        self.classes = classes
        self.task = task
        self._logits: list[torch.Tensor] = []
        self._reasons: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._save)

    def _collect(self, engine: Engine) -> None:
        self._logits.append(engine.state.output["pred"].float().cpu())
        self._reasons += engine.state.batch["reason"]

    def _save(self, engine: Engine) -> None:
        read = [not reason for reason in self._reasons]
        said = answers(torch.cat(self._logits), self.task)[torch.tensor(read)].numpy()
        names = [item["name"] for item in self.data]
        entries = [{"image": name, "patient": ""} for name, fine in zip(names, read, strict=True) if fine]
        path = self.folder / "predictions.csv"
        if entries:
            write_predictions(path, [Table("inference", entries, said)], self.classes, self.task)
            tell(f"{len(entries):,} predictions in {path} (not for clinical use)")
        if len(entries) < len(names):
            self._reject(names)

    def _reject(self, names: Sequence[str]) -> None:
        """Name what could not be read.

        Raises:
            PartlyRejected: always.
        """
        rows = [(name, reason) for name, reason in zip(names, self._reasons, strict=True) if reason]
        write_rejected(self.folder / "rejected.csv", rows)
        file, reason = rows[0]
        raise PartlyRejected(
            f"{len(rows):,} of {len(names):,} pictures cannot be used, each named in rejected.csv; "
            f"the first: {file} {reason}"
        )

"""Grad-CAM overlays of a few pictures of the split that was evaluated."""

from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from medtl.datalist import DataList
from medtl.errors import tell
from medtl.explain.build import FOLDER, explain_items
from medtl.explain.pictures import from_list
from medtl.explain.subject import Subject
from medtl.files import file_hash


class GradCAMOverlays:
    """Evaluator handler: when the evaluation is over, the first process writes ``explain/`` into the run's folder, as
    ``medtl explain`` does.

    Put it on an evaluator that runs once (of a test split, of an evaluation), not on one that runs every epoch.

    Args:
        network: that was evaluated; not wrapped by DDP.
        backbone: its name.
        weights: the file that its weights are in by then.
        output_dir: the run's folder.
        listed: the data list.
        split: that was evaluated.
        number: of pictures, each class in turn; 0 takes all.
        preprocessing: image_size, mean and std, as of ``Subject``.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        backbone: str,
        weights: str,
        output_dir: str,
        listed: DataList,
        split: str = "test",
        number: int = 12,
        **preprocessing: Any,
    ) -> None:
        self.network = network
        self.backbone = backbone
        self.weights = Path(weights)
        self.folder = Path(output_dir) / FOLDER
        self.listed = listed
        self.split = split
        self.number = number
        self.preprocessing = preprocessing

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        if idist.get_rank():
            return
        subject = Subject(
            self.network,
            self.backbone,
            self.listed.classes,
            channels=self.listed.channels,
            task=self.listed.task,
            sha256=file_hash(self.weights),
            **self.preprocessing,
        )
        tell(explain_items(subject, from_list(self.listed, self.split, self.number), self.folder).line)

"""What the inference of a segmentation of pictures leaves behind: a mask and an overlay a picture, and the areas."""

from collections.abc import Sequence
from pathlib import Path

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events

from medtl.data.unmasked import Unmasked
from medtl.errors import PartlyRejected, tell
from medtl.files import write_csv
from medtl.transforms.components import check, postprocessed
from medtl.writers.images import write_png
from medtl.writers.masks import side_by_side
from medtl.writers.tables import write_rejected

REJECTED = "rejected.csv"


class SavePictureMasks:
    """Evaluator handler of an inference: ``masks/NAME.png`` of class indices, ``overlays/NAME.png``, and
    ``predictions.csv`` with each class's share of the picture, 0..1.

    Args:
        output_dir: where to write.
        data: what is predicted on.
        classes: names in index order, without the background.
        postprocess: see ``medtl.transforms.components``.

    Raises:
        UsageError: no such post-processing.
    """

    def __init__(self, output_dir: str, data: Unmasked, classes: Sequence[str], postprocess: str = "none") -> None:
        check(postprocess)
        self.folder = Path(output_dir)
        self.data = data
        self.classes = tuple(classes)
        self.postprocess = postprocess

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator whose predicted slices are attached already."""
        engine.add_event_handler(Events.COMPLETED, self._save)

    def _save(self, engine: Engine) -> None:
        if idist.get_rank():
            return
        rows = [["case", "patient", "split", *(f"share_{name}" for name in self.classes)]]
        for place, name in enumerate(self.data.names):
            volume = engine.state.slices[place].T[:, :, np.newaxis]
            labels = postprocessed(volume, len(self.classes), self.postprocess)[:, :, 0].T
            write_png(self.folder / "masks" / f"{name}.png", labels)
            panels = side_by_side(self.data.picture(place), [labels])
            write_png(self.folder / "overlays" / f"{name}.png", panels)
            shares = np.bincount(labels.ravel(), minlength=len(self.classes) + 1)[1:] / labels.size
            rows.append([name, "", "inference", *(f"{share:.7g}" for share in shares)])
        write_csv(self.folder / "predictions.csv", rows)
        tell(f"masks of {len(self.data.names):,} pictures in {self.folder} (not for clinical use)")
        if self.data.refused:
            write_rejected(self.folder / REJECTED, self.data.refused)
            file, reason = self.data.refused[0]
            raise PartlyRejected(
                f"{len(self.data.refused):,} rejected, each named in {REJECTED}; the first: {file} {reason}"
            )

"""Joins the scores of organs to engines: collects predicted slices, puts cases together, scores each whole, in 3-D and
at the size that its slices have on disk."""

from collections.abc import Sequence
from dataclasses import dataclass

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from medtl.data.patches import WholePictures
from medtl.data.slices import Case, Slices, cases_of, unfitted
from medtl.data.stored import Squeezed, SqueezedMasks
from medtl.datalist import Entry
from medtl.errors import MedtlError
from medtl.metrics.segmentation import Scores, case_scores, mean_scores
from medtl.transforms.components import check, postprocessed


@dataclass(frozen=True, eq=False)
class CaseResult:
    """A case, predicted and scored.

    Attributes:
        case: what it is.
        squeezed_truth, squeezed_mask: what is true, and what was predicted (columns, rows, slices); 0 is background.
        scores: IoU and Dice of each organ.
    """

    case: Case
    squeezed_truth: Squeezed
    squeezed_mask: Squeezed
    scores: Scores

    @property
    def truth(self) -> NDArray[np.uint8]:
        """Return the mask (columns, rows, slices)."""
        return self.squeezed_truth.array()

    @property
    def predicted(self) -> NDArray[np.uint8]:
        """Return the mask (columns, rows, slices)."""
        return self.squeezed_mask.array()


class PredictedSlices:
    """Evaluator handler: ``engine.state.slices``, place in the split to (rows, columns) organ indices, after each
    epoch; on every process all of them.

    Args:
        packed: the slices that are predicted, or pictures at their own sizes.
    """

    def __init__(self, packed: Slices | WholePictures) -> None:
        self.packed = packed
        self._found: dict[int, Squeezed] = {}
        self._finite: list[torch.Tensor] = []

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator. Attach it before handlers that read the slices."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._gather)

    def _clear(self, engine: Engine) -> None:
        self._found, self._finite = {}, []

    def _collect(self, engine: Engine) -> None:
        logits = engine.state.output["pred"].detach().float()
        self._finite.append(torch.isfinite(logits).all())
        for place, each in zip(engine.state.batch["index"].tolist(), logits, strict=True):
            rows, columns = self.packed.shapes[place]
            # a fitted slice that has this size lies in its square as it is
            own = each if each.shape[-2:] == (rows, columns) else unfitted(each, rows, columns)
            self._found[place] = Squeezed.of(own.argmax(dim=0).to(torch.uint8).cpu().numpy())

    def _gather(self, engine: Engine) -> None:
        own = self._found
        broken = not all(bool(finite) for finite in self._finite)
        parts = [(own, broken)]
        if idist.get_world_size() > 1:
            parts = [({}, False)] * idist.get_world_size()
            torch.distributed.all_gather_object(parts, (own, broken))
        if any(broken for _, broken in parts):
            raise MedtlError("the network gives no numbers (NaN): training has diverged, try a lower --learning_rate")
        engine.state.slices = SqueezedMasks({place: mask for found, _ in parts for place, mask in found.items()})


class OrganScores:
    """Evaluator handler: ``engine.state.cases``, a CaseResult each, and their means as ``<prefix>_<score>`` in
    ``engine.state.metrics``, after each epoch.

    Args:
        packed: the slices of the split, with masks.
        entries: of the data list, in the same order.
        organs: names in index order.
        prefix: short name of the split, such as "val".
        postprocess: see ``medtl.transforms.components``.

    Raises:
        UsageError: no such post-processing. MedtlError: entries that make up no cases.
    """

    def __init__(
        self,
        packed: Slices | WholePictures,
        entries: Sequence[Entry],
        organs: Sequence[str],
        prefix: str,
        postprocess: str = "none",
    ) -> None:
        check(postprocess)
        self.slices = PredictedSlices(packed)
        self.organs = tuple(organs)
        self.prefix = prefix
        self.postprocess = postprocess
        self.truths = packed.truths
        self.cases = cases_of(entries)

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator. Attach it before handlers that read the scores."""
        self.slices.attach(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._score)

    def truth(self, case: Case) -> NDArray[np.uint8]:
        """Return the ground truth of a case (columns, rows, slices)."""
        return case.volume({place: self.truths[place] for place in case.index})

    def result(self, case: Case, predicted: NDArray[np.uint8]) -> CaseResult:
        """Return a case with what was predicted (columns, rows, slices), scored."""
        truth = self.truth(case)
        scores = case_scores(truth, predicted, self.organs, distances=False)
        return CaseResult(case, Squeezed.of(truth), Squeezed.of(predicted), scores)

    def _score(self, engine: Engine) -> None:
        results = []
        for case in self.cases:
            predicted = postprocessed(case.volume(engine.state.slices), len(self.organs), self.postprocess)
            results.append(self.result(case, predicted))
        engine.state.cases = tuple(results)
        means = mean_scores([result.scores for result in results])
        engine.state.metrics.update({f"{self.prefix}_{name}": value for name, value in means.items()})

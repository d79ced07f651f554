"""The best starts of a probe, fine-tuned by ``medtl compare``."""

from dataclasses import replace
from pathlib import Path

from medtl.compare import run as grid
from medtl.compare.plan import Request as GridRequest
from medtl.errors import UsageError, tell
from medtl.features.probe import GIVEN, Probed
from medtl.features.request import Request
from medtl.places import bundle_folder

BUNDLE = "folder"
FOLDER = "fine_tuning"


def fine_tune(request: Request, probed: Probed) -> int:
    """Fine-tune the best starts on validation into ``OUT/fine_tuning``, with the seeds, folds, fractions and picture
    size of the probe, by the recipe of bundles/folder.

    Args:
        request: of the probe, with ``then``.
        probed: what it found.

    Returns:
        The exit status of ``medtl compare``.

    Raises:
        UsageError: the best starts are features of another program, which has no network here.
    """
    best = [probed.models[standing.model] for standing in probed.standings]
    known = [model for model in best if model.backbone != GIVEN][: request.then]
    if not known:
        raise UsageError(f"--then {request.then}: features that another program computed cannot be fine-tuned")
    tell(f"fine-tuning: {', '.join(model.word for model in known)}")
    size = known[0].network["image_size"]
    ids = {"image_size": str(size), **({"device": request.device} if request.device else {}), **(request.ids or {})}
    asked = GridRequest(
        bundle=bundle_folder(BUNDLE),
        dataset_dir=request.dataset_dir,
        backbones=(),
        inits=(),
        seeds=request.seeds,
        out=Path(request.out) / FOLDER,
        folds=request.folds,
        fractions=request.fractions,
        ids=ids,
    )
    worst = 0
    for backbone in dict.fromkeys(model.backbone for model in known):  # into one grid, which grows
        inits = tuple(model.init for model in known if model.backbone == backbone)
        status = grid.compare(replace(asked, backbones=(backbone,), inits=inits))
        if status > 1:  # told to stop
            return status
        worst = max(worst, status)
    return worst

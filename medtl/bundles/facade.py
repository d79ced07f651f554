"""What configs call: the only import of medtl that a config needs.

Importing it makes the mistakes of a run that was started by a command end in one line (``mistakes``). All that it
offers reads the ids of the running config (``ids``): the steps of ``initialize`` (``start``) and the components that
every recipe has (``components``; ``cases`` for segmentations).
"""

from medtl.bundle.begin import shipped_weights
from medtl.bundle.trained import beside, classes
from medtl.bundles.components import (
    average,
    class_weights,
    on_gpu,
    parameters,
    prepared,
    step,
    warmup_cosine,
)
from medtl.bundles.handlers import (
    best,
    board,
    checkpoints,
    finish,
    history,
    open_test,
    progress,
    run,
    save_scores,
    schedule,
    scores,
    threshold,
    train_board,
)
from medtl.bundles.loaders import (
    augmentation,
    loader,
    normalisation,
    pack,
    picture_loader,
    picture_train_loader,
    pictures,
    train_loader,
)
from medtl.bundles.methods import (
    method_batch,
    method_pictures,
    with_heads,
)
from medtl.bundles.mistakes import begin, bundle_root, cause_of, end, listen, literal, lost
from medtl.bundles.start import (
    begin_evaluation,
    begin_inference,
    begin_training,
    data,
    freeze,
    load_start,
    load_weights,
    open_run,
    preset,
    run_folder,
    short_name,
    start,
    workers,
)
from medtl.data.pictures import found

__all__ = [
    "augmentation", "average", "begin", "begin_evaluation", "begin_inference",
    "begin_training", "beside", "best", "board", "bundle_root", "cause_of", "checkpoints", "class_weights",
    "classes", "data", "end", "finish", "found", "freeze", "history", "listen", "literal", "load_start",
    "load_weights", "loader", "lost", "method_batch", "method_pictures", "normalisation", "on_gpu",
    "open_run", "open_test", "pack", "parameters", "picture_loader", "picture_train_loader", "pictures",
    "prepared", "preset", "progress", "run", "run_folder", "save_scores", "schedule", "scores", "shipped_weights",
    "short_name", "start", "step", "threshold", "train_board", "train_loader", "warmup_cosine", "with_heads",
    "workers",
]  # fmt: skip

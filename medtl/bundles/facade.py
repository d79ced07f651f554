"""What configs call: the only import of medtl that a config needs.

Importing it makes the mistakes of a run that was started by a command end in one line (``mistakes``). All that it
offers reads the ids of the running config (``ids``): the steps of ``initialize`` (``start``), what every recipe has
(``components``, ``loaders``, ``handlers``), and what only some have (``methods`` of pretraining, ``cases`` of
segmentations, ``cohorts`` of survival).
"""

from medtl.bundles.begin import shipped_weights
from medtl.bundles.cases import (
    begin_picture_inference,
    begin_segmentation_evaluation,
    begin_segmentation_inference,
    begin_segmentation_training,
    best_cases,
    cases,
    finish_cases,
    first_fold,
    fold_of,
    inferer,
    joint_augmentation,
    joint_normalisation,
    load_segmenter_start,
    open_test_cases,
    open_volumes,
    organ_scores,
    output_stride,
    save_cases,
    segmenter_parameters,
    sequence,
    slice_loader,
    slice_train_loader,
    slices,
    unmasked,
    volumes,
)
from medtl.bundles.cohorts import (
    bags,
    begin_survival_evaluation,
    begin_survival_training,
    best_risks,
    cohort,
    cohort_loader,
    feature_width,
    finish_risks,
    fit_features,
    open_test_risks,
    risk_epochs,
    risk_scores,
    risk_step,
    save_risks,
    trained_risks,
)
from medtl.bundles.cohorts_inference import begin_survival_inference, infer_risks, read_width
from medtl.bundles.components import (
    average,
    constant,
    loss,
    on_gpu,
    parameters,
    picture_inferer,
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
from medtl.bundles.segmentations import beside as trained_cases
from medtl.bundles.segmentations import saves
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
from medtl.losses_segmentation import check_auxiliary
from medtl.runs.trained import beside, classes

__all__ = [
    "augmentation", "average", "bags", "begin", "begin_evaluation", "begin_inference", "begin_picture_inference",
    "begin_segmentation_evaluation", "begin_segmentation_inference", "begin_segmentation_training",
    "begin_survival_evaluation", "begin_survival_inference", "begin_survival_training", "begin_training", "beside",
    "best", "best_cases", "best_risks", "board", "bundle_root", "cases", "cause_of", "check_auxiliary", "checkpoints",
    "classes", "cohort", "cohort_loader", "constant", "data", "end", "feature_width", "finish", "finish_cases",
    "finish_risks", "first_fold", "fit_features", "fold_of", "found", "freeze", "history", "infer_risks", "inferer",
    "joint_augmentation", "joint_normalisation", "listen", "literal", "load_segmenter_start", "load_start",
    "load_weights", "loader", "loss", "lost", "method_batch", "method_pictures", "normalisation", "on_gpu", "open_run",
    "open_test", "open_test_cases", "open_test_risks", "open_volumes", "organ_scores", "output_stride", "pack",
    "parameters", "picture_inferer", "picture_loader", "picture_train_loader", "pictures", "prepared", "preset",
    "progress", "read_width", "risk_epochs", "risk_scores", "risk_step", "run", "run_folder", "save_cases",
    "save_risks", "save_scores", "saves", "schedule", "scores", "segmenter_parameters", "sequence", "shipped_weights",
    "short_name", "slice_loader", "slice_train_loader", "slices", "start", "step", "threshold", "train_board",
    "train_loader", "trained_cases", "trained_risks", "unmasked", "volumes", "warmup_cosine", "with_heads", "workers",
]  # fmt: skip

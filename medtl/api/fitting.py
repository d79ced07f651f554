"""``medtl.fit``: the recipe of bundles/folder, with a network and a data list of a Python session."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import monai.bundle
from torch import nn

from medtl.api.data import refuse_changed
from medtl.api.origin import Origin, fingerprint, is_unchanged, origin_of, shapes
from medtl.api.run import Run
from medtl.datalist import DataList
from medtl.errors import UsageError
from medtl.places import bundle_folder
from medtl.runs import folder as folders
from medtl.weights import starts

BUNDLE = "folder"
INSTEAD = {  # ids that the arguments of ``fit`` set
    "dataset_dir": "the data list: medtl.load_data(DIR)",
    "fold": "the data list: medtl.load_data(DIR, fold=K)",
    "train_fraction": "the data list: medtl.load_data(DIR, train_fraction=F)",
    "data": "the data list",
    "backbone": "the model: medtl.build(NAME, data)",
    "init": "the model: medtl.build(NAME, data, init=START)",
    "start": "the model",
    "network_def": "the model",
    "output_dir": "out",
    "config_file": "medtl.fit, which runs bundles/folder",
}


def fit(
    model: nn.Module,
    data: DataList,
    *,
    epochs: int | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    **overrides: Any,
) -> Run:
    """Train a classifier by the recipe of bundles/folder, and return its run.

    A model that is as ``medtl.build`` made it is made again by the recipe, from its backbone, start and ``seed``: the
    run is, to the last bit, that of ``python -m monai.bundle run --config_file bundles/folder/configs/train.json
    --dataset_dir DIR --backbone NAME --init START --image_size S --seed SEED``. A model that was changed since is
    copied and trained as it is; its run says ``given`` for the start. ``model`` itself is never changed, so that
    several calls with one model (another seed, another rate) each begin where it stands; ``run.network()`` is the
    trained one.

    Args:
        model: what ``medtl.build`` returned.
        data: what ``medtl.load_data`` returned.
        epochs: by default the recipe's.
        out: the run's folder, which must not hold another run; by default ``runs/folder/<date-time>``.
        seed: by default that of ``medtl.build``.
        overrides: any other id of the recipe (batch_size, learning_rate, freeze, num_workers, device …).

    Raises:
        UsageError: an argument or override cannot be used (with a suggestion), or model and data do not go together.
        MedtlError: the run failed for a reason of its input.
    """
    made = origin_of(model, "medtl.fit: model")
    seed = made.seed if seed is None else seed
    _check_overrides(overrides)
    _check_model(made, data)
    _check_data(data, seed)
    bundle = bundle_folder(BUNDLE)
    given: dict[str, Any] = {
        "dataset_dir": str(data.folder),
        "backbone": made.backbone,
        "init": made.init,
        "image_size": made.image_size,
        "seed": seed,
        "output_dir": str(out) if out is not None else folders.new(str(bundle)),
    }
    given |= {"epochs": epochs} if epochs is not None else {}
    given |= {"fold": data.fold} if data.fold is not None else {}
    given |= {"train_fraction": data.train_fraction} if data.train_fraction != 1 else {}
    if not is_unchanged(model):
        given |= _as_it_is(model, made, overrides)
    monai.bundle.run(config_file=str(bundle / "configs" / "train.json"), **{**given, **overrides})
    return Run(given["output_dir"])


def _check_overrides(overrides: dict[str, Any]) -> None:
    for name, value in overrides.items():
        if name in INSTEAD:
            raise UsageError(f"medtl.fit: {name} {value} is said by {INSTEAD[name]}")


def _check_model(made: Origin, data: DataList) -> None:
    if made.num_classes != len(data.classes) or (made.classes and made.classes != data.classes):
        theirs = ", ".join(made.classes) or f"{made.num_classes} classes"
        raise UsageError(f"medtl.fit: the model was built for {theirs}; the data list has {', '.join(data.classes)}")
    if made.in_channels != 3:
        raise UsageError(
            f"medtl.fit: the model takes {made.in_channels} channel(s); the recipe's pictures have 3 (grey ones are"
            " repeated): build it with in_channels=3"
        )


def _check_data(data: DataList, seed: int) -> None:
    """Refuse a data list that a run could not name: it records the file, the fold and the fraction alone."""
    if data.train_fraction != 1 and data.drawn_with != seed:
        raise UsageError(
            f"medtl.fit: seed {seed}, but the data list's share of the patients was drawn with seed {data.drawn_with};"
            f" load it with medtl.load_data(…, train_fraction={data.train_fraction}, seed={seed})"
        )
    refuse_changed(data, "medtl.fit")


def _as_it_is(model: nn.Module, made: Origin, overrides: dict[str, Any]) -> dict[str, Any]:
    """The ids that put a changed model in the place of the one that the recipe would build."""
    for name in ("dropout", "image_size"):
        if name in overrides:
            raise UsageError(
                f"medtl.fit: {name} {overrides[name]} needs a model that is made again, but this one was changed since"
                " medtl.build"
            )
    if not all(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(
            "medtl.fit: parameters of the model do not require a gradient, which the recipe would change; say"
            " freeze='trunk' or freeze='all_but_last:N' instead"
        )
    start = starts.resolve(made.init, made.backbone, option="init")
    network = deepcopy(model)
    if shapes(network) == shapes(made.empty()):
        vars(network)["literal"] = dict(made.literal)  # what run.json says of it
    as_given = starts.Start(
        init=starts.GIVEN,
        backbone=made.backbone,
        path=None,
        mean=start.mean,
        std=start.std,
        licence=start.licence,
        sha256=fingerprint(model),
        trained_on=start.trained_on,
    )
    return {"network_def": network, "start": as_given, "init": starts.GIVEN}

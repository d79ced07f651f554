"""What the rows of a report are called: a backbone, and what else of the recipe differs."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from medtl.report.collect import Run
from medtl.report.words import NONE, is_path, last_part

ROLES = frozenset({"backbone", "init", "seed", "fold"})
NO_MATTER = frozenset({"device", "num_workers", "debug"})


def setting(run: Run) -> dict[str, str]:
    """Return the recipe without what a place in the table says and what is no part of the result, and the overrides
    within the config (``train#augmentation#rotate``), as text."""
    within = {key: value for key, value in run.record.overrides.items() if "#" in key}
    values = (*run.record.recipe.items(), *within.items())
    # which method a run has is said by its place, and how long each takes by the method
    of_method = {"method", "epochs"} if run.method and run.init == run.method else {"method"}
    return {key: _shown(value) for key, value in values if key not in ROLES | NO_MATTER | of_method}


def bundle_of(run: Run) -> str:
    """Return its name and version."""
    return f"{run.record.bundle.name or NONE} {run.record.bundle.version}".strip()


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return last_part(value) if is_path(value) else value
    return NONE if value is None else json.dumps(value)


def row_labels(runs: Sequence[Run], designs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return, for each run's name, its row: the backbone, and what tells it from others of that backbone.

    Args:
        runs: all of the report.
        designs: of ``designs_of``.
    """
    labels = {}
    for run in runs:
        how = ["frozen"] if run.record.is_probe and not all(other.record.is_probe for other in runs) else []
        own = [f"{key} {value}" for key, value in designs[run.name].items()]
        labels[run.name] = ", ".join([run.backbone, *how, *own])
    return labels


def designs_of(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """Return, for each run's name, the ids of the recipe, and the bundle, in which runs of its backbone differ.

    What differs between backbones only is left to the table of settings: it separates no rows.
    """
    found = {}
    for run in runs:
        kin = [setting(other) | {"bundle": bundle_of(other)} for other in runs if _are_kin(run, other)]
        own = setting(run) | {"bundle": bundle_of(run)}
        keys = dict.fromkeys(key for each in kin for key in each)
        differing = [key for key in keys if len({each.get(key, NONE) for each in kin}) > 1]
        found[run.name] = {key: own.get(key, NONE) for key in differing}
    return found


def _are_kin(run: Run, other: Run) -> bool:
    """Whether two runs may stand in one row: a head on frozen features and a fine-tuning have no recipe in common."""
    return run.backbone == other.backbone and run.record.is_probe == other.record.is_probe


def natural(text: str) -> list[tuple[bool, int, str]]:
    """Sort key: resnet18 before resnet101."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", text)]

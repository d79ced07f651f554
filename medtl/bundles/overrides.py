"""Overrides that cannot be misspelt. MONAI adds any ``--word value`` to the config, so ``--lrr 0.5`` would train with
the old rate."""

import difflib
from collections.abc import Sequence
from typing import Any

from monai.bundle import ConfigParser

from medtl.bundles.known_ids import PATHS, USUAL
from medtl.errors import UsageError
from medtl.runs.workflow import Workflow, current

REFERENCE = ("$", "@", "%")


def refuse_unknown() -> None:
    """Raise where an override of the running workflow names no id of its config, or gives a switch a word; do nothing
    outside a run of config files.

    Nested ids (``train#trainer#max_epochs``, or with ``::``) are looked up as MONAI does.

    Raises:
        UsageError: with a suggestion.
    """
    check(current())


def keep_paths(parser: ConfigParser) -> None:
    """Put paths with a ``#`` back as they were given: MONAI writes ``::`` for it, as in an id."""
    for name, value in current().overrides.items():
        if name in PATHS and isinstance(value, str) and "#" in value:
            parser.ref_resolver.resolved_content[name] = value


def check(workflow: Workflow) -> None:
    """Raise UsageError, with a suggestion, where a workflow's overrides are none of its configs' ids."""
    if not workflow.config_files:
        return
    parser = ConfigParser()
    parser.read_config([str(path) for path in workflow.config_files])
    meta = workflow.config_files[0].parent / "metadata.json"
    if meta.is_file():
        parser.read_meta(str(meta))
    if workflow.tracking is not None:  # MONAI adds the ids of a tracking file after it has read the overrides
        parser.update({**workflow.tracking.get("configs", {}), **parser.config})
    for name, value in workflow.overrides.items():
        _check_path(name, value, workflow.command)
        if name in parser:
            _check_switch(name, value, parser[name])
        elif name not in USUAL or "train#trainer" not in parser:
            usual = list(USUAL) if "train#trainer" in parser else []
            ids = [id_ for id_ in [*known_ids(parser.config), *usual] if ("#" in id_) == ("#" in name)]
            close = closest(name, ids)
            hint = f"did you mean --{close}?" if close else "its ids stand at the top of the file"
            raise UsageError(f"--{name} {value}: {workflow.config_files[-1].name} has no id of that name; {hint}")


def _check_path(name: str, value: Any, command: Sequence[str]) -> None:
    """Refuse a path that did not come as it was typed: python-fire reads ``a,b`` as a tuple, ``1_2`` as 12, and takes
    what follows a ``#`` for a comment."""
    if name not in PATHS:
        return
    typed = next((word.partition("=")[2] for word in command if word.startswith(f"--{name}=")), None)
    if typed is None and f"--{name}" in command[:-1]:
        typed = command[command.index(f"--{name}") + 1]
    if typed is not None and str(value) != typed.strip("'\""):
        raise UsageError(
            f"--{name} {typed}: expected the name of a folder or file, but the command line reads it as {value!r};"
            f" write it as ./{typed}"
        )
    if isinstance(value, str) and value.startswith(REFERENCE):
        raise UsageError(f"--{name} {value}: a config reads what begins so as an expression; write it as ./{value}")


def _check_switch(name: str, value: Any, default: Any) -> None:
    """Refuse ``--compile false``: python-fire leaves it a word, which counts as true (and so "true" does no harm)."""
    told = isinstance(value, bool) or (isinstance(value, str) and (value == "true" or value.startswith(REFERENCE)))
    if isinstance(default, bool) and not told:
        raise UsageError(f"--{name} {value}: expected True or False, spelt so")


def known_ids(config: Any, prefix: str = "") -> list[str]:
    """Return every id of a config, nested ones joined by ``#``; list positions are left out."""
    if not isinstance(config, dict):
        return []
    own = [f"{prefix}{key}" for key in config if not key.startswith("_")]
    return own + [inner for name in own for inner in known_ids(config[name.removeprefix(prefix)], f"{name}#")]


def closest(name: str, ids: Sequence[str]) -> str | None:
    """Return the id that was probably meant: the most alike, initials counting too (``lr`` for ``learning_rate``)."""
    shown = {id_: id_ for id_ in ids}
    for id_ in ids:
        shown.setdefault("".join(word[0] for word in id_.split("_")), id_)
    close = difflib.get_close_matches(name, shown, n=1, cutoff=0.6)
    return shown[close[0]] if close else None

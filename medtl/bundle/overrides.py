"""Overrides that cannot be misspelt. MONAI adds any ``--word value`` to the config, so ``--lrr 0.5`` would train with
the old rate.

A config's expressions see neither the parser nor its overrides; the command line does, and so it is read once more
here.
"""

import ast
import difflib
import inspect
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, run

from medtl.bundle.boundary import end_in_one_line, one_line
from medtl.errors import UsageError

OPTION = re.compile("--?[A-Za-z_]")
RUN_ARGUMENTS = frozenset(inspect.signature(run).parameters) - {"override"}


@dataclass(frozen=True)
class CommandLine:
    """A ``monai.bundle run`` command line: its config files, its overrides by id with their values as text, and the
    settings of an experiment tracker where ``--tracking`` names a file."""

    config_files: tuple[Path, ...]
    overrides: dict[str, str]
    tracking: dict[str, Any] | None = None


def command_line(argv: Sequence[str] | None = None) -> CommandLine | None:
    """Read a command line as MONAI's own (python-fire) does; None when it is not a run of config files.

    Args:
        argv: arguments without the program; the process's own by default.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    found: dict[str, str] = {}
    for number, word in enumerate(words):
        match = re.match(r"--?([A-Za-z_][^=]*)(?:=(.*))?$", word, re.DOTALL)
        if match:
            following = words[number + 1] if number + 1 < len(words) else ""
            alone = not following or OPTION.match(following)  # which means True
            value = match[2] if match[2] is not None else "True" if alone else following
            found[match[1].replace("-", "_")] = value
    if "args_file" in found and Path(found["args_file"]).is_file():
        listed = ConfigParser.load_config_file(found["args_file"])
        found = {**{name: str(value) for name, value in listed.items()}, **found}
    if "config_file" not in found:
        return None
    overrides = {name: value for name, value in found.items() if name not in RUN_ARGUMENTS}
    tracking = Path(found["tracking"]) if "tracking" in found else None
    settings = ConfigParser.load_config_file(tracking) if tracking and tracking.is_file() else None
    return CommandLine(_paths(found["config_file"]), overrides, settings)


def _paths(value: str) -> tuple[Path, ...]:
    """One path, or a list of them as python-fire reads it: ``['a.json','b.json']`` or ``a.json,b.json``."""
    try:
        listed: Any = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        listed = value.strip("[]()").split(",")
    names = listed if isinstance(listed, list | tuple) else [listed]
    return tuple(Path(str(name).strip(" '\"")) for name in names)


@one_line
def refuse_unknown(argv: Sequence[str] | None = None) -> None:
    """Leave with status 2 and a suggestion when an override names no id of the config, or gives a switch a word; do
    nothing outside a run of config files.

    Nested ids (``train#trainer#max_epochs``, or with ``::``) are looked up as MONAI does.
    """
    line = command_line(argv)
    if line is None:
        return
    end_in_one_line()
    parser = ConfigParser()
    parser.read_config([str(path) for path in line.config_files])
    meta = line.config_files[0].parent / "metadata.json"
    if meta.is_file():
        parser.read_meta(str(meta))
    if line.tracking is not None:  # MONAI adds the ids of a tracking file after it has read the overrides
        parser.update({**line.tracking.get("configs", {}), **parser.config})
    for name, value in line.overrides.items():
        id_of_config = name.replace("::", "#")
        if id_of_config in parser:
            _check_switch(name, value, parser[id_of_config])
        else:
            nested = "#" in name or "::" in name
            ids = [id_ for id_ in known_ids(parser.config) if ("#" in id_) == nested]
            close = closest(id_of_config, ids)
            hint = f"did you mean --{close}?" if close else "its ids stand at the top of the file"
            raise UsageError(f"--{name} {value}: {line.config_files[-1].name} has no id of that name; {hint}")


def _check_switch(name: str, value: str, default: Any) -> None:
    """Refuse ``--compile false``: python-fire leaves it a word, which counts as true (and so "true" does no harm)."""
    told = value in ("True", "False", "true") or value.startswith(("$", "@", "%"))
    if isinstance(default, bool) and not told:
        raise UsageError(f"--{name} {value}: expected True or False, spelt so")


def known_ids(config: Any, prefix: str = "") -> list[str]:
    """Every id of a config, nested ones joined by ``#``; list positions are left out."""
    if not isinstance(config, dict):
        return []
    own = [f"{prefix}{key}" for key in config if not key.startswith("_")]
    return own + [inner for name in own for inner in known_ids(config[name.removeprefix(prefix)], f"{name}#")]


def closest(name: str, ids: Sequence[str]) -> str | None:
    """The id that was probably meant: the most alike, initials counting too (``lr`` for ``learning_rate``)."""
    shown = {id_: id_ for id_ in ids}
    for id_ in ids:
        shown.setdefault("".join(word[0] for word in id_.split("_")), id_)
    close = difflib.get_close_matches(name, shown, n=1, cutoff=0.6)
    return shown[close[0]] if close else None


def bundle_root() -> str:
    """The folder above ``configs/`` of the config that is being run; the working directory outside a run of config
    files."""
    line = command_line()
    return str(line.config_files[0].resolve().parent.parent) if line else str(Path.cwd())


def effective_config() -> dict[str, Any]:
    """The merged config files with the overrides of the command line, unevaluated; empty outside a run of config
    files."""
    line = command_line()
    if line is None:
        return {}
    parser = ConfigParser()
    parser.read_config([str(path) for path in line.config_files])
    config: dict[str, Any] = dict(parser.config)
    config.pop("_meta_", None)
    return {**config, **line.overrides}

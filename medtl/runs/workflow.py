"""Which bundle is running, with which configs and overrides, however it was started.

A config's expressions see neither the parser nor its overrides, but MONAI's frames, which called them, do: those of
``monai.bundle.run`` and ``create_workflow``, of ``ConfigWorkflow`` and its parser. A workflow that was made by hand
(``ConfigWorkflow(…)``, then ``initialize()``) no longer knows its files; they are found by comparing what it holds
with the configs beside its metadata.
"""

import inspect
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from monai.bundle import ConfigParser, ConfigWorkflow, create_workflow

MONAI = "monai.bundle."
COMMAND = "monai.bundle.__main__"
META = ConfigParser.meta_key
# each is run as one config, later files override earlier ones: what a bundle's configs folder is meant for
COMBINATIONS = (
    ("train.json",),
    ("train.json", "per_image.json"),
    ("train.json", "multi_gpu_train.json"),
    ("train.json", "per_image.json", "multi_gpu_train.json"),
    ("train.json", "evaluate.json"),
    ("inference.json",),
)
NO_OVERRIDES = frozenset(
    {*inspect.signature(ConfigWorkflow.__init__).parameters, *inspect.signature(create_workflow).parameters}
)


@dataclass(frozen=True)
class Workflow:
    """What is being run.

    Attributes:
        bundle_root: the folder above the first config's; the working directory outside a bundle.
        config_files: absolute, in the order in which they override each other.
        overrides: id (nested ones joined by ``#``) to value, as given.
        config: the merged configs with the overrides, unevaluated, without the metadata.
        command: the words after ``python -m monai.bundle``, as typed, or those that would do the same.
        tracking: the settings of an experiment tracker, where one is used.
    """

    bundle_root: Path
    config_files: tuple[Path, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    tracking: Mapping[str, Any] | None = None


class Recorder(Protocol):
    """What has to hear how a workflow ended."""

    def ended(self, error: BaseException) -> None:
        """Record that an error, or Ctrl-C, ended it."""


_known: "weakref.WeakKeyDictionary[ConfigParser, Workflow]" = weakref.WeakKeyDictionary()
_recorders: "weakref.WeakKeyDictionary[ConfigParser, Recorder]" = weakref.WeakKeyDictionary()


def started_by_command() -> bool:
    """Return whether this process is ``python -m monai.bundle …``, also as a process of torchrun."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name == COMMAND


def current() -> Workflow:
    """Return what is being run; outside a run of configs a workflow of the working directory without any."""
    parser = running_parser()
    if parser is None:
        return Workflow(Path.cwd())
    if parser not in _known:
        _known[parser] = _found(parser)
    return _known[parser]


def look_again() -> None:
    """Forget what was found of the workflow that is running: it begins, and may have been changed since."""
    parser = running_parser()
    if parser is not None:
        _known.pop(parser, None)


def running_parser() -> ConfigParser | None:
    """Return the parser that is evaluating a config now, the innermost where there are several; None where none is."""
    for frame in _frames():
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigParser):
            return owner
        if isinstance(owner, ConfigWorkflow) and "parser" in vars(owner):
            return owner.parser
    return None


def keep(recorder: Recorder) -> None:
    """Let a recorder hear when an error ends the workflow that is running."""
    parser = running_parser()
    if parser is not None:
        _recorders[parser] = recorder


def ended(parser: ConfigParser, error: BaseException) -> None:
    """Tell a workflow's recorder, if it has one, that an error ended it."""
    recorder = _recorders.pop(parser, None)
    if recorder is not None:
        recorder.ended(error)


def _frames() -> Iterator[FrameType]:
    """MONAI's frames that led here, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(MONAI):
            yield frame
        frame = frame.f_back


def _found(parser: ConfigParser) -> Workflow:
    named: Sequence[Path] = ()
    overrides: dict[str, Any] = {}
    tracking: Any = None
    workflow: ConfigWorkflow | None = None
    for frame in _frames():
        local = frame.f_locals
        if isinstance(local.get("self"), ConfigWorkflow):
            workflow = workflow or local["self"]
        files = local.get("config_file_", local.get("config_file"))
        given = local.get("_args", local.get("override"))
        if files and isinstance(given, dict):
            named = [Path(str(file)) for file in ([files] if isinstance(files, str | Path) else files)]
            overrides = {key: value for key, value in given.items() if key not in NO_OVERRIDES}
            tracking = given.get("tracking", local.get("tracking"))
            break
    if not named and workflow is not None:
        named, overrides = _compared(parser, Path(workflow.config_root_path))
    overrides = {key.replace("::", "#"): value for key, value in overrides.items()}
    paths = tuple(path.resolve() for path in named)
    root = paths[0].parent.parent if paths else Path.cwd()
    command = tuple(sys.argv[1:]) if started_by_command() else _words(paths, overrides)
    config = _as_given(paths, overrides) if paths else _without_meta(parser.config)
    return Workflow(root, paths, overrides, plain(config), command, _settings(tracking))


def _settings(tracking: Any) -> Mapping[str, Any] | None:
    """Of an experiment tracker, where a file or a dictionary gives them; MONAI's own by name add nothing to check."""
    if isinstance(tracking, dict):
        return tracking
    return ConfigParser.load_config_file(tracking) if tracking and Path(str(tracking)).is_file() else None


def _compared(parser: ConfigParser, folder: Path) -> tuple[Sequence[Path], dict[str, Any]]:
    """The configs of a folder that a workflow was probably made from, those that differ from it least, and how it
    differs."""
    there = [[folder / name for name in names] for names in COMBINATIONS]
    single = [[path] for path in sorted(folder.glob("*.json")) if path.name != "metadata.json"]
    best: tuple[Sequence[Path], dict[str, Any]] = ((), {})
    for paths in [*there, *single]:
        if not all(path.is_file() for path in paths):
            continue
        try:
            whole = merged(paths)
        except (KeyError, ValueError):  # a file that only changes another one
            continue
        found = dict(_differences(_without_meta(parser.config), whole))
        if not best[0] or len(found) < len(best[1]):
            best = (paths, found)
    return best


def _differences(held: Mapping[str, Any], given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What a config holds otherwise than its files, by id."""
    for key, value in held.items():
        if key in given and isinstance(value, dict) and isinstance(given[key], dict):
            yield from _differences(value, given[key], f"{prefix}{key}#")
        elif key not in given or (value is not given[key] and value != given[key]):
            yield f"{prefix}{key}", value


def _as_given(config_files: Sequence[Path], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Configs with their overrides, as they were written: the running parser has spelt their ids anew."""
    parser = ConfigParser()
    parser.read_config([str(path) for path in config_files])
    parser.update(dict(overrides))
    return _without_meta(parser.config)


def merged(config_files: Sequence[Path]) -> dict[str, Any]:
    """Return configs as MONAI merges them, macros and relative ids resolved, without the metadata."""
    parser = ConfigParser()
    parser.read_config([str(path) for path in config_files])
    parser.resolve_macro_and_relative_ids()
    return _without_meta(parser.config)


def _without_meta(config: Any) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != META}


def _words(config_files: Sequence[Path], overrides: Mapping[str, Any]) -> tuple[str, ...]:
    """The command that does what was asked for from Python."""
    if not config_files:
        return ()
    paths = [str(path) for path in config_files]
    given = [word for key, value in overrides.items() for word in (f"--{key}", str(plain(value)))]
    return ("run", "--config_file", paths[0] if len(paths) == 1 else str(paths), *given)


def plain(value: Any) -> Any:
    """Return a copy of what JSON can hold; of anything else its kind."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return deepcopy(value) if value is None or isinstance(value, str | int | float) else f"<{type(value).__qualname__}>"

"""The one place where a bundle's mistakes become a line and an exit status, and what else must come first in a run.

MONAI wraps what an expression or component raises in RuntimeErrors, several deep. ``begin``, which the first expression
of ``initialize`` calls, lets the running parser raise the ``MedtlError`` within instead, so that from Python
(``monai.bundle.run``, ``ConfigWorkflow``) a mistake is that exception, never SystemExit; configs that call no ``begin``
keep MONAI's own errors. In a process that is
``python -m monai.bundle`` (or torchrun's), importing this module sets ``sys.excepthook``, which prints the error's one
line and leaves with its status. The import comes before everything else that a config names, so mistakes that are
found while ids are resolved, and in MONAI's other commands, end in one line too.

A SystemExit that is raised within ``sys.excepthook`` is honoured by CPython (``PyErr_PrintEx`` hands it to
``handle_system_exit``): the process leaves by its status and by the ordinary way, ``atexit`` included, which
``os._exit`` would cut off.
"""

import contextlib
import functools
import inspect
import os
import signal
import sys
import time
import weakref
from collections.abc import Callable
from pydoc import locate
from types import TracebackType
from typing import Any

from monai.bundle import ConfigComponent, ConfigParser

from medtl.bundles import overrides
from medtl.errors import (
    MedtlError,
    NothingToDo,
    PartlyRejected,
    ToldToStop,
    UsageError,
    debugging,
    line_of,
    status_of,
    tell,
)
from medtl.runs import workflow

# found by all processes of a machine alike: one tells it
COMMON = (UsageError, ToldToStop, NothingToDo, KeyboardInterrupt)
WITHOUT_PREFIX = (ToldToStop, NothingToDo, PartlyRejected, KeyboardInterrupt)
LAST_TO_LEAVE_SECONDS = 1.0  # torchrun ends all processes with the first that leaves
_begun: "weakref.WeakSet[ConfigParser]" = weakref.WeakSet()


def begin() -> None:
    """Let the workflow that evaluates this raise a ``MedtlError`` as it is, instead of what MONAI wraps it in."""
    parser = workflow.running_parser()
    workflow.look_again()
    if parser is not None:
        _begun.add(parser)
        overrides.keep_paths(parser)
    listen()


def bundle_root() -> str:
    """Return the folder above ``configs/`` of the config that is run; the working directory outside a bundle."""
    return str(workflow.current().bundle_root)


def literal(id_: str) -> dict[str, Any]:
    """Return the component of an id as the running config makes it: ``_target_`` and every argument as a value, the
    usual ones too."""
    parser = workflow.running_parser()
    config = parser.ref_resolver.get_item(id_, resolve=True).get_config() if parser is not None else {}
    if not isinstance(config, dict):  # an object, put in its place from Python
        unknown = {"_target_": f"{type(config).__module__}.{type(config).__qualname__}"}
        return getattr(config, "literal", None) or unknown
    given = {key: value for key, value in config.items() if key not in ConfigComponent.non_arg_keys}
    target = locate(str(config.get("_target_", "")))
    usual: dict[str, Any] = {}
    if callable(target):
        with contextlib.suppress(TypeError, ValueError):
            bound = inspect.signature(target).bind_partial(**given)
            bound.apply_defaults()
            usual = {key: value for key, value in bound.arguments.items() if key not in ("args", "kwargs")}
    return workflow.plain({"_target_": config.get("_target_"), **usual, **given})


def listen() -> None:
    """Set ``sys.excepthook`` where this process is a command; again after torch has put its own around it."""
    if workflow.started_by_command():
        sys.excepthook = _leave


def end(error: BaseException) -> int:
    """Tell what ended a run, in one line or, of a bug, as a traceback.

    Returns:
        The exit status.
    """
    found = cause_of(error)
    if found is None or debugging():
        sys.__excepthook__(type(error), error, error.__traceback__)
    if found is not None and _speaks(found):
        line = line_of(found)
        tell(line if isinstance(found, WITHOUT_PREFIX) else f"error: {line}")
    return 1 if found is None else status_of(found)


def cause_of(error: BaseException) -> BaseException | None:
    """Return the mistake within what MONAI has made of it: a ``MedtlError``, Ctrl-C, or what the system refused (a
    full disk); None for a bug."""
    inner: BaseException | None = error
    while inner is not None:
        inner = lost(inner) or inner
        if line_of(inner):
            return inner
        inner = inner.__cause__ or (inner.__context__ if isinstance(inner.__context__, KeyboardInterrupt) else None)
    return None


def lost(error: BaseException) -> MedtlError | None:
    """Return what to say of a process that lost the others: one of them has ended with an error of its own, and this
    one's traceback would bury it; None for any other error."""
    from torch.distributed import DistError

    if not isinstance(error, DistError) and "third_party/gloo" not in str(error):
        return None
    rank = os.environ.get("RANK", "?")
    reason = str(error).strip().splitlines()[0].partition(". ")[0]
    return MedtlError(f"process {rank} cannot go on: another one ended, and its error is the one to look at ({reason})")


def _speaks(error: BaseException) -> bool:
    """Return whether this process tells an error; another machine may lack what this one has."""
    return os.environ.get("LOCAL_RANK", "0") == "0" or not isinstance(error, COMMON)


def _leave(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(cause_of(error), KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second one would end the clean-up
    elif not _speaks(error):
        time.sleep(LAST_TO_LEAVE_SECONDS)
    raise SystemExit(end(error))


def _plain_spoken(wrapped: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``ConfigParser.get_parsed_content`` so that its errors are those that a user made, in workflows that
    have begun."""
    depths: weakref.WeakKeyDictionary[ConfigParser, int] = weakref.WeakKeyDictionary()

    @functools.wraps(wrapped)
    def get_parsed_content(self: ConfigParser, *args: Any, **kwargs: Any) -> Any:
        depths[self] = depths.get(self, 0) + 1
        try:
            return wrapped(self, *args, **kwargs)
        except BaseException as error:
            if self not in _begun:
                raise
            if depths[self] == 1:  # what an expression asks for and does without ends nothing
                workflow.ended(self, error)
            found = cause_of(error)
            if found is error or not isinstance(found, MedtlError):
                raise
            if "Original Traceback" in str(found):  # of a process that loads data
                found = type(found)(line_of(found))
        finally:
            depths[self] -= 1
        raise found

    return get_parsed_content


# a parser that is evaluating the expression which begins is past wrapping: all are wrapped before
ConfigParser.get_parsed_content = _plain_spoken(ConfigParser.get_parsed_content)
listen()

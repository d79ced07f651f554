"""Errors that end in one readable line, and the one place where a command turns them into a line and a status.

Library functions raise ``MedtlError``, which callers from Python catch. Only commands (``guarded``) and the
configs' ``medtl.bundles.facade`` print and leave. Anything else that escapes is a bug and keeps its traceback.
"""

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

EXIT_PARTLY_REJECTED = 3  # some of the data could not be used and is named; the rest was
INTERRUPTED = 130


class MedtlError(Exception):
    """A fault of the input, told in one line that names the file or argument and what was expected."""

    exit_status = 1


class UsageError(MedtlError):
    """A wrong argument, id or folder: exit status 2."""

    exit_status = 2


class BadFileError(MedtlError):
    """One file, series or case that cannot be used; data preparation lists it in rejected.csv and goes on.

    ``str(error)`` is the reason alone: it never repeats a path, a name, an id or a date, so it may be logged.
    """

    exit_status = EXIT_PARTLY_REJECTED


class PartlyRejected(MedtlError):
    """The work is done and written, but for files that could not be used and are named in rejected.csv."""

    exit_status = EXIT_PARTLY_REJECTED


class ToldToStop(MedtlError):
    """A run that was told to stop (SIGTERM, SIGUSR1) has saved itself: exit status 75, EX_TEMPFAIL of sysexits.h."""

    exit_status = 75


class NothingToDo(MedtlError):
    """What was asked for is there already, and nothing was changed: exit status 0."""

    exit_status = 0


def debugging() -> bool:
    """Return whether tracebacks are wanted: ``--debug`` on the command line or MEDTL_DEBUG=1."""
    return "--debug" in sys.argv or os.environ.get("MEDTL_DEBUG", "") not in ("", "0")


def tell(line: str) -> None:
    """Print one line to standard error."""
    print(line, file=sys.stderr, flush=True)


def line_of(error: BaseException) -> str:
    """Return the one line that tells a user what happened; empty for a bug, which keeps its traceback."""
    if isinstance(error, MedtlError):
        text = str(error).strip()
        # from a worker process the message comes with that process's traceback in front of it
        last = text.splitlines()[-1] if "Original Traceback" in text else text
        return last.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "interrupted"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return ""


def status_of(error: BaseException) -> int:
    """Return the exit status of a command that an error ended."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return error.exit_status if isinstance(error, MedtlError) else 1


def guarded(run: Callable[[], object], name: str) -> NoReturn:
    """Call ``run`` and leave the process with its exit status, turning a user's mistake into one line.

    Args:
        run: what to do; may raise SystemExit itself.
        name: the command, put before the message.
    """
    try:
        run()
    except SystemExit as left:
        reason = getattr(left.__context__, "__cause__", None)
        if isinstance(reason, KeyboardInterrupt):  # typer leaves with the status alone
            tell(f"{name}: {line_of(reason)}")
        raise
    except (MedtlError, KeyboardInterrupt, OSError) as error:
        line = line_of(error)
        if not line:
            raise
        if debugging():
            traceback.print_exc()
        tell(f"{name}: {line}")
        sys.exit(status_of(error))
    sys.exit(0)

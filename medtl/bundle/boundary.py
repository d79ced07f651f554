"""Where a config calls medtl: a user's mistake ends the run in one line instead of MONAI's wrapped traceback."""

import functools
import os
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

from medtl.console import debugging, tell
from medtl.errors import MedtlError

P = ParamSpec("P")
R = TypeVar("R")


def end_in_one_line() -> None:
    """Let a MedtlError that MONAI has wrapped (a network or data set that refuses its arguments) end in one line
    too."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        found: BaseException | None = error
        while found is not None and not isinstance(found, MedtlError):
            found = found.__cause__ or found.__context__
        if found is None or debugging():
            sys.__excepthook__(kind, error, trace)
        else:
            tell(f"error: {found}")
        if found is not None:
            raise SystemExit(found.exit_status)

    sys.excepthook = hook


def one_line(function: Callable[P, R]) -> Callable[P, R]:
    """Print a MedtlError as one line and leave with its exit status; SystemExit passes through MONAI's config parser
    untouched."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except MedtlError as error:
            if debugging():
                traceback.print_exc()
            if os.environ.get("RANK", "0") == "0":  # of several processes all find the same mistake; one tells it
                tell(f"error: {error}")
            sys.exit(error.exit_status)

    return guarded

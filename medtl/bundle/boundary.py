"""Where a config calls medtl: a user's mistake ends the run in one line instead of MONAI's wrapped traceback."""

import functools
import os
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

import torch

from medtl.errors import MedtlError, debugging, tell

P = ParamSpec("P")
R = TypeVar("R")


def end_in_one_line() -> None:
    """Let a MedtlError that MONAI has wrapped (a network or data set that refuses its arguments) end in one line
    too."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        found: BaseException | None = error
        while found is not None and not isinstance(found, MedtlError):
            found = alone(found) or found.__cause__ or found.__context__
        if found is None or debugging():
            sys.__excepthook__(kind, error, trace)
        else:
            tell(f"error: {found}")
        if found is not None:
            raise SystemExit(found.exit_status)

    sys.excepthook = hook


def alone(error: BaseException) -> MedtlError | None:
    """What to say of a process that lost the others: one of them has ended with an error of its own, and this one's
    traceback would bury it. None for any other error."""
    if not isinstance(error, torch.distributed.DistError) and "third_party/gloo" not in str(error):
        return None
    rank = os.environ.get("RANK", "?")
    reason = str(error).strip().splitlines()[0].partition(". ")[0]
    return MedtlError(f"process {rank} cannot go on: another one ended, and its error is the one to look at ({reason})")


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
            # all processes of a machine find the same mistake, and one tells it; another machine may lack the data
            if os.environ.get("LOCAL_RANK", "0") == "0":
                tell(f"error: {error}")
            sys.exit(error.exit_status)

    return guarded

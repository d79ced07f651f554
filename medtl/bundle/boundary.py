"""Where a config calls medtl: a user's mistake ends the run in one line instead of MONAI's wrapped traceback."""

import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from medtl.console import debugging, tell
from medtl.errors import MedtlError

P = ParamSpec("P")
R = TypeVar("R")


def one_line(function: Callable[P, R]) -> Callable[P, R]:
    """Print a MedtlError as one line and leave with its exit status; SystemExit passes through MONAI's config parser
    untouched."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except MedtlError as error:
            if debugging():
                raise
            if os.environ.get("RANK", "0") == "0":  # of several processes all find the same mistake; one tells it
                tell(f"error: {error}")
            sys.exit(error.exit_status)

    return guarded

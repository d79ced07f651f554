"""How the commands speak: one readable line for a mistake, a traceback only when asked for."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from medtl.errors import MedtlError

INTERRUPTED = 130


def debugging() -> bool:
    """Whether tracebacks are wanted: ``--debug`` on the command line or MEDTL_DEBUG=1."""
    return "--debug" in sys.argv or os.environ.get("MEDTL_DEBUG", "") not in ("", "0")


def tell(line: str) -> None:
    """Print one line to standard error."""
    print(line, file=sys.stderr, flush=True)


def guarded(run: Callable[[], object], name: str) -> NoReturn:
    """Call ``run`` and leave the process with its exit status, turning a user's mistake into one line.

    Args:
        run: what to do; may raise SystemExit itself.
        name: the command, put before the message.
    """
    try:
        run()
    except MedtlError as error:
        if debugging():
            traceback.print_exc()
        tell(f"{name}: {error}")
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        tell(f"{name}: interrupted")
        sys.exit(INTERRUPTED)
    except OSError as error:
        if debugging() or error.errno is None:
            raise
        place = f" {error.filename}" if error.filename else ""
        tell(f"{name}:{place} {error.strerror}")
        sys.exit(1)
    sys.exit(0)

"""What a run would say against its overrides before it opens its folder; nothing is trained, and nothing written."""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path

from medtl.bundles import mistakes
from medtl.errors import debugging, line_of, tell

_only_checks: ContextVar[bool] = ContextVar("_only_checks", default=False)


class Checked(BaseException):
    """A run would open its folder now; no Exception, which MONAI would wrap."""


def would_write() -> None:
    """Go no further where a run is only checked: everything that may refuse its arguments has been made.

    Raises:
        Checked: it is.
    """
    if _only_checks.get():
        raise Checked


def mistake(config_file: Path, overrides: Mapping[str, str]) -> str:
    """Return what a run would say against its overrides before it opens its folder; empty where it would begin.

    Args:
        config_file: train.json of a bundle.
        overrides: id to value, as the words of a command line.
    """
    from fire.parser import DefaultParseValue
    from monai.bundle import create_workflow

    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as scratch, _checking():
        ids = {id_: DefaultParseValue(word) for id_, word in overrides.items()}
        ids["output_dir"] = str(Path(scratch, "run"))
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                create_workflow(config_file=str(config_file), **ids)  # makes and initialises it; nothing is run
        except Checked:
            return ""
        except Exception as error:
            if debugging():
                tell(printed.getvalue())
            return _line(error)
    return ""


@contextlib.contextmanager
def _checking() -> Iterator[None]:
    token = _only_checks.set(True)
    try:
        yield
    finally:
        _only_checks.reset(token)


def _line(error: BaseException) -> str:
    """A user's mistake in its own line; of any other error the innermost, which MONAI has wrapped."""
    found = mistakes.cause_of(error)
    if found is not None:
        return line_of(found)
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"

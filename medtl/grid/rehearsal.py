"""The bundle's own checks of what a comparison asks, before the first cell is begun.

A bundle finds a user's mistakes in its ``initialize`` before it opens its run folder. Here it is run up to there and no
further, in a process of its own: ``python -m medtl.grid.rehearsal`` reads the words of several runs and answers what
each would say.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from medtl.errors import MedtlError, debugging, line_of
from medtl.grid.cells import DIMENSIONS, Cell, Request, overrides_of, run_words
from medtl.grid.runs import environment, reason

SECONDS = 300.0  # after which the cells are left to find out; it takes as long as importing MONAI, mostly


def common_mistake(request: Request, cells: Sequence[Cell]) -> str:
    """What is wrong with a request whatever the cell.

    One cell is tried; if it would fail, others that differ from it in each dimension are. What is bad for some cells
    only is theirs to say.

    Args:
        request: the comparison.
        cells: of it, at least one.

    Returns:
        The one line in which each of the cells that were tried would end; empty where one would begin, where they
        would end in different lines, or where this could not be found out.
    """
    with tempfile.TemporaryDirectory() as scratch:
        runs = [
            run_words(request, {**overrides_of(request, cell), "output_dir": str(Path(scratch, cell.name))})
            for cell in tried(cells)
        ]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "medtl.grid.rehearsal"],
                input=json.dumps(runs),
                stdout=subprocess.PIPE,
                stderr=None if debugging() else subprocess.DEVNULL,
                env=environment(os.environ, 1, debugging()),
                text=True,
                timeout=SECONDS,
            )
            lines = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, ValueError):
            return ""
    return lines[0] if len(set(lines)) == 1 else ""


def tried(cells: Sequence[Cell]) -> list[Cell]:
    """Some cells, in their order, among which each value of each dimension occurs; the first is one of them."""
    seen: set[tuple[str, Any]] = set()
    kept = []
    for cell in cells:
        values = {(name, getattr(cell, name)) for name in DIMENSIONS}
        if not values <= seen:
            kept.append(cell)
        seen |= values
    return kept


def answers(runs: Sequence[Sequence[str]]) -> list[str]:
    """What each of some runs would say, up to the first that would begin.

    Args:
        runs: the words of each after ``python -m monai.bundle``.
    """
    found: list[str] = []
    for words in runs:
        found.append(mistake(words))
        if not found[-1]:
            break
    return found


def mistake(words: Sequence[str]) -> str:
    """What a run would say against its words before it opens its folder; empty where it would begin.

    Args:
        words: after ``python -m monai.bundle``.
    """
    import fire
    from monai.bundle import create_workflow

    def initialise(**ids: Any) -> None:
        create_workflow(**ids)  # makes and initialises it; nothing is run

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), _until_it_writes():
        try:
            fire.Fire({"run": initialise}, command=list(words))
            return ""
        except _Begins:
            return ""
        except SystemExit as end:  # of python-fire, which does not understand the words
            if not end.code:
                return ""
        except MedtlError as error:
            return line_of(error) if error.exit_status else ""
        except Exception:
            traceback.print_exc()
    if debugging():
        print(printed.getvalue(), file=sys.stderr)
    return reason(printed.getvalue())


class _Begins(BaseException):
    """A run would begin now; no Exception, which MONAI would wrap."""


@contextlib.contextmanager
def _until_it_writes() -> Iterator[None]:
    """End a run where bundles open the folder that they write into."""
    from medtl.runs import folder as run_folder
    from medtl.runs import resume

    def end(*arguments: Any) -> NoReturn:
        raise _Begins

    before = resume.open_run, run_folder.create
    # configs look them up in their modules
    resume.open_run = run_folder.create = end  # type: ignore[assignment]
    try:
        yield
    finally:
        resume.open_run, run_folder.create = before


def main() -> None:
    """From the words of runs on standard input to their ``answers`` on standard output, both JSON lists."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)  # what anything else prints is no answer
        json.dump(answers(json.load(sys.stdin)), answer)


if __name__ == "__main__":
    main()

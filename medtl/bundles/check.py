"""``medtl check BUNDLE``: what a bundle would execute, and whether it is whole; nothing of it is run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from medtl.bundles.inspect import problems_of_bundle
from medtl.bundles.strangers import shown
from medtl.bundles.strangers.finding import printable
from medtl.bundles.strangers.look import look
from medtl.errors import UsageError
from medtl.weights.archive import unpack


@dataclass(frozen=True)
class Verdict:
    """What a check gave.

    Attributes:
        tables: what would be executed, what to know, and the dangers.
        lines: one a problem, and at last the whole in one.
        passed: whether there is neither danger nor problem.
    """

    tables: tuple[Table, ...]
    lines: tuple[str, ...]
    passed: bool


def check_bundle(path: Path) -> Verdict:
    """Look into a bundle of anybody's making.

    Args:
        path: its folder, or its ``.zip``, which is unpacked into a temporary folder by the rules of ``medtl unpack``.

    Raises:
        UsageError: it is no bundle. MedtlError: a zip that is refused.
    """
    with _opened(path) as folder:
        if not (folder / "configs").is_dir():
            raise UsageError(f"{path} holds no configs/; expected a bundle")
        seen = look(folder)
        # where a link leads out of the folder, or a pipe waits in it, nothing else reads there
        problems = problems_of_bundle(folder)[1] if seen.whole else []
    what = shown.summary(seen)
    wrong = shown.counted(len(problems), "problem")
    if seen.faults:
        dangers = shown.counted(shown.dangers(seen), "danger") + (f" and {wrong}" if problems else "")
        last = f"error: {path}: {dangers} in {what}; read it before you run it"
    elif problems:
        last = f"{path}: {wrong} in {what}; {shown.reach(seen)}"
    else:
        last = f"{path}: {what}, no problem found; {shown.reach(seen)}"
    told = [f"- {printable(problem)}" for problem in problems]
    return Verdict(tuple(shown.tables(seen)), (*told, last), not (seen.faults or problems))


@contextmanager
def _opened(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield path
        return
    with TemporaryDirectory(prefix="medtl-check-") as temporary:
        yield unpack(path, Path(temporary) / "bundle")

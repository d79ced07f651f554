"""``medtl check BUNDLE``: what a bundle would execute, and whether it is whole; nothing of it is run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.table import Table

from medtl.bundles.audit import shown
from medtl.bundles.audit.bundle import Audit, audit
from medtl.bundles.audit.finding import printable
from medtl.bundles.inspect import problems_of_bundle
from medtl.errors import UsageError
from medtl.weights.archive import unpack


@dataclass(frozen=True)
class Verdict:
    """What a check gave.

    Attributes:
        path: the bundle, as it was named.
        seen: what it would execute.
        problems: one line a problem: files, metadata, ids, hashes.
    """

    path: Path
    seen: Audit
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Return whether all is reviewed and nothing is wrong."""
        return not (self.seen.unreviewed or self.problems)

    @property
    def tables(self) -> tuple[Table, ...]:
        """Return what would be executed, what to know, and what is unreviewed."""
        return tuple(shown.tables(self.seen))

    @property
    def lines(self) -> tuple[str, ...]:
        """Return one line a problem, and at last the whole in one."""
        what = shown.summary(self.seen)
        wrong = shown.counted(len(self.problems), "problem")
        if self.seen.unreviewed:
            unreviewed = f"{len(self.seen.unreviewed):,} unreviewed" + (f" and {wrong}" if self.problems else "")
            last = f"error: {self.path}: {unreviewed} in {what}; read it before you run it"
        elif self.problems:
            last = f"{self.path}: {wrong} in {what}; all that it would execute is reviewed"
        else:
            last = f"{self.path}: {what}, no problem found; all that it would execute is reviewed"
        return (*(f"- {printable(problem)}" for problem in self.problems), last)

    def as_json(self) -> dict[str, Any]:
        """Return the same as an object for a program."""
        return {
            "path": str(self.path),
            "kind": "bundle",
            "passed": self.passed,
            "unreviewed": [asdict(finding) for finding in self.seen.unreviewed],
            "problems": list(self.problems),
            "notes": [asdict(finding) for finding in self.seen.notes],
            "weights": [{"file": each.place, "what": each.why} for each in self.seen.weights],
            "imports": self.seen.imports,
            "classes": self.seen.classes,
            "expressions": self.seen.expressions,
        }


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
        seen = audit(folder)
        # where a link leads out of the folder, or a pipe waits in it, nothing else reads there
        problems = problems_of_bundle(folder)[1] if seen.whole else []
    return Verdict(path, seen, tuple(problems))


@contextmanager
def _opened(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield path
        return
    with TemporaryDirectory(prefix="medtl-check-") as temporary:
        yield unpack(path, Path(temporary) / "bundle")

"""The unit of data preparation: one piece of work that can be done, recorded, skipped and repeated alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medtl.errors import EXIT_PARTLY_REJECTED as EXIT_PARTLY_REJECTED
from medtl.readers.find import Passed


@dataclass(frozen=True)
class Work:
    """One case, patient or chunk of table rows.

    Attributes:
        id: a file name, unique within the data set.
        files: the raw files it reads; when one of them changes, the work is done again.
        payload: whatever else its ``process`` function needs, as plain data that JSON can hold, and without absolute
            paths: when it changes, the work is done again.
    """

    id: str
    files: tuple[Path, ...]
    payload: Any


@dataclass(frozen=True)
class Rejected:
    """A raw file that could not be used: its path relative to the raw folder, and why."""

    file: str
    reason: str


@dataclass
class Done:
    """What one piece of work gave.

    ``entries`` are data-list entries whose ``label`` is still a class name or a list of class names; ``split`` may
    name a split that the publisher fixed ("test"). Those of a source with folds have no label but a ``mask``, which
    becomes it.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """One raw download and how its pieces become entries.

    Attributes:
        name: written as each entry's ``source``.
        raw: the folder that rejected files are named relative to.
        works: all pieces of work, in a repeatable order.
        process: (work, raw, out) to Done; a module-level function, called in worker processes. It writes nothing but
            what its entries name as ``image`` or ``mask``, relative to ``out``, which need not be the final folder.
        options: everything beside the files that decides the result.
        rejected: files that finding the work already ruled out.
        passed: files that are of no use, and are counted.
        folds: for segmentation: all entries go to training, with patients dealt into so many folds.
        found: class to number of ``unit`` that tables and headers promise, for --dry-run.
        unit: what ``found`` counts: images, cases or nodules.
        parts: of a download in parts, as on its card: each part's ``found``.
        private: names of files may tell people, so rejected.csv is its owner's alone.
    """

    name: str
    raw: Path
    works: tuple[Work, ...]
    process: Callable[[Work, Path, Path], Done]
    options: Mapping[str, Any]
    found: Mapping[str, int]
    unit: str
    rejected: tuple[Rejected, ...] = ()
    passed: tuple[Passed, ...] = ()
    folds: int = 0
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    private: bool = False

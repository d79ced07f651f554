"""Records found by their names: medtl's own, one file each in a folder that is scanned, and those of the folders that
$MEDTL_PLUGINS names.

A file that is found is imported, and registers what it brings. No torch: a record's functions import it when called.
"""

import difflib
import hashlib
import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from medtl.errors import MedtlError, UsageError

PLUGINS = "MEDTL_PLUGINS"


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


class Registry(Generic[T]):
    """Records of one kind, in the order in which they were registered.

    Args:
        what: how errors call one of them.
        package: whose modules register medtl's own; empty where they stand beside the registry itself.
    """

    def __init__(self, what: str, package: str = "") -> None:
        self.what = what
        self._package = package
        self._records: dict[str, T] = {}
        self._scanned = False

    def register(self, record: T) -> T:
        """Add a record, and return it.

        Raises:
            UsageError: there is another one of that name.
        """
        if self._records.setdefault(record.name, record) != record:
            raise UsageError(f"two {self.what}s are called {record.name!r}")
        return record

    def records(self) -> tuple[T, ...]:
        """Return all records: medtl's own first.

        Raises:
            MedtlError: a file of $MEDTL_PLUGINS cannot be imported.
        """
        if self._package and not self._scanned:
            for module in sorted(pkgutil.iter_modules(importlib.import_module(self._package).__path__)):
                importlib.import_module(f"{self._package}.{module.name}")
            self._scanned = True
        load_plugins()
        return tuple(self._records.values())

    def names(self) -> tuple[str, ...]:
        """Return the names of all records."""
        return tuple(record.name for record in self.records())

    def find(self, name: str) -> T:
        """Return the record of that name.

        Raises:
            UsageError: there is none; suggests one that is spelt alike.
        """
        records = {record.name: record for record in self.records()}
        if name not in records:
            raise UsageError(
                f"{self.what} {name!r} is not one of {', '.join(records)}{did_you_mean(name, tuple(records))}"
            )
        return records[name]


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return a suggestion to put behind an error; empty where nothing is alike."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def load_plugins() -> None:
    """Import each .py file of the folders that $MEDTL_PLUGINS names (separated as in $PATH), once a process.

    Raises:
        UsageError: one of them is no folder.
        MedtlError: a file cannot be imported; names it and says why.
    """
    for word in filter(None, os.environ.get(PLUGINS, "").split(os.pathsep)):
        folder = Path(word).expanduser()
        if not folder.is_dir():
            raise UsageError(f"${PLUGINS} names {word}, which is no folder")
        for path in sorted(folder.glob("*.py")):
            _import_file(path.resolve())


def _import_file(path: Path) -> None:
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"medtl_plugin_{path.stem}_{digest}"  # two folders may hold files of one name
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise MedtlError(f"{path} (of ${PLUGINS}) cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: its own classes look themselves up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise MedtlError(f"{path} (of ${PLUGINS}) cannot be imported: {type(error).__name__}: {error}") from error

"""Records found by their names: medtl's own, one file each in a folder that is scanned, and those of
``FOLDER/networks``, ``decoders`` and ``sources`` of the folders that $MEDTL_PLUGINS names.

A file that is found is imported, and registers what it brings. No torch: a record's functions import it when called.
"""

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from medtl import plugins
from medtl.errors import UsageError

KINDS = ("networks", "decoders", "sources")  # a file may register records of several kinds


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
        self._modules: dict[str, str] = {}
        self._scanned = False

    def register(self, record: T) -> T:
        """Add a record, and return it.

        Raises:
            UsageError: there is another one of that name.
        """
        if self._records.setdefault(record.name, record) != record:
            raise UsageError(f"two {self.what}s are called {record.name!r}")
        self._modules[record.name] = _registering()
        return record

    def records(self) -> tuple[T, ...]:
        """Return all records: medtl's own first.

        Raises:
            UsageError: a file of $MEDTL_PLUGINS cannot be imported.
        """
        if self._package and not self._scanned:
            for module in sorted(pkgutil.iter_modules(importlib.import_module(self._package).__path__)):
                importlib.import_module(f"{self._package}.{module.name}")
            self._scanned = True
        plugins.digest(*KINDS)  # of what is imported now, whatever becomes of the files
        for kind in KINDS:
            plugins.modules(kind)
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

    def is_own(self, name: str) -> bool:
        """Return whether medtl brings the record of that name, and no file of somebody else."""
        module = self._modules.get(name, "")
        return module.startswith("medtl.") and not module.startswith(f"{plugins.__name__}.")


def _registering() -> str:
    """The module whose import registers a record."""
    frame = sys._getframe(2)
    while frame.f_code.co_name != "<module>" and frame.f_back is not None:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return a suggestion to put behind an error; empty where nothing is alike."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""

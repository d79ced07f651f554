"""Whose one's own pictures with masks are: by a table's row, else by a pattern on their paths, else nobody knows."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_prep.folder_rows import Found, Row
from medtl.readers.find import File

NO_ROW, NO_PATTERN = "has no row in the table", "the patient pattern does not match its path"
NOT_THERE = "is none of the pictures with masks"


class Person(NamedTuple):
    """What is known of the patient of a picture.

    Attributes:
        patient: as the table or the path names the patient; empty where the table does not.
        split: training, validation or test where it is given.
        group: sex, age and site, as far as a table tells them.
    """

    patient: str
    split: str = ""
    group: tuple[tuple[str, str | int], ...] = ()


@dataclass(frozen=True)
class People:
    """Where patients are told.

    Attributes:
        pattern: on a picture's path below its folder; its first group is the patient.
        table: what a table says of the pictures, each of which needs a row; None where there is no table.
    """

    pattern: re.Pattern[str] | None = None
    table: Found | None = None

    def of(self, files: Sequence[File]) -> dict[str, Person | str | None]:
        """Return by name whose each picture is, or why that cannot be said; None where the table's row, which cannot be
        used, is named already.

        Without pattern and table each picture is its own patient.
        """
        if self.table is None:
            return {file.name: self._by_path(file.name) for file in files}
        rows = {_place(row.path): row for row in self.table.rows}
        refused = {_place(row.path) for row, _ in self.table.rejected}
        return {file.name: self._by_row(file, rows.get(_place(file.path)), refused) for file in files}

    def unused(self, files: Sequence[Path]) -> list[tuple[Row, str]]:
        """Return what of the table cannot be used, with reasons: bad rows, and those of no such picture.

        Args:
            files: the pictures, and what is named for another reason.
        """
        if self.table is None:
            return []
        there = {_place(file) for file in files}
        strange = [(row, NOT_THERE) for row in self.table.rows if _place(row.path) not in there]
        return [*self.table.rejected, *strange]

    def _by_row(self, file: File, row: Row | None, refused: set[str]) -> Person | str | None:
        if row is None:
            return None if _place(file.path) in refused else NO_ROW
        patient = row.patient
        if not patient and self.pattern:
            patient = patient_in(file.name, self.pattern) or ""
            if not patient:
                return NO_PATTERN
        return Person(patient, row.split or "", row.group)

    def _by_path(self, name: str) -> Person | str:
        if self.pattern is None:
            return Person(PurePosixPath(name).with_suffix("").as_posix())
        patient = patient_in(name, self.pattern)
        return NO_PATTERN if patient is None else Person(patient)


def patient_in(file: str, pattern: re.Pattern[str]) -> str | None:
    """Return the patient whom a path names; None where the pattern does not match."""
    match = pattern.search(file)
    return (match.group(1) or None) if match else None


def _place(path: Path) -> str:
    return os.path.abspath(path)

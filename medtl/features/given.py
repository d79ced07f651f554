"""Features that another program computed, by the names of the pictures: a .npz or .csv of any model on earth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from medtl.datalist import Entry
from medtl.errors import BadFileError, MedtlError, UsageError, tell
from medtl.files import file_hash, read_csv
from medtl.readers.npz import read_all

SHOWN = 3  # names in a message


@dataclass(frozen=True, eq=False)
class Given:
    """A file of features.

    Attributes:
        name: of the file, without its suffix.
        sha256: of the file.
        rows: the place of each picture's vector, by the name that the file gives it.
        values: (n, width), float32.
        path: of the file.
    """

    name: str
    sha256: str
    rows: dict[str, int]
    values: NDArray[np.float32]
    path: Path

    def of(self, entries: Sequence[Entry]) -> NDArray[np.float32]:
        """Return the vectors (n_entries, width) of a data list's entries, which are named as in the data list or by
        the picture's file name alone.

        Raises:
            UsageError: some have none, or different pictures share one; names the first of them.
        """
        places = [self._place(entry["image"]) for entry in entries]
        missing = [entry["image"] for entry, place in zip(entries, places, strict=True) if place is None]
        if missing:
            raise UsageError(
                f"--features {self.path} has no vector of {len(missing):,} of {len(entries):,} pictures: "
                f"{_first(missing)}"
            )
        images: dict[int | None, str] = {}
        for entry, place in zip(entries, places, strict=True):
            if (first := images.setdefault(place, entry["image"])) != entry["image"]:
                raise UsageError(
                    f"--features {self.path} has one vector for two pictures: {first}, {entry['image']}; name pictures"
                    " in it as the data list does"
                )
        return self.values[np.array(places, dtype=np.int64)]

    def tell_unknown(self, entries: Sequence[Entry]) -> None:
        """Name the vectors of pictures that the data list does not have; they are not used."""
        known = {name for entry in entries for name in (entry["image"], PurePosixPath(entry["image"]).name)}
        unknown = [name for name in self.rows if name not in known]
        if unknown:
            tell(
                f"warning: --features {self.path}: {len(unknown):,} vectors are of no picture of the data list and are"
                f" not used: {_first(unknown)}"
            )

    def _place(self, image: str) -> int | None:
        place = self.rows.get(image)
        return self.rows.get(PurePosixPath(image).name) if place is None else place


def read_features(path: Path) -> Given:
    """Return the features of a file.

    Args:
        path: a .npz that holds ``names`` (n,) and ``features`` (n, width), or an array (width,) under each picture's
            name; or a .csv with a header, whose first column is the picture's name and whose others are numbers.

    Raises:
        UsageError: there is no such file, or it is of another kind.
        MedtlError: it cannot be read, names a picture twice, or holds something that is no number.
    """
    if path.suffix not in (".npz", ".csv"):
        raise UsageError(f"--features {path}: expected a file .npz or .csv")
    if not path.is_file():
        raise UsageError(f"--features {path}: no such file")
    names, values = _of_npz(path) if path.suffix == ".npz" else _of_csv(path)
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1] if len(set(names)) < len(names) else []
    if twice:
        raise MedtlError(f"--features {path} names {len(twice):,} pictures twice: {_first(twice)}")
    broken = [name for name, row in zip(names, values, strict=True) if not np.isfinite(row).all()]
    if broken:
        raise MedtlError(f"--features {path} holds a value that is not a number for {_first(broken)}")
    if not values.size:
        raise MedtlError(f"--features {path} holds no features")
    return Given(path.stem, file_hash(path), {name: place for place, name in enumerate(names)}, values, path)


def _of_npz(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    try:
        arrays = read_all(path)
        if {"names", "features"} == arrays.keys():
            names = [str(name) for name in arrays["names"]]
            values = np.asarray(arrays["features"], dtype=np.float32)
        else:
            names = list(arrays)
            values = np.stack([np.asarray(vector, dtype=np.float32).ravel() for vector in arrays.values()])
    except BadFileError as error:
        raise MedtlError(f"--features {path} {error}") from None
    except (ValueError, TypeError, OSError, EOFError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MedtlError(f"--features {path} cannot be read: {reason}") from None
    if values.ndim != 2 or len(values) != len(names):
        raise MedtlError(
            f"--features {path} has {len(names):,} names and features of shape {values.shape}; expected a row a name"
        )
    return names, values


def _of_csv(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    _, *lines = read_csv(path) or [[]]
    names = [line[0] if line else "" for line in lines]
    rows = []
    for number, line in enumerate(lines, 2):
        try:
            rows.append([float(field) for field in line[1:]])
        except ValueError:
            raise MedtlError(f"--features {path} line {number} holds a value that is not a number") from None
        if len(rows[-1]) != len(rows[0]):
            raise MedtlError(f"--features {path} line {number} has {len(rows[-1])} numbers; line 2 has {len(rows[0])}")
    return names, np.array(rows, dtype=np.float32).reshape(len(rows), len(rows[0]) if rows else 0)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")

"""Arrays that wait on disk instead of in memory: in a file that has no name, and is gone with the process."""

import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from medtl.errors import MedtlError


class Stored(Sequence[NDArray[np.uint8]]):
    """Arrays of any shapes, uint8, in the order in which they were appended; each is mapped when it is asked for.

    The file lies in the folder of temporary files ($TMPDIR), belongs to its owner alone, and has no name, so that
    nothing of it stays behind however the process ends.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="medtl-")  # noqa: SIM115 (it lives as long as this)
        self._places: list[tuple[int, tuple[int, ...]]] = []
        self._end = 0

    def append(self, array: NDArray[np.uint8]) -> None:
        """Write one more.

        Raises:
            MedtlError: the disk is full.
        """
        try:
            self._file.write(np.ascontiguousarray(array, np.uint8).data)
            self._file.flush()
        except OSError as error:
            raise MedtlError(f"{tempfile.gettempdir()} (TMPDIR), where pictures wait: {error.strerror}") from None
        self._places.append((self._end, array.shape))
        self._end += array.size

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, place: slice) -> "Sequence[NDArray[np.uint8]]": ...
    def __getitem__(self, place: int | slice) -> NDArray[np.uint8] | Sequence[NDArray[np.uint8]]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        offset, shape = self._places[place]
        return np.memmap(self._file, np.uint8, "r", offset, shape)


@dataclass(frozen=True)
class Squeezed:
    """A mask as compressed bytes: some hundredths of what it takes as an array.

    Attributes:
        shape: of the array, uint8.
        content: its values in the order of rows, compressed by zlib.
    """

    shape: tuple[int, ...]
    content: bytes

    @classmethod
    def of(cls, array: NDArray[np.uint8]) -> "Squeezed":
        """Return an array, compressed."""
        return cls(array.shape, zlib.compress(np.ascontiguousarray(array, np.uint8).data, 1))

    def array(self) -> NDArray[np.uint8]:
        """Return the array."""
        return np.frombuffer(zlib.decompress(self.content), np.uint8).reshape(self.shape)


class SqueezedMasks(Mapping[int, NDArray[np.uint8]]):
    """Masks by their place in a split, each an array only while it is looked at.

    Args:
        masks: place to mask.
    """

    def __init__(self, masks: Mapping[int, Squeezed]) -> None:
        self._masks = masks

    def __getitem__(self, place: int) -> NDArray[np.uint8]:
        return self._masks[place].array()

    def __iter__(self) -> Iterator[int]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

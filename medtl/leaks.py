"""What two data lists, or two splits of one, share: people, files, pictures, and near-duplicates of pictures.

Near-duplicates are found in two steps. A perceptual hash names candidates: on chest X-rays thousands of pairs of
different people are as close as a copy is to its original. Only pairs whose fine structure correlates, too, are
reported. ``benchmarks/near_duplicates.py`` measures both errors of the two thresholds.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtl import datalist, files
from medtl.signatures import Listed, sign_list

MOST_BITS = 10  # of 64 that may differ between the perceptual hashes of a picture and its copy
LEAST_CORRELATION = 0.75  # of their fine structures
PAIRS_AT_A_TIME = 2**22  # compared hashes in memory
CANDIDATES_AT_A_TIME = 2**10  # compared fine structures in memory
MOST_NAMED = 3
KINDS: Mapping[str, str] = {
    "patient": "patient(s) in both",
    "file": "pair(s) of identical files",
    "pixels": "pair(s) of identical pictures in different files",
    "near-duplicate": "pair(s) of near-duplicates",
}
COLUMNS = (
    *("kind", "list", "split", "image", "patient"),
    *("other_list", "other_split", "other_image", "other_patient", "bits", "correlation"),
)


@dataclass(frozen=True)
class Leak:
    """One thing that both sides have. Of a shared patient the first picture on either side is named.

    Attributes:
        kind: "patient", "file", "pixels" or "near-duplicate"; a pair of pictures has one kind, the first that fits.
        first, second: place of the picture in either list.
        bits: that differ between the perceptual hashes, of near-duplicates.
        correlation: of their fine structures.
    """

    kind: str
    first: int
    second: int
    bits: int | None = None
    correlation: float | None = None


@dataclass(frozen=True)
class Comparison:
    """All leaks between two lists; between the splits of one list where both are the same."""

    a: Listed
    b: Listed
    leaks: tuple[Leak, ...]

    @property
    def images(self) -> int:
        """Return the pictures of ``a`` that take part in a leak, those of shared patients included."""
        shared = {self.a.patients[leak.first] for leak in self.leaks if leak.kind == "patient"}
        own = {self.a.images[leak.first] for leak in self.leaks}
        if self.a is self.b:
            own |= {self.a.images[leak.second] for leak in self.leaks}
        return len(own | {i for i, patient in zip(self.a.images, self.a.patients, strict=True) if patient in shared})


def compare_lists(folder: Path, others: Sequence[Path], workers: int = 1) -> list[Comparison]:
    """Compare a data list with others; with itself, its splits (and folds) with each other.

    Args:
        folder: a data_prep output or its datalist.json.
        others: of the same kind.
        workers: processes that read pictures.

    Raises:
        UsageError: there is no data list. MedtlError: it is not valid, or a picture cannot be read.
    """
    lists = [datalist.read(path) for path in (folder, *others)]  # mistakes are told before the work
    first = sign_list(lists[0], str(folder), workers)
    comparisons = []
    for path, listed in zip(others, lists[1:], strict=True):
        same = datalist.locate(path).resolve() == datalist.locate(folder).resolve()
        comparisons.append(compare(first, first if same else sign_list(listed, str(path), workers)))
    return comparisons


def compare(a: Listed, b: Listed) -> Comparison:
    """Return all leaks between two signed lists. Where ``b`` is ``a`` itself, pairs of one split (or fold) are none,
    and each pair is found once."""
    leaks = [Leak("patient", *places) for places in _shared_patients(a, b)]
    known: set[tuple[int, int]] = set()
    for kind, keys_a, keys_b in (("file", _with_content(a), _with_content(b)), ("pixels", a.pixels, b.pixels)):
        for pair in _equal_pairs(a, b, keys_a, keys_b):
            if pair not in known:
                leaks.append(Leak(kind, *pair))
                known.add(pair)
    for i, j, bits, correlation in near_pairs(a, b):
        if _counts(a, b, i, j) and (i, j) not in known:
            leaks.append(Leak("near-duplicate", i, j, bits, correlation))
    return Comparison(a, b, tuple(leaks))


def near_pairs(
    a: Listed, b: Listed, most_bits: int = MOST_BITS, least_correlation: float = LEAST_CORRELATION
) -> Iterator[tuple[int, int, int, float]]:
    """Return (place in ``a``, place in ``b``, differing bits, correlation) of every pair that looks alike; pictures
    without detail look like nothing."""
    for rows, columns, bits in close_hashes(a.phashes, b.phashes, most_bits):
        for start in range(0, len(rows), CANDIDATES_AT_A_TIME):
            part = slice(start, start + CANDIDATES_AT_A_TIME)
            correlations = _correlations(a.details[rows[part]], b.details[columns[part]])
            for k in np.flatnonzero(correlations >= least_correlation):
                yield int(rows[start + k]), int(columns[start + k]), int(bits[start + k]), float(correlations[k])


def close_hashes(
    a: NDArray[np.uint64], b: NDArray[np.uint64], most_bits: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.uint8]]]:
    """Return every pair of hashes, (n,) and (m,), that differ in at most so many bits: places in ``a``, in ``b``, and
    the number of bits, a chunk of ``a`` at a time."""
    step = max(1, PAIRS_AT_A_TIME // max(1, len(b)))
    for start in range(0, len(a), step):
        bits = np.bitwise_count(a[start : start + step, np.newaxis] ^ b)
        rows, columns = np.nonzero(bits <= most_bits)
        yield rows + start, columns, bits[rows, columns]


def _correlations(a: NDArray[np.int8], b: NDArray[np.int8]) -> NDArray[np.float32]:
    """Pearson's of each row of (n, k) with the same row of the other, whose means are 0; 0 for a row of zeros."""
    x, y = a.astype(np.float32), b.astype(np.float32)
    norms = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return (x * y).sum(axis=1) / np.maximum(norms, 1)


def _counts(a: Listed, b: Listed, i: int, j: int) -> bool:
    """Whether a pair can be a leak at all."""
    return a is not b or (i < j and a.parts[i] != b.parts[j])


def _with_content(listed: Listed) -> list[str]:
    """Hashes of the files but those that show nothing: black slices are alike in many cases."""
    return [sha256 if pixels else "" for sha256, pixels in zip(listed.sha256, listed.pixels, strict=True)]


def _equal_pairs(a: Listed, b: Listed, keys_a: Sequence[str], keys_b: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Places of all pairs with the same key; an empty key equals none."""
    places = defaultdict(list)
    for j, key in enumerate(keys_b):
        places[key].append(j)
    for i, key in enumerate(keys_a):
        if key:
            yield from ((i, j) for j in places.get(key, ()) if _counts(a, b, i, j))


def _shared_patients(a: Listed, b: Listed) -> Iterator[tuple[int, int]]:
    """The first picture on either side of each patient that both have."""
    places: dict[str, dict[str, int]] = defaultdict(dict)  # patient → part → its first picture there
    for j, (patient, part) in enumerate(zip(b.patients, b.parts, strict=True)):
        places[patient].setdefault(part, j)
    told = set()
    places.pop("", None)  # not known
    for i, patient in enumerate(a.patients):
        other = next((j for part, j in places.get(patient, {}).items() if a is not b or part != a.parts[i]), None)
        if other is not None and patient not in told:
            told.add(patient)
            yield i, other


def lines(comparison: Comparison) -> list[str]:
    """Return what was found in words: one line for all, one a kind with the first few named."""
    a, b = comparison.a, comparison.b
    between = f"the splits of {a.name}" if a is b else f"{a.name} and {b.name}"
    if not comparison.leaks:
        sizes = f"{len(set(a.images)):,}" if a is b else f"{len(set(a.images)):,} and {len(set(b.images)):,}"
        return [f"no leak between {between}: {sizes} images compared"]
    told = [f"a leak between {between}: {comparison.images:,} image(s) of {len(set(a.images)):,}"]
    for kind, words in KINDS.items():
        own = [leak for leak in comparison.leaks if leak.kind == kind]
        if own:
            named = "; ".join(_named(comparison, leak) for leak in own[:MOST_NAMED])
            told.append(f"- {len(own):,} {words}: {named}{'; …' if len(own) > MOST_NAMED else ''}")
    return told


def _named(comparison: Comparison, leak: Leak) -> str:
    a, b, i, j = comparison.a, comparison.b, leak.first, leak.second
    if leak.kind == "patient":
        return f"{a.patients[i]} ({a.parts[i]}, {b.parts[j]})"
    return f"{a.images[i]} ({a.parts[i]}) = {b.images[j]} ({b.parts[j]})"


def write_csv(comparisons: Sequence[Comparison], path: Path) -> None:
    """Write every leak as one row, atomically."""
    rows: list[tuple[object, ...]] = [COLUMNS]
    for one in comparisons:
        for leak in one.leaks:
            i, j = leak.first, leak.second
            correlation = "" if leak.correlation is None else f"{leak.correlation:.4f}"
            first = one.a.name, one.a.parts[i], one.a.images[i], one.a.patients[i]
            second = one.b.name, one.b.parts[j], one.b.images[j], one.b.patients[j]
            rows.append((leak.kind, *first, *second, leak.bits, correlation))
    files.write_csv(path, rows)

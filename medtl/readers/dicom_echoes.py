"""Slices of one series by echo: real echoes lie at the same positions, rounded echo times at different ones."""

import itertools
import math
from collections.abc import Sequence

from medtl.errors import BadFileError
from medtl.readers.dicom_headers import SliceHeader

# Scanners and anonymisers round an echo time in different ways from slice to slice; echoes of one series lie further
# apart than this fraction of the time, or than so many ms.
ROUNDING = (0.02, 0.05)
SAME_POSITION = 1e-3  # mm


def by_echo(headers: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """Return slices of one series, orientation and size, apart by echo time.

    Echo times that differ by no more than rounding are one, unless two slices lie at one position with them.

    Raises:
        BadFileError: slices of different echoes that lie between each other, none at the position of another: that is
            one volume whose echo time changes, or halves of two, and nothing tells which.
    """
    groups: list[list[SliceHeader]] = []
    for near in _rounded(headers):
        exact: dict[float | None, list[SliceHeader]] = {}
        for header in near:
            key = None if header.echo_time is None else round(header.echo_time, 3)
            exact.setdefault(key, []).append(header)
        groups += list(exact.values()) if len(exact) > 1 and _share_a_position(near) else [near]
    for number, one in enumerate(groups):
        for other in groups[:number]:
            if _between_each_other(one, other) and not _share_a_position([*one, *other]):
                raise BadFileError("the echo time changes from slice to slice: it cannot be told what is one volume")
    return groups


def _rounded(headers: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """Return groups of slices whose echo times follow on one another within rounding, in the order of the first
    slices."""
    times = sorted({header.echo_time for header in headers if header.echo_time is not None})
    group: dict[float | None, int] = {None: -1}
    for number, time in enumerate(times):
        before = times[number - 1] if number else -math.inf
        is_new = time - before > max(ROUNDING[0] * time, ROUNDING[1])
        group[time] = max(group.values()) + 1 if is_new else group[before]
    found: dict[int, list[SliceHeader]] = {}
    for header in headers:
        found.setdefault(group[header.echo_time], []).append(header)
    return list(found.values())


def _share_a_position(headers: Sequence[SliceHeader]) -> bool:
    """Return whether two slices lie at one position; those without one may."""
    places = sorted(header.offset for header in headers)
    if any(math.isnan(place) for place in places):
        return True
    return any(after - before <= SAME_POSITION for before, after in itertools.pairwise(places))


def _between_each_other(one: Sequence[SliceHeader], other: Sequence[SliceHeader]) -> bool:
    """Return whether the ranges of positions overlap."""
    ranges = [(min(h.offset for h in group), max(h.offset for h in group)) for group in (one, other)]
    return ranges[0][0] < ranges[1][1] and ranges[1][0] < ranges[0][1]

"""explain.csv, one row an overlay, and explain.json, what they add up to; both grow with every call for a run."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medtl import files
from medtl.errors import MedtlError, UsageError
from medtl.explain.overlap import DICE, Overlap, summary

ROWS, SUMMARY = "explain.csv", "explain.json"
COLUMNS = (
    "image", "patient", "split", "label", "predicted", "prob", "method", "asked", "class", "prob_class", "dice_180",
    "dice_180_random", "dice_180_centre", "mask_area", "hot_area", "empty", "panel", "sha256",
)  # fmt: skip

Row = dict[str, str]


def read_rows(folder: Path, weights: str) -> list[Row]:
    """Return the rows of earlier calls whose overlays are still there.

    Args:
        folder: of the overlays; it need not exist.
        weights: SHA-256 of the weights that are explained now.

    Raises:
        UsageError: they are of other weights.
        MedtlError: a file is damaged.
    """
    if not (folder / ROWS).is_file():
        return []
    try:
        known = files.read_object(folder / SUMMARY)["weights_sha256"]
        rows = files.read_rows(folder / ROWS)
        if rows and tuple(rows[0]) != COLUMNS:
            raise ValueError
    except (MedtlError, ValueError, KeyError):
        raise MedtlError(
            f"{folder} holds a damaged {ROWS} or {SUMMARY}; delete both, or choose another --out"
        ) from None
    if known != weights:
        raise UsageError(f"{folder} holds overlays of other weights; delete it, or choose another --out")
    return [row for row in rows if (folder / row["panel"]).is_file()]


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Return all rows, by the overlays' names; of one overlay the new row."""
    rows = {row["panel"]: row for row in (*old, *new)}
    return [rows[panel] for panel in sorted(rows)]


def write(folder: Path, rows: Sequence[Row], about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Write both files.

    Args:
        folder: of the overlays.
        rows: all of them.
        about: what all have in common.

    Returns:
        For every split, method and class asked for: counts, and where there are lesions ``overlap.summary``.
    """
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["split"], row["method"], row["asked"]].append(row)
    maps = [_summed(key, groups[key]) for key in sorted(groups)]
    # the summary first: it says whose weights the rows are of
    files.write_json(folder / SUMMARY, {**about, "maps": maps})
    files.write_csv(folder / ROWS, files.columns_of(rows, COLUMNS))
    return maps


def _summed(key: tuple[str, str, str], rows: Sequence[Row]) -> dict[str, Any]:
    lesions = [row for row in rows if row["dice_180"]]
    found: dict[str, Any] = dict(zip(("split", "method", "asked"), key, strict=True))
    found |= {"pictures": len(rows), "empty": sum(row["empty"] == "1" for row in rows), "lesions": len(lesions)}
    if lesions:
        found |= summary([_overlap(row) for row in lesions], [row["patient"] for row in lesions])
    return found


def overlap_cells(overlap: Overlap | None, mask_area: int | None) -> Row:
    """Return a row's part of an overlap; blank without a lesion."""
    if overlap is None:
        return {"mask_area": "" if mask_area is None else str(mask_area)}
    cells = {name: f"{getattr(overlap, name):.7g}" for name in DICE}
    return {**cells, "mask_area": str(overlap.mask_area), "hot_area": str(overlap.hot_area)}


def _overlap(row: Row) -> Overlap:
    dice = [float(row[name]) for name in DICE]
    return Overlap(dice[0], dice[1], dice[2], int(row["mask_area"]), int(row["hot_area"]))

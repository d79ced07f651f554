"""Whether a run has seen the pictures that it is to be validated on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from medtl import datalist, leaks
from medtl.datalist import FILE_NAME, DataList
from medtl.errors import MedtlError, UsageError, tell
from medtl.files import file_hash
from medtl.runs.record import RunRecord
from medtl.signatures import sign_list

LOOKS_ALIKE = "near-duplicate"  # may be chance, so it is told and does not stop anybody


def check_unseen(record: RunRecord, asked: DataList, trained_on: Path | None, workers: int) -> dict[str, Any]:
    """Compare the pictures that are to be predicted with those that a run was trained and validated on.

    Args:
        record: run.json of the run.
        asked: a data list whose test split is to be predicted.
        trained_on: the run's own data list; None looks where the run had it.
        workers: processes that read pictures.

    Returns:
        For run.json: ``compared_with`` (images) and ``alike`` (near-duplicates, in words), or ``not_compared`` and why.

    Raises:
        UsageError: ``trained_on`` is not the run's list.
        MedtlError: they share patients, files or pictures.
    """
    found: dict[str, Any] = {}
    if record.start is not None and asked.name in record.start.trained_on:
        tell(f"WARNING: the weights that the run started from were trained on {asked.name}, too")
        found["pretrained_on"] = True
    own = _own_list(record, trained_on)
    if own is None:
        why = "the run's data list is not where it was; --trained_on DIR names it"
        tell(f"WARNING: no leak check: {why}")
        return found | {"not_compared": why}
    seen = replace(own, training=[*own.training, *own.validation], validation=[], test=[])
    both = leaks.compare(sign_list(asked, str(asked.folder), workers), sign_list(seen, str(own.folder), workers))
    certain = replace(both, leaks=tuple(leak for leak in both.leaks if leak.kind != LOOKS_ALIKE))
    if certain.leaks:
        told = "; ".join(line.removeprefix("- ") for line in leaks.lines(certain))
        raise MedtlError(f"the run has seen what it is to be validated on: {told}")
    alike = leaks.lines(both)[1:] if both.leaks else []
    for line in alike:
        tell(f"WARNING: {line.removeprefix('- ')}")
    return found | {"compared_with": len(seen.training), "alike": [line.removeprefix("- ") for line in alike]}


def _own_list(record: RunRecord, trained_on: Path | None) -> DataList | None:
    """The list that the run was trained on, known by its hash; None where it cannot be found."""
    place = trained_on or record.overrides.get("dataset_dir")
    if not place or record.data is None:
        return None
    folder = Path(str(place))
    file = folder if folder.is_file() else folder / FILE_NAME
    if not file.is_file() or file_hash(file) != record.data.sha256:
        if trained_on is not None:
            raise UsageError(
                f"--trained_on {trained_on} is not the data list that the run was trained on: expected {FILE_NAME} of "
                f"{record.data.name} with sha256 {record.data.sha256[:12]}…"
            )
        return None
    return datalist.read(file)

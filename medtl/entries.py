"""What an entry of a data list must hold: a picture with its label, or of a survival a patient with time and event."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medtl.errors import MedtlError

REQUIRED = ("image", "label", "patient", "source", "sha256")
REQUIRED_OF_SURVIVAL = ("time", "event", "patient", "source", "sha256")
SURVIVAL_CLASSES = ("censored", "event")  # what ``event`` 0 and 1 are
Entry = dict[str, Any]


def _check_common(entry: Any, where: str, required: Sequence[str]) -> None:
    if not isinstance(entry, dict):
        raise MedtlError(f"{where} is not an object")
    missing = [key for key in required if key not in entry]
    if missing:
        raise MedtlError(f"{where} has no {missing[0]!r}; expected {', '.join(required)}")
    for key in ("image", "patient", "source", "sha256", "mask", "mask_sha256", "features"):
        if not isinstance(entry.get(key, ""), str):
            raise MedtlError(f"{where} has {key} {entry[key]!r}; expected text")
    fold = entry.get("fold", 0)
    if isinstance(fold, bool) or not isinstance(fold, int) or fold < 0:
        raise MedtlError(f"{where} has fold {fold!r}; expected a whole number from 0 on")
    group = entry.get("group", {})
    if not isinstance(group, dict) or not all(isinstance(value, str | int | float) for value in group.values()):
        raise MedtlError(f"{where} has group {str(group)[:40]!r}; expected an object of words and numbers")


def owner(entry: Entry) -> str:
    """Return whose a picture is: its patient, or the picture itself where the patient is not known (empty). Pictures
    are drawn and resampled by this, so that unknown patients are not one."""
    return str(entry["patient"] or entry["image"])


def check_patient(entry: Any, where: str, classes: Sequence[str]) -> None:
    """Refuse an entry that is no patient with time, event and something to look at; arguments as of ``check_entry``."""
    _check_common(entry, where, REQUIRED_OF_SURVIVAL)
    if tuple(classes) != SURVIVAL_CLASSES:
        raise MedtlError(f"{where}: the classes of a survival are {', '.join(SURVIVAL_CLASSES)}")
    time, event = entry["time"], entry["event"]
    if isinstance(time, bool) or not isinstance(time, int | float) or not (math.isfinite(time) and time > 0):
        raise MedtlError(f"{where} has time {time!r}; expected a number above 0")
    if isinstance(event, bool) or event not in (0, 1):
        raise MedtlError(f"{where} has event {event!r}; expected 1, or 0 where the patient was last seen without it")
    if "label" in entry or ("image" in entry) == ("features" in entry):
        raise MedtlError(f"{where}: expected 'image' or 'features', and no 'label', beside time and event")


def check_once(entries: Sequence[Entry], file: Path) -> None:
    """Refuse a patient of a survival who stands twice: two rows would be a pair."""
    twice = [name for name, count in Counter(entry["patient"] for entry in entries).items() if count > 1]
    if twice:
        raise MedtlError(f"{file}: patient {twice[0]} stands there twice; expected one entry each")


def check_entry(entry: Any, where: str, classes: Sequence[str]) -> None:
    """Refuse an entry that is no picture with a label.

    Args:
        entry: as read.
        where: it stands, for the message.
        classes: names in index order.

    Raises:
        MedtlError: says what was expected.
    """
    _check_common(entry, where, REQUIRED)
    label = entry["label"]
    if isinstance(label, bool) or not isinstance(label, int | float | list | str):
        raise MedtlError(
            f"{where} has label {label!r}; expected a class index, a multi-hot list, a number or a mask's path"
        )
    if isinstance(label, float) and (len(classes) != 1 or not math.isfinite(label)):
        raise MedtlError(
            f"{where} has label {label}; the number of a regression is finite, and has one name in 'classes'"
        )
    if isinstance(label, int) and not 0 <= label < len(classes):
        raise MedtlError(f"{where} has label {label}, outside the {len(classes)} classes 0..{len(classes) - 1}")
    if isinstance(label, list) and (len(label) != len(classes) or any(each not in (0, 1) for each in label)):
        raise MedtlError(f"{where} has a multi-hot label that is not {len(classes)} zeros and ones")

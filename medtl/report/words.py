"""Numbers and names as a report prints them: short, never "nan", and without a path of the machine they came from."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from medtl.metrics import contours, registry
from medtl.metrics.survival import TITLES

NONE = "–"
# parts inside a path may hold a few spaces ("/home/jane doe/x"), its last part none
ABSOLUTE = re.compile(
    r"(?:file:/+|(?<![\w./…])(?:[A-Za-z]:[\\/]|\\\\|~[\w.-]*[\\/]|/)(?!/))"
    r"(?:[^\s/\\:'\"]+(?: [^\s/\\:'\"]+){0,2}[/\\])*[^\s'\",;:)\]/\\]+"
)
PLACES = {"--dataset_dir": "DATASET_DIR", "--output_dir": "RUN", "--out": "GRID", "--weights": "WEIGHTS"}
AT_THRESHOLD = "_at_threshold"


def metric_name(metric: str) -> str:
    """Return a metric in words: ``iou_right_kidney`` becomes "IoU right kidney"."""
    measured = contours.of_column(metric)
    shown = measured.title if measured else {"iou": "IoU", "dice": "Dice"}.get(metric.partition("_")[0], "")
    if shown:
        organ = metric.partition("_")[2].replace("_", " ")
        return f"mean {shown}" if organ == "mean" else (", " if measured else " ").join(filter(None, (shown, organ)))
    plain = metric.removesuffix(AT_THRESHOLD)
    known = registry.metrics().get(plain)
    if known is None:
        return TITLES.get(metric, metric.replace("_", " "))
    return known.title if plain == metric else f"{known.title} at the threshold chosen on validation"


def number(value: float, digits: int = 3) -> str:
    """Return a figure, or a dash where it is not defined."""
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else NONE


def signed(value: float, digits: int = 3) -> str:
    """Return a difference with its sign."""
    return f"{value:+.{digits}f}".replace("-", "−") if math.isfinite(value) else NONE


def span(low: float, high: float) -> str:
    """Return low and high for a narrow field, such as 0.812–0.901; empty where they are not defined."""
    return f"{number(low)}–{number(high)}" if math.isfinite(low) and math.isfinite(high) else ""


def interval(low: float, high: float, sign: bool = False) -> str:
    """Return "0.812 to 0.901"; empty where it is not defined."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    show = signed if sign else number
    return f"{show(low)} to {show(high)}"


def p_value(p: float) -> str:
    """Return it as journals print it: three digits, "< 0.001" below."""
    if not math.isfinite(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_phrase(p: float) -> str:
    """Return p for a sentence: "p = 0.012" or "p < 0.001"."""
    shown = p_value(p)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def count(amount: int, noun: str, plural: str = "") -> str:
    """Return "1 image", "1,200 images"."""
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"


def listed(names: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def duration(seconds: float) -> str:
    """Return seconds as "2 h 05 min", "3 min 20 s" or "12 s"."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def is_path(text: str) -> bool:
    """Return whether a word names a file by its place."""
    return "/" in text or "\\" in text


def last_part(path: str) -> str:
    """Return the file's own name, whichever system the path is of."""
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] or path


def without_paths(text: str) -> str:
    """Return text in which of each absolute path only the last part is left: "…/datalist.json"."""
    return ABSOLUTE.sub(lambda match: f"…/{last_part(match[0])}", text)


def command(words: Sequence[Any]) -> str:
    """Return a bundle's command line as somebody else would type it: places by name, the bundle relative to the
    repository."""
    shown: list[str] = []
    option = ""
    for word in map(str, words):
        if word.startswith("--") and "=" in word:
            option, _, value = word.partition("=")
            shown.append(f"{option}={_value(option, value)}")
        elif word.startswith("--"):
            option = word
            shown.append(word)
        else:
            shown.append(_value(option, word))
            option = ""
    return " ".join(shown)


def _value(option: str, value: str) -> str:
    if option in PLACES:
        return PLACES[option]
    if "bundles/" in value:
        value = re.sub(r"[^'\",\[\]]*?(?=bundles/)", "", value)
    elif "/" in value.lstrip("[('\"")[:1] or re.match(r"[A-Za-z]:\\", value):
        value = last_part(value) if not value.startswith(("[", "(")) else value
    value = without_paths(value)
    return f'"{value}"' if re.search(r"[\s'\[\]]", value) else value


def grouped(values: Mapping[str, Any]) -> str:
    """Return ``{"torch": "2.13.0", …}`` on one line."""
    return ", ".join(f"{name} {value}" for name, value in values.items())

"""What runs know of the things that guidelines for reporting studies of diagnostic networks ask for, each with the
place where it is written, and what only the authors can say.

The headings are our own words. Nothing is guessed: an item whose fact is not recorded in every run is the author's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medtl.report.arms import Study
from medtl.report.collect import Run
from medtl.report.layout import Group as Line
from medtl.report.layout import Row, Section, Table
from medtl.report.tables import of_words
from medtl.report.words import count, grouped, number, without_paths
from medtl.runs.record import RunRecord

AUTHOR = "[author]"
RECORD = "run.json"


@dataclass(frozen=True)
class Item:
    """Something that readers want to know.

    Attributes:
        asked: in a few words.
        key: of run.json, with dots, that answers it; another file's name, with its column, where that does.
        say: the answer, of one run's record; empty where the record does not know.
    """

    asked: str
    key: str
    say: Callable[[RunRecord], str]


def _plain(*path: str) -> Callable[[RunRecord], str]:
    """What stands at a place of the record, as text."""

    def say(record: RunRecord) -> str:
        value: Any = record
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        return (
            ""
            if value in (None, "", (), {})
            else ", ".join(map(str, value))
            if isinstance(value, tuple)
            else str(value)
        )

    return say


def _entries(record: RunRecord) -> str:
    entries = record.data.entries if record.data else {}
    return ", ".join(f"{name} {size:,}" for name, size in entries.items())


def _apart(record: RunRecord) -> str:
    if record.data is None or record.data.overlaps is None:
        return ""
    if record.data.overlaps:
        return "; ".join(record.data.overlaps)
    return "by patient: no patient and no file is in more than one split or fold"


def _start(record: RunRecord) -> str:
    start = record.start
    if start is None or not start.init:
        return ""
    file = f", sha256 {start.sha256[:12]}…, {start.coverage:.1%} of the trunk filled" if start.sha256 else ""
    return f"{without_paths(start.init)}{file}"


def _seen(record: RunRecord) -> str:
    start = record.start
    return f"the starting weights were trained on {', '.join(start.trained_on)}" if start and start.trained_on else ""


def _prepared(record: RunRecord) -> str:
    done = record.preprocessing
    if done is None:
        return ""
    size = f"{done.image_size} × {done.image_size} pixels by {done.resize}"
    normal = f"mean {_numbers(done.mean)}, SD {_numbers(done.std)} of values 0..1"
    return f"{size}, {count(done.channels, 'channel')}, {normal}"


def _numbers(values: Sequence[float]) -> str:
    return "/".join(f"{value:.3g}" for value in values)


def _trained(record: RunRecord) -> str:
    names = ("epochs", "batch_size", "learning_rate", "weight_decay", "freeze", "train_fraction")
    return ", ".join(f"{name.replace('_', ' ')} {record.recipe[name]}" for name in names if name in record.recipe)


def _threshold(record: RunRecord) -> str:
    told = record.threshold or {}
    if told.get("value") is None:
        return ""
    return f"{number(float(told['value']))} for {told.get('positive_class')}, by {told.get('rule')} on validation"


def _network(record: RunRecord) -> str:
    made = {key: value for key, value in (record.network or {}).items() if key != "_target_"}
    return ", ".join(f"{key} {value}" for key, value in made.items())


PARTS: Mapping[str, tuple[Item, ...]] = {
    "Images": (
        Item("which images", "data.name", _plain("data", "name")),
        Item("exactly which version of the list", "data.sha256", _plain("data", "sha256")),
        Item("what may be done with them", "data.licence", _plain("data", "licence")),
        Item("classes", "data.classes", _plain("data", "classes")),
        Item("number of images in each split", "data.entries", _entries),
        Item("how the splits were kept apart", "data.overlaps", _apart),
    ),
    "Network and training": (
        Item("network", "network", _network),
        Item("what it started from", "start", _start),
        Item("what the start had seen", "start.trained_on", _seen),
        Item("what is done to an image first", "preprocessing", _prepared),
        Item("training", "recipe", _trained),
        Item("random seeds", "seed", _plain("seed")),
        Item(
            "which epoch was kept",
            "best_epoch",
            lambda r: f"{r.best_epoch}, the best on validation" if r.best_epoch else "",
        ),
    ),
    "Evaluation": (
        Item("how often the test images were used", "test", _plain("test")),
        Item("origin of the decision threshold", "threshold", _threshold),
    ),
    "Software": (
        Item("software and versions", "versions", lambda r: grouped(r.versions)),
        Item("computer", "device", lambda r: without_paths(r.device)),
    ),
}
AUTHORS: Mapping[str, tuple[str, ...]] = {
    "Images": (
        "who was included, where and when, and who was not",
        "how the images were made, on which machines",
        "who decided the true class, by what, and knowing what",
        "images and patients that were left out, with reasons",
    ),
    "Evaluation": ("how many patients were thought to be enough, and why", "what a wrong answer would cost whom"),
    "Study": (
        "what the network is for, and who would use it",
        "approval by an ethics committee, and consent",
        "registration and protocol",
        "where data, code and weights can be had",
        "what limits the results",
        "who paid, and interests",
    ),
}


def facts(study: Study, patients: Mapping[str, int], groups: Sequence[str], compared: str) -> Section:
    """Return the section.

    Args:
        study: the runs.
        patients: split to how many patients it has, of those that were predicted.
        groups: what patients are told apart by in this report.
        compared: how differences were tested; empty where nothing was.
    """
    runs = study.found.runs
    measured = {
        "Images": [
            ("patients in the predicted splits", _sizes(patients), "predictions.csv, patient"),
            ("groups of patients that are told apart", ", ".join(groups), "datalist.json, group"),
        ],
        "Evaluation": [
            ("measures with 95 % intervals, by patient", "in the main table", "report.csv, value, lo, hi"),
            ("comparison of starts", compared, "report.md, differences"),
            ("pictures from elsewhere", _elsewhere(study.found.external), f"external {RECORD}, data and external"),
        ],
    }
    rows: list[Row] = []
    for part in dict.fromkeys((*PARTS, *AUTHORS)):
        own = [(item.asked, answer(item, runs), f"{RECORD}, {item.key}") for item in PARTS.get(part, ())]
        lines = [*own, *measured.get(part, ()), *((asked, "", "") for asked in AUTHORS.get(part, ()))]
        rows.append(Line(part))
        rows += of_words(
            "", ("", "", ""), [(asked, said or AUTHOR, where if said else "") for asked, said, where in lines]
        ).rows
    text = (
        f"What the files of these runs know of the things that guidelines for such studies ask for, and where it is "
        f"written. {AUTHOR}: nobody but the authors can say, or not every run recorded it."
    )
    table = of_words("Facts for a methods section.", ("item", "fact", "where it is written"), [])
    return Section("facts", "Facts for a manuscript", [text], tables=[Table(table.caption, table.header, rows)])


def answer(item: Item, runs: Sequence[Run]) -> str:
    """Return what all runs say of an item, each answer once; empty where one of them does not know."""
    said = [item.say(run.record) for run in runs]
    different = list(dict.fromkeys(said)) if all(said) else []
    shown = "; ".join(different[:6])
    return f"{shown}; and {len(different) - 6} more" if len(different) > 6 else shown


def _sizes(patients: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {size:,}" for split, size in patients.items())


def _elsewhere(external: Sequence[Run]) -> str:
    return ", ".join(dict.fromkeys(run.data.name for run in external))

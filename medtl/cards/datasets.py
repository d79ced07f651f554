"""Each data set before a file of it is read. Its card stands in the file that prepares it, ``data_prep/NAME.py`` or
``FOLDER/data_prep/NAME.py`` of a folder that $MEDTL_PLUGINS names, and is read from there without running it."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from medtl import plugins
from medtl.errors import UsageError

ASSIGNED = "CARD"


@dataclass(frozen=True)
class DatasetCard:
    """One public data set. Data preparation prints the counts beside what it found.

    Attributes:
        name: the word used in commands; that of the file, too.
        title: the name people know it by.
        task: "classification", "multilabel", "regression" or "segmentation".
        classes: class names in index order.
        published: images a class in the publication, for segmentation cases a sequence; empty where there are none.
        licence: as its distributor states it.
        citation: one line.
        url: where it is described and asked for.
        how_to_get: one or two sentences.
        disk_gb: size of the download, None where it is not stated.
        layout: what data preparation looks for in the download.
        parts: of a download in parts (official splits, sites): each part's images a class, so that a partial download
            is known for one.
        seen: whether medtl's developers had real files of it; otherwise its reader was written from documentation, and
            data preparation says so.
        positive: class of two from whose side sensitivity is told; empty where nobody said.
    """

    name: str
    title: str
    task: str
    classes: tuple[str, ...]
    licence: str
    citation: str
    url: str
    how_to_get: str
    disk_gb: float | None
    layout: str
    published: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    seen: bool = True
    positive: str = ""


def dataset_cards() -> dict[str, DatasetCard]:
    """Return the cards of all data sets that can be prepared, by name, sorted; no file of theirs is run.

    Raises:
        UsageError: a file of $MEDTL_PLUGINS is not Python, or a card does not say what it must.
    """
    found: dict[str, DatasetCard] = {}
    for path in [*_shipped(), *plugins.files("data_prep")]:
        card = read_card(path)
        if card is None:
            continue
        if card.name in found:
            raise UsageError(f"{path}: there is a data set {card.name} already; choose another name")
        found[card.name] = card
    return dict(sorted(found.items()))


def read_card(path: Path) -> DatasetCard | None:
    """Return the card of a file that holds ``CARD = DatasetCard(name="…", …)``, None of any other file.

    Args:
        path: of Python code. It is parsed and not run, so the card's arguments are plain text, numbers, tuples and
            dictionaries, each with its name.

    Raises:
        UsageError: the file is not Python, or the card is not as described, or not named like its file.
    """
    content = path.read_bytes()
    if ASSIGNED.encode() not in content:
        return None
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{path} is not Python: {error}") from None
    calls = [node.value for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign) and _is_card(node)]
    if not calls:
        return None
    card = _card(calls[-1], path)
    if card.name != path.stem:
        raise UsageError(f"{path}: its card's name is {card.name!r}; expected {path.stem!r}, as the file's")
    return card


def _shipped() -> list[Path]:
    """Files of the package ``data_prep``, which lies beside this one and is not imported: it stands above it."""
    return sorted((Path(__file__).resolve().parents[2] / "data_prep").glob("*.py"))


def _is_card(node: ast.Assign | ast.AnnAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Name) and target.id == ASSIGNED for target in targets)


def _card(value: ast.expr | None, path: Path) -> DatasetCard:
    if not isinstance(value, ast.Call) or value.args:
        raise UsageError(f'{path}: expected {ASSIGNED} = {DatasetCard.__name__}(name="…", …)')
    known = [each.name for each in fields(DatasetCard)]
    given: dict[str, Any] = {}
    for keyword in value.keywords:
        if keyword.arg not in known:
            raise UsageError(f"{path}: {ASSIGNED} has no {keyword.arg}; expected of {', '.join(known)}")
        try:
            given[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:
            raise UsageError(
                f"{path}: {keyword.arg} of {ASSIGNED} must be written out, as text, number, tuple or dictionary; "
                "cards are read without running their file"
            ) from None
    try:
        return DatasetCard(**given)
    except TypeError as error:
        raise UsageError(f"{path}: {ASSIGNED}: {str(error).removeprefix('DatasetCard.__init__() ')}") from None

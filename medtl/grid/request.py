"""The words of ``medtl compare`` and everything that can be wrong with them, found before anything runs."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from medtl import datalist
from medtl.bundles.inspect import resolves
from medtl.datalist import DataList, with_fold
from medtl.errors import MedtlError, UsageError
from medtl.files import read_object
from medtl.grid.cells import Request
from medtl.networks.registry import backbone_of

T = TypeVar("T", str, int, float)

OPTIONS = {  # ids that a comparison sets itself, and the option that they stand for
    "dataset_dir": "--dataset_dir",
    "output_dir": "--out",
    "backbone": "--backbones",
    "init": "--inits",
    "seed": "--seeds",
    "fold": "--folds",
    "train_fraction": "--fractions",
}
RESUME = "resume"  # the id by which a comparison lets a cell that was cut off go on
WORD = re.compile(r"--?([A-Za-z_][^=]*)(?:=(.*))?$", re.DOTALL)


@dataclass(frozen=True)
class Bundle:
    """What a comparison reads of a bundle.

    Attributes:
        folder: its folder.
        name: of the folder, as runs record it.
        version: from its metadata.
        config: configs/train.json, unevaluated.
        classes: class names in index order; empty where it takes those of the data list.
    """

    folder: Path
    name: str
    version: str
    config: dict[str, Any]
    classes: tuple[str, ...] = ()


def split_words(words: Sequence[str]) -> tuple[Path, dict[str, str]]:
    """The bundle's folder and the ``--id value`` (or ``--id=value``) pairs of a command line.

    Raises:
        UsageError: a value is missing, an id is given twice, or there is more than one word that belongs to none.
    """
    bundle: Path | None = None
    ids: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        match = WORD.match(word)
        if match is None:
            if bundle is not None:
                raise UsageError(f"unexpected word {word!r}: expected one BUNDLE and --id value")
            bundle = Path(word)
            continue
        name, value = match[1].replace("-", "_").replace("::", "#"), match[2]
        if value is None:
            if not rest or WORD.match(rest[0]):
                raise UsageError(f"--{name} needs a value: --{name} value")
            value = rest.pop(0)
        if name in ids:
            raise UsageError(f"--{name} is given twice: {ids[name]} and {value}")
        ids[name] = value
    if bundle is None:
        raise UsageError("which bundle? expected: medtl compare BUNDLE --dataset_dir D …")
    return bundle, ids


def names(option: str, text: str) -> tuple[str, ...]:
    """The items of a comma-separated list."""
    return _listed(option, text, str, "a comma-separated list")


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """The whole numbers from 0 of a comma-separated list."""

    def number(item: str) -> int:
        if not re.fullmatch(r"[0-9]+", item):
            raise ValueError
        return int(item)

    return _listed(option, text, number, "whole numbers from 0, comma-separated")


def shares(option: str, text: str) -> tuple[float, ...]:
    """The numbers above 0 and up to 1 of a comma-separated list."""

    def share(item: str) -> float:
        if not 0 < float(item) <= 1:
            raise ValueError
        return float(item)

    return _listed(option, text, share, "numbers above 0 and up to 1, comma-separated")


def _listed(option: str, text: str, kind: Callable[[str], T], expected: str) -> tuple[T, ...]:
    items: list[T] = []
    for word in text.split(","):
        try:
            if not word.strip():
                raise ValueError
            item = kind(word.strip())
        except ValueError:
            raise UsageError(f"{option} {text}: expected {expected}") from None
        if item in items:
            raise UsageError(f"{option} {text}: {item} stands there twice")
        items.append(item)
    return tuple(items)


def read_bundle(folder: Path) -> Bundle:
    """What a comparison needs of a bundle.

    Raises:
        UsageError: the folder is no bundle, or its configs cannot be read.
    """
    path = folder / "configs" / "train.json"
    if not path.is_file():
        what = "it has no configs/train.json" if folder.exists() else "no such folder"
        raise UsageError(f"{folder}: {what}; expected a bundle, as in bundles/")
    config, metadata = _object(path), _object(path.with_name("metadata.json"))
    classes: tuple[str, ...] = ()
    if "channel_def" in str(config.get("classes", "")):  # other bundles take the classes of the data list
        outputs = metadata.get("network_data_format", {}).get("outputs", {})
        classes = tuple(outputs.get("pred", {}).get("channel_def", {}).values())
    return Bundle(folder, folder.resolve().name, str(metadata.get("version", "")), config, classes)


def _object(path: Path) -> dict[str, Any]:
    try:
        return read_object(path) if path.exists() else {}
    except MedtlError as error:
        raise UsageError(str(error)) from None


def check_ids(bundle: Bundle, request: Request) -> None:
    """Refuse ids that the bundle's config lacks, and those that a comparison sets itself.

    Raises:
        UsageError: with a suggestion.
    """
    wanted = ["dataset_dir", "output_dir", "backbone", "init", "seed"]
    wanted += ["fold"] * bool(request.folds) + ["train_fraction"] * bool(request.fractions)
    for name in wanted:
        if name not in bundle.config:
            raise UsageError(f"{bundle.folder}: configs/train.json has no id {name!r}, which {OPTIONS[name]} sets")
    for name, value in (request.ids or {}).items():
        if name in OPTIONS:
            raise UsageError(f"--{name} {value}: a comparison sets it for each cell; say {OPTIONS[name]} instead")
        if name == RESUME:
            raise UsageError(f"--{name} {value}: a comparison goes on by itself where it was; leave this out")
        if not resolves(bundle.config, name):
            hint = _hint(bundle, name)
            raise UsageError(f"--{name} {value}: train.json of {bundle.name} has no id of that name; {hint}")


def _hint(bundle: Bundle, name: str) -> str:
    from medtl.bundles.overrides import closest, known_ids  # seconds, that only a mistake costs

    ids = [id_ for id_ in known_ids(bundle.config) if ("#" in id_) == ("#" in name) and id_ not in (*OPTIONS, RESUME)]
    options = [option.removeprefix("--") for option in (*OPTIONS.values(), "--jobs")]
    close = closest(name, [*options, *ids])
    return f"did you mean --{close}?" if close else "its ids stand at the top of the file"


def read_data(bundle: Bundle, request: Request) -> DataList:
    """The request's data list, if it has the bundle's classes and the folds that are asked for.

    Raises:
        UsageError: it has not.
        MedtlError: it is not valid.
    """
    try:
        listed = datalist.read(request.dataset_dir)
    except UsageError as error:
        raise UsageError(f"--dataset_dir {error}") from None
    if bundle.classes and listed.classes != bundle.classes:
        raise UsageError(
            f"--dataset_dir {request.dataset_dir} (data set {listed.name!r}) has the classes "
            f"{', '.join(listed.classes)}; {bundle.name} has {', '.join(bundle.classes)}"
        )
    for fold in request.folds:
        try:
            with_fold(listed, fold)
        except UsageError as error:
            raise UsageError(str(error).replace("--fold ", "--folds ", 1)) from None
    return listed


def check_backbones(backbones: Sequence[str]) -> None:
    """Refuse names that are no trunk.

    Raises:
        UsageError: names all there are.
    """
    for name in backbones:
        try:
            backbone_of(name)
        except UsageError as error:
            raise UsageError(f"--backbones {name}: {error}") from None

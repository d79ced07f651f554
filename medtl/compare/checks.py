"""Everything that can be wrong with a request, found before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medtl import datalist
from medtl.bundles.inspect import resolves
from medtl.bundles.known_ids import USUAL
from medtl.compare.plan import Request
from medtl.datalist import DataList, with_fold
from medtl.errors import MedtlError, UsageError
from medtl.files import read_object
from medtl.networks.registry import backbone_of

OPTIONS = {  # ids that a comparison sets itself, and the option that they stand for
    "dataset_dir": "--dataset_dir",
    "output_dir": "--out",
    "backbone": "--backbones",
    "init": "--inits",
    "seed": "--seeds",
    "fold": "--folds",
    "train_fraction": "--fractions",
}
TRAINER = "train#trainer"  # which takes the ids that no config names
RESUME = "resume"  # the id by which a comparison lets a cell that was cut off go on


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


def read_bundle(folder: Path) -> Bundle:
    """Return what a comparison needs of a bundle.

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
    asked = {
        "backbone": request.backbones != ("",),
        "init": request.inits != ("",),
        "seed": True,
        "fold": bool(request.folds),
        "train_fraction": bool(request.fractions),
    }
    wanted = ["dataset_dir", "output_dir", *(name for name, is_asked in asked.items() if is_asked)]
    for name in wanted:
        if name not in bundle.config:
            raise UsageError(f"{bundle.folder}: configs/train.json has no id {name!r}, which {OPTIONS[name]} sets")
    varied = {id_: value for setting in request.settings for id_, value in setting.ids}
    for name, value in {**varied, **request.ids}.items():
        if name in OPTIONS:
            raise UsageError(f"--{name} {value}: a comparison sets it for each cell; say {OPTIONS[name]} instead")
        if name == RESUME:
            raise UsageError(f"--{name} {value}: a comparison goes on by itself where it was; leave this out")
        if name in varied and name in request.ids:
            raise UsageError(f"--{name} {value}: the settings of this grid differ in it; say --vary instead")
        usual = name in USUAL and resolves(bundle.config, TRAINER)
        if not usual and not resolves(bundle.config, name):
            by = f", which protocol {request.protocol} may set" if request.protocol else ""
            hint = _hint(bundle, name)
            raise UsageError(f"--{name} {value}: train.json of {bundle.name} has no id of that name{by}; {hint}")


def _hint(bundle: Bundle, name: str) -> str:
    from medtl.bundles.overrides import closest, known_ids  # seconds, that only a mistake costs

    known = [*known_ids(bundle.config), *(USUAL if resolves(bundle.config, TRAINER) else ())]
    ids = [id_ for id_ in known if ("#" in id_) == ("#" in name) and id_ not in (*OPTIONS, RESUME)]
    options = [option.removeprefix("--") for option in (*OPTIONS.values(), "--jobs", "--vary", "--protocol")]
    close = closest(name, [*options, *ids])
    return f"did you mean --{close}?" if close else "its ids stand at the top of the file"


def read_data(bundle: Bundle, request: Request) -> DataList:
    """Return the request's data list, if it has the bundle's classes and the folds that are asked for.

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
    for name in filter(None, backbones):  # a bundle that trains on stored features has none
        try:
            backbone_of(name)
        except UsageError as error:
            raise UsageError(f"--backbones {name}: {error}") from None

"""Where a network's first weights come from: one word or path of ``--init``, looked up by backbone, and one report."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import ignite.distributed as idist
from torch import nn

from medtl.errors import UsageError, tell
from medtl.files import file_hash
from medtl.networks.registry import backbone_of
from medtl.places import SHIPPED, bundle_roots, cache_folder
from medtl.registry import did_you_mean
from medtl.weights.contract import Normalization, contract_of
from medtl.weights.load import LoadReport, load_pretrained
from medtl.weights.read import WEIGHTS_IN_BUNDLE
from medtl.weights.sources import SOURCES, file_stem, how_to_get

TOLERANCE = 1e-4  # cards round
GIVEN = "given"  # the init of a run that starts from a network as it was handed over in Python
SHOWN = 5  # of the names that a file may have


@dataclass(frozen=True)
class Start:
    """What a network starts from.

    Attributes:
        init: a name of ``weights.sources``, or the path as given.
        backbone: whose weights they are.
        path: a weight file, a bundle's folder or its zip; None for random, and for a model that was changed in Python.
        mean, std: of the input's three channels, for values 0..1, as the weights expect them; for a random start
            ImageNet's, so that runs with several starts differ in the weights alone.
        licence: of the weights; empty for random.
        sha256: of the weight file (of a zip, the zip's), or of such a model's tensors; empty for random.
        assumed: a sentence where nobody states the mean and SD.
        trained_on: names of the data sets that the weights have seen, where that is known.
        bgr: the file's first convolution takes blue, green, red; ``apply`` turns it round.
    """

    init: str
    backbone: str
    path: Path | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    sha256: str
    assumed: str = ""
    trained_on: tuple[str, ...] = ()
    bgr: bool = False


def resolve(init: str, backbone: str, option: str = "--init") -> Start:
    """Find the weights that ``init`` means for a backbone; nothing is loaded into a network and nothing downloaded.

    Args:
        init: a name of ``weights.sources``, looked up by backbone in $MEDTL_WEIGHTS, then ``bundles/``, then the cache,
            then what comes with medtl; anything else is the path of a weight file, a bundle, its zip, or a run.
        backbone: a network's name, as of ``build_classifier``.
        option: the argument that errors name.

    Raises:
        UsageError: nothing is found; says where it was looked for and how to get it.
        MedtlError: a file that describes the weights cannot be read.
    """
    backbone_of(backbone)
    word = str(init)
    is_named = word in SOURCES.names()
    if is_named and not (source := SOURCES.find(word)).loads:
        return Start(word, backbone, None, source.mean, source.std, "", "")
    path = _named(word, backbone, option) if is_named else _given(word, option)
    contract = contract_of(path, word if is_named else "", backbone, option)
    return Start(
        word if is_named else str(path),
        backbone,
        path,
        contract.mean,
        contract.std,
        contract.licence,
        file_hash(_weights_in(path) or path),
        contract.assumed,
        contract.trained_on,
        contract.bgr,
    )


def _named(init: str, backbone: str, option: str) -> Path:
    """Weights of one of the known names."""
    variable = os.environ.get("MEDTL_WEIGHTS", "")
    if variable and not Path(variable).is_dir():
        raise UsageError(f"{option} {init}: $MEDTL_WEIGHTS is {variable}, which is no folder")
    folders = [*([Path(variable)] if variable else []), *bundle_roots(), cache_folder() / "weights", SHIPPED]
    stem = file_stem(backbone)
    files = SOURCES.find(init).names(backbone)
    bundles = [f"{init}_{stem}", f"medtl_{init}_{stem}"]
    for folder in folders:
        for name in (*files, *(f"{bundle}.zip" for bundle in bundles)):
            if (folder / name).is_file():
                return folder / name
        for name in bundles:
            if _weights_in(folder / name):
                return folder / name
    where = [f"$MEDTL_WEIGHTS ({variable or 'not set'})", *map(str, folders[bool(variable) :])]
    raise UsageError(
        f"{option} {init}: no weights of {backbone} in {', '.join(where)} (neither a file {', '.join(files[:SHOWN])}"
        f"{' …' if len(files) > SHOWN else ''} nor a"
        f" bundle or zip {' or '.join(bundles)} with models/); {how_to_get(init, backbone)}"
    )


def _given(word: str, option: str) -> Path:
    """Weights by their path."""
    path = Path(word).expanduser()
    if path.is_dir():
        if _weights_in(path):
            return path
        if (path / "model.pt").is_file():  # a run's folder
            return path / "model.pt"
        raise UsageError(f"{option} {word} holds neither model.pt nor models/{' or models/'.join(WEIGHTS_IN_BUNDLE)}")
    if not path.is_file():
        known = SOURCES.names()
        raise UsageError(
            f"{option} {word}: no such file or folder, and none of {', '.join(known)}{did_you_mean(word, known)}"
        )
    return path


def _weights_in(bundle: Path) -> Path | None:
    """The weight file that ``read_state_dict`` takes from a bundle's folder; None where there is none."""
    return next((bundle / "models" / n for n in WEIGHTS_IN_BUNDLE if (bundle / "models" / n).is_file()), None)


def apply(
    network: nn.Module, start: Start, backbone: str, normalization: Normalization | None = None
) -> LoadReport | None:
    """Fill a network's trunk from a start and say so in one line, on the first process.

    Args:
        network: as ``build_classifier`` made it; its head keeps its own start.
        start: what ``resolve`` found.
        backbone: the network's name.
        normalization: (mean, SD) that the images come with; by default what the start says.

    Returns:
        What became of each tensor; None where the network keeps what it has.

    Raises:
        MedtlError: the weights are damaged or do not fill the whole trunk.
    """
    if start.path is None:
        _tell("start: the weights that the model came with" if start.sha256 else "start: random weights")
        return None
    report = load_pretrained(network, start.path, backbone, bgr=start.bgr)
    sentence = start.assumed
    if normalization is not None and not _alike(normalization, (start.mean, start.std)):
        sentence = (
            f"images come with mean {_listed(normalization[0])} and SD {_listed(normalization[1])},"
            f" the weights expect {_listed(start.mean)} and {_listed(start.std)}"
        )
    report = replace(report, normalization=sentence)
    _tell(f"start: {'' if start.init == str(start.path) else f'{start.init}: '}{report}")
    return report


def _tell(line: str) -> None:
    if idist.get_rank() == 0:
        tell(line)


def _alike(one: Normalization, other: Normalization) -> bool:
    """Whether two normalisations are the same; one number stands for every channel."""
    for these, those in zip(one, other, strict=True):
        width = max(len(these), len(those))
        wide = [tuple(values) * (width // len(values)) for values in (these, those)]
        if any(abs(a - b) > TOLERANCE for a, b in zip(*wide, strict=True)):
            return False
    return True


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)

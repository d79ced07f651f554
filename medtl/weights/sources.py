"""The words of ``--init``, one record each: what the weights are, what they expect, and how to get them.

Hashes are stated only where they are known for certain; a file without one is never downloaded, only taken by hand.
$MEDTL_PLUGINS adds others by ``register``. No torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.errors import UsageError
from medtl.networks.registry import Published, backbone_of
from medtl.places import WEIGHT_SUFFIXES
from medtl.registry import Registry

RANDOM = "random"
KERAS = ".h5"
TAKE = "put {stem}_{name}.safetensors or .pt into the folder that $MEDTL_WEIGHTS names"


@dataclass(frozen=True)
class Source:
    """One word of ``--init``.

    Attributes:
        name: the word.
        title: in prose.
        licence: as their maker states it, and what their images allow; empty where nothing is loaded.
        mean, std: of the input's channels, for values 0..1; empty where only the records of its files say them.
        trained_on: names of the data sets that the weights have seen, as data lists name themselves.
        how_to_get: what to do where they are not at hand; {backbone} is the network, {stem} the same as a file's name
            begins.
        files: official files by the network's name, the one to prefer first, beside those that the networks' own
            records name.
        expects_own: networks whose files state their normalisation by their layout (see ``contract``).
        loads: whether there is anything to load.
    """

    name: str
    title: str
    licence: str = ""
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    trained_on: tuple[str, ...] = ()
    how_to_get: str = TAKE
    files: Mapping[str, tuple[Published, ...]] = field(default_factory=dict)
    expects_own: tuple[str, ...] = ()
    loads: bool = True

    def published(self, backbone: str) -> tuple[Published, ...]:
        """Return the official files of a network, the one to prefer first; none where nobody publishes any."""
        own = backbone_of(backbone).weights.get(self.name)
        return (*self.files.get(backbone, ()), *([own] if own else []))

    def names(self, backbone: str) -> tuple[str, ...]:
        """Return the names by which its files of a network go: ours, and those that they come with."""
        ours = [f"{file_stem(backbone)}_{self.name}{suffix}" for suffix in (*WEIGHT_SUFFIXES, KERAS)]
        # a name such as model.safetensors is that of many
        found = self.published(backbone)
        theirs = [name for file in found for name in (*([file.file] if file.sha256 else []), *file.names)]
        return tuple(dict.fromkeys((*ours, *theirs)))

    def published_as(self, backbone: str, file: str) -> Published | None:
        """Return the record of an official file that a file at hand is, by its name, else by its kind, Keras's or not;
        None where none is."""
        found = self.published(backbone)
        by_name = [one for one in found if file in (one.file, *one.names) and file]
        by_kind = [one for one in found if one.is_keras == file.endswith(KERAS)]
        return next(iter([*by_name, *by_kind]), None)


@dataclass(frozen=True)
class Official:
    """A file that can be downloaded and checked, or taken from a copy at hand.

    Attributes:
        init, backbone: the word of ``--init`` and the network.
        url, sha256: as of ``Published``; without hash nothing is downloaded.
        licence: of the weights.
    """

    init: str
    backbone: str
    url: str
    sha256: str
    licence: str

    @property
    def file(self) -> str:
        """Return its name at its maker's."""
        return self.url.rpartition("/")[2]


SOURCES: Registry[Source] = Registry("start", "medtl.weights.makers")
register = SOURCES.register


def named() -> tuple[str, ...]:
    """Return the words that stand for weights, so all but ``random``."""
    return tuple(source.name for source in SOURCES.records() if source.loads)


def file_stem(backbone: str) -> str:
    """Return what the name of a network's weight file begins with: a slash is no part of a file's name."""
    return backbone.replace("/", "_")


def by_file(file: str, backbone: str) -> tuple[Source, Published] | None:
    """Return the source and record whose official file has this name; None where no record lists it."""
    for source in SOURCES.records():
        for found in source.published(backbone) if source.loads else ():
            if file in found.names or (found.sha256 and file == found.file):
                return source, found
    return None


def official(init: str, backbone: str, given: Path | None = None) -> Official:
    """Return the file that is published as these weights of a network.

    Args:
        init: a word of ``--init``.
        backbone: a network's name.
        given: a copy at hand; then a file without known hash will do.

    Raises:
        UsageError: no such word or network, or there is nothing to download and no copy; says how to get one.
    """
    source = SOURCES.find(init)
    if not source.loads:
        raise UsageError(f"weights {init}: there is nothing to get")
    found = source.published_as(backbone, given.name) if given else next(iter(source.published(backbone)), None)
    if given is None and (found is None or not found.sha256):
        raise UsageError(f"weights {init} of {backbone} have no download; {how_to_get(init, backbone)}")
    licence = (found.licence if found else "") or source.licence
    return Official(init, backbone, found.url if found else "", found.sha256 if found else "", licence)


def how_to_get(init: str, backbone: str) -> str:
    """Return what to do where named weights are not at hand, in words."""
    source = SOURCES.find(init)
    found = next(iter(source.published(backbone)), None)
    command = f"medtl weights get {init} --backbone {backbone}"
    if found is not None and found.sha256:
        return (
            f"get them with: {command}; offline: download {found.url} elsewhere, then: {command} --from {found.file},"
            f" or put {found.file} into the folder that $MEDTL_WEIGHTS names"
        )
    told = source.how_to_get.format(name=init, backbone=backbone, stem=file_stem(backbone))
    if found is not None and found.url:
        return (
            f"download it from {found.url} by hand (its hash is not known here), then: {command} --from FILE; or {told}"
        )
    others = ", ".join(source.files) if source.files and backbone not in source.files else ""
    return f"{told}; official files are known of {others}" if others else told

"""The words of ``--init``, one record each: what the weights are, what they expect, and how to get them.

$MEDTL_PLUGINS adds others by ``register``. No torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from medtl.cards import IMAGENET_MEAN, IMAGENET_STD, dataset_cards
from medtl.errors import UsageError
from medtl.networks.registry import Published, backbone_of
from medtl.registry import Registry

RANDOM = "random"


@dataclass(frozen=True)
class Source:
    """One word of ``--init``.

    Attributes:
        name: the word.
        title: in prose.
        licence: as their maker states it, and what their images allow; empty where nothing is loaded.
        mean, std: of the input's channels, for values 0..1.
        trained_on: names of the data sets that the weights have seen, as data lists name themselves.
        how_to_get: what to do where they are not at hand; {backbone} is the network, {stem} the same as a file's name
            begins.
        files: official files by the network's name, beside those that the networks' own records name.
        expects_own: networks whose files state their normalisation by their layout (see ``contract``).
        loads: whether there is anything to load.
    """

    name: str
    title: str
    licence: str = ""
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    trained_on: tuple[str, ...] = ()
    how_to_get: str = "put {stem}_{name}.safetensors or .pt into the folder that $MEDTL_WEIGHTS names"
    files: Mapping[str, Published] = field(default_factory=dict)
    expects_own: tuple[str, ...] = ()
    loads: bool = True

    def published(self, backbone: str) -> Published | None:
        """Return the official file of a network; None where there is none."""
        return self.files.get(backbone) or backbone_of(backbone).weights.get(self.name)


@dataclass(frozen=True)
class Official:
    """A file that can be downloaded and checked.

    Attributes:
        init, backbone: the word of ``--init`` and the network.
        url, sha256: as of ``Published``.
        licence: of the weights.
    """

    init: str
    backbone: str
    url: str
    sha256: str
    licence: str

    @property
    def file(self) -> str:
        """Its name at its maker's."""
        return self.url.rpartition("/")[2]


SOURCES: Registry[Source] = Registry("start")
register = SOURCES.register

register(Source(RANDOM, "the network's own initialisation", loads=False))
register(
    Source(
        "imagenet",
        "ImageNet-1k, by torchvision",
        licence="BSD-3-Clause (torchvision); trained on ImageNet, whose images are for non-commercial research",
        trained_on=("imagenet",),
        expects_own=("vit_b16",),
    )
)
register(
    Source(
        "cpmid",
        "CPMID, by the bundle of that network",
        licence=dataset_cards()["cpmid"].licence,
        trained_on=("cpmid",),
        how_to_get="train bundles/cpmid_{backbone} on CPMID (its images may not be redistributed, so no weights are),"
        " then put its model.pt as {stem}_cpmid.pt into the folder that $MEDTL_WEIGHTS names",
    )
)
register(
    Source(
        "mini",
        "4,916 public images at 64 pixels; medtl brings those of ResNet-18",
        licence=dataset_cards()["cpmid"].licence,
        how_to_get="medtl brings those of resnet18 alone; put the bundle medtl_mini_{stem}, or its zip, into the folder"
        " that $MEDTL_WEIGHTS names, or pretrain by bundles/medtl_mini_resnet18 with --backbone and start from its run",
    )
)


def named() -> tuple[str, ...]:
    """Return the words that stand for weights, so all but ``random``."""
    return tuple(source.name for source in SOURCES.records() if source.loads)


def file_stem(backbone: str) -> str:
    """Return what the name of a network's weight file begins with: a slash is no part of a file's name."""
    return backbone.replace("/", "_")


def official(init: str, backbone: str) -> Official:
    """Return the file that is published as these weights of a network.

    Raises:
        UsageError: no such word or network, or nobody publishes a file whose hash is known.
    """
    source = SOURCES.find(init)
    found = source.published(backbone)
    if found is None or not found.sha256:
        raise UsageError(f"weights {init} of {backbone} have no download; {how_to_get(init, backbone)}")
    return Official(init, backbone, found.url, found.sha256, source.licence)


def how_to_get(init: str, backbone: str) -> str:
    """Return what to do where named weights are not at hand, in words."""
    source = SOURCES.find(init)
    found = source.published(backbone)
    if found is None or not found.sha256:
        told = source.how_to_get.format(name=init, backbone=backbone, stem=file_stem(backbone))
        return f"{told} ({found.url} has them)" if found else told
    command = f"medtl weights {init} --backbone {backbone}"
    return (
        f"get them with: {command}; offline: download {found.url} elsewhere, then: {command} --from {found.file},"
        f" or put {found.file} into the folder that $MEDTL_WEIGHTS names"
    )

"""What medtl knows of a network, one record each. No torch: builders import it when they are called, so that listing
is instant.

medtl's own records are in ``medtl.networks.backbones``, one file a family; $MEDTL_PLUGINS adds others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medtl.errors import UsageError
from medtl.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

    StateDict = dict[str, Tensor]

PACKAGE = "medtl.networks.backbones"


@dataclass(frozen=True)
class Published:
    """A weight file on its maker's server.

    Attributes:
        url: of the file; empty where it has no address of its own.
        sha256: what the file's SHA-256 starts with; empty where that is not known, and then nothing is downloaded.
        mean, std: of the input's channels (red, green, blue), for values 0..1; empty where they are those of the
            source.
        names: other names that the file goes by, where they are its own alone.
        bgr: it was trained on blue, green, red; loading it turns the first convolution round.
        trained_on: names of the data sets that it has seen; empty where they are those of the source.
        licence: empty where it is that of the source.
    """

    url: str
    sha256: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    bgr: bool = False
    trained_on: tuple[str, ...] = ()
    licence: str = ""

    @property
    def file(self) -> str:
        """Return its name there."""
        return self.url.rpartition("/")[2]

    @property
    def is_keras(self) -> bool:
        """Return whether it is Keras's file, not PyTorch's."""
        return any(name.endswith(".h5") for name in (self.file, *self.names))


def as_it_is(state: StateDict) -> StateDict:
    """Return the same tensors: what ``Backbone.mend`` is where names are all that differs."""
    return state


def nothing_fits(name: str, there: Tensor, here: Tensor) -> tuple[Tensor | None, str]:
    """Return None: what ``Backbone.fit`` is where a tensor of another shape is of another network."""
    return None, ""


def nothing_to_check(network: nn.Module) -> None:
    """Return: what ``Backbone.check`` is where names and shapes tell a network."""


@dataclass(frozen=True)
class Backbone:
    """One network: how it is built, named, frozen, looked into, filled and released.

    Attributes:
        name: the word of ``--backbone``.
        title: the name in prose.
        reference: where it was published, one line.
        family: whose layouts of weights (``medtl.weights.layouts``) apply to it.
        build: (in_channels, image_size, num_classes) to a network from images (n, in_channels, image_size, image_size)
            to logits (n, num_classes).
        head: name of its last layer, linear or a 1 × 1 convolution.
        stages: names of the modules whose outputs are its stages, shallow to deep.
        last_norm: the norm layer of the last block, where Grad-CAM looks.
        parts: modules and parameters of the trunk in the order of the forward pass: the stem, then one group a stage;
            each parameter of the trunk belongs to one of them. This is what can be frozen.
        stock: (num_classes, in_channels, image_size) to the literal config of a network with the same names, shapes
            and arithmetic, which opens where medtl is not installed.
        gives_tuple: that network returns a tuple, the logits first.
        classes_argument: what that network calls its number of classes.
        requires: packages that it needs besides MONAI.
        least_size: the least side of its images, in pixels.
        multiple_of: what the side must be a multiple of.
        patch: side of a patch in pixels where stages are tokens (n, 1 + patches, width) instead of maps; else 0.
        unused: part of the names of parameters that the forward pass never uses; empty where it uses all.
        mend: changes a state dict in this network's names so that it means the same here.
        fit: (name, tensor in the file, tensor in the network) to a tensor of the network's shape and what was done;
            None where nothing helps.
        check: raises MedtlError for a network that would take the weights and compute something else.
        by_position: weights under names that no layout knows are taken in order, where every module's shapes agree.
        unlike: how it computes otherwise than networks of the same names and shapes, in words, so that only weights
            which say that they are its own are taken under these names; empty where there is no such network.
        weights: its official files by the word of ``--init``.
    """

    name: str
    title: str
    reference: str
    family: str
    build: Callable[[int, int, int], nn.Module]
    head: str
    stages: tuple[str, ...]
    last_norm: str
    parts: tuple[tuple[str, ...], ...]
    stock: Callable[[int, int, int], dict[str, Any]]
    gives_tuple: bool = False
    classes_argument: str = "num_classes"
    requires: tuple[str, ...] = ()
    least_size: int = 32
    multiple_of: int = 1
    patch: int = 0
    unused: str = ""
    mend: Callable[[StateDict], StateDict] = as_it_is
    fit: Callable[[str, Tensor, Tensor], tuple[Tensor | None, str]] = nothing_fits
    check: Callable[[nn.Module], None] = nothing_to_check
    by_position: bool = False
    unlike: str = ""
    weights: Mapping[str, Published] = field(default_factory=dict)

    @property
    def sizes(self) -> str:
        """Return the image sizes that it takes, in words."""
        multiple = f"a multiple of {self.multiple_of}, " if self.multiple_of > 1 else ""
        return f"{multiple}at least {self.least_size}"

    def takes(self, image_size: int) -> bool:
        """Return whether it takes images of that many pixels a side."""
        return image_size >= self.least_size and image_size % self.multiple_of == 0

    def nearest(self, image_size: int) -> tuple[int, ...]:
        """Return the sizes next to one that it does not take: below, where there is one, and above."""
        below = image_size - image_size % self.multiple_of
        least = -(-self.least_size // self.multiple_of) * self.multiple_of
        return tuple(dict.fromkeys(max(size, least) for size in (below, below + self.multiple_of)))

    def is_head(self, name: str) -> bool:
        """Return whether a tensor belongs to its head."""
        return name.startswith(f"{self.head}.")

    def is_trunk(self, name: str) -> bool:
        """Return whether a tensor belongs to its trunk, and the forward pass uses it."""
        return not self.is_head(name) and not (self.unused and self.unused in name)


@dataclass(frozen=True)
class Library:
    """Networks of one library, too many for a record each: ``NAME/their_name``.

    Attributes:
        name: of the library.
        describe: their name of a network to its record; raises UsageError for one that cannot be used.
        list: all names that the library has; imports it.
    """

    name: str
    describe: Callable[[str], Backbone]
    list: Callable[[], tuple[str, ...]]


@dataclass(frozen=True)
class Decoder:
    """What turns a dilated trunk's maps into a segmentation.

    Attributes:
        name: the word of ``--decoder``.
        title: the name in prose.
        reference: where it was published, one line.
        build: (channels of the four stages' maps, num_classes, output_stride) to a module whose ``forward`` takes the
            four maps as a tuple and returns logits (n, num_classes, rows, columns) at any resolution. TorchScript
            compiles it for a release.
        output_strides: pixels of the image to one of the last map, those that it can be built for.
        edges: in training ``forward`` returns twice as many channels: behind the logits of the classes those of their
            edges, which the loss supervises, too.
    """

    name: str
    title: str
    reference: str
    build: Callable[[tuple[int, int, int, int], int, int], nn.Module]
    output_strides: tuple[int, ...] = (8, 16)
    edges: bool = False


DECODERS: Registry[Decoder] = Registry("decoder", "medtl.networks.segmentation")
BACKBONES: Registry[Backbone] = Registry("backbone", PACKAGE)
LIBRARIES: Registry[Library] = Registry("library", PACKAGE)


def register(backbone: Backbone) -> Backbone:
    """Add a network, and return it.

    Raises:
        UsageError: there is another one of that name.
    """
    return BACKBONES.register(backbone)


def names() -> tuple[str, ...]:
    """Return the names of all networks that have a record; those of libraries come on top."""
    return BACKBONES.names()


def backbone_of(name: str) -> Backbone:
    """Return the record of a network: ``resnet18``, or of a library ``timm/NAME`` or ``torchvision/NAME``.

    Raises:
        UsageError: there is none of that name, or that network cannot be used; says why.
    """
    library, slash, inner = str(name).partition("/")
    if slash and library in LIBRARIES.names():
        return LIBRARIES.find(library).describe(inner)
    try:
        return BACKBONES.find(name)
    except UsageError as error:
        others = " or ".join(f"{known}/NAME" for known in sorted(LIBRARIES.names()))
        raise UsageError(f"{error}{f'; other networks: {others}' if others else ''}") from None


def is_own(name: str) -> bool:
    """Return whether the record of a network, or that of its library, is medtl's and not a plugin's."""
    library, slash, _ = str(name).partition("/")
    return LIBRARIES.is_own(library) if slash and library in LIBRARIES.names() else BACKBONES.is_own(name)

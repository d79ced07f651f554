"""Weights into networks. Nothing is ever skipped silently: what does not fit is an error that says what and how
much."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from medtl.bundle.boundary import one_line
from medtl.errors import MedtlError
from medtl.networks.classifier import backbone_of
from medtl.weights.read import StateDict, disagreements, in_our_names, read_state_dict

POSITIONS = "patch_embedding.position_embeddings"
UNUSED = "norm_cross_attn"  # MONAI's ViT makes it and never uses it
COUNTERS = "num_batches_tracked"  # of batch norm; older files lack it, and it changes nothing with a fixed momentum


@dataclass(frozen=True)
class LoadReport:
    """What became of each tensor.

    Attributes:
        source: the file.
        loaded: names that were filled.
        missing: names of the network's trunk that the file does not have.
        unexpected: names of the file that the network does not have, its head aside.
        mismatched: name to (shape in the file, shape in the network).
        dropped: the file's head, left out on purpose.
        adapted: name to what was done to make it fit (channels, positions).
        coverage: loaded share of the trunk's parameters, 0..1.
        normalization: a sentence when the images are not normalised as the weights expect, or nobody says how that is.
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    dropped: tuple[str, ...]
    adapted: Mapping[str, str]
    coverage: float
    normalization: str = ""

    def __str__(self) -> str:
        parts = [f"{100 * self.coverage:.1f} % of the trunk's parameters loaded ({len(self.loaded)} tensors)"]
        parts += [f"{len(self.missing)} missing (first {self.missing[0]})"] if self.missing else []
        parts += [f"{len(self.unexpected)} unexpected (first {self.unexpected[0]})"] if self.unexpected else []
        for name, (there, here) in list(self.mismatched.items())[:1]:
            parts.append(f"{len(self.mismatched)} of another shape (first {name}: {there}, expected {here})")
        parts += [f"head left out ({', '.join(self.dropped)})"] if self.dropped else []
        parts += [f"{name}: {what}" for name, what in self.adapted.items()]
        parts += [self.normalization] if self.normalization else []
        return f"{self.source}: {'; '.join(parts)}"


def load_pretrained(
    network: nn.Module, source: Path, backbone: str, *, least: float = 1.0, option: str = "--init"
) -> LoadReport:
    """Fill a network's trunk with weights of any known naming; the head keeps its own start.

    Args:
        network: as ``build_classifier`` made it; filled in place only when enough fits.
        source: a ``.pt`` or ``.safetensors`` file, or a bundle with ``models/`` or its ``.zip``.
        backbone: the network's name.
        least: the share of the trunk's parameters that must be loaded; all by default.
        option: the argument that errors name.

    Returns:
        What became of each tensor.

    Raises:
        UsageError: no such file.
        MedtlError: damaged; or less than ``least`` fits, with the report; or the network's first layer has another
        stride than
            the weights were made for, which would load and compute something else.
    """
    _check_stem(network, backbone)
    wanted = network.state_dict()
    head = backbone_of(backbone).head
    state = in_our_names(read_state_dict(source, option), wanted)
    fitting: StateDict = {}
    adapted: dict[str, str] = {}
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for name, here in wanted.items():
        if name in state and not name.startswith(f"{head}."):
            there, what = _fitted(name, state[name], here)
            if there is None:
                mismatched[name] = (tuple(state[name].shape), tuple(here.shape))
            else:
                fitting[name] = there.to(here.dtype)
                adapted |= {name: what} if what else {}
    trunk = [n for n in wanted if not n.startswith(f"{head}.") and UNUSED not in n and COUNTERS not in n]
    parameters = {n: p.numel() for n, p in network.named_parameters() if n in trunk}
    report = LoadReport(
        source=source.name,
        loaded=tuple(fitting),
        missing=tuple(n for n in trunk if n not in state),
        unexpected=tuple(n for n in state if n not in wanted and not _is_a_head(n)),
        mismatched=mismatched,
        dropped=tuple(n for n in state if n.startswith(f"{head}.") or (n not in wanted and _is_a_head(n))),
        adapted=adapted,
        coverage=sum(parameters[n] for n in fitting if n in parameters) / sum(parameters.values()),
    )
    statistics = [n for n in trunk if n not in parameters and n not in fitting]
    if report.coverage < least or (statistics and least == 1.0):
        raise MedtlError(f"{option} {source} does not fit {backbone}: {report}")
    network.load_state_dict({**wanted, **fitting})
    return report


def _is_a_head(name: str) -> bool:
    """Whether a name that is not ours belongs to some library's classification head."""
    return name.split(".")[0] in ("fc", "head", "heads", "classifier", "classification_head", "class_layers")


def _check_stem(network: nn.Module, backbone: str) -> None:
    """ResNet weights of torchvision's layout are made for a first convolution of stride 2; the stride is not in the
    file."""
    if not backbone.startswith("resnet"):
        return
    stride = getattr(network.get_submodule("conv1"), "stride", None)
    if stride != (2, 2):
        raise MedtlError(
            f"the first convolution has stride {stride}, pretrained ResNets have (2, 2): build it with build_classifier"
        )


def _fitted(name: str, there: torch.Tensor, here: torch.Tensor) -> tuple[torch.Tensor | None, str]:
    """A tensor in the shape that the network wants and what was done for that; None where nothing helps."""
    if there.shape == here.shape:
        return there, ""
    if name == POSITIONS and there.ndim == 3 and there.shape[2] == here.shape[2]:
        return _resized_positions(there, here.shape[1])
    is_first = there.ndim == 4 and there.shape[0] == here.shape[0] and there.shape[2:] == here.shape[2:]
    if is_first and here.shape[1] == 1:
        return there.float().sum(dim=1, keepdim=True), f"{there.shape[1]} input channels summed to 1"
    if is_first and there.shape[1] == 1:
        count = here.shape[1]
        return there.float().repeat(1, count, 1, 1) / count, f"1 input channel repeated to {count} and divided by it"
    return None, ""


def _resized_positions(there: torch.Tensor, count: int) -> tuple[torch.Tensor | None, str]:
    """Position embeddings (1, n, width) of a square grid for another square grid, bicubic."""
    old, new = math.isqrt(there.shape[1]), math.isqrt(count)
    if old * old != there.shape[1] or new * new != count:
        return None, ""
    grid = there.float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, size=(new, new), mode="bicubic", antialias=new < old)
    return grid.permute(0, 2, 3, 1).reshape(1, count, -1), f"positions interpolated from {old} × {old} to {new} × {new}"


@one_line
def load_exactly(network: nn.Module, weights: str) -> None:
    """Load weights of this very architecture, head included: every name and every shape must agree.

    Args:
        network: filled in place.
        weights: a ``.pt`` or ``.safetensors`` file, or a bundle with ``models/`` or its ``.zip``.

    Raises:
        MedtlError: names the first disagreements and counts the rest.
    """
    state = read_state_dict(Path(str(weights)))
    if found := disagreements(state, network.state_dict()):
        raise MedtlError(f"--weights {weights} are not of this network: {found}")
    network.load_state_dict(state)

"""Weights into networks, judged both ways: what of the network was filled, and what of the file was used.

Nothing is ever skipped silently: what does not fit is an error that says what and how much.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from medtl.errors import MedtlError
from medtl.networks.classifier import build_classifier
from medtl.networks.registry import BACKBONES, Backbone, backbone_of
from medtl.weights.contract import of_another
from medtl.weights.layouts import OURS, auxiliary, is_a_head
from medtl.weights.names import COUNTERS, Renamed, StateDict, in_our_names
from medtl.weights.read import Checkpoint, disagreements, read_checkpoint, read_state_dict
from medtl.weights.refusals import why_not

SHOWN = 3
USUAL_SIZE = 224  # pixels


@dataclass(frozen=True)
class LoadReport:
    """What became of each tensor.

    Attributes:
        source: the file.
        loaded: names that were filled.
        missing: names of the network's trunk that the file does not have.
        unused: names of the file's trunk that the network has no place for.
        mismatched: name to (shape in the file, shape in the network).
        dropped: the file's head, left out on purpose.
        left_out: what else in the file is known to be no trunk (a projection head, a decoder), to how many tensors.
        adapted: name to what was done to make it fit (channels, positions).
        coverage: loaded share of the trunk's parameters, 0..1.
        used: share of the numbers in the file's trunk that went into the network, 0..1.
        layout: whose names the file has, with the prefix before them; empty where they are ours.
        told: what was chosen among several state dicts in the file.
        statistics: names of the trunk's running statistics that were not filled.
        normalization: a sentence when the images are not normalised as the weights expect, or nobody says how that is.
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    dropped: tuple[str, ...]
    left_out: Mapping[str, int]
    adapted: Mapping[str, str]
    coverage: float
    used: float
    layout: str = ""
    told: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    normalization: str = ""

    @property
    def fits(self) -> bool:
        """Return whether the whole trunk was filled, and all of the file's trunk used."""
        whole = self.coverage == self.used == 1.0
        return whole and not (self.statistics or self.unused or self.mismatched)

    def __str__(self) -> str:
        parts = [f"{_percent(self.coverage)} of the trunk's parameters loaded ({len(self.loaded)} tensors)"]
        parts += [f"{_percent(self.used)} of the file's trunk used"]
        parts += [f"{len(self.missing)} missing (first {self.missing[0]})"] if self.missing else []
        if self.unused:
            shown = ", ".join(self.unused[:SHOWN])
            parts.append(f"{len(self.unused)} of the file would be left unused ({shown}{_more(self.unused)})")
        for name, (there, here) in list(self.mismatched.items())[:1]:
            parts.append(f"{len(self.mismatched)} of another shape (first {name}: {there}, expected {here})")
        parts += [f"names are {self.layout}"] if self.layout else []
        parts += list(self.told)
        parts += [f"head left out ({', '.join(self.dropped[:SHOWN])}{_more(self.dropped)})"] if self.dropped else []
        parts += [f"{what} left out ({count})" for what, count in self.left_out.items()]
        parts += [f"{name}: {what}" for name, what in self.adapted.items()]
        parts += [self.normalization] if self.normalization else []
        return f"{self.source}: {'; '.join(parts)}"


def _percent(share: float) -> str:
    """Return a share in per cent, never rounded up to all."""
    return "100.0 %" if share == 1 else f"{min(100 * share, 99.9):.1f} %"


def _more(names: tuple[str, ...]) -> str:
    return " …" if len(names) > SHOWN else ""


def load_pretrained(
    network: nn.Module, source: Path, backbone: str, *, least: float = 1.0, option: str = "--init", bgr: bool = False
) -> LoadReport:
    """Fill a network's trunk with weights of any known naming; the head keeps its own start.

    Args:
        network: as ``build_classifier`` made it; filled in place only when enough fits.
        source: a ``.pt`` or ``.safetensors`` file, or a bundle with ``models/`` or its ``.zip``.
        backbone: the network's name.
        least: the share that must fit, of the network's trunk and of the file's, 0..1; all by default.
        option: the argument that errors name.
        bgr: the file's first convolution takes blue, green, red; it is turned round, so that the network takes red,
            green, blue.

    Returns:
        What became of each tensor.

    Raises:
        UsageError: no such file.
        MedtlError: damaged; or less than ``least`` fits, with the report; or the network would take the weights and
            compute something else.
    """
    card = backbone_of(backbone)
    card.check(network)
    checkpoint = read_checkpoint(source, option)
    report, fitting = judge(network, checkpoint, card, source.name, bgr=bgr)
    if min(report.coverage, report.used) < least or (least == 1.0 and not report.fits):
        file = in_our_names(checkpoint.state, network.state_dict(), card, checkpoint.library)
        reason = "" if (better := _better(file.state, card)) else why_not(checkpoint.state)
        told = f"{reason}; {report}" if reason else str(report)
        raise MedtlError(f"{option} {source} does not fit {backbone}: {told}{better}")
    if wrong := of_another(card, checkpoint.library, source, option):
        raise MedtlError(f"{option} {source} does not fit {backbone}: {wrong}")
    if not next(network.parameters()).is_meta:  # of one without numbers only the verdict is wanted
        network.load_state_dict({**network.state_dict(), **fitting})
    return report


def refuse_others(source: Path, backbone: str, option: str) -> None:
    """Raise MedtlError unless a file fills a network's trunk whole; no network is filled."""
    card = backbone_of(backbone)
    with torch.device("meta"):
        network = build_classifier(backbone, 2, image_size=max(USUAL_SIZE, card.least_size))
    load_pretrained(network, source, backbone, option=option)


def judge(
    network: nn.Module, checkpoint: Checkpoint, card: Backbone, source: str, *, bgr: bool = False
) -> tuple[LoadReport, StateDict]:
    """Return what would become of each of a file's tensors in a network, and those that would fill it, in its shapes.

    Args:
        network: as ``build_classifier`` made it, on the meta device if need be; left alone.
        checkpoint: as read.
        card: the network's record.
        source: the file's name.
        bgr: as of ``load_pretrained``.
    """
    wanted = network.state_dict()
    file = in_our_names(checkpoint.state, wanted, card, checkpoint.library)
    turned = _turned(file.state, wanted, card) if bgr else {}
    fitting, adapted, mismatched = _fitted({**file.state, **turned}, wanted, card)
    adapted |= dict.fromkeys(turned, "input channels turned from blue, green, red to red, green, blue")
    trunk = [name for name in wanted if card.is_trunk(name) and COUNTERS not in name]
    parameters = {name: p.numel() for name, p in network.named_parameters() if name in trunk}
    unused, dropped, left_out = _others(file.state, wanted, card)
    taken = sum(file.state[name].numel() for name in fitting if COUNTERS not in name)
    wasted = sum(file.state[name].numel() for name in (*unused, *mismatched))
    report = LoadReport(
        source=source,
        loaded=tuple(fitting),
        missing=tuple(name for name in trunk if name not in file.state),
        unused=unused,
        mismatched=mismatched,
        dropped=dropped,
        left_out=left_out,
        adapted=adapted,
        coverage=sum(parameters[name] for name in fitting if name in parameters) / sum(parameters.values()),
        used=taken / (taken + wasted) if taken else 0.0,
        layout=_layout(file),
        told=checkpoint.told,
        statistics=tuple(name for name in trunk if name not in parameters and name not in fitting),
    )
    return report, fitting


def _fitted(
    state: StateDict, wanted: StateDict, card: Backbone
) -> tuple[StateDict, dict[str, str], dict[str, tuple[tuple[int, ...], tuple[int, ...]]]]:
    """Return the trunk's tensors in the network's shapes, what was done for that, and shapes where nothing helps."""
    fitting: StateDict = {}
    adapted: dict[str, str] = {}
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for name, here in wanted.items():
        if name in state and card.is_trunk(name):
            there, what = state[name], ""
            if there.shape != here.shape:
                found, what = card.fit(name, there, here)
                found, what = (found, what) if found is not None else _other_channels(there, here)
                if found is None:
                    mismatched[name] = (tuple(there.shape), tuple(here.shape))
                    continue
                there = found
            if here.is_floating_point() and not there.is_floating_point():  # quantised: not the numbers themselves
                mismatched[name] = (tuple(there.shape), tuple(here.shape))
                continue
            fitting[name] = there.to(here.dtype)
            adapted |= {name: what} if what else {}
    return fitting, adapted, mismatched


def _turned(state: StateDict, wanted: StateDict, card: Backbone) -> StateDict:
    """Return the first convolution with its input channels the other way round; nothing where it takes grey."""
    first = next((name for name, here in wanted.items() if here.ndim == 4 and card.is_trunk(name)), "")
    there = state.get(first)
    return {first: there.flip(1)} if there is not None and there.ndim == 4 and there.shape[1] == 3 else {}


def _others(
    state: StateDict, wanted: StateDict, card: Backbone
) -> tuple[tuple[str, ...], tuple[str, ...], Mapping[str, int]]:
    """Return what the network's trunk has no place for: names of the file's trunk, names of its head, and counts of
    what is known to be neither."""
    unused, dropped = [], []
    left_out: Counter[str] = Counter()
    for name, tensor in state.items():
        if name in wanted and card.is_trunk(name):
            continue
        if card.is_head(name) or is_a_head(name):
            dropped.append(name)
        elif what := auxiliary(name):
            left_out[what] += 1
        elif COUNTERS not in name and tensor.is_floating_point() and name not in wanted:
            unused.append(name)
    return tuple(unused), tuple(dropped), left_out


def _layout(file: Renamed) -> str:
    """Return whose names a file has, in words; empty for ours."""
    named = "" if file.layout == OURS else f"those of {file.layout}"
    before = f"behind {file.prefix!r}" if file.prefix else ""
    return " ".join(filter(None, (named, before)))


def _better(state: StateDict, card: Backbone) -> str:
    """Return a hint at the network of the same family that a file fits, if there is one."""
    for other in BACKBONES.records():
        if other.family == card.family and other.name != card.name:
            with torch.device("meta"):
                wanted = other.build(3, max(224, other.least_size), 2).state_dict()
            trunk = {name for name in wanted if other.is_trunk(name) and COUNTERS not in name}
            fits = all(name in state and _could_fit(other, name, state[name], wanted[name]) for name in trunk)
            if fits and not _others(state, wanted, other)[0]:
                return f"; it fits {other.name}"
    return ""


def _could_fit(card: Backbone, name: str, there: torch.Tensor, here: torch.Tensor) -> bool:
    """Return whether a tensor has a network's shape, or can be brought to it; nothing is computed."""
    return there.shape == here.shape or card.fit(name, there.to("meta"), here)[0] is not None


def _other_channels(there: torch.Tensor, here: torch.Tensor) -> tuple[torch.Tensor | None, str]:
    """Return a first convolution for another number of input channels and what was done; None where nothing helps."""
    is_first = there.ndim == 4 == here.ndim and there.shape[0] == here.shape[0] and there.shape[2:] == here.shape[2:]
    if is_first and here.shape[1] == 1:
        return there.float().sum(dim=1, keepdim=True), f"{there.shape[1]} input channels summed to 1"
    if is_first and there.shape[1] == 1:
        count = here.shape[1]
        return there.float().repeat(1, count, 1, 1) / count, f"1 input channel repeated to {count} and divided by it"
    return None, ""


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

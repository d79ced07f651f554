"""A file's tensors under the names of one of our networks: whichever prefix and library's names find most of them."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch

from medtl.networks.registry import Backbone
from medtl.weights.layouts import OURS, Layout, auxiliary, is_a_head, layouts_of

StateDict = dict[str, torch.Tensor]
DEEPEST = 5  # parts of a prefix: module.model.encoder_q.
COUNTERS = "num_batches_tracked"  # of batch norm; older files lack it, and it changes nothing with a fixed momentum


@dataclass(frozen=True, eq=False)
class Renamed:
    """A file's tensors.

    Attributes:
        state: under our names where they have one, under their own otherwise.
        layout: whose names they had.
        prefix: what stood before them.
    """

    state: StateDict
    layout: str
    prefix: str


def in_our_names(
    state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], card: Backbone, library: str = ""
) -> Renamed:
    """Return the tensors under the names of a network, whichever library and training program named them.

    Args:
        state: as read.
        wanted: the network's state dict.
        card: the network's record; its ``mend`` is applied.
        library: whose file it is, as of ``Checkpoint``.
    """
    layouts = layouts_of(card.family, library)
    trunk = {name for name in wanted if card.is_trunk(name) and COUNTERS not in name}
    shapes = {name: tensor.to("meta") for name, tensor in state.items()}  # to choose, nothing needs to be computed
    best, chosen = -1, ("", Layout(OURS, card.family))
    for prefix in _prefixes(state, len(trunk)):
        inside = _inside(shapes, prefix)
        for layout in layouts:
            count = len(trunk & card.mend(layout.renamed(inside)).keys())
            if count > best:
                best, chosen = count, (prefix, layout)
    prefix, layout = chosen
    outside = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
    inside = {name: _wide(tensor) for name, tensor in _inside(state, prefix).items()}
    found = Renamed({**outside, **card.mend(layout.renamed(inside))}, layout.name, prefix)
    if card.by_position and best < len(trunk):
        for layout in layouts:
            renamed = layout.renamed(state)
            if library and renamed.keys() == state.keys():
                continue  # a network of that library which nobody has compared: order alone is no evidence
            if (ordered := by_position(renamed, wanted, card)) is not None:
                return Renamed(ordered, f"{layout.name if layout.name != OURS else 'another library'}, in order", "")
    return found


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """Return half precision as float32, in which factors can be multiplied into weights without loss."""
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor


def _inside(state: Mapping[str, torch.Tensor], prefix: str) -> StateDict:
    """Return the tensors behind a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def by_position(
    state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], card: Backbone
) -> StateDict | None:
    """Return the tensors under a network's names by the order of their modules; None where one module disagrees.

    Two libraries' versions of one network mostly have the same modules in the same order. Numbered modules must count
    upwards, as they are made (a safetensors file sorts 10 before 2: then they are sorted by number). Every module must
    have the same tensors of the same shapes, so a network that differs anywhere is not taken for this one.

    Args:
        state: as read.
        wanted: the network's state dict.
        card: its record; its head has no part in it.
    """
    head = {name: tensor for name, tensor in state.items() if is_a_head(name) or auxiliary(name)}
    theirs = _modules({name: tensor for name, tensor in state.items() if name not in head})
    ours = _modules({name: tensor for name, tensor in wanted.items() if card.is_trunk(name)})
    for order in (list(theirs), sorted(theirs, key=_numbered)):
        if len(order) == len(ours) and _counts_upwards(order):
            pairs = list(zip(order, ours, strict=True))
            if all(_shapes(theirs[their]) == _shapes(ours[our]) for their, our in pairs):
                moved = {f"{our}.{leaf}": t for their, our in pairs for leaf, t in theirs[their].items()}
                return {**head, **moved}
    return None


def _modules(state: Mapping[str, torch.Tensor]) -> dict[str, StateDict]:
    """Return the tensors of each module, modules in the order of their first."""
    found: dict[str, StateDict] = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        found.setdefault(module, {})[leaf] = tensor
    return found


def _shapes(tensors: StateDict) -> dict[str, torch.Size]:
    return {leaf: tensor.shape for leaf, tensor in tensors.items() if leaf != COUNTERS}


def _numbered(name: str) -> list[tuple[int, int, str]]:
    """Return what sorts dotted names by their numbers, 2 before 10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]


def _counts_upwards(names: list[str]) -> bool:
    """Return whether the numbers of each module's children only grow."""
    highest: dict[str, int] = {}
    for name in names:
        before = ""
        for part in name.split("."):
            if part.isdigit():
                if int(part) < highest.get(before, 0):
                    return False
                highest[before] = int(part)
            before += f"{part}."
    return True


def _prefixes(names: Collection[str], trunk: int) -> list[str]:
    """Return the prefixes that many names share, with dot at their end; none first, and momentum encoders last, which
    hold as many tensors as what is trained."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, min(DEEPEST, len(parts) - 1) + 1))
    found = [prefix for prefix, count in counts.items() if 2 * count >= trunk]
    return ["", *sorted(found, key=lambda prefix: bool(auxiliary(prefix)))]

"""A file's tensors under the names of one of our networks: whichever prefix and library's names find most of them."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch

from medtl.networks.registry import Backbone
from medtl.weights.layouts import OURS, auxiliary, layouts_of

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


def in_our_names(state: Mapping[str, torch.Tensor], wanted: Collection[str], card: Backbone) -> Renamed:
    """Return the tensors under the names of a network, whichever library and training program named them.

    Args:
        state: as read.
        wanted: names of the network's state dict.
        card: the network's record; its ``mend`` is applied.
    """
    trunk = {name for name in wanted if card.is_trunk(name) and COUNTERS not in name}
    best, found = -1, Renamed(dict(state), OURS, "")
    for prefix in _prefixes(state, len(trunk)):
        inside = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        for layout in layouts_of(card.family):
            renamed = card.mend(layout.renamed(inside))
            count = len(trunk & renamed.keys())
            if count > best:
                outside = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
                best, found = count, Renamed({**outside, **renamed}, layout.name, prefix)
    return found


def _prefixes(names: Collection[str], trunk: int) -> list[str]:
    """Return the prefixes that many names share, with dot at their end; none first, and momentum encoders last, which
    hold as many tensors as what is trained."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, min(DEEPEST, len(parts) - 1) + 1))
    found = [prefix for prefix, count in counts.items() if 2 * count >= trunk]
    return ["", *sorted(found, key=lambda prefix: bool(auxiliary(prefix)))]

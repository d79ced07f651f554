"""The parts of a network that nobody described: found by watching one forward pass.

A *unit* is a module (or bare parameter) that is not taken apart further: a block, a convolution, a norm. Units are what
freezing groups into stem and stages.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from medtl.errors import UsageError

STAGES = 4
CONTAINERS = (nn.Sequential, nn.ModuleList)
SHUFFLED = "Unroll"  # the module by which timm's Hiera sorts its tokens by windows: they do not lie row by row


@dataclass(frozen=True)
class Anatomy:
    """Stages, last norm and parts, as ``Backbone`` says them.

    Attributes:
        stages: names of the modules whose outputs are its stages, shallow to deep.
        last_norm: where Grad-CAM looks; empty where no layer shows a map or a class token with its patches.
        parts: names of units: the stem, then one group a stage.
    """

    stages: tuple[str, ...]
    last_norm: str
    parts: tuple[tuple[str, ...], ...]


@dataclass
class Watched:
    """What one forward pass did.

    Attributes:
        output: of the network.
        shapes: of the modules' first outputs; empty where that is no tensor.
        steps: the modules' first calls and ends, in order: name, and whether it was called or ended.
    """

    output: Any = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    steps: dict[tuple[str, bool], None] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """How a layer's output lies in a square picture.

    Attributes:
        side: rows and columns of the map.
        channels_last: the output is (n, side, side, width) instead of (n, width, side, side); not of tokens.
        prefix: of tokens (n, prefix + side², width) how many come before the patches; None of a map.
    """

    side: int
    channels_last: bool = False
    prefix: int | None = None

    def to_map(self, output: torch.Tensor) -> torch.Tensor:
        """Return the output as (n, width, side, side)."""
        if self.prefix is not None:
            return output[:, self.prefix :].transpose(1, 2).unflatten(2, (self.side, self.side))
        return output.permute(0, 3, 1, 2) if self.channels_last else output

    def put_back(self, found: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Return (n, width, side, side) as the output lies, with the output's own prefix."""
        if self.prefix is not None:
            return torch.cat((output[:, : self.prefix], found.flatten(2).transpose(1, 2)), dim=1)
        return found.permute(0, 2, 3, 1) if self.channels_last else found


def grid_of(shape: Sequence[int], stated: int | None = None) -> Grid | None:
    """Return how a layer's output lies in a square picture; None where it shows no map.

    Args:
        shape: of the output.
        stated: how many tokens come before the patches, where the network says so (timm's ``num_prefix_tokens``);
            else one (a class token) where the rest is a square, or none.
    """
    if len(shape) == 4 and shape[2] == shape[3]:
        return Grid(shape[2])
    if len(shape) == 4 and shape[1] == shape[2]:
        return Grid(shape[1], channels_last=True)
    if len(shape) == 3:
        for prefix in (1, 0) if stated is None else (stated, 1, 0):
            side = math.isqrt(max(0, shape[1] - prefix))
            if side > 0 and side * side == shape[1] - prefix:
                return Grid(side, prefix=prefix)
    return None


def head_of(network: nn.Module, num_classes: int) -> str:
    """Return the name of the layer that gives the logits: linear, or a 1 × 1 convolution.

    Args:
        network: made for ``num_classes``, a number that no other layer of it has.
        num_classes: of its logits.

    Raises:
        UsageError: there is none, or there are several; says so.
    """
    found = []
    for name, module in network.named_modules():
        is_linear = isinstance(module, nn.Linear) and module.out_features == num_classes
        is_pointwise = (
            isinstance(module, nn.Conv2d) and module.out_channels == num_classes and module.kernel_size == (1, 1)
        )
        if is_linear or is_pointwise:
            found.append(name)
    if len(found) != 1:
        many = f"{len(found)} layers that give logits ({', '.join(found)})"
        raise UsageError(f"it has {many if found else 'no linear layer or 1 × 1 convolution that gives logits'}")
    return found[0]


def watch(network: nn.Module, images: torch.Tensor) -> Watched:
    """Run a network once, without gradients.

    Args:
        network: in evaluation mode.
        images: (n, channels, size, size) that it takes.
    """
    watched = Watched()
    handles = []
    for name, module in network.named_modules():

        def before(module: nn.Module, inputs: Any, name: str = name) -> None:
            watched.steps.setdefault((name, True))

        def after(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
            watched.steps.setdefault((name, False))
            watched.shapes.setdefault(name, tuple(output.shape) if isinstance(output, torch.Tensor) else ())

        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        with torch.no_grad():
            watched.output = network(images)
    finally:
        for handle in handles:
            handle.remove()
    return watched


def dissect(network: nn.Module, head: str, watched: Watched, size: int, ends: Sequence[str] = ()) -> Anatomy:
    """Return a network's anatomy.

    Args:
        network: that was watched.
        head: name of its last layer.
        watched: what it did with square images.
        size: of these, in pixels.
        ends: names of the modules that end its stages, where its library says so; at least four, else they are found
            by the sizes of their outputs, or by counting blocks.
    """
    kinds = dict(_units(network, head))
    order, ended = _order(watched, kinds)
    blocks = _blocks(order, kinds)
    stated = [(name, ended[name]) for name in ends if name in ended]
    by_size = _by_size(order, watched.shapes, size)
    by_block = [(name, order.index(name) + 1) for name in blocks]
    stem, chosen = 1, [(name, count) for count, name in enumerate(order, 1)]
    for candidates in map(_increasing, (stated, by_size, by_block)):
        if len(candidates) >= STAGES:
            first = candidates[0][1] if len(candidates) == STAGES + 1 else max(1, order.index(blocks[0]))
            later = [(name, end) for name, end in candidates if end > first]
            if len(later) >= STAGES:
                stem, chosen = first, later
                break
    chosen = _spread(chosen, STAGES)
    borders = [stem, *(end for _, end in chosen[:-1]), len(order)]
    bare = [name for name, kind in kinds.items() if not kind]
    groups = [tuple(order[start:end]) for start, end in itertools.pairwise(borders)]
    last_norm = _shown(network, watched.shapes, groups[-1])
    return Anatomy(tuple(name for name, _ in chosen), last_norm, ((*bare, *order[:stem]), *groups))


def _units(network: nn.Module, head: str) -> Iterator[tuple[str, str]]:
    """Yield the units' names and what they are: the class of a module, empty for a bare parameter.

    Containers are taken apart, and so is what holds the head or most of the network.
    """
    total = sum(parameter.numel() for parameter in network.parameters())

    def walk(module: nn.Module, before: str) -> Iterator[tuple[str, str]]:
        for name, _ in module.named_parameters(recurse=False):
            yield before + name, ""
        for name, child in module.named_children():
            full = before + name
            count = sum(parameter.numel() for parameter in child.parameters())
            if full == head or not count:
                continue
            is_most = 2 * count > total and any(True for _ in child.children())
            if isinstance(child, CONTAINERS) or head.startswith(f"{full}.") or is_most:
                yield from walk(child, f"{full}.")
            else:
                yield full, type(child).__name__

    yield from walk(network, "")


def _order(watched: Watched, kinds: dict[str, str]) -> tuple[list[str], dict[str, int]]:
    """Return the units in the order of their first call, and of every module how many had been called at its end."""
    order: list[str] = []
    ended: dict[str, int] = {}
    for name, is_call in watched.steps:
        if not is_call:
            ended[name] = len(order)
        elif kinds.get(name):
            order.append(name)
    # what was never called as a module (its parameters are used directly) goes with the last stage
    order += [name for name, kind in kinds.items() if kind and name not in order]
    return order, ended


def _blocks(order: list[str], kinds: dict[str, str]) -> list[str]:
    """Return the units of the commonest kind that is repeated, norms and activations aside."""
    counted = Counter(kinds[name] for name in order if "Norm" not in kinds[name])
    kind = counted.most_common(1)[0][0]
    return [name for name in order if kinds[name] == kind]


def _by_size(order: list[str], shapes: dict[str, tuple[int, ...]], size: int) -> list[tuple[str, int]]:
    """Return the last unit at each size of a map, with how many units were called by then."""
    last: dict[int, tuple[str, int]] = {}
    for count, name in enumerate(order, 1):
        side = _side(shapes.get(name, ()))
        if 1 < side < size:
            last[side] = (name, count)
    return list(last.values())


def _side(shape: tuple[int, ...]) -> int:
    """Return the side of a square map, whichever place its channels have; 0 where it is none."""
    if len(shape) != 4:
        return 0
    return shape[2] if shape[2] == shape[3] else shape[1] if shape[1] == shape[2] else 0


def _increasing(named: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return those that end after all before them."""
    found: list[tuple[str, int]] = []
    for name, end in named:
        if end > (found[-1][1] if found else 0):
            found.append((name, end))
    return found


def _spread(named: list[tuple[str, int]], count: int) -> list[tuple[str, int]]:
    """Return ``count`` of them (or all), evenly spread, the last one among them."""
    count = min(count, len(named))
    return [named[round((number + 1) * len(named) / count) - 1] for number in range(count)]


def _whole(network: nn.Module, name: str, maps: set[str]) -> str:
    """Return the largest block around a module that gives a map, too: what a block calls last may be its shortcut."""
    outer = name.rpartition(".")[0]
    while outer in maps:
        if not isinstance(network.get_submodule(outer), CONTAINERS):
            name = outer
        outer = outer.rpartition(".")[0]
    return name


def _shown(network: nn.Module, shapes: dict[str, tuple[int, ...]], last: Sequence[str]) -> str:
    """Return the last unit of the last stage that gives a map or tokens, where it is a map; of tokens the first norm of
    the last block, behind which the patches may have no say; empty where there is neither, or tokens do not lie row by
    row."""
    stated = getattr(network, "num_prefix_tokens", None)
    grids = {name: grid_of(shape, stated) for name, shape in shapes.items()}
    shown = {name for name, grid in grids.items() if grid and grid.side > 1}
    seen = [name for name in last if name in shown]
    if seen and len(shapes[seen[-1]]) == 4:
        return _whole(network, seen[-1], {name for name in shown if len(shapes[name]) == 4})
    kinds = {name: type(module).__name__ for name, module in network.named_modules()}
    norms = [name for name, kind in kinds.items() if "Norm" in kind and SHUFFLED not in kinds.values()]
    tokens = [name for name in norms if name in shown]
    blocks = [unit for unit in last if any(name.startswith(f"{unit}.") for name in tokens)]
    return next((name for name in tokens if blocks and name.startswith(f"{blocks[-1]}.")), "")

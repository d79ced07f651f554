"""Where a classifier looked: MONAI's Grad-CAM and Grad-CAM++ at the norm layer of a trunk's last block.

MONAI watches a probe behind that layer instead of the layer itself. There a ViT's tokens are laid out as their patches.
A ResNet adds its shortcut to the layer's output in place, which would change what was watched. And the gradient starts
at the probe, so that a frozen trunk is explained like any other and nothing in front of it is computed backwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from monai.visualize import GradCAM, GradCAMpp, ModelWithHooks
from numpy.typing import NDArray
from torch import Tensor, nn

from medtl.errors import UsageError
from medtl.networks.anatomy import grid_of
from medtl.networks.registry import backbone_of

METHODS = MappingProxyType({"gradcam": GradCAM, "gradcam++": GradCAMpp})
NAMES = MappingProxyType({"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++"})
FULL = 255.0
# Grad-CAM++ divides squares of gradients, and MONAI adds 1e-7 to the divisor: more than the squares themselves in wide
# layers. Activations in units of 4096 have gradients 4096 times as large; the formula is the same, the 1e-7 is nothing.
UNIT = 4096.0


@dataclass(frozen=True, eq=False)
class Heat:
    """What a network answers for one picture, and where that comes from.

    Attributes:
        values: (rows, columns) of the layer's grid, 0 or more, float32; in no unit, only ratios mean something.
        logits: (n_classes,) float32.
        class_index: whose logit is explained.
    """

    values: NDArray[np.float32]
    logits: NDArray[np.float32]
    class_index: int


def heat_of(
    network: nn.Module, layer: str, image: Tensor, class_index: int | None = None, method: str = "gradcam"
) -> Heat:
    """Return the positive evidence for one class in one picture.

    Grad-CAM (Selvaraju et al. 2017, equations 1 and 2): the layer's channels, weighted by the mean gradient of the
    class's logit, added up and cut off at 0. Grad-CAM++ (Chattopadhay et al. 2018, equations 10, 11 and 19) weights
    each place's positive gradient by its share instead.

    Args:
        network: a classifier; its mode, its parameters and their gradients are afterwards as they were before.
        layer: name of the module to look at, which gives maps (1, width, rows, columns) or tokens (1, 1 + patches,
            width) of a square picture; see ``layer_of``.
        image: (1, channels, size, size), as the network takes it.
        class_index: the class; None takes the network's answer.
        method: one of ``METHODS``.

    Raises:
        UsageError: no such method.
    """
    if method not in METHODS:
        raise UsageError(f"method {method!r} is not one of {', '.join(METHODS)}")
    with _untouched(network), torch.enable_grad():
        hooks = _Answer(_Probed(network, layer).eval(), "probe", register_forward=True, register_backward=True)
        values = METHODS[method](hooks, "probe").compute_map(image, class_idx=class_index)
    logits = hooks.logits.float().cpu().numpy()[0]
    answer = int(logits.argmax()) if class_index is None else class_index
    return Heat(values.detach().float().cpu().numpy()[0, 0], logits, answer)


def layer_of(backbone: str) -> str:
    """Return the layer that is looked at: the norm layer of the last block.

    In a ViT that is the first norm of the last block, the last place where the patches still have a say: behind it only
    the class token reaches the head.

    Raises:
        UsageError: no such backbone, or none of its layers shows a map.
    """
    layer = backbone_of(backbone).last_norm
    if not layer:
        raise UsageError(f"backbone {backbone!r} has no layer that shows where it looked")
    return layer


def scaled(values: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Return a heat map in another size (bilinear), 0..255 by its own maximum; all 0 where there is no positive
    evidence."""
    there = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    resized = nn.functional.interpolate(there, (rows, columns), mode="bilinear", align_corners=False)[0, 0].numpy()
    top = float(resized.max())
    return resized * np.float32(FULL / top) if top > 0 else np.zeros_like(resized)


class _Probed(nn.Module):
    """A network whose ``layer`` shows its output, as a map (1, width, rows, columns), to ``probe``."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network = network
        self.layer = layer
        self.probe = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        handle = self.network.get_submodule(self.layer).register_forward_hook(self._shown)
        try:
            return self.network(image)
        finally:
            handle.remove()

    def _shown(self, layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        grid = grid_of(output.shape, getattr(self.network, "num_prefix_tokens", None))
        if grid is None:
            raise UsageError(f"{self.layer} gives {tuple(output.shape)}, which is no map of a square picture")
        return grid.put_back(self._probe(grid.to_map(output)), output)

    def _probe(self, output: Tensor) -> Tensor:
        return self.probe((output / UNIT).detach().requires_grad_()) * UNIT

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing: MONAI asks for it, but no parameter gets a gradient, and what others left there is not ours."""


class _Answer(ModelWithHooks):
    """MONAI's hooks, which keep the logits and give the class's own as 0.

    Grad-CAM++ multiplies by exp(score), the same factor everywhere, which is infinite from a logit of 89 on.
    """

    logits: Tensor

    def class_score(self, logits: Tensor, class_idx: Any) -> Tensor:
        self.logits = logits.detach()
        score = super().class_score(logits, class_idx)
        return score - score.detach()


@contextmanager
def _untouched(network: nn.Module) -> Iterator[None]:
    """No parameter takes part in a gradient meanwhile; afterwards modes and parameters are as they were."""
    modes = [(module, module.training) for module in network.modules()]
    wanted = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
        for module, training in modes:
            module.training = training

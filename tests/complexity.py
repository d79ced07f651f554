"""What a trunk costs: multiply-adds in full, and as the CPMID paper's table counts them."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from medtl.networks.classifier import trunk_parameters
from medtl.networks.registry import backbone_of

NORMS = (nn.BatchNorm2d, nn.LayerNorm)
ONE_AN_ELEMENT = (nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
CONVOLUTION_OR_LINEAR = ("convolution", "addmm", "mm")


@dataclass(frozen=True)
class Complexity:
    """Cost of one image through a trunk, without its head.

    Attributes:
        multiply_adds: of every product, attention included.
        paper_multiply_adds: the rule that reproduces the paper's table (mmcv's): convolutions and linear layers, 2
        for each
            element of a norm layer, 1 for each input element of a ReLU or pooling, no attention products.
        parameters: trainable ones of the trunk.
    """

    multiply_adds: int
    paper_multiply_adds: int
    parameters: int


def complexity(network: nn.Module, backbone: str, image_size: int = 224, in_channels: int = 3) -> Complexity:
    """Count one forward pass of a network that ``build_classifier`` made; torch's own counter does the products.

    Args:
        network: the classifier; left as it was.
        backbone: its name.
        image_size: in pixels.
        in_channels: of the image.
    """
    card = backbone_of(backbone)
    head = network.get_submodule(card.head)
    elements = 0
    in_head = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal elements
        elements += inputs[0].numel() * (2 if isinstance(module, NORMS) else 1)

    def count_head(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal in_head
        places = inputs[0].shape[2:].numel()  # 1 where the head is linear
        in_head = int(module.weight.numel()) * places  # type: ignore[operator]

    handles = [
        module.register_forward_pre_hook(count)
        for name, module in network.named_modules()
        if isinstance(module, NORMS + ONE_AN_ELEMENT) and not (card.unused and card.unused in name)
    ]
    handles.append(head.register_forward_pre_hook(count_head))
    training = network.training
    image = torch.zeros(1, in_channels, image_size, image_size, device=next(network.parameters()).device)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.eval()(image)
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    by_operation = counter.get_flop_counts()["Global"]
    # the counter counts a multiply-add as two operations
    full = sum(by_operation.values()) // 2 - in_head
    layers = sum(n for operation, n in by_operation.items() if _name(operation) in CONVOLUTION_OR_LINEAR) // 2 - in_head
    return Complexity(full, layers + elements, trunk_parameters(network, backbone))


def _name(operation: object) -> str:
    """``aten.mm`` to ``mm``."""
    return str(operation).removeprefix("aten.").split(".")[0]

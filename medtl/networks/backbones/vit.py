"""MONAI's ViT, giving logits alone; weights of timm, torchvision and others mean the same in it after ``mend``."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from medtl.networks.registry import Backbone, Published, register

if TYPE_CHECKING:
    from torch import Tensor, nn

    StateDict = dict[str, Tensor]

PATCH = 16
POSITIONS = "patch_embedding.position_embeddings"
UNUSED = "norm_cross_attn"  # MONAI makes it and never uses it: without gradient, so that DDP does not wait for one


@functools.cache
def logits_vit() -> type[nn.Module]:
    """Return the class of MONAI's ViT that returns logits (n, n_classes) instead of a tuple with hidden states."""
    from monai.networks.nets import ViT

    class LogitsViT(ViT):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = super().forward(images)[0]
            return logits

    return LogitsViT


def arguments(num_classes: int, in_channels: int, image_size: int) -> dict[str, Any]:
    """Return what MONAI's ViT must be told."""
    return {
        "in_channels": in_channels,
        "img_size": [image_size, image_size],
        "patch_size": [PATCH, PATCH],
        "spatial_dims": 2,
        "classification": True,
        "num_classes": num_classes,
        "post_activation": None,
        "qkv_bias": True,
    }


def build(in_channels: int, image_size: int, num_classes: int) -> nn.Module:
    """Return a ViT-B/16."""
    network = logits_vit()(**arguments(num_classes, in_channels, image_size))
    for name, parameter in network.named_parameters():
        if UNUSED in name:
            parameter.requires_grad_(False)
    return network


def stock(num_classes: int, in_channels: int, image_size: int) -> dict[str, Any]:
    """Return a ViT-B/16 in MONAI's words."""
    return {"_target_": "monai.networks.nets.ViT", **arguments(num_classes, in_channels, image_size)}


def fold_class_position(state: StateDict) -> StateDict:
    """Return the tensors with the class token's position added to it, where MONAI has it: timm and torchvision add it
    in each forward pass. Some (DeiT III) have positions of the patches alone."""
    position = state.get("pos_embed")
    if position is None or position.ndim != 3 or "cls_token" not in state:
        return state
    rest = {name: tensor for name, tensor in state.items() if name != "pos_embed"}
    if math.isqrt(position.shape[1]) ** 2 == position.shape[1]:
        return {**rest, POSITIONS: position}
    return {**rest, "cls_token": state["cls_token"] + position[:, :1], POSITIONS: position[:, 1:]}


def resize_positions(name: str, there: Tensor, here: Tensor) -> tuple[Tensor | None, str]:
    """Return position embeddings (1, n, width) of a square grid for another square grid, bicubic."""
    from torch.nn import functional

    if name != POSITIONS or there.ndim != 3 or there.shape[2] != here.shape[2]:
        return None, ""
    count = here.shape[1]
    old, new = math.isqrt(there.shape[1]), math.isqrt(count)
    if old * old != there.shape[1] or new * new != count:
        return None, ""
    grid = there.float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, size=(new, new), mode="bicubic", antialias=new < old)
    return grid.permute(0, 2, 3, 1).reshape(1, count, -1), f"positions interpolated from {old} × {old} to {new} × {new}"


register(
    Backbone(
        name="vit_b16",
        title="ViT-B/16",
        reference="Dosovitskiy et al.: An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale,"
        " ICLR 2021",
        family="vit",
        build=build,
        head="classification_head",
        stages=("blocks.2", "blocks.5", "blocks.8", "blocks.11"),
        last_norm="blocks.11.norm1",
        parts=(
            ("patch_embedding", "cls_token"),
            ("blocks.0", "blocks.1", "blocks.2"),
            ("blocks.3", "blocks.4", "blocks.5"),
            ("blocks.6", "blocks.7", "blocks.8"),
            ("blocks.9", "blocks.10", "blocks.11", "norm"),
        ),
        stock=stock,
        gives_tuple=True,
        multiple_of=PATCH,
        patch=PATCH,
        unused=UNUSED,
        mend=fold_class_position,
        fit=resize_positions,
        weights={"imagenet": Published("https://download.pytorch.org/models/vit_b_16-c867db91.pth", "c867db91")},
    )
)

"""MONAI's ViTs, giving logits alone; weights of timm, DINOv2, torchvision and others mean the same in them after
``mend``: the stock network computes what their own library computes, to rounding."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medtl.networks.registry import Backbone, Published, register

if TYPE_CHECKING:
    from torch import Tensor, nn

    StateDict = dict[str, Tensor]
    Fit = Callable[[str, Tensor, Tensor], tuple[Tensor | None, str]]

BLOCKS = 12
POSITIONS = "patch_embedding.position_embeddings"
UNUSED = "norm_cross_attn"  # MONAI makes it and never uses it: without gradient, so that DDP does not wait for one
EPSILON, THEIRS = 1e-5, 1e-6  # of the layer norms: MONAI's, which no argument changes, and that of all other libraries
OFFSET = 0.1  # DINOv2 adds it to the number of patches a side, against rounding, where it resizes positions
DOSOVITSKIY = (
    "Dosovitskiy et al.: An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, ICLR 2021"
)
OQUAB = "Oquab et al.: DINOv2: Learning Robust Visual Features without Supervision, TMLR 2024"
# of both the hash is stated alike by many who have downloaded them
DINOV2 = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{0}14/dinov2_vit{0}14_pretrain.pth"
VIT_S14 = "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9"
VIT_B14 = "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73"


@dataclass(frozen=True)
class Shape:
    """What tells one ViT from another.

    Attributes:
        patch: side of a patch, in pixels.
        width: of a token; its MLP is four times as wide.
        heads: of each attention.
    """

    patch: int
    width: int
    heads: int


@functools.cache
def logits_vit() -> type[nn.Module]:
    """Return the class of MONAI's ViT that returns logits (n, n_classes) instead of a tuple with hidden states."""
    from monai.networks.nets import ViT

    class LogitsViT(ViT):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = super().forward(images)[0]
            return logits

    return LogitsViT


def arguments(shape: Shape, num_classes: int, in_channels: int, image_size: int) -> dict[str, Any]:
    """Return what MONAI's ViT must be told; its defaults are those of ViT-B."""
    sizes = {"hidden_size": shape.width, "mlp_dim": 4 * shape.width, "num_layers": BLOCKS, "num_heads": shape.heads}
    return {
        "in_channels": in_channels,
        "img_size": [image_size, image_size],
        "patch_size": [shape.patch, shape.patch],
        **({} if shape.width == 768 else sizes),
        "spatial_dims": 2,
        "classification": True,
        "num_classes": num_classes,
        "post_activation": None,
        "qkv_bias": True,
    }


def builder(shape: Shape) -> Callable[[int, int, int], nn.Module]:
    """Return how a ViT is built."""

    def build(in_channels: int, image_size: int, num_classes: int) -> nn.Module:
        network = logits_vit()(**arguments(shape, num_classes, in_channels, image_size))
        for name, parameter in network.named_parameters():
            if UNUSED in name:
                parameter.requires_grad_(False)
        return network

    return build


def stock(shape: Shape) -> Callable[[int, int, int], dict[str, Any]]:
    """Return how a ViT is described in MONAI's words."""
    return lambda num_classes, in_channels, image_size: {
        "_target_": "monai.networks.nets.ViT",
        **arguments(shape, num_classes, in_channels, image_size),
    }


def fold(state: StateDict) -> StateDict:
    """Return another library's tensors so that MONAI's arithmetic gives what theirs gave; ours as they are.

    Only theirs have ``pos_embed``. Three things differ, and each is folded into weights, exactly:

    - The class token's position is added to the token itself: timm adds it in each forward pass. Some (DeiT III) have
      positions of the patches alone.
    - LayerScale (``ls1.gamma``, ``ls2.gamma``) multiplies what a block's attention and MLP give: so do its last
      linear layers then.
    - Layer norms add 1e-6 to the variance, MONAI's 1e-5. All that is added up in the residual stream is scaled by
      sqrt(1e-5 / 1e-6): LN(c x) with c² eps is LN(x) with eps, whatever x is.
    """
    position = state.get("pos_embed")
    token = state.get("cls_token")
    if position is None or token is None or position.ndim != 3 or position.shape[2:] != token.shape[2:]:
        return state
    found = _without_layer_scale({name: tensor for name, tensor in state.items() if name != "pos_embed"})
    if math.isqrt(position.shape[1]) ** 2 == position.shape[1]:
        found[POSITIONS] = position
    else:
        found |= {"cls_token": token + position[:, :1], POSITIONS: position[:, 1:]}
    factor = math.sqrt(EPSILON / THEIRS)
    return {name: tensor * factor if _is_added(name) else tensor for name, tensor in found.items()}


def _is_added(name: str) -> bool:
    """Return whether a tensor is one of those that write into the residual stream."""
    return name in ("cls_token", POSITIONS) or any(
        part in name for part in ("patch_embedding.patch_embeddings.", ".attn.out_proj.", ".mlp.linear2.")
    )


def _without_layer_scale(state: StateDict) -> StateDict:
    """Return the tensors with LayerScale's factors in the linear layers before it; those that have none keep it."""
    found = dict(state)
    for name in state:
        block, scale, gamma = name.rpartition("ls1.gamma") if "ls1" in name else name.rpartition("ls2.gamma")
        layer = f"{block}{'attn.out_proj' if scale == 'ls1.gamma' else 'mlp.linear2'}"
        if not gamma and state[name].shape == found.get(f"{layer}.bias", state[name][:0]).shape:
            factors = found.pop(name)
            found[f"{layer}.weight"] = factors[:, None] * found[f"{layer}.weight"]
            found[f"{layer}.bias"] = factors * found[f"{layer}.bias"]
    return found


def resize_positions(name: str, there: Tensor, here: Tensor) -> tuple[Tensor | None, str]:
    """Return position embeddings (1, n, width) of a square grid for another square grid, bicubic and, for a smaller
    grid, smoothed, as timm does."""
    return _resized(name, there, here, lambda old, new: {"size": (new, new), "antialias": new < old})


def resize_as_dinov2(name: str, there: Tensor, here: Tensor) -> tuple[Tensor | None, str]:
    """Return position embeddings (1, n, width) of a square grid for another square grid as DINOv2's own code does:
    bicubic, not smoothed, by the factor (new + 0.1) / old."""
    return _resized(name, there, here, lambda old, new: {"scale_factor": ((new + OFFSET) / old,) * 2})


def _resized(
    name: str, there: Tensor, here: Tensor, how: Callable[[int, int], dict[str, Any]]
) -> tuple[Tensor | None, str]:
    from torch.nn import functional

    if name != POSITIONS or there.ndim != 3 or there.shape[2] != here.shape[2]:
        return None, ""
    count = here.shape[1]
    old, new = math.isqrt(there.shape[1]), math.isqrt(count)
    if old * old != there.shape[1] or new * new != count:
        return None, ""
    grid = there.float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, mode="bicubic", **how(old, new))
    return grid.permute(0, 2, 3, 1).reshape(1, count, -1), f"positions interpolated from {old} × {old} to {new} × {new}"


def vit(name: str, title: str, reference: str, shape: Shape, fit: Fit, weights: dict[str, Published]) -> Backbone:
    """Return the record of a ViT of twelve blocks."""
    return Backbone(
        name=name,
        title=title,
        reference=reference,
        family="vit",
        build=builder(shape),
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
        stock=stock(shape),
        gives_tuple=True,
        least_size=2 * shape.patch,
        multiple_of=shape.patch,
        patch=shape.patch,
        unused=UNUSED,
        mend=fold,
        fit=fit,
        weights=weights,
    )


TORCHVISION = Published("https://download.pytorch.org/models/vit_b_16-c867db91.pth", "c867db91")
SMALL, BASE = (Published(DINOV2.format(letter), digest) for letter, digest in (("s", VIT_S14), ("b", VIT_B14)))
register(vit("vit_b16", "ViT-B/16", DOSOVITSKIY, Shape(16, 768, 12), resize_positions, {"imagenet": TORCHVISION}))
register(vit("vit_s14", "ViT-S/14", OQUAB, Shape(14, 384, 6), resize_as_dinov2, {"dinov2": SMALL}))
register(vit("vit_b14", "ViT-B/14", OQUAB, Shape(14, 768, 12), resize_as_dinov2, {"dinov2": BASE}))

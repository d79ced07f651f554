"""The class token that timm's and DINOv2's ViTs hand to their head, written from the papers and their files' names."""

import torch
from torch.nn import functional as F

State = dict[str, torch.Tensor]


def draw(width: int, patch: int, patches: int, *, scaled: bool, seed: int = 7) -> State:
    """A ViT of twelve blocks in timm's and DINOv2's names, with weights that no default has.

    Args:
        width: of a token.
        patch: side of a patch.
        patches: a side of the grid that its positions are for.
        scaled: with LayerScale.
        seed: of the weights.
    """
    random = torch.Generator().manual_seed(seed)

    def values(*shape: int, around: float = 0.0, spread: float = 0.03) -> torch.Tensor:
        return around + spread * torch.randn(*shape, generator=random)

    shapes = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
    shapes |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    state = {"cls_token": values(1, 1, width), "pos_embed": values(1, patches**2 + 1, width)}
    state |= {"patch_embed.proj.weight": values(width, 3, patch, patch), "patch_embed.proj.bias": values(width)}
    for n in range(12):
        for norm in ("norm1", "norm2"):
            state[f"blocks.{n}.{norm}.weight"] = values(width, around=1.0)
            state[f"blocks.{n}.{norm}.bias"] = values(width)
        for name, shape in shapes.items():
            state[f"blocks.{n}.{name}.weight"] = values(*shape)
            state[f"blocks.{n}.{name}.bias"] = values(shape[0])
        for name in ("ls1", "ls2") if scaled else ():
            state[f"blocks.{n}.{name}.gamma"] = values(width, around=0.6, spread=0.3)
    return state | {"norm.weight": values(width, around=1.0), "norm.bias": values(width)}


def class_token(images: torch.Tensor, s: State, heads: int, eps: float = 1e-6) -> torch.Tensor:
    """The class token behind the last norm: (n, width)."""
    width, _, patch, _ = s["patch_embed.proj.weight"].shape

    def norm(v: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(v, (width,), s[f"{name}.weight"], s[f"{name}.bias"], eps)

    def linear(v: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(v, s[f"{name}.weight"], s[f"{name}.bias"])

    tokens = F.conv2d(images, s["patch_embed.proj.weight"], s["patch_embed.proj.bias"], stride=patch).flatten(2).mT
    tokens = torch.cat([s["cls_token"].expand(len(images), -1, -1), tokens], dim=1) + s["pos_embed"]
    for n in range(12):
        first, second = (s.get(f"blocks.{n}.{name}.gamma", torch.ones(width)) for name in ("ls1", "ls2"))
        qkv = linear(norm(tokens, f"blocks.{n}.norm1"), f"blocks.{n}.attn.qkv")
        q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=2))
        mixed = ((q @ k.mT) / (width / heads) ** 0.5).softmax(dim=-1) @ v
        tokens = tokens + first * linear(mixed.transpose(1, 2).flatten(2), f"blocks.{n}.attn.proj")
        hidden = F.gelu(linear(norm(tokens, f"blocks.{n}.norm2"), f"blocks.{n}.mlp.fc1"))
        tokens = tokens + second * linear(hidden, f"blocks.{n}.mlp.fc2")
    return norm(tokens, "norm")[:, 0]


def as_hugging_face(state: State, *, dinov2: bool) -> State:
    """The same as transformers' ViTModel or Dinov2Model names it."""
    words = {
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "pos_embed": "embeddings.position_embeddings",
    }
    words |= {"cls_token": "embeddings.cls_token", "attn.proj": "attention.output.dense", "blocks.": "encoder.layer."}
    if dinov2:
        words |= {"ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1"}
    else:
        words |= {"norm1": "layernorm_before", "norm2": "layernorm_after"}
        words |= {"mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}
    found = {}
    for name, tensor in state.items():
        named = f"layernorm.{name.partition('.')[2]}" if name.startswith("norm.") else name
        for ours, theirs in words.items():
            named = named.replace(ours, theirs)
        if ".attn.qkv." in named:
            for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                found[named.replace(".attn.qkv.", f".attention.attention.{part}.")] = third.clone()
        else:
            found[named] = tensor
    return found

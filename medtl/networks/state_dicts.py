"""Weight files of other people's making, read without running anything in them, and their names in ours.

The layouts are facts of the libraries that wrote them: torchvision's ResNet, DenseNet and VisionTransformer, timm's
VisionTransformer, RadImageNet's PyTorch release (torchvision trunks cut into a numbered ``Sequential``), and the
prefixes of DDP, Lightning and MMPretrain.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file

from medtl.errors import MedtlError, UsageError

StateDict = dict[str, torch.Tensor]
NESTED = ("state_dict", "model_state_dict", "model_state", "model", "network")
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "backbone.", "encoder.backbone.")
WEIGHTS_IN_BUNDLE = ("model.safetensors", "model.pt")

# RadImageNet keeps torchvision's ResNet as backbone.0 (conv1), .1 (bn1), .4 to .7 (layer1 to layer4)
RADIMAGENET_RESNET = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
TORCHVISION_VIT = (
    (r"^class_token$", "cls_token"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^conv_proj\.", "patch_embedding.patch_embeddings."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.ln_1\.", r"blocks.\1.norm1."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.ln_2\.", r"blocks.\1.norm2."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_", r"blocks.\1.attn.qkv."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.", r"blocks.\1.attn.out_proj."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)\.", r"blocks.\1.mlp.linear1."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)\.", r"blocks.\1.mlp.linear2."),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "classification_head."),
)
TIMM_VIT = (
    (r"^patch_embed\.proj\.", "patch_embedding.patch_embeddings."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"blocks.\1.attn.out_proj."),
    (r"^blocks\.(\d+)\.mlp\.fc1\.", r"blocks.\1.mlp.linear1."),
    (r"^blocks\.(\d+)\.mlp\.fc2\.", r"blocks.\1.mlp.linear2."),
    (r"^head\.", "classification_head."),
)
TORCHVISION_DENSENET = (
    (r"\.denselayer(\d+)\.(norm|conv)", r".denselayer\1.layers.\2"),
    (r"^classifier\.", "class_layers.out."),
)


def read_state_dict(path: Path, option: str = "--weights") -> StateDict:
    """The tensors of a ``.pt``, ``.pth`` or ``.safetensors`` file, or of the ``models/`` of a bundle folder.

    Args:
        path: the file or bundle.
        option: the argument that errors name.

    Raises:
        UsageError: no such file. MedtlError: damaged, or something else than names and tensors.
    """
    if path.is_dir():
        found = [path / "models" / name for name in WEIGHTS_IN_BUNDLE if (path / "models" / name).is_file()]
        if not found:
            raise UsageError(f"{option} {path} holds no models/{' or models/'.join(WEIGHTS_IN_BUNDLE)}")
        path = found[0]
    if not path.is_file():
        raise UsageError(
            f"{option} {path}: no such file; expected .pt or .safetensors weights, or a bundle with models/"
        )
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise MedtlError(f"{option} {path} is not a readable safetensors file: {_first_line(error)}") from None
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged and for unsafe files
        raise MedtlError(f"{option} {path} is not a readable file of tensors: {_first_line(error)}") from None
    while isinstance(content, Mapping):
        inner = next((name for name in NESTED if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = content[inner]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise MedtlError(f"{option} {path} holds no plain state dict (names and tensors)")
    return dict(content)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def in_our_names(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> StateDict:
    """The tensors under the names of a network that ``build_classifier`` made, whichever library named them.

    Args:
        state: as read.
        wanted: the network's own state dict; decides which family of names is meant.

    Returns:
        Renamed tensors; what has no name of ours keeps its own. A ViT's position embedding of the class token is
        added to the class token, which is where MONAI has it.
    """
    if all(name in state for name in wanted):
        return dict(state)
    stripped = _without_prefixes(state, wanted)
    if any(name.startswith("blocks.0.attn") for name in wanted):
        rules = TORCHVISION_VIT if "class_token" in stripped else TIMM_VIT
        return _fold_class_position({_renamed(name, rules): tensor for name, tensor in stripped.items()})
    if "features.conv0.weight" in wanted:
        # RadImageNet's DenseNet is torchvision's ``features`` as backbone.0
        plain = {re.sub(r"^0\.", "features.", name): tensor for name, tensor in stripped.items()}
        return {_renamed(name, TORCHVISION_DENSENET): tensor for name, tensor in plain.items()}
    return {_of_sequential(name): tensor for name, tensor in stripped.items()}


def _without_prefixes(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> StateDict:
    """Take off the prefixes that most names share, one after the other, as long as that finds more of our names."""
    current = dict(state)
    for _ in range(3):
        for prefix in PREFIXES:
            matching = [name for name in current if name.startswith(prefix)]
            if 2 * len(matching) > len(current) and not any(name in wanted for name in matching):
                current = {name.removeprefix(prefix): tensor for name, tensor in current.items()}
                break
    return current


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, ours in rules:
        changed = re.sub(pattern, ours, name)
        if changed != name:
            return changed
    return name


def _of_sequential(name: str) -> str:
    """RadImageNet's numbered children of a ResNet by torchvision's names."""
    number, _, rest = name.partition(".")
    return f"{RADIMAGENET_RESNET[number]}.{rest}" if number in RADIMAGENET_RESNET and rest else name


def _fold_class_position(state: StateDict) -> StateDict:
    """timm and torchvision add a position to the class token in each forward pass; MONAI has no position for it."""
    position = state.pop("pos_embed", None)
    if position is None or "cls_token" not in state:
        return state
    state["cls_token"] = state["cls_token"] + position[:, :1]
    state["patch_embedding.position_embeddings"] = position[:, 1:]
    return state

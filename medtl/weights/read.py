"""Weight files of other people's making, read without running anything in them, and their names in ours.

The layouts are facts of the libraries that wrote them: torchvision's ResNet, DenseNet and VisionTransformer, timm's
VisionTransformer, MMPretrain's VisionTransformer, RadImageNet's PyTorch release (torchvision trunks cut into a
numbered ``Sequential``), and the prefixes of DDP, Lightning and MMPretrain.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load, load_file

from medtl.bundle.unpack import CARD, SUMS, check_sum, opened, sums_of, sums_on_card
from medtl.datalist import file_hash
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
MMPRETRAIN_VIT = (
    (r"^patch_embed\.projection\.", "patch_embedding.patch_embeddings."),
    (r"^layers\.(\d+)\.ln1\.", r"blocks.\1.norm1."),
    (r"^layers\.(\d+)\.ln2\.", r"blocks.\1.norm2."),
    (r"^layers\.(\d+)\.attn\.qkv\.", r"blocks.\1.attn.qkv."),
    (r"^layers\.(\d+)\.attn\.proj\.", r"blocks.\1.attn.out_proj."),
    (r"^layers\.(\d+)\.ffn\.layers\.0\.0\.", r"blocks.\1.mlp.linear1."),
    (r"^layers\.(\d+)\.ffn\.layers\.1\.", r"blocks.\1.mlp.linear2."),
    (r"^ln1\.", "norm."),
    (r"^head\.layers\.head\.", "classification_head."),
)
TORCHVISION_DENSENET = (
    # the released files say norm.1, the network itself norm1
    (r"\.denselayer(\d+)\.(norm|conv)\.?([12])\.", r".denselayer\1.layers.\2\3."),
    (r"^classifier\.", "class_layers.out."),
)


def read_state_dict(path: Path, option: str = "--weights") -> StateDict:
    """The tensors of a ``.pt``, ``.pth`` or ``.safetensors`` file, or of the ``models/`` of a bundle folder or its
    ``.zip``.

    Where the bundle has SHA256SUMS, the weights must match it. Of a zip only they are read, into memory.

    Args:
        path: the file or bundle.
        option: the argument that errors name.

    Raises:
        UsageError: no such file. MedtlError: damaged, or something else than names and tensors.
    """
    if path.suffix == ".zip" and path.is_file():
        return _of_zip(path, option)
    if path.is_dir():
        found = [path / "models" / name for name in WEIGHTS_IN_BUNDLE if (path / "models" / name).is_file()]
        if not found:
            raise UsageError(f"{option} {path} holds no models/{' or models/'.join(WEIGHTS_IN_BUNDLE)}")
        path = found[0]
    if path.parent.name == "models" and path.is_file():
        bundle = path.absolute().parents[1]
        where, sums = (SUMS, sums) if (sums := sums_of(bundle)) else (CARD, sums_on_card(bundle))
        if sums:
            check_sum(f"models/{path.name}", file_hash(path), sums, f"{option} {path.parent.parent}", where)
    if not path.is_file():
        raise UsageError(
            f"{option} {path}: no such file; expected .pt or .safetensors weights, or a bundle with models/"
        )
    return _tensors(path, path.name, f"{option} {path}")


def _of_zip(path: Path, option: str) -> StateDict:
    """The weights of a bundle's zip, matched with its SHA256SUMS where it has them."""
    with opened(path, option=option) as archive:
        found = [name for name in (f"models/{name}" for name in WEIGHTS_IN_BUNDLE) if name in archive.files]
        if not found:
            raise UsageError(f"{option} {path} holds no models/{' or models/'.join(WEIGHTS_IN_BUNDLE)}")
        content = archive.read(found[0])
        if sums := archive.sums():
            check_sum(found[0], hashlib.sha256(content).hexdigest(), sums, archive.name)
    return _tensors(io.BytesIO(content), found[0], f"{option} {path}: {found[0]}")


def _tensors(source: Path | io.BytesIO, name: str, where: str) -> StateDict:
    """Names and tensors of one file's content; nothing in it is run.

    Args:
        source: the file, or its bytes.
        name: its name, which says the format.
        where: what errors name.
    """
    if name.endswith(".safetensors"):
        try:
            state = load_file(source) if isinstance(source, Path) else load(source.getvalue())
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise MedtlError(f"{where} is not a readable safetensors file: {_first_line(error)}") from None
        return _check_numbers(state, where)
    try:
        with warnings.catch_warnings(action="ignore"):  # of old pickle protocols
            content: Any = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged and for unsafe files
        raise MedtlError(f"{where} {_why_unreadable(error)}") from None
    while isinstance(content, Mapping):
        inner = next((name for name in NESTED if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = content[inner]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise MedtlError(f"{where} holds no plain state dict (names and tensors)")
    return _check_numbers(dict(content), where)


def _check_numbers(state: StateDict, where: str) -> StateDict:
    """The same tensors.

    Raises:
        MedtlError: one holds NaN or infinity.
    """
    broken = [n for n, tensor in state.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if broken:
        raise MedtlError(f"{where} holds NaN or infinite weights in {len(broken)} tensors (first {broken[0]})")
    return state


def _why_unreadable(error: Exception) -> str:
    """What is wrong with a file that torch refuses, without torch's advice to let it run."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if named and "torch." not in named[1]:
        return f"holds code ({named[1]}), which was not run; expected a file of plain tensors"
    return "is not a readable file of tensors: it is damaged, cut short or of another kind"


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def disagreements(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> str:
    """What keeps a state dict from being one network's, name by name and shape by shape: the first of each kind and how
    many there are; empty where nothing does."""
    missing = [name for name in wanted if name not in state]
    unexpected = [name for name in state if name not in wanted]
    shapes = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    if not (missing or unexpected or shapes):
        return ""
    told = [f"{len(missing)} missing (first {missing[0]})"] if missing else []
    told += [f"{len(unexpected)} unexpected (first {unexpected[0]})"] if unexpected else []
    told += [f"{len(shapes)} of another shape (first {shapes[0]})"] if shapes else []
    return f"of {len(wanted)} tensors {'; '.join(told)}"


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
        renamed = {_renamed(name, _vit_rules(stripped)): tensor for name, tensor in stripped.items()}
        return _fold_class_position(renamed)
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


def _vit_rules(state: Mapping[str, torch.Tensor]) -> tuple[tuple[str, str], ...]:
    """The renaming rules of the library that wrote a ViT's weights."""
    if "class_token" in state:
        return TORCHVISION_VIT
    return MMPRETRAIN_VIT if "layers.0.ln1.weight" in state else TIMM_VIT


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

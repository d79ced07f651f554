"""Files that belong to networks which ours cannot compute, told by their names and shapes: the true reason, in words.

Nothing is decided here: a load is judged by what it fills and leaves unused. This says why, where the reason is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from medtl.weights.libraries.keras import is_inception_v3

if TYPE_CHECKING:
    from torch import Tensor

    State = Mapping[str, Tensor]

TEXT = r"(word_embeddings|token_embedding|embed_tokens|wte)\.weight$"
PATCHES = r"(^|\.)(patch_embed|patch_embeddings|patch_embedding|conv_proj)(\.|$)"
POSITIONS = r"(^|\.)(pos_embed|pos_embedding|position_embeddings?|positional_embedding)(\.weight)?$"
ROTARY = r"(^|\.)rope(_embed(dings)?)?\.|\.attn\.rope\.|(^|\.)(storage_tokens|register_tokens|reg_token)$"
# names that one kind of network alone has, and what is to be said of it
MARKS: tuple[tuple[str, str], ...] = (
    (
        r"(^|\.)(storage_tokens|register_tokens|reg_token)$",
        "this ViT has register tokens ({mark}), for which MONAI's has no place: take the file without registers",
    ),
    (
        r"(^|\.)fc_norm\.weight$",
        "this ViT reads the mean of its patches behind a norm of its own ({mark}), as fine-tuned MAE does, where"
        " MONAI's reads the class token: take the pretrained file (mae_pretrain_…), which has norm instead",
    ),
    (
        r"(^|\.)(norm_pre|ln_pre|pre_layrnorm)\.",
        "this is CLIP's ViT: it has a norm before its blocks ({mark}), MONAI's has not",
    ),
    (r"\.mlp\.(w12|gate_proj|weights_in)\.", "this ViT's MLPs are gated (SwiGLU, {mark}), MONAI's are not"),
    (
        r"^conv\d_block\d+_1_conv\.bias$",
        "this is Keras's ResNet ({mark}): it halves the picture in the first 1 × 1 convolution of a stage, torch's in"
        " the 3 × 3 one, so that the shapes would fit and the answers would be wrong: take --backbone keras/resnet50",
    ),
    (
        r"^block35_\d+_conv\.weight$",
        "this is Keras's Inception-ResNet-v2 ({mark}): take --backbone timm/inception_resnet_v2, which is the same",
    ),
    (r"relative_position_bias_table$", "this is a Swin transformer ({mark}): try --backbone timm/swin_…"),
    (
        r"stages\.\d+\.(blocks|layers)\.\d+\.(conv_dw|dwconv)\.|downsample_layers\.\d+\.",
        "this is ConvNeXt ({mark}): try --backbone timm/convnext_…",
    ),
    (
        r"_depthwise_conv\.|(^|\.)blocks\.\d+\.\d+\.conv_dw\.",
        "this is of EfficientNet's kin ({mark}): try --backbone timm/…",
    ),
    (r"(^|\.)Mixed_\d\w\.", "this is an Inception network ({mark}): try --backbone torchvision/inception_v3"),
)


KERAS_INCEPTION = (
    "this is Keras's Inception-v3 (94 convolutions and norms without names): its average pools leave the padding out of"
    " the mean, torchvision's and timm's count it, so that the answers would be wrong: take --backbone"
    " keras/inception_v3"
)


def why_not(state: State) -> str:
    """Return why the weights in a file are of a network that is computed otherwise; empty where nobody knows.

    Args:
        state: names and tensors, as they stand in the file.
    """
    if deep := next((name for name, tensor in state.items() if tensor.ndim == 5), ""):
        shape = " × ".join(map(str, state[deep].shape))
        return f"these are 3-D weights ({deep} is {shape}), of a network for volumes; expected a 2-D network's"
    if whole := next((n for n, t in state.items() if n.endswith("weight") and not t.is_floating_point()), ""):
        kind = str(state[whole].dtype).removeprefix("torch.")
        return f"its weights are not floating-point numbers ({whole} is {kind}), as those of a quantised network"
    if is_inception_v3(state):
        return KERAS_INCEPTION
    if (word := _first(TEXT, state)) and all(tensor.ndim != 4 for tensor in state.values()):
        return f"this is a text model ({word}), without a tower for images"
    if _first(PATCHES, state) and not _first(POSITIONS, state):
        mark = _first(ROTARY, state)
        which = f"this is DINOv3 ({mark})" if mark else "this ViT has no position embedding"
        return f"{which}: MONAI's ViT does not compute rotary positions (RoPE), so it cannot take such weights"
    return next((words.format(mark=mark) for pattern, words in MARKS if (mark := _first(pattern, state))), "")


def _first(pattern: str, state: State) -> str:
    """Return the first name that a pattern finds; empty where there is none."""
    return next((name for name in state if re.search(pattern, name)), "")

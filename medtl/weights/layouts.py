"""How other libraries name the tensors of our networks, one record each, and what in their files is no trunk.

The layouts are facts of the libraries that wrote the files. $MEDTL_PLUGINS adds others by ``register``. No torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medtl.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    StateDict = dict[str, Tensor]

Rule = tuple[str, str | Callable[[re.Match[str]], str]]


@dataclass(frozen=True)
class Layout:
    """One library's names of one family's tensors.

    Attributes:
        name: of the layout, as reports say it.
        family: of the networks, as in ``Backbone.family``.
        rules: pairs of a regular expression and what takes its place, applied one after the other to each name.
        convert: changes the renamed tensors where names are not all that differs.
        library: whose files alone have such names ("Keras"); empty for names that PyTorch's files have.
    """

    name: str
    family: str
    rules: tuple[Rule, ...] = ()
    convert: Callable[[StateDict], StateDict] | None = None
    library: str = ""

    def renamed(self, state: Mapping[str, Tensor]) -> StateDict:
        """Return the tensors under our names; what no rule knows keeps its own."""
        found = {}
        for name, tensor in state.items():
            for pattern, ours in self.rules:
                name = re.sub(pattern, ours, name)
            found[name] = tensor
        return self.convert(found) if self.convert else found


LAYOUTS: Registry[Layout] = Registry("layout", "medtl.weights.libraries")
register = LAYOUTS.register
OURS = "our own"
KERAS = "Keras"  # the library of files that no other layouts are for


def layouts_of(family: str, library: str = "") -> tuple[Layout, ...]:
    """Return the layouts of a family of networks; names that are ours already come first.

    Args:
        family: of the networks.
        library: whose file it is: no other library's names are looked for in a file of Keras, nor ours.
    """
    records = (Layout(OURS, family), *(layout for layout in LAYOUTS.records() if layout.family == family))
    return tuple(layout for layout in records if layout.library == library)


def join_attention(state: StateDict) -> StateDict:
    """Return the tensors with a block's query, key and value put on top of each other, as timm and MONAI keep them."""
    import torch

    found = dict(state)
    for name in state:
        if ".attn.query." in name:
            parts = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
            if all(part in found and found[part].shape[1:] == state[name].shape[1:] for part in parts):
                found[name.replace(".query.", ".qkv.")] = torch.cat([found.pop(part) for part in parts])
    return found


# --- ResNets; torchvision's, timm's and MMPretrain's names are ours
register(
    Layout(
        "torchvision's ResNet cut into a numbered Sequential (RadImageNet, lightly)",
        "resnet",
        (
            (r"^0\.", "conv1."),
            (r"^1\.", "bn1."),
            (r"^([4567])\.", lambda found: f"layer{int(found[1]) - 3}."),
        ),
    )
)
HUGGING_FACE = {"convolution": "conv", "normalization": "bn"}
register(
    Layout(
        "Hugging Face's ResNetModel",
        "resnet",
        (
            (r"^embedder\.embedder\.(convolution|normalization)\.", lambda found: f"{HUGGING_FACE[found[1]]}1."),
            (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.", lambda found: f"layer{int(found[1]) + 1}.{found[2]}."),
            (r"\.shortcut\.convolution\.", ".downsample.0."),
            (r"\.shortcut\.normalization\.", ".downsample.1."),
            (
                r"\.layer\.(\d)\.(convolution|normalization)\.",
                lambda found: f".{HUGGING_FACE[found[2]]}{int(found[1]) + 1}.",
            ),
        ),
    )
)
# --- ViT
register(
    Layout(
        "timm's VisionTransformer",
        "vit",
        (
            (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # DINOv2's training keeps its blocks in chunks
            (r"^patch_embed\.proj\.", "patch_embedding.patch_embeddings."),
            (r"^blocks\.(\d+)\.attn\.proj\.", r"blocks.\1.attn.out_proj."),
            (r"^blocks\.(\d+)\.mlp\.fc([12])\.", r"blocks.\1.mlp.linear\2."),
            (r"^head\.", "classification_head."),
        ),
    )
)
ENCODER = r"^encoder\.layers\.encoder_layer_(\d+)\."
register(
    Layout(
        "torchvision's VisionTransformer",
        "vit",
        (
            (r"^class_token$", "cls_token"),
            (r"^encoder\.pos_embedding$", "pos_embed"),
            (r"^conv_proj\.", "patch_embedding.patch_embeddings."),
            (ENCODER + r"ln_([12])\.", r"blocks.\1.norm\2."),
            (ENCODER + r"self_attention\.in_proj_", r"blocks.\1.attn.qkv."),
            (ENCODER + r"self_attention\.out_proj\.", r"blocks.\1.attn.out_proj."),
            (ENCODER + r"mlp\.(?:0|linear_1)\.", r"blocks.\1.mlp.linear1."),
            (ENCODER + r"mlp\.(?:3|linear_2)\.", r"blocks.\1.mlp.linear2."),
            (r"^encoder\.ln\.", "norm."),
            (r"^heads\.head\.", "classification_head."),
        ),
    )
)
register(
    Layout(
        "MMPretrain's VisionTransformer",
        "vit",
        (
            (r"^patch_embed\.projection\.", "patch_embedding.patch_embeddings."),
            (r"^layers\.(\d+)\.ln([12])\.", r"blocks.\1.norm\2."),
            (r"^layers\.(\d+)\.attn\.qkv\.", r"blocks.\1.attn.qkv."),
            (r"^layers\.(\d+)\.attn\.proj\.", r"blocks.\1.attn.out_proj."),
            (r"^layers\.(\d+)\.ffn\.layers\.0\.0\.", r"blocks.\1.mlp.linear1."),
            (r"^layers\.(\d+)\.ffn\.layers\.1\.", r"blocks.\1.mlp.linear2."),
            (r"^layers\.(\d+)\.attn\.gamma1\.weight$", r"blocks.\1.ls1.gamma"),
            (r"^layers\.(\d+)\.ffn\.gamma2\.weight$", r"blocks.\1.ls2.gamma"),
            (r"^ln1\.", "norm."),
            (r"^head\.layers\.head\.", "classification_head."),
        ),
    )
)
LAYER = r"^encoder\.layer\.(\d+)\."
register(
    Layout(
        "Hugging Face's ViTModel",
        "vit",
        (
            (r"^embeddings\.cls_token$", "cls_token"),
            (r"^embeddings\.position_embeddings$", "pos_embed"),
            (r"^embeddings\.patch_embeddings\.projection\.", "patch_embedding.patch_embeddings."),
            (LAYER + r"layernorm_before\.", r"blocks.\1.norm1."),
            (LAYER + r"layernorm_after\.", r"blocks.\1.norm2."),
            (LAYER + r"attention\.attention\.", r"blocks.\1.attn."),
            (LAYER + r"attention\.output\.dense\.", r"blocks.\1.attn.out_proj."),
            (LAYER + r"intermediate\.dense\.", r"blocks.\1.mlp.linear1."),
            (LAYER + r"output\.dense\.", r"blocks.\1.mlp.linear2."),
            (r"^layernorm\.", "norm."),
        ),
        join_attention,
    )
)
register(
    Layout(
        "Hugging Face's Dinov2Model",
        "vit",
        (
            (r"^embeddings\.cls_token$", "cls_token"),
            (r"^embeddings\.position_embeddings$", "pos_embed"),
            (r"^embeddings\.patch_embeddings\.projection\.", "patch_embedding.patch_embeddings."),
            (LAYER + r"norm([12])\.", r"blocks.\1.norm\2."),
            (LAYER + r"attention\.attention\.", r"blocks.\1.attn."),
            (LAYER + r"attention\.output\.dense\.", r"blocks.\1.attn.out_proj."),
            (LAYER + r"layer_scale([12])\.lambda1$", r"blocks.\1.ls\2.gamma"),
            (LAYER + r"mlp\.fc([12])\.", r"blocks.\1.mlp.linear\2."),
            (r"^layernorm\.", "norm."),
        ),
        join_attention,
    )
)
# --- DenseNet
DENSENET: tuple[Rule, ...] = (
    # torchvision's released files say norm.1, the network itself norm1
    (r"\.denselayer(\d+)\.(norm|conv)\.?([12])\.", r".denselayer\1.layers.\2\3."),
    (r"^classifier\.", "class_layers.out."),
)
register(Layout("torchvision's DenseNet", "densenet", DENSENET))
register(Layout("torchvision's DenseNet as the first of a Sequential", "densenet", ((r"^0\.", "features."), *DENSENET)))
# --- timm's EfficientNets: these names are only brought into the order of the modules (see ``names.by_position``)
PLACES = ("expand_conv", "bn0", "depthwise_conv", "bn1", "se_reduce", "se_expand", "project_conv", "bn2")
register(
    Layout(
        "EfficientNet-PyTorch",
        "timm",
        (
            (r"^_conv_stem\.", "0.0."),
            (r"^_bn0\.", "0.1."),
            (r"^_blocks\.(\d+)\._(\w+)\.", lambda found: f"1.{found[1]}.{PLACES.index(found[2])}."),
            (r"^_conv_head\.", "2.0."),
            (r"^_bn1\.", "2.1."),
        ),
    )
)
# --- what is no trunk: heads, behind what a training puts in front, and what else a training leaves in a file
HEADS = re.compile(
    r"((module|model|_orig_mod|network|net|student|teacher)\.)*"
    r"(_?fc|heads?|head_dist|head_drop|classifier|classification_head|class_layers|last_linear|logits|pooler"
    r"|predictions|dense(_\d+)?|fc1000|aux_classifier|aux[12]|AuxLogits|auxlayer)\."
)
AUXILIARIES: tuple[tuple[str, str], ...] = (
    ("momentum or target encoder", r"(^|\.)(encoder_k|key_encoder|k_encoder|momentum_\w+|target_\w+|\w+_momentum)\."),
    ("student of a teacher", r"(^|\.)student\."),
    ("queue of negatives", r"(^|\.)queue(_ptr)?$"),
    (
        "projection head",
        r"(^|\.)(projector|projection_head|predictor|prediction_head|prototypes|mlp_head|contrast_head"
        r"|online_predictor|cls_head|cls_loss|ssl_head|dino_head|ibot_head|dino_loss|ibot_loss)\.|^projection\."
        r"|^(module\.)?bn\.running_\w+$",  # of the norm behind Barlow Twins' projector, which has no weights
    ),
    ("decoder", r"(^|\.)(decoder|decode_head|segmentation_head|auxiliary_head|decoder_\w+)(\.|$)"),
    ("mask token", r"(^|\.)mask_token$"),
    ("text tower", r"(^|\.)(text|text_model|text_encoder|transformer\.resblocks|token_embedding|ln_final)\."),
    ("CLIP's scales and projections", r"(^|\.)(logit_scale|logit_bias|text_projection|visual\.head\.\w+\.weight)$"),
    (
        "loss, metrics and thresholds",
        r"(^|\.)(criterion|loss|loss_fn|loss_function|train_metrics|val_metrics|op_threshs|op_thresholds)(\.|$)",
    ),
    ("input normalisation", r"(^|\.)((normali[sz]er?|preprocess|transform)\.)?(pixel_)?(mean|std)$"),
)


def is_a_head(name: str) -> bool:
    """Return whether a name that is not ours belongs to some library's classification head."""
    return HEADS.match(name) is not None


def auxiliary(name: str) -> str:
    """Return what a name that is not ours is for, where it is known to be no trunk; else an empty string."""
    return next((what for what, pattern in AUXILIARIES if re.search(pattern, name)), "")

"""Our classifiers in MONAI's own words: the literal config of the network that ``build_classifier`` makes, for bundles
that must open where medtl is not installed.

Pure data, no torch. Dropout is left out: it has no weights and does nothing when predicting.
"""

from typing import Any

from medtl.errors import UsageError

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
GIVES_TUPLE = ("vit_b16",)  # MONAI's ViT returns (logits, hidden states)
HEADS = {**dict.fromkeys(RESNETS, "fc"), "vit_b16": "classification_head", "densenet121": "class_layers.out"}


def stock_network(backbone: str, num_classes: int, in_channels: int = 3, image_size: int = 224) -> dict[str, Any]:
    """A ``network_def`` whose state dict has the names and shapes of ``build_classifier``'s and computes the same.

    Args:
        backbone: one of ``HEADS``.
        num_classes, in_channels: as of build_classifier.
        image_size: in pixels; only a ViT's position embedding depends on it.

    Raises:
        UsageError: MONAI has no such network.
    """
    if backbone in RESNETS:
        return {
            "_target_": f"monai.networks.nets.{backbone}",
            "spatial_dims": 2,
            "n_input_channels": in_channels,
            "num_classes": num_classes,
            "conv1_t_stride": 2,
            "bias_downsample": False,
        }
    if backbone == "densenet121":
        return {
            "_target_": "monai.networks.nets.DenseNet121",
            "spatial_dims": 2,
            "in_channels": in_channels,
            "out_channels": num_classes,
        }
    if backbone == "vit_b16":
        return {
            "_target_": "monai.networks.nets.ViT",
            "in_channels": in_channels,
            "img_size": [image_size, image_size],
            "patch_size": [16, 16],
            "spatial_dims": 2,
            "classification": True,
            "num_classes": num_classes,
            "post_activation": None,
            "qkv_bias": True,
        }
    raise UsageError(f"backbone {backbone!r} has no stock network; those that have one: {', '.join(HEADS)}")

"""No weights at all, and those that were trained on photographs: ImageNet, DINOv2, MAE."""

from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.networks.registry import Published
from medtl.weights.sources import RANDOM, TAKE, Source, register

PHOTOGRAPHS = "trained on ImageNet, whose images are for non-commercial research"
# in medtl itself, for both libraries that have this network
MOBILENET = Published(
    url="",
    sha256="",
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    names=("mobilenet_v2_imagenet.safetensors",),
    licence=f"Apache-2.0 (google-coral/test_data); {PHOTOGRAPHS}",
)

register(Source(RANDOM, "the network's own initialisation", loads=False))
register(
    Source(
        "imagenet",
        "ImageNet-1k, by torchvision; MobileNetV2's, by Google, comes with medtl",
        licence=f"BSD-3-Clause (torchvision); {PHOTOGRAPHS}",
        trained_on=("imagenet",),
        files={"torchvision/mobilenet_v2": (MOBILENET,), "timm/mobilenetv2_100": (MOBILENET,)},
        expects_own=("vit_b16",),
    )
)
register(
    Source(
        "dinov2",
        "DINOv2 on 142 million photographs, by Meta; without registers",
        licence="Apache-2.0 (Meta)",
        trained_on=("lvd-142m", "imagenet"),
    )
)
register(
    Source(
        "mae",
        "masked autoencoder on ImageNet-1k, by Meta",
        licence=f"CC BY-NC 4.0 (Meta); {PHOTOGRAPHS}",
        trained_on=("imagenet",),
        how_to_get=TAKE,
        files={
            "vit_b16": (
                Published(
                    "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth",
                    "",
                    names=("mae_pretrain_vit_base.pth",),
                ),
            )
        },
    )
)

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
HALF = (0.5, 0.5, 0.5)
CAFFE = (123.68 / 255, 116.779 / 255, 103.939 / 255)
KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"


def of_keras(folder: str, name: str, mean: tuple[float, ...], std: tuple[float, ...], bgr: bool = False) -> Published:
    """Return Keras's file of a network. What it expects is its ``preprocess_input``: "caffe" takes blue, green, red of
    0..255 less their means, "tf" takes -1..1."""
    files = tuple(f"{name}_weights_tf_dim_ordering_tf_kernels{top}.h5" for top in ("_notop", ""))
    licence = f"not stated for the weights (Keras is Apache-2.0); {PHOTOGRAPHS}"
    return Published(f"{KERAS}{folder}/{files[0]}", "", mean, std, files, bgr, licence=licence)


register(Source(RANDOM, "the network's own initialisation", loads=False))
register(
    Source(
        "imagenet",
        "ImageNet-1k, by torchvision; MobileNetV2's, by Google, comes with medtl",
        licence=f"BSD-3-Clause (torchvision); {PHOTOGRAPHS}",
        trained_on=("imagenet",),
        files={
            "torchvision/mobilenet_v2": (MOBILENET,),
            "timm/mobilenetv2_100": (MOBILENET,),
            "keras/resnet50": (of_keras("resnet", "resnet50", CAFFE, (1 / 255,) * 3, bgr=True),),
            "keras/inception_v3": (of_keras("inception_v3", "inception_v3", HALF, HALF),),
            "timm/inception_resnet_v2": (of_keras("inception_resnet_v2", "inception_resnet_v2", HALF, HALF),),
        },
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

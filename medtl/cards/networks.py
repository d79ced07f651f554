"""How each backbone is called, and where its official weights are."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class BackboneCard:
    """How one network is called in documents; ``medtl.networks.classifier.BACKBONES`` builds it.

    Attributes:
        title: the name in prose.
        reference: where it was published, one line.
    """

    title: str
    reference: str


@dataclass(frozen=True)
class WeightsSource:
    """Weights that ``medtl weights`` downloads from their makers.

    Attributes:
        init: the word of ``--init``.
        backbone: the network that they fill.
        url: of the file.
        sha256: what the file's SHA-256 starts with.
        licence: as its distributor states it.
        mean, std: of the input's channels, for values 0..1.
    """

    init: str
    backbone: str
    url: str
    sha256: str
    licence: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


RESNET = "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016"
BACKBONE_CARDS: Mapping[str, BackboneCard] = MappingProxyType(
    {
        "resnet18": BackboneCard("ResNet-18", RESNET),
        "resnet34": BackboneCard("ResNet-34", RESNET),
        "resnet50": BackboneCard("ResNet-50", RESNET),
        "resnet101": BackboneCard("ResNet-101", RESNET),
        "vit_b16": BackboneCard(
            "ViT-B/16",
            "Dosovitskiy et al.: An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, ICLR 2021",
        ),
        "densenet121": BackboneCard(
            "DenseNet-121",
            "Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, CVPR 2017",
        ),
    }
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
TORCHVISION_FILES = {  # torchvision's IMAGENET1K_V1; the name carries the first eight digits of the file's SHA-256
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "vit_b16": "vit_b_16-c867db91.pth",
    "densenet121": "densenet121-a639ec97.pth",
}
WEIGHTS_SOURCES: tuple[WeightsSource, ...] = tuple(
    WeightsSource(
        "imagenet",
        backbone,
        f"https://download.pytorch.org/models/{file}",
        file.split("-")[1].removesuffix(".pth"),
        "BSD-3-Clause (torchvision); trained on ImageNet, whose images are for non-commercial research",
        IMAGENET_MEAN,
        IMAGENET_STD,
    )
    for backbone, file in TORCHVISION_FILES.items()
)

"""U-Net and DeepLab beside those of segmentation_models_pytorch: layers, numbers of parameters, shapes, and what U-Net
computes."""

from types import ModuleType

import pytest
import torch
from torch import nn

from medtl.networks.backbones import zoo
from medtl.networks.segmenter import Segmenter, build_segmenter

pytestmark = pytest.mark.full

TRUNKS = ("resnet18", "resnet34", "resnet50")


@pytest.fixture(scope="module")
def smp() -> ModuleType:
    zoo.timm()  # torchvision beside a torch for the CPU needs its operators declared
    return pytest.importorskip("segmentation_models_pytorch", reason="segmentation-models-pytorch is not installed")


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in module.parameters()]


def as_if_plain(smp: ModuleType, module: nn.Module) -> int:
    """Number of parameters if each separable convolution were a plain one: medtl's DeepLabV3+ has plain ones."""
    separable = smp.decoders.deeplabv3.decoder.SeparableConv2d
    total = count(module)
    for each in module.modules():
        if isinstance(each, separable):
            deep, point = each[0], each[1]
            total += deep.in_channels * point.out_channels * deep.kernel_size[0] ** 2 - count(each)
    return total


@pytest.mark.parametrize("backbone", TRUNKS)
def test_trunk_and_decoder_have_smps_numbers_of_parameters(smp: ModuleType, backbone: str) -> None:
    three = {
        "deeplabv3": (8, smp.DeepLabV3(backbone, encoder_weights=None, classes=3)),
        "deeplabv3plus": (16, smp.DeepLabV3Plus(backbone, encoder_weights=None, classes=3)),
        "unet": (32, smp.Unet(backbone, encoder_weights=None, classes=3)),
    }
    for decoder, (stride, theirs) in three.items():
        own = build_segmenter(backbone, 3, output_stride=stride, decoder=decoder)
        assert count(own.backbone) == count(theirs.encoder), decoder
        head = as_if_plain(smp, theirs.decoder) + count(theirs.segmentation_head)
        if decoder == "unet":  # theirs also sees the map of half the picture's size (64 channels), and ends in 3 × 3
            head -= 64 * 32 * 9 + 16 * 3 * (9 - 1)
        assert count(own.classifier) == head, decoder


@pytest.mark.parametrize("backbone", TRUNKS)
def test_unets_steps_are_smps_layer_by_layer(smp: ModuleType, backbone: str) -> None:
    head = build_segmenter(backbone, 3, output_stride=32, decoder="unet").classifier
    blocks = smp.Unet(backbone, encoder_weights=None, classes=3).decoder.blocks
    for own, theirs in zip((head.third, head.second, head.first, head.whole), (*blocks[:3], blocks[4]), strict=True):
        assert shapes(own) == shapes(theirs)


@pytest.mark.parametrize("decoder", ["unet", "deeplabv3", "deeplabv3plus"])
def test_logits_have_the_same_shape(smp: ModuleType, decoder: str) -> None:
    stride, name = {"unet": (32, "Unet"), "deeplabv3": (8, "DeepLabV3"), "deeplabv3plus": (16, "DeepLabV3Plus")}[
        decoder
    ]
    theirs = getattr(smp, name)("resnet18", encoder_weights=None, classes=3).eval()
    own = build_segmenter("resnet18", 3, output_stride=stride, decoder=decoder).eval()
    images = torch.zeros(1, 3, 96, 128)
    with torch.no_grad():
        assert own(images).shape == theirs(images).shape == (1, 3, 96, 128)
        for found, expected in zip(own.backbone(images), theirs.encoder(images)[2:], strict=True):
            assert found.shape == expected.shape


def test_unet_computes_what_smps_does_without_its_finest_map(smp: ModuleType) -> None:
    """Theirs gets our weights, and none for what ours has not: the map of half the size, the rim of the last kernel."""
    torch.manual_seed(0)
    own = build_segmenter("resnet18", 3, output_stride=32, decoder="unet")
    for name, tensor in own.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=3)
    theirs.encoder.load_state_dict(own.backbone.state_dict(), strict=True)
    fill(theirs, own)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.allclose(theirs.eval()(images), own.eval()(images), atol=1e-5)


def fill(theirs: nn.Module, own: Segmenter) -> None:
    head = own.classifier
    steps = (head.third, head.second, head.first, head.halfway, head.whole)
    for step, block in zip(steps, theirs.decoder.blocks, strict=True):
        for place, layer in enumerate((block.conv1, block.conv2)):
            convolution, norm = step.convs[3 * place], step.convs[3 * place + 1]
            known = convolution.weight.shape[1]
            with torch.no_grad():
                layer[0].weight[:, :known] = convolution.weight
                layer[0].weight[:, known:] = 0
            layer[1].load_state_dict(norm.state_dict())
    last = theirs.segmentation_head[0]
    with torch.no_grad():
        last.weight.zero_()
        last.weight[:, :, 1:2, 1:2] = head.logits.weight
        last.bias.copy_(head.logits.bias)

"""Every name of timm and torchvision, by shapes alone: what is accepted keeps all that a record promises, and the rest
is refused for a reason."""

import re

import pytest
import torch

from medtl.catalogue import judged, networks_of_libraries
from medtl.features.extract import before_head
from medtl.networks.backbones import zoo
from medtl.networks.classifier import head_width
from medtl.networks.registry import Backbone, backbone_of
from medtl.networks.shapes import NumbersOnCPU, ShapesOnly

pytestmark = pytest.mark.slow

CLASSES = 5
# one or two a family, small ones
TIMM = """
    beit_base_patch16_224 bat_resnext26ts cait_xxs24_224 coat_lite_tiny coatnet_pico_rw_224 convit_tiny
    convmixer_768_32 convnextv2_atto crossvit_tiny_240 cspresnet50 darknet17 davit_tiny densenet121 dla34 dpn48b
    edgenext_xx_small efficientnet_b0 efficientvit_b0 eva02_tiny_patch14_224 fastvit_t8 focalnet_tiny_srf
    gcvit_xxtiny ghostnet_050 hardcorenas_a hgnet_tiny hiera_tiny_224 hrnet_w18_small inception_next_atto
    inception_resnet_v2 mixer_s16_224 mobilevit_xxs mobilenetv4_conv_small nfnet_l0 pit_ti_224 poolformer_s12
    pvt_v2_b0 regnetx_002 repvgg_a0 res2net50_14w_8s resnet10t rexnet_100 seresnet18 swin_tiny_patch4_window7_224
    swinv2_cr_tiny_224 tiny_vit_5m_224 tnt_s_patch16_224 twins_svt_small vgg11 visformer_tiny vit_tiny_patch16_224
    vit_small_patch14_reg4_dinov2 volo_d1_224 vovnet39a xception41 xcit_nano_12_p16_224
"""
TORCHVISION = """
    alexnet densenet121 efficientnet_b0 googlenet inception_v3 maxvit_t mnasnet0_5 mobilenet_v3_small regnet_x_400mf
    resnet18 shufflenet_v2_x0_5 squeezenet1_1 swin_t vgg11 vit_b_16
"""
SAMPLE = [*(f"timm/{name}" for name in TIMM.split()), *(f"torchvision/{name}" for name in TORCHVISION.split())]
# the reasons that a name may be refused for
REASONS = (
    r"it has \d+ layers that give logits",
    r"it has no linear layer or 1 × 1 convolution that gives logits",
    r"it gives .+ instead of logits",
    r"it does not take 3 × \d+ × \d+: ",
)


def size_of(name: str) -> int:
    """The side of the images that a network is made for."""
    library, _, inner = name.partition("/")
    config = zoo.timm().get_pretrained_cfg(inner) if library == "timm" else None
    return config.input_size[-1] if config is not None else 224


def check(card: Backbone, size: int) -> None:
    """A network gives logits and features of the shapes that its record says, and its parts are all of its trunk."""
    with ShapesOnly(), torch.device("meta"), torch.no_grad():
        with NumbersOnCPU():
            network = card.build(3, size, CLASSES).eval().to("meta")
        images = torch.empty(2, 3, size, size)
        assert network(images).shape == (2, CLASSES)
        assert before_head(network, card.name, images).shape == (2, head_width(network.get_submodule(card.head)))
    assert len(card.parts) == 1 + len(card.stages) == 5
    assert all(card.parts)
    for name in (*card.stages, *filter(None, [card.last_norm])):
        network.get_submodule(name)
    owners = {part: number for number, group in enumerate(card.parts) for part in group}
    assert len(owners) == sum(map(len, card.parts))
    for name, _ in network.named_parameters():
        places = name.split(".")
        holding = [".".join(places[:end]) for end in range(1, len(places) + 1)]
        assert sum(each in owners for each in holding) == (0 if card.is_head(name) else 1), name


@pytest.mark.parametrize("name", SAMPLE)
def test_a_network_keeps_what_its_record_says(name: str) -> None:
    row = judged(name)
    if row["refused"]:
        assert re.match("|".join(REASONS), row["refused"]), row
    else:
        check(backbone_of(name), size_of(name))


def test_shapes_alone_are_those_of_the_numbers() -> None:
    """The rules of shapes give what torch computes, and leave errors to torch."""
    functional, images, tokens = torch.nn.functional, torch.rand(2, 6, 4, 4), torch.rand(2, 3, 5, 8)
    weight = torch.rand(7, 8)
    calls = [
        lambda x, y, w: functional.batch_norm(x, x.new_zeros(6), x.new_ones(6)),
        lambda x, y, w: functional.group_norm(x, 3),
        lambda x, y, w: functional.layer_norm(y, (8,)),
        lambda x, y, w: functional.linear(y, w),
        lambda x, y, w: functional.scaled_dot_product_attention(y[..., :2, :], y, y[..., :3]),
        lambda x, y, w: functional.gelu(x),
        lambda x, y, w: x.softmax(1),
    ]
    for call in calls:
        expected = call(images, tokens, weight).shape
        with ShapesOnly():
            found = call(*(each.to("meta") for each in (images, tokens, weight)))
        assert found.is_meta
        assert found.shape == expected
    with ShapesOnly(), torch.device("meta"):
        with pytest.raises(RuntimeError):
            functional.linear(torch.empty(2, 3), torch.empty(4, 5))
        with pytest.raises(RuntimeError):
            functional.layer_norm(torch.empty(2, 3), (4,))
        with pytest.raises(RuntimeError):
            functional.batch_norm(torch.empty(2, 3, 4, 4), torch.zeros(5), torch.ones(5))


@pytest.mark.full
def test_every_name_is_supported_or_refused_for_a_reason() -> None:
    rows = [judged(name) for name in networks_of_libraries("*")]
    unclear = [row for row in rows if row["refused"] and not re.match("|".join(REASONS), row["refused"])]
    assert unclear == []
    for row in rows:
        if not row["refused"]:
            check(backbone_of(row["name"]), size_of(row["name"]))

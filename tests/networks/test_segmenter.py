"""DeepLabV3: torchvision's names, shapes and arithmetic, written down once more by hand; and the trunk's weights."""

from pathlib import Path

import pytest
import torch
from monai.networks.nets import resnet18
from torch import Tensor
from torch.nn import functional as F

from medtl.errors import MedtlError, UsageError
from medtl.losses_segmentation import pixel_loss
from medtl.networks.backbones import zoo
from medtl.networks.freezing import freeze
from medtl.networks.segmenter import build_segmenter, output_stride_of, parameter_groups, trunks
from medtl.weights.load import load_pretrained

pytestmark = pytest.mark.slow

# torchvision's published counts of deeplabv3_resnet50 and _resnet101 with 21 classes and the auxiliary head
PUBLISHED = {"resnet50": 42_004_074, "resnet101": 60_996_202}
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
EPS = 1e-5


def torchvision_shapes(backbone: str, classes: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's state dict, from the layout of its classes."""
    found: dict[str, tuple[int, ...]] = {}

    def conv(name: str, out: int, into: int, kernel: int, bias: bool = False) -> None:
        found[f"{name}.weight"] = (out, into, kernel, kernel)
        if bias:
            found[f"{name}.bias"] = (out,)

    def norm(name: str, width: int) -> None:
        found.update({f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})
        found[f"{name}.num_batches_tracked"] = ()

    bottleneck = backbone in PUBLISHED
    growth = 4 if bottleneck else 1
    conv("backbone.conv1", 64, 3, 7)
    norm("backbone.bn1", 64)
    width = 64
    for stage, (blocks, inner) in enumerate(zip(BLOCKS[backbone], (64, 128, 256, 512), strict=True), 1):
        for block in range(blocks):
            name = f"backbone.layer{stage}.{block}"
            kernels = (1, 3, 1) if bottleneck else (3, 3)
            outs = (inner, inner, 4 * inner) if bottleneck else (inner, inner)
            ins = (width, inner, inner) if bottleneck else (width, inner)
            for number, (out, into, kernel) in enumerate(zip(outs, ins, kernels, strict=True), 1):
                conv(f"{name}.conv{number}", out, into, kernel)
                norm(f"{name}.bn{number}", out)
            if width != inner * growth or (block == 0 and stage > 1):
                conv(f"{name}.downsample.0", inner * growth, width, 1)
                norm(f"{name}.downsample.1", inner * growth)
            width = inner * growth
    for number, kernel in enumerate((1, 3, 3, 3)):
        conv(f"classifier.0.convs.{number}.0", 256, width, kernel)
        norm(f"classifier.0.convs.{number}.1", 256)
    conv("classifier.0.convs.4.1", 256, width, 1)
    norm("classifier.0.convs.4.2", 256)
    conv("classifier.0.project.0", 256, 1280, 1)
    norm("classifier.0.project.1", 256)
    conv("classifier.1", 256, 256, 3)
    norm("classifier.2", 256)
    conv("classifier.4", classes, 256, 1, bias=True)
    conv("aux_classifier.0", width // 8, width // 2, 3)
    norm("aux_classifier.1", width // 8)
    conv("aux_classifier.4", classes, width // 8, 1, bias=True)
    return found


@pytest.mark.parametrize("backbone", trunks())
def test_state_dict_is_torchvisions_name_by_name(backbone: str) -> None:
    network = build_segmenter(backbone, 21, auxiliary=True)
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert own == torchvision_shapes(backbone, 21)
    if backbone in PUBLISHED:
        assert sum(parameter.numel() for parameter in network.parameters()) == PUBLISHED[backbone]


class Written:
    """The forward pass by torch.nn.functional and a state dict alone, with torchvision's rules of dilation."""

    def __init__(self, state: dict[str, Tensor], backbone: str, stride: int) -> None:
        self.state = state
        self.blocks = BLOCKS[backbone]
        self.bottleneck = backbone in PUBLISHED
        self.dilated = {8: (False, False, True, True), 16: (False, False, False, True)}[stride]
        self.rates = {8: (12, 24, 36), 16: (6, 12, 18)}[stride]

    def conv(self, x: Tensor, name: str, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        padding = dilation * (weight.shape[2] // 2)
        return F.conv2d(x, weight, self.state.get(f"{name}.bias"), stride, padding, dilation)

    def norm(self, x: Tensor, name: str) -> Tensor:
        parts = (self.state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        mean, variance, weight, bias = (part[None, :, None, None] for part in parts)
        return (x - mean) / torch.sqrt(variance + EPS) * weight + bias

    def block(self, x: Tensor, name: str, stride: int, dilation: int) -> Tensor:
        strides = (1, stride, 1) if self.bottleneck else (stride, 1)
        dilations = (1, dilation, 1) if self.bottleneck else (dilation, dilation)
        y = x
        for number, (step, rate) in enumerate(zip(strides, dilations, strict=True), 1):
            y = self.norm(self.conv(y, f"{name}.conv{number}", step, rate), f"{name}.bn{number}")
            y = y if number == len(strides) else y.relu()
        if f"{name}.downsample.0.weight" in self.state:
            x = self.norm(self.conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
        return (x + y).relu()

    def maps(self, x: Tensor) -> list[Tensor]:
        x = self.norm(self.conv(x, "backbone.conv1", 2), "backbone.bn1").relu()
        x = F.max_pool2d(x, 3, 2, 1)
        found, dilation = [], 1
        for stage, (blocks, is_dilated) in enumerate(zip(self.blocks, self.dilated, strict=True), 1):
            previous, stride = dilation, 1 if stage == 1 else 2
            if is_dilated:
                dilation, stride = dilation * stride, 1
            for block in range(blocks):
                first = block == 0
                x = self.block(
                    x, f"backbone.layer{stage}.{block}", stride if first else 1, previous if first else dilation
                )
            found.append(x)
        return found

    def pyramid(self, x: Tensor, name: str) -> Tensor:
        branches = []
        for number, rate in enumerate((1, *self.rates)):
            y = self.conv(x, f"{name}.convs.{number}.0", dilation=rate)
            branches.append(self.norm(y, f"{name}.convs.{number}.1").relu())
        y = self.norm(self.conv(x.mean((2, 3), keepdim=True), f"{name}.convs.4.1"), f"{name}.convs.4.2").relu()
        branches.append(y.expand(-1, -1, *x.shape[2:]))  # bilinear from one pixel is that pixel everywhere
        return self.norm(self.conv(torch.cat(branches, 1), f"{name}.project.0"), f"{name}.project.1").relu()

    def logits(self, x: Tensor) -> Tensor:
        y = self.pyramid(self.maps(x)[3], "classifier.0")
        y = self.norm(self.conv(y, "classifier.1"), "classifier.2").relu()
        return F.interpolate(self.conv(y, "classifier.4"), x.shape[2:], mode="bilinear", align_corners=False)

    def auxiliary(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(self.maps(x)[2], "aux_classifier.0"), "aux_classifier.1").relu()
        return F.interpolate(self.conv(y, "aux_classifier.4"), x.shape[2:], mode="bilinear", align_corners=False)

    def plus(self, x: Tensor) -> Tensor:
        maps = self.maps(x)
        y = F.interpolate(self.pyramid(maps[3], "classifier.pyramid"), maps[0].shape[2:], mode="bilinear")
        low = self.norm(self.conv(maps[0], "classifier.low.0"), "classifier.low.1").relu()
        y = torch.cat((y, low), 1)
        for conv, norm in ((0, 1), (3, 4)):
            y = self.norm(self.conv(y, f"classifier.refine.{conv}"), f"classifier.refine.{norm}").relu()
        return F.interpolate(self.conv(y, "classifier.refine.6"), x.shape[2:], mode="bilinear", align_corners=False)


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    """Batch norms that do something: away from mean 0, variance 1."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
        elif name.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return network.double().eval()


@pytest.mark.parametrize(("backbone", "stride"), [("resnet18", 8), ("resnet18", 16), ("resnet50", 8), ("resnet50", 16)])
def test_forward_equals_one_written_by_hand(backbone: str, stride: int) -> None:
    torch.manual_seed(0)
    network = randomised(build_segmenter(backbone, 5, output_stride=stride, auxiliary=True))
    images = torch.randn(2, 3, 72, 104, dtype=torch.float64)
    written = Written(network.state_dict(), backbone, stride)
    with torch.no_grad():
        assert torch.allclose(network(images), written.logits(images))
        third = network.backbone(images)[2]
        own = F.interpolate(network.aux_classifier(third), (72, 104), mode="bilinear", align_corners=False)
        assert torch.allclose(own, written.auxiliary(images))
        assert network.backbone(images)[3].shape[2:] == (-(-72 // stride), -(-104 // stride))


def test_decoder_equals_one_written_by_hand() -> None:
    torch.manual_seed(0)
    network = randomised(build_segmenter("resnet18", 5, output_stride=16, decoder="deeplabv3plus"))
    images = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        expected = Written(network.state_dict(), "resnet18", 16).plus(images)
        assert torch.allclose(network(images), expected)


def test_both_heads_answer_in_training_only() -> None:
    network = build_segmenter("resnet18", 5, auxiliary=True)
    images = torch.randn(2, 3, 32, 32)
    assert network(images).shape == (2, 2, 5, 32, 32)
    assert network.eval()(images).shape == (2, 5, 32, 32)
    assert build_segmenter("resnet18", 5)(images).shape == (2, 5, 32, 32)


def test_edges_answer_in_training_only_and_learn() -> None:
    """ET-Net's edges stand last, behind the classes and the auxiliary head; only the loss of edges reaches their
    logits."""
    torch.manual_seed(0)
    network = build_segmenter("resnet18", 5, output_stride=32, decoder="etnet", auxiliary=True)
    images, masks = torch.randn(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.int64)
    masks[:, 20:40, 20:40] = 2
    assert network(images).shape == (2, 3, 5, 64, 64)
    assert network.eval()(images).shape == (2, 5, 64, 64)
    network = build_segmenter("resnet18", 5, output_stride=32, decoder="etnet")
    found = network(images)
    assert found.shape == (2, 2, 5, 64, 64)
    found[:, 0].square().sum().backward()
    assert network.classifier.edges.logits.weight.grad is None or not network.classifier.edges.logits.weight.grad.any()
    pixel_loss("ce")(network(images), masks).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network.classifier.edges.logits.weight.grad.any()


def test_etnets_edges_guide_the_segmentation() -> None:
    torch.manual_seed(0)
    network = build_segmenter("resnet18", 5, output_stride=32, decoder="etnet").eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = network(images)
        network.classifier.edges.features[0].weight.mul_(3)
        assert not torch.equal(network(images), before)


@pytest.mark.parametrize("decoder", ["atrous_parallel", "deeplabv3", "deeplabv3plus", "etnet"])
def test_torchscript_takes_any_size(decoder: str) -> None:
    network = build_segmenter("resnet18", 5, decoder=decoder).eval()
    scripted = torch.jit.script(network)
    for size in (64, 80):
        images = torch.randn(1, 3, size, size)
        with torch.no_grad():
            assert torch.allclose(scripted(images), network(images), atol=1e-5)


def classifier(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return resnet18(spatial_dims=2, n_input_channels=3, num_classes=7, conv1_t_stride=2, bias_downsample=False)


def test_trunk_takes_a_classifiers_weights_whole(tmp_path: Path) -> None:
    trained = classifier()
    torch.save(trained.state_dict(), tmp_path / "classifier.pt")
    network = build_segmenter("resnet18", 5)
    before = network.classifier.state_dict()["4.weight"].clone()
    report = load_pretrained(network.backbone, tmp_path / "classifier.pt", "resnet18")
    assert report.coverage == 1.0
    assert report.missing == ()
    assert set(report.dropped) == {"fc.weight", "fc.bias"}
    for name, tensor in network.backbone.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name]), name
    assert torch.equal(network.classifier.state_dict()["4.weight"], before)


def test_the_undilated_part_computes_what_the_classifier_computes(tmp_path: Path) -> None:
    trained = classifier().eval()
    torch.save(trained.state_dict(), tmp_path / "classifier.pt")
    network = build_segmenter("resnet18", 5).eval()
    load_pretrained(network.backbone, tmp_path / "classifier.pt", "resnet18")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        stem = trained.maxpool(trained.act(trained.bn1(trained.conv1(images))))
        assert torch.equal(network.backbone(images)[0], trained.layer1(stem))


def test_torchvisions_segmentation_weights_load_strictly_and_as_a_start(tmp_path: Path) -> None:
    shapes = torchvision_shapes("resnet50", 21)
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(shape, generator=generator) if shape else torch.tensor(0) for name, shape in shapes.items()
    }
    network = build_segmenter("resnet50", 21, auxiliary=True)
    network.load_state_dict(state, strict=True)
    torch.save(state, tmp_path / "deeplabv3_resnet50_coco.pt")
    other = build_segmenter("resnet50", 5)
    assert load_pretrained(other.backbone, tmp_path / "deeplabv3_resnet50_coco.pt", "resnet50").coverage == 1.0
    assert torch.equal(other.backbone.conv1.weight, state["backbone.conv1.weight"])


def test_weights_of_another_trunk_are_refused(tmp_path: Path) -> None:
    torch.save(classifier().state_dict(), tmp_path / "classifier.pt")
    network = build_segmenter("resnet34", 5)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(MedtlError, match="does not fit resnet34"):
        load_pretrained(network.backbone, tmp_path / "classifier.pt", "resnet34")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_groups_cover_every_training_parameter_once() -> None:
    network = build_segmenter("resnet18", 5)
    heads, trunk = parameter_groups(network, 0.01, 0.1)
    assert (heads["lr"], trunk["lr"]) == (0.01, pytest.approx(0.001))
    assert len(heads["params"]) + len(trunk["params"]) == len(list(network.parameters()))
    freeze(network.backbone, "resnet18", "trunk")
    (only,) = parameter_groups(network, 0.01)
    assert {id(p) for p in only["params"]} == {id(p) for p in network.classifier.parameters()}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"backbone": "vit_b16"}, "--backbone vit_b16: a segmentation is built on one of resnet18"),
        ({"output_stride": 4}, "--output_stride 4: expected 8 or 16 or 32"),
        ({"decoder": "unets"}, "--decoder unets: decoder 'unets' is not one of .*deeplabv3plus"),
        ({"backbone": "timm/resnet10t"}, "--output_stride 8: expected 32"),
        (
            {"backbone": "timm/vit_tiny_patch16_224", "output_stride": 32},
            r"timm/vit_tiny_patch16_224: its maps shrink .*expected \[4, 8, 16, 32\]",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(words: dict[str, object], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        build_segmenter(**{"backbone": "resnet18", "num_classes": 5, **words})  # type: ignore[arg-type]


@pytest.mark.parametrize("decoder", ["unet", "cenet", "atrous_parallel", "deeplabv3", "deeplabv3plus"])
@pytest.mark.parametrize("backbone", ["resnet18", "timm/mobilenetv2_050", "timm/convnext_atto"])
def test_every_decoder_fits_every_trunk(backbone: str, decoder: str) -> None:
    """Logits of each pixel for sides that no stage halves evenly, and a gradient for every parameter that trains."""
    network = build_segmenter(backbone, 3, decoder=decoder, output_stride=output_stride_of(backbone, decoder))
    logits = network(torch.rand(2, 3, 68, 90))
    assert logits.shape == (2, 3, 68, 90)
    logits.square().mean().backward()
    without = [name for name, each in network.named_parameters() if each.requires_grad and each.grad is None]
    assert without == []


def test_a_trunk_of_timm_keeps_its_names_and_arithmetic() -> None:
    timm = zoo.timm()
    classifier = timm.create_model("resnet10t", pretrained=False).eval()
    network = build_segmenter("timm/resnet10t", 2, decoder="unet", output_stride=32)
    state = {name: each for name, each in classifier.state_dict().items() if not name.startswith("fc.")}
    network.backbone.load_state_dict(state, strict=True)
    images = torch.rand(1, 3, 64, 64)
    features = timm.create_model("resnet10t", pretrained=False, features_only=True).eval()
    features.load_state_dict(state, strict=False)
    with torch.no_grad():
        for own, other in zip(network.backbone.eval()(images), features(images)[1:], strict=True):
            assert torch.equal(own, other)
    freeze(network.backbone, "timm/resnet10t", "trunk")
    assert not any(each.requires_grad for each in network.backbone.parameters())


def test_layers_behind_the_last_stage_are_still() -> None:
    network = build_segmenter("timm/mobilenetv2_050", 2, decoder="unet", output_stride=32)
    freeze(network.backbone, "timm/mobilenetv2_050", "none")
    still = {name for name, each in network.backbone.named_parameters() if not each.requires_grad}
    assert still == {"conv_head.weight", "bn2.weight", "bn2.bias"}


def test_the_unet_has_as_many_parameters_as_counted_by_hand() -> None:
    """Convolutions without bias and two numbers of a batch norm a channel, from the widths of ResNet-18."""
    network = build_segmenter("resnet18", 2, decoder="unet", output_stride=32)
    steps = [(512 + 256, 256), (256 + 128, 128), (128 + 64, 64), (64, 32), (32, 16)]
    expected = sum(9 * into * out + 2 * out + 9 * out * out + 2 * out for into, out in steps) + 16 * 2 + 2
    assert sum(each.numel() for each in network.classifier.parameters()) == expected


def test_parallel_atrous_convolutions_equal_ones_written_by_hand() -> None:
    """Each of four rates looks at the map and at what the next narrower one found."""
    network = randomised(build_segmenter("resnet18", 2, decoder="atrous_parallel", output_stride=32))
    block = network.classifier.coarse[0]  # type: ignore[union-attr, index]
    features = torch.rand(1, 128, 11, 9, dtype=torch.float64)

    def layer(images: torch.Tensor, layers: torch.nn.Module, rate: int = 1) -> torch.Tensor:
        weight, norm = layers[0].weight, layers[1]  # type: ignore[index]
        found = F.conv2d(images, weight, padding=rate * (weight.shape[-1] // 2), dilation=rate)
        mean, scale = norm.running_mean, norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return torch.relu((found - mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None])

    with torch.no_grad():
        entered = layer(features, block.enter)
        first = layer(entered, block.branches[0])
        second = layer(entered + first, block.branches[1], 2)
        third = layer(entered + second, block.branches[2], 4)
        fourth = layer(entered + third, block.branches[3], 8)
        expected = layer(torch.cat((first, second, third, fourth), dim=1), block.leave)
        assert torch.allclose(block(features), expected, atol=1e-12)

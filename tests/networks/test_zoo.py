"""Networks of timm and torchvision: described by one forward pass, filled by order, refused with a reason."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medtl.errors import MedtlError, UsageError
from medtl.networks.backbones import zoo
from medtl.networks.classifier import build_classifier, features, head_width
from medtl.networks.freezing import freeze, parameter_groups
from medtl.networks.registry import backbone_of
from medtl.pretraining.method import parse
from medtl.pretraining.network import WithHeads
from medtl.weights.load import load_pretrained
from medtl.weights.starts import resolve

pytestmark = pytest.mark.slow

NETWORKS = (
    "timm/mobilenetv2_100",
    "timm/vit_tiny_patch16_224",
    "timm/convnext_atto",
    "timm/mobilenetv3_small_050",
    "torchvision/mobilenet_v2",
    "torchvision/alexnet",
    "torchvision/squeezenet1_1",
    "torchvision/shufflenet_v2_x0_5",
    "torchvision/vgg11",
)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_parameter_of_the_trunk_is_in_exactly_one_part(name: str) -> None:
    card, network = backbone_of(name), build_classifier(name, 3, image_size=64)
    assert len(card.parts) == 1 + len(card.stages) == 5
    assert all(card.parts)
    parts = [part for group in card.parts for part in group]
    for parameter, _ in network.named_parameters():
        owners = [part for part in parts if parameter == part or parameter.startswith(f"{part}.")]
        assert len(owners) == (0 if card.is_head(parameter) else 1), parameter
    network.get_submodule(card.last_norm)
    images = torch.rand(2, 3, 64, 64)
    assert network(images).shape == (2, 3)
    if not name.startswith("timm/vit"):
        sizes = [stage.shape[-1] for stage in features(network.eval(), name, images)]
        assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("name", ["timm/mobilenetv2_100", "torchvision/squeezenet1_1"])
def test_frozen_parts_stay_and_the_head_starts_small(name: str) -> None:
    network = build_classifier(name, 2, image_size=64, dropout=0.3)
    plain = build_classifier(name, 2, image_size=64)
    assert list(plain.state_dict()) == list(network.state_dict())
    card = backbone_of(name)
    head = network.get_submodule(card.head)
    assert float(head.weight.detach().abs().max()) <= head_width(head) ** -0.5
    freeze(network, name, "trunk")
    before = {n: tensor.clone() for n, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD(parameter_groups(network, name, 1.0))
    network.train()(torch.rand(4, 3, 64, 64) + 1).square().sum().backward()
    optimizer.step()
    changed = {n for n, tensor in network.state_dict().items() if not torch.equal(tensor, before[n])}
    assert changed <= {f"{card.head}.weight", f"{card.head}.bias"}
    assert changed
    projecting = WithHeads(plain.eval(), name, 64, parse("supervised+simclr(width=8)"))
    answers = projecting({"image": torch.rand(2, 3, 64, 64)})
    assert {method: tuple(found["answers"].shape) for method, found in answers.items()} == {
        "supervised": (2, 2),
        "simclr": (2, 8),
    }


@torch.no_grad()
def test_torchvisions_mobilenet_fills_timms_by_order(tmp_path: Path) -> None:
    """The two libraries name it differently and compute the same; the file sorts block 10 before block 2."""
    theirs = zoo.torchvision().models.mobilenet_v2(weights=None).eval()
    generator = torch.Generator().manual_seed(1)
    for tensor in theirs.state_dict().values():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    save_file(theirs.state_dict(), tmp_path / "mobilenet.safetensors")
    ours = build_classifier("timm/mobilenetv2_100", 2).eval()
    report = load_pretrained(ours, tmp_path / "mobilenet.safetensors", "timm/mobilenetv2_100")
    assert (report.coverage, report.used, report.layout) == (1.0, 1.0, "those of another library, in order")
    images = torch.rand(2, 3, 64, 64)
    seen: list[torch.Tensor] = []
    ours.classifier.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    ours(images)
    assert torch.allclose(seen[0], theirs.features(images).mean((2, 3)), rtol=1e-5, atol=1e-6)


def test_order_is_not_taken_for_another_network_or_out_of_order(tmp_path: Path) -> None:
    state = build_classifier("torchvision/mobilenet_v2", 2).state_dict()
    torch.save(state, tmp_path / "mobilenet.pt")
    with pytest.raises(MedtlError, match="does not fit timm/mobilenetv2_110d"):
        load_pretrained(
            build_classifier("timm/mobilenetv2_110d", 2), tmp_path / "mobilenet.pt", "timm/mobilenetv2_110d"
        )
    vit = build_classifier("timm/vit_tiny_patch16_224", 2, image_size=64)
    named = {n.replace("blocks.", "stack."): t for n, t in reversed(vit.state_dict().items())}
    torch.save(named, tmp_path / "backwards.pt")
    with pytest.raises(MedtlError, match="does not fit"):
        load_pretrained(vit, tmp_path / "backwards.pt", "timm/vit_tiny_patch16_224")


def test_positions_of_a_vit_are_interpolated(tmp_path: Path) -> None:
    name = "timm/vit_tiny_patch16_224"
    torch.save(build_classifier(name, 2, image_size=64).state_dict(), tmp_path / "small.pt")
    report = load_pretrained(build_classifier(name, 2, image_size=96), tmp_path / "small.pt", name)
    assert report.coverage == 1.0
    assert "from 4 × 4 to 6 × 6" in report.adapted["pos_embed"]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("timm/resnest14d", "layer4.0"),  # not the shortcut that it calls last
        ("timm/pvt_v2_b0", "stages.3.blocks.1.norm1"),  # not the map that the stage begins with
        ("timm/swin_tiny_patch4_window7_224", "norm"),  # channels last
        ("timm/mixer_s16_224", "blocks.7.norm1"),  # no class token
        ("timm/vit_small_patch14_reg4_dinov2", "blocks.11.norm1"),  # registers
        ("timm/hiera_tiny_224", ""),  # tokens sorted by windows
        ("torchvision/vgg11", "features.18"),
    ],
)
def test_grad_cam_looks_at_the_last_layer_that_shows_a_map(name: str, layer: str) -> None:
    assert backbone_of(name).last_norm == layer


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm/deit_tiny_distilled_patch16_224", "2 layers that give logits .head, head_dist"),
        ("timm/mobilenetv2_1000", "timm has no such network; did you mean timm/mobilenetv2_100"),
        ("timm/mobilenetv2_100.ra_in1k", "did you mean timm/mobilenetv2_100"),
        ("timm/hf-hub:someone/else", "timm has no such network"),
        ("torchvision/fcn_resnet50", "torchvision has no such network"),
        ("tim/resnet18", "not one of .* other networks: keras/NAME or timm/NAME or torchvision/NAME"),
    ],
)
def test_what_cannot_be_used_is_told(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_classifier(name, 2)


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("torchvision/inception_v3", 48, "it does not take 3 × 48 × 48: .*; sizes that it takes: 96, 224"),
        ("torchvision/vit_b_16", 60, "it does not take 3 × 60 × 60: .*; sizes that it takes: 32, 64, 224"),
    ],
)
def test_a_size_that_a_network_does_not_take_is_told_with_those_it_takes(name: str, size: int, words: str) -> None:
    with pytest.raises(UsageError, match=f"{name}: {words}$"):
        build_classifier(name, 2, image_size=size)


def test_weights_are_looked_up_without_the_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTL_WEIGHTS", str(tmp_path))
    name = "timm/mobilenetv2_100"
    torch.save(build_classifier(name, 2).state_dict(), tmp_path / "timm_mobilenetv2_100_imagenet.pt")
    start = resolve("imagenet", name)
    assert start.path == tmp_path / "timm_mobilenetv2_100_imagenet.pt"
    assert start.mean == (0.485, 0.456, 0.406)


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys; from medtl.networks import registry; from medtl.weights import sources; "
        "registry.names(), sources.named(); print([n for n in ('torch', 'monai', 'timm') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

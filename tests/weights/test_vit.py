"""ViTs of timm, DINOv2, Hugging Face, open_clip and MAE compute in stock MONAI networks what they computed before, or
are refused for the true reason."""

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import ViT
from vit_forward import State, as_hugging_face, class_token, draw

from medtl.errors import MedtlError, UsageError
from medtl.networks.backbones import vit
from medtl.networks.classifier import build_classifier
from medtl.networks.registry import backbone_of
from medtl.weights.load import LoadReport, load_pretrained

pytestmark = pytest.mark.slow

HEADS = {"vit_s14": 6, "vit_b14": 12, "vit_b16": 12}


def behind(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def load(content: object, backbone: str, size: int, folder: Path) -> tuple[torch.nn.Module, LoadReport]:
    torch.save(content, folder / "weights.pth")
    network = build_classifier(backbone, 3, image_size=size).eval()
    return network, load_pretrained(network, folder / "weights.pth", backbone)


@torch.no_grad()
def off(network: torch.nn.Module, state: State, heads: int, size: int) -> float:
    """The largest difference of what the head gets, as a share of the largest value, in the *stock* network."""
    inner = backbone_of("vit_b16" if state["patch_embed.proj.weight"].shape[2] == 16 else "vit_s14")
    seen: list[torch.Tensor] = []
    network.get_submodule(inner.head).register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = torch.rand(2, 3, size, size) * 4 - 2
    network(images)
    expected = class_token(images, state, heads)
    return float((seen[0] - expected).abs().max() / expected.abs().max())


def dinov2() -> State:
    return draw(384, 14, 4, scaled=True)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda s: s, "timm's VisionTransformer"),
        (lambda s: s | {"mask_token": torch.zeros(1, 384)}, "mask token left out"),
        (lambda s: as_hugging_face(s, dinov2=True), "Hugging Face's Dinov2Model"),
        (
            lambda s: behind("dinov2.", as_hugging_face(s, dinov2=True)) | {"classifier.weight": torch.zeros(2, 768)},
            "Hugging Face's Dinov2Model behind 'dinov2.'",
        ),
        (
            lambda s: {
                "teacher": {
                    f"backbone.{name.replace('blocks.', 'blocks.' + str(int(name.split('.')[1]) // 4) + '.')}"
                    if name.startswith("blocks.")
                    else f"backbone.{name}": tensor
                    for name, tensor in s.items()
                }
                | {"dino_head.mlp.0.weight": torch.zeros(2, 2), "ibot_head.mlp.0.weight": torch.zeros(2, 2)}
            },
            "projection head left out (2)",
        ),
    ],
    ids=["timm", "facebook", "Dinov2Model", "Dinov2ForImageClassification", "chunks of a training"],
)
def test_dinov2_computes_the_same_in_the_stock_network(write: object, words: str, tmp_path: Path) -> None:
    state = dinov2()
    network, report = load(write(state), "vit_s14", 56, tmp_path)  # type: ignore[operator]
    assert report.fits
    assert words in str(report)
    assert off(network, state, 6, 56) < 1e-5
    arguments = {
        name: value for name, value in vit.stock(vit.Shape(14, 384, 6))(3, 3, 56).items() if name != "_target_"
    }
    stock = ViT(**arguments).eval()  # the literal network of a release, its layer norms' epsilon untouched
    stock.load_state_dict(network.state_dict())
    images = torch.rand(1, 3, 56, 56)
    with torch.no_grad():
        assert torch.equal(stock(images)[0], network(images))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_what_is_folded_into_half_precision_is_not_rounded_again(kind: torch.dtype, tmp_path: Path) -> None:
    """LayerScale of a deep network is small: in float16 its products with weights have few digits, or none."""
    small = {name: 1e-4 * tensor if "gamma" in name else tensor for name, tensor in dinov2().items()}
    state = {name: tensor.to(kind) for name, tensor in small.items()}
    network, report = load(state, "vit_s14", 56, tmp_path)
    assert report.fits
    gamma, weight = state["blocks.3.ls2.gamma"].float(), state["blocks.3.mlp.fc2.weight"].float()
    expected = gamma[:, None] * weight * 10**0.5  # the epsilon's factor
    found = network.state_dict()["blocks.3.mlp.linear2.weight"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    assert off(network, {name: tensor.float() for name, tensor in state.items()}, 6, 56) < 1e-5


def test_timms_own_dinov2_agrees(tmp_path: Path) -> None:
    from medtl.networks.backbones import zoo

    theirs = zoo.timm().create_model("vit_small_patch14_dinov2", pretrained=False, img_size=56, num_classes=0).eval()
    state = dinov2()
    theirs.load_state_dict(state)
    network, _ = load(state, "vit_s14", 56, tmp_path)
    images = torch.rand(2, 3, 56, 56)
    seen: list[torch.Tensor] = []
    network.classification_head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(images)
        expected = theirs(images)
    assert float((seen[0] - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.mark.full
def test_the_base_sized_one_computes_the_same(tmp_path: Path) -> None:
    state = draw(768, 14, 4, scaled=True)
    network, report = load(as_hugging_face(state, dinov2=True), "vit_b14", 56, tmp_path)
    assert report.fits
    assert off(network, state, 12, 56) < 1e-5


def bert() -> State:
    inner = "text.transformer.encoder.layer.0."
    names = ("attention.self.query.weight", "intermediate.dense.weight", "output.LayerNorm.bias")
    return {inner + name: torch.zeros(2, 2) for name in names} | {"text.proj.0.weight": torch.zeros(2, 2)}


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (
            lambda s: behind("visual.trunk.", s) | {"visual.head.proj.weight": torch.zeros(5, 768)} | bert(),
            ("behind 'visual.trunk.'", "text tower left out (4)"),
        ),
        (lambda s: behind("vit.", as_hugging_face(s, dinov2=False)), ("Hugging Face's ViTModel behind 'vit.'",)),
        (
            lambda s: {
                "model": s
                | {"mask_token": torch.zeros(1, 1, 8), "decoder_pos_embed": torch.zeros(1, 5, 8)}
                | {"decoder_embed.weight": torch.zeros(8, 768), "decoder_blocks.0.mlp.fc1.weight": torch.zeros(2, 2)}
            },
            ("decoder left out (3)", "mask token left out"),
        ),
    ],
    ids=["BiomedCLIP", "ViTForImageClassification", "MAE with its decoder"],
)
def test_patch_16_of_others_computes_the_same(write: object, words: tuple[str, ...], tmp_path: Path) -> None:
    state = draw(768, 16, 2, scaled=False)
    network, report = load(write(state), "vit_b16", 32, tmp_path)  # type: ignore[operator]
    assert report.fits
    assert [word for word in words if word not in str(report)] == []
    assert off(network, state, 12, 32) < 1e-5


def without(state: State, *names: str) -> State:
    return {name: tensor for name, tensor in state.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: without(s, "pos_embed") | {"rope_embed.periods": torch.ones(16)}, "this is DINOv3 .*RoPE"),
        (lambda s: without(s, "pos_embed") | {"storage_tokens": torch.ones(1, 4, 384)}, "this is DINOv3 .*RoPE"),
        (lambda s: without(s, "pos_embed"), "no position embedding: .*RoPE"),
        (lambda s: s | {"reg_token": torch.ones(1, 4, 384)}, "register tokens .reg_token"),
        (lambda s: s | {"norm_pre.weight": torch.ones(384)}, "a norm before its blocks"),
        (lambda s: s | {"blocks.0.mlp.w12.weight": torch.ones(2, 2)}, "SwiGLU"),
        (
            lambda s: without(s, "norm.weight", "norm.bias") | {"fc_norm.weight": torch.ones(384)},
            "reads the mean of its patches .*fc_norm",
        ),
        (
            lambda s: s | {"patch_embed.proj.weight": torch.ones(384, 3, 2, 14, 14)},
            "3-D weights .patch_embed.proj.weight is 384 × 3 × 2 × 14 × 14",
        ),
        (lambda s: {"embeddings.word_embeddings.weight": torch.ones(9, 4)}, "this is a text model"),
        (lambda s: {"stages.0.blocks.0.conv_dw.weight": torch.ones(4, 1, 7, 7)}, "this is ConvNeXt"),
    ],
    ids=["DINOv3", "DINOv3's registers", "RoPE", "registers", "CLIP", "gated", "fc_norm", "3-D", "text", "ConvNeXt"],
)
def test_what_cannot_be_computed_is_refused_with_its_reason(change: object, words: str, tmp_path: Path) -> None:
    torch.save(change(dinov2()), tmp_path / "other.pth")  # type: ignore[operator]
    with pytest.raises(MedtlError, match=words):
        load_pretrained(build_classifier("vit_s14", 2, image_size=56), tmp_path / "other.pth", "vit_s14")


def test_another_size_of_the_same_family_is_named(tmp_path: Path) -> None:
    torch.save(draw(384, 14, 3, scaled=True), tmp_path / "small.pth")
    with pytest.raises(MedtlError, match="it fits vit_s14"):
        load_pretrained(build_classifier("vit_b14", 2, image_size=56), tmp_path / "small.pth", "vit_b14")


def cubic(distance: float) -> float:
    """Keys' kernel with a = -0.75, as torch's and OpenCV's bicubic have it."""
    x, a = abs(distance), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def test_positions_are_resized_as_dinov2_does() -> None:
    """By hand: output i lies at (i + 0.5) / factor - 0.5 of the old grid, the factor being (new + 0.1) / old."""
    old, new = 7, 4
    grid = np.random.default_rng(0).normal(size=(old, old, 5))
    factor = (new + 0.1) / old
    weights = np.zeros((new, old))
    for i in range(new):
        place = (i + 0.5) / factor - 0.5
        for tap in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            weights[i, min(max(tap, 0), old - 1)] += cubic(place - tap)
    expected = np.einsum("ia,jb,abw->ijw", weights, weights, grid).reshape(1, new * new, 5)
    there = torch.from_numpy(grid.reshape(1, old * old, 5)).float()
    found, words = vit.resize_as_dinov2(vit.POSITIONS, there, torch.zeros(1, new * new, 5))
    assert found is not None
    assert np.allclose(found.numpy(), expected, atol=1e-5)
    assert words == "positions interpolated from 7 × 7 to 4 × 4"


@pytest.mark.parametrize(("size", "nearest"), [(128, "126 or 140"), (13, "28"), (224, "")])
def test_a_size_that_the_patches_do_not_divide_is_refused_with_the_next_ones(size: int, nearest: str) -> None:
    if not nearest:
        with torch.device("meta"):
            assert build_classifier("vit_s14", 2, image_size=size)(torch.empty(1, 3, size, size)).shape == (1, 2)
        return
    with pytest.raises(UsageError, match=f"a multiple of 14, at least 28; nearest: {nearest}$"):
        build_classifier("vit_s14", 2, image_size=size)

"""Every layout that is listed in docs/weights.md: a file of each gives what its own library's network computes, or is
refused for the true reason. The networks that say what is right are torchvision's, and a ViT written from the papers.
"""

import argparse
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from vit_forward import State, as_hugging_face, class_token, draw

from medtl.errors import MedtlError
from medtl.networks.backbones import zoo
from medtl.networks.classifier import build_classifier
from medtl.networks.registry import backbone_of
from medtl.weights.load import LoadReport, load_pretrained
from medtl.weights.look import look

pytestmark = pytest.mark.full

Write = Callable[[State], Any]
IMAGES = torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(2))


def scrambled(network: torch.nn.Module) -> torch.nn.Module:
    """The network with weights and statistics that no default has."""
    random = torch.Generator().manual_seed(4)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            low, high = (0.6, 1.4) if name.endswith("running_var") or tensor.ndim == 1 else (0.98, 1.02)
            tensor.mul_(low + (high - low) * torch.rand(tensor.shape, generator=random))
            tensor.add_(0.01 * torch.randn(tensor.shape, generator=random).abs())
    return network.eval()


def behind(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def other(state: State) -> State:
    """Weights of the same names that must not be taken."""
    return {name: torch.ones_like(tensor) for name, tensor in state.items()}


def head(*names: str) -> State:
    return {name: torch.zeros(2, 2) for name in names}


def numbered(state: State) -> State:
    """A ResNet cut into a Sequential of its first children."""
    places = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    return {f"{places[first]}.{rest}": t for name, t in state.items() for first, _, rest in [name.partition(".")]}


def hugging_face_resnet(state: State) -> State:
    kinds = {"conv": "convolution", "bn": "normalization"}
    named = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if len(parts) == 2:
            named[f"embedder.embedder.{kinds[parts[0].rstrip('1')]}.{parts[1]}"] = tensor
            continue
        place = f"encoder.stages.{int(parts[0][-1]) - 1}.layers.{parts[1]}"
        if parts[2] == "downsample":
            named[f"{place}.shortcut.{'normalization' if parts[3] == '1' else 'convolution'}.{parts[4]}"] = tensor
        else:
            named[f"{place}.layer.{int(parts[2][-1]) - 1}.{kinds[parts[2][:-1]]}.{parts[3]}"] = tensor
    return named


def whole(state: State) -> torch.nn.Module:
    network = zoo.torchvision().models.resnet18()
    network.load_state_dict(state, strict=False)
    return network


QUEUE = {"module.queue": torch.zeros(128, 4), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
NAMESPACE = argparse.Namespace(lr=1)
MOCO3 = head("module.base_encoder.fc.0.weight", "module.predictor.0.weight")
# name: how a program writes a ResNet-18's trunk, and words of the report
RESNETS: dict[str, tuple[Write, str]] = {
    "torchvision": (lambda s: s | head("fc.weight"), "head left out (fc.weight)"),
    "without counters": (lambda s: {n: t for n, t in s.items() if "num_batches" not in n}, ""),
    "bfloat16": (lambda s: {n: t.bfloat16() if t.is_floating_point() else t for n, t in s.items()}, ""),
    "a number of numpy": (lambda s: {"state_dict": s, "best_acc": np.float64(0.9)}, ""),
    "DDP": (lambda s: {"state_dict": behind("module.", s), "arch": "resnet18"}, "behind 'module.'"),
    "torch.compile": (partial(behind, "_orig_mod."), "behind '_orig_mod.'"),
    "Lightning": (lambda s: {"state_dict": behind("model.", s), "hyper_parameters": NAMESPACE}, "code in the file"),
    "Lightning, deeper": (lambda s: {"state_dict": behind("model.backbone.", s)}, "behind 'model.backbone.'"),
    "MONAI": (lambda s: {"net": s, "opt": {}}, ""),
    "Ignite": (lambda s: {"model": s, "optimizer": {"state": {}, "param_groups": []}}, ""),
    "MoCo": (
        lambda s: {"state_dict": behind("module.encoder_k.", other(s)) | behind("module.encoder_q.", s) | QUEUE},
        "momentum or target encoder left out (120)",
    ),
    "MoCo, released": (
        lambda s: {"state_dict": behind("module.encoder_q.", s) | head("module.encoder_q.fc.2.weight")},
        "behind 'module.encoder_q.'",
    ),
    "MoCo v3": (
        lambda s: {
            "state_dict": behind("module.momentum_encoder.", other(s)) | behind("module.base_encoder.", s) | MOCO3
        },
        "behind 'module.base_encoder.'",
    ),
    "DINO": (
        lambda s: {"student": behind("module.backbone.", other(s)), "teacher": behind("backbone.", s)},
        "taken from 'teacher'; the file also holds 'student', left out",
    ),
    "BYOL": (
        lambda s: behind("online_encoder.net.", s) | behind("target_encoder.net.", other(s)),
        "momentum or target encoder left out",
    ),
    "SimSiam": (
        lambda s: {"state_dict": behind("module.encoder.", s) | head("module.predictor.0.weight")},
        "projection head left out (1)",
    ),
    "SimCLR": (
        lambda s: {"state_dict": behind("backbone.", numbered(s)) | head("projection_head.layers.0.weight")},
        "cut into a numbered Sequential",
    ),
    "SimCLR of bolts": (
        lambda s: {"state_dict": behind("encoder.", s) | head("projection.model.0.weight")},
        "projection head left out (1)",
    ),
    "Barlow Twins": (
        lambda s: {
            "model": behind("module.backbone.", s)
            | head("module.projector.0.weight")
            | {"module.bn.running_mean": torch.zeros(8), "module.bn.running_var": torch.ones(8)}
        },
        "projection head left out (3)",
    ),
    "SwAV": (
        lambda s: behind("module.", s) | head("module.projection_head.0.weight", "module.prototypes.weight"),
        "projection head left out (2)",
    ),
    "SMP": (
        lambda s: behind("encoder.", s) | head("decoder.blocks.0.conv1.0.weight", "segmentation_head.0.weight"),
        "decoder left out (2)",
    ),
    "MMPretrain": (
        lambda s: {"meta": {}, "state_dict": behind("backbone.", s) | head("head.fc.weight")},
        "head left out (head.fc.weight)",
    ),
    "MMSegmentation": (
        lambda s: {"state_dict": behind("backbone.", s) | head("decode_head.0.weight", "auxiliary_head.0.weight")},
        "decoder left out (2)",
    ),
    "Hugging Face's ResNetModel": (hugging_face_resnet, "those of Hugging Face's ResNetModel"),
    "Hugging Face's ResNetForImageClassification": (
        lambda s: behind("resnet.", hugging_face_resnet(s)) | head("classifier.1.weight"),
        "behind 'resnet.'",
    ),
    "RadImageNet": (lambda s: behind("backbone.", numbered(s)), "RadImageNet"),
    "timm's EMA beside plain": (
        lambda s: {"state_dict": s, "state_dict_ema": other(s)},
        "taken from 'state_dict'; the file also holds 'state_dict_ema', left out",
    ),
    "timm's EMA alone": (lambda s: {"state_dict_ema": s, "epoch": 1}, ""),
    "whole network": (whole, "code in the file was not run"),
}


@pytest.fixture(scope="module")
def resnet() -> torch.nn.Module:
    return scrambled(zoo.torchvision().models.resnet18())


def trunk(network: torch.nn.Module) -> State:
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("fc.")}


@torch.no_grad()
def gives(backbone: str, path: Path, size: int = 56) -> tuple[torch.Tensor, LoadReport]:
    """What the head gets of the pictures, and the report."""
    network = build_classifier(backbone, 3, image_size=size).eval()
    report = load_pretrained(network, path, backbone)
    seen: list[torch.Tensor] = []
    network.get_submodule(backbone_of(backbone).head).register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    network(torch.nn.functional.interpolate(IMAGES, (size, size)))
    return seen[0], report


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> bool:
    return float((found - expected).abs().max() / expected.abs().max()) < tolerance


@torch.no_grad()
def pooled(network: Any, images: torch.Tensor) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    handle = network.fc.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(images)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", RESNETS)
def test_a_resnet_of_each_program_computes_the_same(name: str, resnet: torch.nn.Module, tmp_path: Path) -> None:
    write, words = RESNETS[name]
    torch.save(write(trunk(resnet)), tmp_path / "weights.pth")
    found, report = gives("resnet18", tmp_path / "weights.pth")
    assert report.fits
    assert words in str(report)
    assert close(found, pooled(resnet, IMAGES), 0.05 if name == "bfloat16" else 1e-5)


def test_the_old_format_and_safetensors_under_another_name(resnet: torch.nn.Module, tmp_path: Path) -> None:
    save_file(trunk(resnet), tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").rename(tmp_path / "a.bin")
    torch.save(whole(trunk(resnet)), tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": behind("module.", trunk(resnet))}, tmp_path / "c.pth.tar")
    for name in ("a.bin", "b.pt", "c.pth.tar"):
        assert close(gives("resnet18", tmp_path / name)[0], pooled(resnet, IMAGES))


def test_one_channel_as_torchxrayvision_writes_it(resnet: torch.nn.Module, tmp_path: Path) -> None:
    state = trunk(resnet)
    state = behind("model.", state | {"conv1.weight": state["conv1.weight"].sum(1, keepdim=True)})
    torch.save(state | {"op_threshs": torch.zeros(18)}, tmp_path / "xrv.pt")
    found, report = gives("resnet18", tmp_path / "xrv.pt")
    assert "1 input channel repeated to 3" in str(report)
    grey = IMAGES.mean(1, keepdim=True).expand(-1, 3, -1, -1)  # one channel is a third of each of three
    assert close(found, pooled(resnet, grey), 1e-4)


def torchvision_vit(state: State) -> State:
    """A ViT in torchvision's names."""
    words = (
        (r"^cls_token$", "class_token"),
        (r"^pos_embed$", "encoder.pos_embedding"),
        (r"^patch_embed\.proj\.", "conv_proj."),
        (r"^norm\.", "encoder.ln."),
        (r"^blocks\.(\d+)\.norm", r"encoder.layers.encoder_layer_\1.ln_"),
        (r"^blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.encoder_layer_\1.self_attention.in_proj_"),
        (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.encoder_layer_\1.self_attention.out_proj."),
        (r"^blocks\.(\d+)\.mlp\.fc1\.", r"encoder.layers.encoder_layer_\1.mlp.0."),
        (r"^blocks\.(\d+)\.mlp\.fc2\.", r"encoder.layers.encoder_layer_\1.mlp.3."),
    )
    return renamed(state, words)


def mmpretrain_vit(state: State) -> State:
    words = (
        (r"^patch_embed\.proj\.", "patch_embed.projection."),
        (r"^norm\.", "ln1."),
        (r"^blocks\.(\d+)\.norm", r"layers.\1.ln"),
        (r"^blocks\.(\d+)\.attn\.", r"layers.\1.attn."),
        (r"^blocks\.(\d+)\.mlp\.fc1\.", r"layers.\1.ffn.layers.0.0."),
        (r"^blocks\.(\d+)\.mlp\.fc2\.", r"layers.\1.ffn.layers.1."),
        (r"^blocks\.(\d+)\.ls1\.gamma$", r"layers.\1.attn.gamma1.weight"),
        (r"^blocks\.(\d+)\.ls2\.gamma$", r"layers.\1.ffn.gamma2.weight"),
    )
    return behind("backbone.", renamed(state, words))


def renamed(state: State, words: tuple[tuple[str, str], ...]) -> State:
    found = {}
    for name, tensor in state.items():
        for pattern, theirs in words:
            name = re.sub(pattern, theirs, name)
        found[name] = tensor
    return found


BERT = {
    f"text.transformer.encoder.layer.0.attention.self.{part}.weight": torch.zeros(8, 8) for part in ("query", "key")
} | {"text.transformer.embeddings.word_embeddings.weight": torch.zeros(30, 8), "logit_scale": torch.ones(())}
HF = partial(as_hugging_face, dinov2=False)
HF2 = partial(as_hugging_face, dinov2=True)
MAE = {"mask_token": torch.zeros(1, 1, 8), "decoder_pos_embed": torch.zeros(1, 5, 8)} | head("decoder_embed.weight")
MAE_HF = head("decoder.decoder_embed.weight") | {"decoder.mask_token": torch.zeros(1, 1, 8)}
VITS: dict[str, tuple[bool, Write, str]] = {  # with LayerScale, how it is written, words
    "timm": (False, lambda s: s | head("head.weight"), "those of timm's VisionTransformer"),
    "torchvision": (False, lambda s: torchvision_vit(s) | head("heads.head.weight"), "torchvision's VisionTransformer"),
    "MMPretrain": (False, lambda s: {"meta": {}, "state_dict": mmpretrain_vit(s)}, "MMPretrain's VisionTransformer"),
    "MMPretrain, LayerScale": (True, lambda s: {"state_dict": mmpretrain_vit(s)}, "MMPretrain's VisionTransformer"),
    "Hugging Face's ViTModel": (False, lambda s: HF(s) | head("pooler.dense.weight"), "those of Hugging Face's ViT"),
    "Hugging Face's ViTForImageClassification": (
        False,
        lambda s: behind("vit.", HF(s)) | head("classifier.weight"),
        "behind 'vit.'",
    ),
    "Hugging Face's ViTMAEForPreTraining": (False, lambda s: behind("vit.", HF(s)) | MAE_HF, "decoder left out"),
    "open_clip (BiomedCLIP)": (
        False,
        lambda s: BERT | behind("visual.trunk.", s) | head("visual.head.proj.weight"),
        "text tower left out (3)",
    ),
    "open_clip, its trunk alone": (False, partial(behind, "visual.trunk."), "behind 'visual.trunk.'"),
    "MAE": (False, lambda s: {"model": s | MAE, "args": NAMESPACE}, "mask token left out (1); decoder left out (2)"),
    "DINO": (False, lambda s: {"student": other(s), "teacher": behind("backbone.", s)}, "taken from 'teacher'"),
    "MoCo v3": (
        False,
        lambda s: {"state_dict": behind("module.base_encoder.", s) | head("module.base_encoder.head.0.weight")},
        "behind 'module.base_encoder.'",
    ),
    "Lightning": (False, lambda s: {"state_dict": behind("model.backbone.", s)}, "behind 'model.backbone.'"),
    "DINOv2": (True, lambda s: s | {"mask_token": torch.zeros(1, 384)}, "mask token left out"),
    "Hugging Face's Dinov2Model": (True, HF2, "Hugging Face's Dinov2Model"),
    "DeiT III": (True, lambda s: s | {"pos_embed": s["pos_embed"][:, 1:]}, ""),
}


@pytest.mark.parametrize("name", VITS)
def test_a_vit_of_each_program_computes_the_same(name: str, tmp_path: Path) -> None:
    scaled, write, words = VITS[name]
    state = draw(384, 14, 4, scaled=scaled)
    if name == "DeiT III":
        state["pos_embed"][:, :1] = 0
    torch.save(write(state), tmp_path / "weights.pth")
    found, report = gives("vit_s14", tmp_path / "weights.pth")
    assert report.fits
    assert words in str(report)
    assert close(found, class_token(IMAGES, state, 6))


@torch.no_grad()
@pytest.mark.parametrize("name", ["torchvision", "released", "RadImageNet", "whole network", "Lightning"])
def test_a_densenet_of_each_program_computes_the_same(name: str, tmp_path: Path) -> None:
    theirs = scrambled(zoo.torchvision().models.densenet121())
    state = theirs.state_dict()
    content: Any = {
        "torchvision": state,
        "released": {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", n): t for n, t in state.items()},
        "RadImageNet": {n.replace("features.", "backbone.0."): t for n, t in state.items() if n[:4] == "feat"},
        "whole network": theirs,
        "Lightning": {"state_dict": behind("model.", state)},
    }[name]
    torch.save(content, tmp_path / "weights.pt")
    found, report = gives("densenet121", tmp_path / "weights.pt", 64)
    assert report.fits
    images = torch.nn.functional.interpolate(IMAGES, (64, 64))
    assert close(found, theirs.features(images).relu().mean((2, 3)), 1e-4)


def test_radimagenets_inception_is_the_first_twenty_children(tmp_path: Path) -> None:
    theirs = scrambled(zoo.torchvision().models.inception_v3(aux_logits=False, init_weights=False))
    children = torch.nn.Sequential(*list(theirs.children())[:20])
    torch.save(behind("backbone.", children.state_dict()), tmp_path / "InceptionV3.pt")
    found, report = gives("torchvision/inception_v3", tmp_path / "InceptionV3.pt", 107)
    assert report.fits
    assert "in order" in str(report)
    assert close(found, pooled(theirs, torch.nn.functional.interpolate(IMAGES, (107, 107))))


@pytest.mark.parametrize(
    ("theirs", "ours", "size"),
    [("timm/resnet18", "resnet18", 56), ("timm/convnext_atto", "timm/convnext_atto", 64)],
)
@torch.no_grad()
def test_timms_own_files(theirs: str, ours: str, size: int, tmp_path: Path) -> None:
    network = scrambled(zoo.timm().create_model(theirs.partition("/")[2], pretrained=False, num_classes=5))
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    found, report = gives(ours, tmp_path / "model.safetensors", size)
    assert report.fits
    images = torch.nn.functional.interpolate(IMAGES, (size, size))
    features = network.forward_head(network.forward_features(images), pre_logits=True)
    assert close(found.flatten(1), features)


# --- what is refused


def resnet_state() -> State:
    return trunk(zoo.torchvision().models.resnet18())


def vit_state() -> State:
    return draw(384, 14, 4, scaled=False)


def added(state: State, *names: str, shape: tuple[int, ...] = (8,)) -> State:
    return state | {name: torch.zeros(shape) for name in names}


def without(state: State, *names: str) -> State:
    return {name: tensor for name, tensor in state.items() if name not in names}


def made_by(name: str) -> State:
    """The state dict of a network of timm."""
    return dict(zoo.timm().create_model(name, pretrained=False, num_classes=2).state_dict())


def squeezed() -> State:
    return added(resnet_state(), "layer1.0.se.fc1.weight", "layer1.0.se.fc2.weight", shape=(4, 64, 1, 1))


def deep() -> State:
    state = {n: t.unsqueeze(2).repeat(1, 1, 3, 1, 1) if t.ndim == 4 else t for n, t in resnet_state().items()}
    return behind("module.", state)


def rotary() -> State:
    return without(vit_state(), "pos_embed") | {"storage_tokens": torch.zeros(1, 4, 384)}


def registers() -> State:
    return HF2(vit_state()) | {"embeddings.register_tokens": torch.zeros(1, 4, 384)}


def clip() -> State:
    return added(behind("visual.trunk.", vit_state()), "visual.trunk.norm_pre.weight", shape=(384,))


def fine_tuned_mae() -> State:
    return added(without(vit_state(), "norm.weight", "norm.bias"), "fc_norm.weight", shape=(384,))


def gated() -> State:
    return added(vit_state(), "blocks.0.mlp.w12.weight", shape=(8, 8))


def distilled() -> State:
    return added(vit_state(), "dist_token", shape=(1, 1, 384))


HF_CLIP = ("vision_model.pre_layrnorm.weight", "vision_model.embeddings.class_embedding")
HF_SWIN = "swin.encoder.layers.0.blocks.0.attention.self.relative_position_bias_table"
HF_CONVNEXT = "convnext.encoder.stages.0.layers.0.dwconv.weight"
TEXT = ("bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.attention.self.query.weight")
REFUSED: dict[str, tuple[str, Callable[[], Any], str]] = {
    "SE-ResNet": ("resnet18", squeezed, "2 of the file would be left unused"),
    "a bias": ("resnet18", lambda: added(resnet_state(), "conv1.bias"), "1 of the file would be left unused"),
    "3-D": ("resnet18", deep, "these are 3-D weights .*for volumes"),
    "ResNet-D": ("resnet18", lambda: made_by("resnet18d"), "left unused .conv1.0.weight"),
    "ResNeXt": ("resnet50", lambda: made_by("resnext50_32x4d"), "of another shape"),
    "group norm": ("resnet50", lambda: made_by("resnet50_gn"), "missing"),
    "wider": ("resnet50", lambda: made_by("wide_resnet50_2"), "of another shape"),
    "DINOv3": ("vit_s14", rotary, "this is DINOv3 .*RoPE"),
    "registers": ("vit_s14", registers, "has register tokens"),
    "CLIP": ("vit_s14", clip, "norm before its blocks"),
    "CLIP of Hugging Face": ("vit_s14", lambda: added({}, *HF_CLIP), "norm before its blocks"),
    "fine-tuned MAE": ("vit_s14", fine_tuned_mae, "mean of its patches"),
    "SwiGLU": ("vit_s14", gated, "gated .SwiGLU"),
    "distilled DeiT": ("vit_s14", distilled, "left unused .dist_token"),
    "Swin of Hugging Face": ("vit_b16", lambda: added({}, HF_SWIN, shape=(169, 3)), "Swin transformer .*timm/swin"),
    "ConvNeXt of Hugging Face": ("resnet18", lambda: added({}, HF_CONVNEXT, shape=(8, 1, 7, 7)), "ConvNeXt .*timm/con"),
    "ConvNeXt": ("resnet18", lambda: made_by("convnext_atto"), "ConvNeXt .*timm/convnext"),
    "EfficientNet": ("resnet18", lambda: made_by("efficientnet_lite0"), "EfficientNet's kin .*timm/"),
    "a text model": ("vit_b16", lambda: added({}, *TEXT, shape=(9, 8)), "this is a text model"),
    "a text tower": ("vit_b16", lambda: BERT, "this is a text model"),
    "Inception": ("resnet50", lambda: made_by("inception_v3"), "Inception network .*torchvision/inception_v3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_network_here_computes_is_refused(name: str, tmp_path: Path) -> None:
    backbone, make, words = REFUSED[name]
    torch.save(make(), tmp_path / "weights.pth")
    network = build_classifier(backbone, 2, image_size=backbone_of(backbone).nearest(64)[0])
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(MedtlError, match=words) as caught:
        load_pretrained(network, tmp_path / "weights.pth", backbone)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    looked = look(tmp_path / "weights.pth")
    assert backbone not in looked.networks
    assert bool(looked.reason) is not bool(looked.networks)


def test_strides_that_a_hugging_face_file_says_are_elsewhere(tmp_path: Path) -> None:
    """transformers' ResNetConfig(downsample_in_bottleneck=True) has the names and shapes of the usual one."""
    state = hugging_face_resnet(trunk(zoo.torchvision().models.resnet50()))
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"downsample_in_bottleneck": false}')
    assert gives("resnet50", tmp_path / "model.safetensors")[1].fits
    (tmp_path / "config.json").write_text('{"downsample_in_bottleneck": true}')
    with pytest.raises(MedtlError, match=r"downsample_in_bottleneck.*first 1 × 1 convolution"):
        gives("resnet50", tmp_path / "model.safetensors")

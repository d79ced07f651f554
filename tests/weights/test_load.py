"""Weights of other libraries compute the same in our networks; what does not fit is refused with a report."""

import re
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from medtl.errors import MedtlError, UsageError
from medtl.networks.classifier import build_classifier
from medtl.weights.load import load_pretrained

pytestmark = pytest.mark.slow

State = dict[str, torch.Tensor]


def norm(x: torch.Tensor, state: State, name: str) -> torch.Tensor:
    stats = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *stats, eps=1e-5)


def torchvision_resnet(x: torch.Tensor, s: State, blocks: tuple[int, ...], bottleneck: bool) -> torch.Tensor:
    """The pooled features of torchvision's ResNet, written from the paper and the names in its files."""
    x = F.relu(norm(F.conv2d(x, s["conv1.weight"], stride=2, padding=3), s, "bn1"))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            if bottleneck:
                y = F.relu(norm(F.conv2d(x, s[f"{name}.conv1.weight"]), s, f"{name}.bn1"))
                y = F.relu(norm(F.conv2d(y, s[f"{name}.conv2.weight"], stride=stride, padding=1), s, f"{name}.bn2"))
                y = norm(F.conv2d(y, s[f"{name}.conv3.weight"]), s, f"{name}.bn3")
            else:
                y = F.relu(norm(F.conv2d(x, s[f"{name}.conv1.weight"], stride=stride, padding=1), s, f"{name}.bn1"))
                y = norm(F.conv2d(y, s[f"{name}.conv2.weight"], padding=1), s, f"{name}.bn2")
            if f"{name}.downsample.0.weight" in s:
                short = F.conv2d(x, s[f"{name}.downsample.0.weight"], stride=stride)
                x = norm(short, s, f"{name}.downsample.1")
            x = F.relu(x + y)
    return x.mean(dim=(2, 3))


def torchvision_densenet(x: torch.Tensor, s: State) -> torch.Tensor:
    x = F.relu(norm(F.conv2d(x, s["features.conv0.weight"], stride=2, padding=3), s, "features.norm0"))
    x = F.max_pool2d(x, 3, 2, 1)
    for block, count in enumerate((6, 12, 24, 16), 1):
        for layer in range(1, count + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            y = F.conv2d(F.relu(norm(x, s, f"{name}.norm1")), s[f"{name}.conv1.weight"])
            y = F.conv2d(F.relu(norm(y, s, f"{name}.norm2")), s[f"{name}.conv2.weight"], padding=1)
            x = torch.cat([x, y], dim=1)
        if block < 4:
            name = f"features.transition{block}"
            x = F.avg_pool2d(F.conv2d(F.relu(norm(x, s, f"{name}.norm")), s[f"{name}.conv.weight"]), 2)
    return F.relu(norm(x, s, "features.norm5")).mean(dim=(2, 3))


def timm_vit(x: torch.Tensor, s: State, eps: float = 1e-6) -> torch.Tensor:
    x = F.conv2d(x, s["patch_embed.proj.weight"], s["patch_embed.proj.bias"], stride=16).flatten(2).transpose(1, 2)
    x = torch.cat([s["cls_token"].expand(len(x), -1, -1), x], dim=1) + s["pos_embed"]

    def layer_norm(v: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(v, (768,), s[f"{name}.weight"], s[f"{name}.bias"], eps)

    def linear(v: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(v, s[f"{name}.weight"], s[f"{name}.bias"])

    for n in range(12):
        qkv = linear(layer_norm(x, f"blocks.{n}.norm1"), f"blocks.{n}.attn.qkv")
        q, k, v = qkv.reshape(len(x), -1, 3, 12, 64).permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.transpose(-1, -2)) / 8).softmax(dim=-1) @ v
        x = x + linear(mixed.transpose(1, 2).reshape(len(x), -1, 768), f"blocks.{n}.attn.proj")
        hidden = F.gelu(linear(layer_norm(x, f"blocks.{n}.norm2"), f"blocks.{n}.mlp.fc1"))
        x = x + linear(hidden, f"blocks.{n}.mlp.fc2")
    return layer_norm(x, "norm")[:, 0]


def mmpretrain_vit(x: torch.Tensor, s: State) -> torch.Tensor:
    """The class token that MMPretrain's VisionTransformer (arch b, patch 16) hands to its head, from its files'
    names."""

    def layer_norm(v: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(v, (768,), s[f"backbone.{name}.weight"], s[f"backbone.{name}.bias"], 1e-6)

    def linear(v: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(v, s[f"backbone.{name}.weight"], s[f"backbone.{name}.bias"])

    first = "backbone.patch_embed.projection"
    patches = F.conv2d(x, s[f"{first}.weight"], s[f"{first}.bias"], stride=16).flatten(2).mT
    tokens = torch.cat([s["backbone.cls_token"].repeat(len(x), 1, 1), patches], dim=1) + s["backbone.pos_embed"]
    for n in range(12):
        qkv = linear(layer_norm(tokens, f"layers.{n}.ln1"), f"layers.{n}.attn.qkv")
        q, k, v = (part.unflatten(2, (12, 64)).transpose(1, 2) for part in qkv.chunk(3, dim=2))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        tokens = tokens + linear(mixed, f"layers.{n}.attn.proj")
        hidden = F.gelu(linear(layer_norm(tokens, f"layers.{n}.ln2"), f"layers.{n}.ffn.layers.0.0"))
        tokens = tokens + linear(hidden, f"layers.{n}.ffn.layers.1")
    return layer_norm(tokens, "ln1")[:, 0]


def mmpretrain_state() -> State:
    """A checkpoint as MMPretrain names it, with weights drawn here: nothing of ours takes part."""
    random = torch.Generator().manual_seed(9)

    def draw(*shape: int, around: float = 0.0) -> torch.Tensor:
        return around + 0.03 * torch.randn(*shape, generator=random)

    shapes = {"attn.qkv": (2304, 768), "attn.proj": (768, 768)}
    shapes |= {"ffn.layers.0.0": (3072, 768), "ffn.layers.1": (768, 3072)}
    state = {"cls_token": draw(1, 1, 768), "pos_embed": draw(1, 197, 768)}
    state |= {"patch_embed.projection.weight": draw(768, 3, 16, 16), "patch_embed.projection.bias": draw(768)}
    for n in range(12):
        for norm_layer in ("ln1", "ln2"):
            state[f"layers.{n}.{norm_layer}.weight"] = draw(768, around=1.0)
            state[f"layers.{n}.{norm_layer}.bias"] = draw(768)
        for name, shape in shapes.items():
            state[f"layers.{n}.{name}.weight"] = draw(*shape)
            state[f"layers.{n}.{name}.bias"] = draw(shape[0])
    state |= {"ln1.weight": draw(768, around=1.0), "ln1.bias": draw(768)}
    head = {"head.layers.head.weight": draw(1000, 768), "head.layers.head.bias": draw(1000)}
    return {f"backbone.{name}": tensor for name, tensor in state.items()} | head


def scrambled(state: State) -> State:
    """Weights and statistics that no default has, small enough to stay finite."""
    torch.manual_seed(3)
    changed = {}
    for name, tensor in state.items():
        if tensor.dtype != torch.float32:
            changed[name] = tensor
        elif name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            changed[name] = torch.rand_like(tensor) * 0.5 + 0.75
        else:
            changed[name] = tensor + 0.02 * torch.randn_like(tensor)
    return changed


def foreign_vit(state: State) -> State:
    """Our ViT's weights as timm would have written them; the class token's position is made up."""
    names = {"patch_embedding.patch_embeddings": "patch_embed.proj", "attn.out_proj": "attn.proj"}
    names |= {"mlp.linear1": "mlp.fc1", "mlp.linear2": "mlp.fc2", "classification_head": "head"}
    made = {}
    for name, tensor in state.items():
        if "norm_cross_attn" in name or "position_embeddings" in name:
            continue
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        made[name] = tensor
    first = torch.randn(1, 1, 768) * 0.02
    made["pos_embed"] = torch.cat([first, state["patch_embedding.position_embeddings"]], dim=1)
    return made


def features_before_head(network: torch.nn.Module, head: str, image: torch.Tensor) -> torch.Tensor:
    seen = []
    handle = network.get_submodule(head).register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(image)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(
    ("backbone", "blocks", "bottleneck"),
    [
        ("resnet18", (2, 2, 2, 2), False),
        ("resnet34", (3, 4, 6, 3), False),
        ("resnet50", (3, 4, 6, 3), True),
        ("resnet101", (3, 4, 23, 3), True),
    ],
)
@torch.no_grad()
def test_torchvision_resnets_compute_the_same(
    backbone: str, blocks: tuple[int, ...], bottleneck: bool, tmp_path: Path
) -> None:
    state = scrambled(build_classifier(backbone, 1000).state_dict())
    save_file(state, tmp_path / "weights.safetensors")
    network = build_classifier(backbone, 3).eval()
    report = load_pretrained(network, tmp_path / "weights.safetensors", backbone)
    assert report.coverage == 1.0
    assert set(report.dropped) == {"fc.bias", "fc.weight"}
    image = torch.rand(2, 3, 64, 64)
    found = features_before_head(network, "fc", image)
    assert torch.allclose(found, torchvision_resnet(image, state, blocks, bottleneck), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_torchvision_densenet_computes_the_same(tmp_path: Path) -> None:
    ours = scrambled(build_classifier("densenet121", 1000).state_dict())
    state = {n.replace(".layers.", ".").replace("class_layers.out", "classifier"): t for n, t in ours.items()}
    torch.save(state, tmp_path / "weights.pth")
    network = build_classifier("densenet121", 3).eval()
    assert load_pretrained(network, tmp_path / "weights.pth", "densenet121").coverage == 1.0
    image = torch.rand(2, 3, 64, 64)
    found = features_before_head(network, "class_layers.out", image)
    assert torch.allclose(found, torchvision_densenet(image, state), rtol=1e-4, atol=1e-5)
    # the released file is older than the network's code: norm.1 for norm1, and no counters
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", n): t for n, t in state.items()}
    torch.save({n: t for n, t in old.items() if "num_batches_tracked" not in n}, tmp_path / "released.pth")
    again = build_classifier("densenet121", 3).eval()
    assert load_pretrained(again, tmp_path / "released.pth", "densenet121").coverage == 1.0
    assert torch.equal(features_before_head(again, "class_layers.out", image), found)


@torch.no_grad()
def test_timm_and_torchvision_vit_compute_the_same(tmp_path: Path) -> None:
    state = foreign_vit(scrambled(build_classifier("vit_b16", 1000).state_dict()))
    torch.save(state, tmp_path / "timm.pt")
    names = (("patch_embed.proj", "conv_proj"), ("cls_token", "class_token"), ("pos_embed", "encoder.pos_embedding"))
    torchvision = {}
    for name, tensor in state.items():
        for theirs, other in names:
            name = name.replace(theirs, other)
        parts = name.split(".")
        if parts[0] == "blocks":
            inner = {"norm1": "ln_1", "norm2": "ln_2", "attn.qkv": "self_attention.in_proj"}
            inner |= {"attn.proj": "self_attention.out_proj", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3"}
            middle = inner[".".join(parts[2:-1])]
            joint = "_" if middle.endswith("in_proj") else "."
            name = f"encoder.layers.encoder_layer_{parts[1]}.{middle}{joint}{parts[-1]}"
        elif parts[0] == "norm":
            name = f"encoder.ln.{parts[-1]}"
        elif parts[0] == "head":
            name = f"heads.head.{parts[-1]}"
        torchvision[name] = tensor
    torch.save(torchvision, tmp_path / "torchvision.pt")
    image = torch.rand(1, 3, 224, 224)
    expected = timm_vit(image, state)
    for file in ("timm.pt", "torchvision.pt"):
        network = build_classifier("vit_b16", 3).eval()
        assert load_pretrained(network, tmp_path / file, "vit_b16").coverage == 1.0
        found = features_before_head(network, "classification_head", image)
        assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


@torch.no_grad()
def test_mmpretrains_vit_computes_the_same(tmp_path: Path) -> None:
    state = mmpretrain_state()
    torch.save({"meta": {}, "state_dict": state}, tmp_path / "vit-base.pth")
    network = build_classifier("vit_b16", 3).eval()
    report = load_pretrained(network, tmp_path / "vit-base.pth", "vit_b16")
    assert (report.coverage, report.used, report.missing, report.unused) == (1.0, 1.0, (), ())
    assert set(report.dropped) == {"head.layers.head.weight", "head.layers.head.bias"}
    assert report.layout == "those of MMPretrain's VisionTransformer behind 'backbone.'"
    image = torch.rand(1, 3, 224, 224)
    found, expected = features_before_head(network, "classification_head", image), mmpretrain_vit(image, state)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


def test_real_imagenet_weights_fill_the_whole_trunk(shared_data: Path) -> None:
    path = shared_data.parent / "weights" / "resnet18_imagenet.safetensors"
    network = build_classifier("resnet18", 2)
    report = load_pretrained(network, path, "resnet18")
    assert report.coverage == 1.0
    assert report.missing == report.unused == ()
    assert torch.equal(network.conv1.weight, load_file(path)["conv1.weight"].float())


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "module.model.", "_orig_mod."])
def test_prefixes_of_other_trainers_are_known(prefix: str, tmp_path: Path) -> None:
    state = build_classifier("resnet18", 7).state_dict()
    named = {
        (prefix if not (prefix == "backbone." and n.startswith("fc.")) else "head.") + n: t for n, t in state.items()
    }
    torch.save({"state_dict": named, "epoch": 3}, tmp_path / "checkpoint.pt")
    network = build_classifier("resnet18", 2)
    report = load_pretrained(network, tmp_path / "checkpoint.pt", "resnet18")
    assert report.coverage == 1.0
    assert torch.equal(network.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


@pytest.mark.parametrize("settings", ["network", "model", "net", "encoder"])
def test_a_trainings_settings_are_not_taken_for_its_network(settings: str, tmp_path: Path) -> None:
    """Their names are those under which other programs keep the tensors."""
    state = build_classifier("resnet18", 7).state_dict()
    content = {settings: {"name": "resnet18", "more": {"depth": 18}}, "weights": {"ema": state}}
    torch.save(content, tmp_path / "checkpoint.pt")
    network = build_classifier("resnet18", 2)
    assert load_pretrained(network, tmp_path / "checkpoint.pt", "resnet18").fits
    assert torch.equal(network.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


@pytest.mark.parametrize("kind", [torch.int8, torch.complex64, torch.bool])
def test_weights_that_are_no_floating_point_numbers_are_refused(kind: torch.dtype, tmp_path: Path) -> None:
    """Names and shapes of a quantised network may be those of the network itself."""
    network = build_classifier("resnet18", 2)
    state = {n: (50 * t).to(kind) if t.ndim == 4 else t for n, t in network.state_dict().items()}
    torch.save(state, tmp_path / "quantised.pt")
    before = network.conv1.weight.clone()
    with pytest.raises(MedtlError, match=r"not floating-point numbers \(conv1\.weight is (int8|complex64|bool)\)"):
        load_pretrained(network, tmp_path / "quantised.pt", "resnet18")
    assert torch.equal(network.conv1.weight, before)


def test_eight_bits_of_floating_point_are_read(tmp_path: Path) -> None:
    state = build_classifier("resnet18", 2).state_dict()
    small = {n: t.to(torch.float8_e4m3fn) if t.is_floating_point() else t for n, t in state.items()}
    torch.save(small, tmp_path / "small.pt")
    network = build_classifier("resnet18", 2)
    assert load_pretrained(network, tmp_path / "small.pt", "resnet18").fits
    assert torch.equal(network.conv1.weight, small["conv1.weight"].float())
    small["bn1.running_var"] = torch.full((64,), torch.nan).to(torch.float8_e4m3fn)
    torch.save(small, tmp_path / "broken.pt")
    with pytest.raises(MedtlError, match="NaN or infinite weights in 1 tensors"):
        load_pretrained(network, tmp_path / "broken.pt", "resnet18")


def test_radimagenets_numbered_layers_are_known(tmp_path: Path) -> None:
    state = build_classifier("resnet50", 1).state_dict()
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    named = {f"backbone.{numbers[n.split('.')[0]]}.{n.partition('.')[2]}": t for n, t in state.items() if n[:2] != "fc"}
    torch.save(named, tmp_path / "ResNet50.pt")
    assert load_pretrained(build_classifier("resnet50", 2), tmp_path / "ResNet50.pt", "resnet50").coverage == 1.0
    dense = build_classifier("densenet121", 1).state_dict()
    named = {
        f"backbone.0.{n.removeprefix('features.').replace('.layers.', '.')}": t
        for n, t in dense.items()
        if n.startswith("features")
    }
    torch.save(named, tmp_path / "DenseNet121.pt")
    network = build_classifier("densenet121", 2)
    assert load_pretrained(network, tmp_path / "DenseNet121.pt", "densenet121").coverage == 1.0


@torch.no_grad()
def test_channels_are_adapted_so_that_grey_repeated_thrice_gives_the_same(tmp_path: Path) -> None:
    colour = build_classifier("resnet18", 2).eval()
    torch.save(colour.state_dict(), tmp_path / "colour.pt")
    grey = build_classifier("resnet18", 2, in_channels=1).eval()
    report = load_pretrained(grey, tmp_path / "colour.pt", "resnet18")
    assert "conv1.weight" in report.adapted
    image = torch.rand(1, 1, 64, 64)
    expected = features_before_head(colour, "fc", image.repeat(1, 3, 1, 1))
    assert torch.allclose(features_before_head(grey, "fc", image), expected, atol=1e-5)
    torch.save(grey.state_dict(), tmp_path / "grey.pt")
    back = build_classifier("resnet18", 2).eval()
    load_pretrained(back, tmp_path / "grey.pt", "resnet18")
    assert torch.allclose(features_before_head(back, "fc", image.repeat(1, 3, 1, 1)), expected, atol=1e-5)


def test_positions_are_interpolated_to_another_image_size(tmp_path: Path) -> None:
    torch.save(build_classifier("vit_b16", 2, image_size=64).state_dict(), tmp_path / "small.pt")
    network = build_classifier("vit_b16", 2, image_size=96)
    report = load_pretrained(network, tmp_path / "small.pt", "vit_b16")
    assert report.coverage == 1.0
    assert report.fits
    assert "from 4 × 4 to 6 × 6" in str(report)


def test_what_does_not_fit_is_refused_and_leaves_the_network_alone(tmp_path: Path) -> None:
    network = build_classifier("resnet18", 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = build_classifier("resnet18", 2).state_dict()
    names = list(state)
    torch.save({n: state[n] for n in names[: len(names) // 2]}, tmp_path / "half.pt")
    torch.save({(f"x{k}" if k % 10 else n): state[n] for k, n in enumerate(names)}, tmp_path / "renamed.pt")
    torch.save(build_classifier("resnet50", 2).state_dict(), tmp_path / "other.pt")
    torch.save({"conv1.weight": print}, tmp_path / "code.pt")
    torch.save({**state, "conv1.weight": state["conv1.weight"] * torch.nan}, tmp_path / "broken.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    for file, words in (
        ("half.pt", "missing .first"),
        ("renamed.pt", "89 of the file would be left unused .x1, x2, x3 …"),
        ("other.pt", "of another shape"),
        ("code.pt", "holds code that names builtins.print"),
        ("broken.pt", "NaN or infinite weights in 1 tensors .first conv1.weight"),
        ("cut.safetensors", "not a readable safetensors file"),
    ):
        with pytest.raises(MedtlError, match=words):
            load_pretrained(network, tmp_path / file, "resnet18")
    with pytest.raises(UsageError, match="no such file"):
        load_pretrained(network, tmp_path / "absent.pt", "resnet18")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_first_convolution_of_another_stride_is_refused(tmp_path: Path) -> None:
    """MONAI's default ResNet loads these weights without a word and computes something else."""
    from monai.networks.nets import resnet18

    torch.save(build_classifier("resnet18", 2).state_dict(), tmp_path / "weights.pt")
    network = resnet18(spatial_dims=2, n_input_channels=3, num_classes=2, bias_downsample=False)
    with pytest.raises(MedtlError, match="stride"):
        load_pretrained(network, tmp_path / "weights.pt", "resnet18")


@pytest.mark.parametrize(
    ("smaller", "larger", "unused"), [("resnet18", "resnet34", "layer1.2.conv1"), ("resnet50", "resnet101", "layer3.6")]
)
def test_a_deeper_networks_file_is_refused_and_named(smaller: str, larger: str, unused: str, tmp_path: Path) -> None:
    """Every tensor of the smaller network is in it, with the right shape: only the file's rest tells them apart."""
    torch.save(build_classifier(larger, 2).state_dict(), tmp_path / "deep.pt")
    with pytest.raises(MedtlError, match=rf"would be left unused \({unused}.*it fits {larger}") as caught:
        load_pretrained(build_classifier(smaller, 2), tmp_path / "deep.pt", smaller)
    assert "100.0 % of the trunk's parameters loaded" in str(caught.value)


@pytest.mark.parametrize(
    ("backbone", "added"),
    [
        ("resnet18", {"layer1.0.se.fc1.weight": (4, 64, 1, 1)}),
        ("resnet18", {"conv1.bias": (64,)}),
        ("vit_b16", {"blocks.0.ls1.gamma": (768,), "blocks.0.ls2.gamma": (768,)}),
        ("vit_b16", {"norm_pre.weight": (768,), "norm_pre.bias": (768,)}),
        ("densenet121", {"features.conv0.bias": (64,)}),
    ],
)
def test_what_the_network_would_not_compute_is_refused(
    backbone: str, added: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    network = build_classifier(backbone, 2, image_size=32)
    state = network.state_dict() | {name: torch.rand(shape) for name, shape in added.items()}
    torch.save(state, tmp_path / "more.pt")
    with pytest.raises(MedtlError, match=f"{len(added)} of the file would be left unused .{next(iter(added))}"):
        load_pretrained(network, tmp_path / "more.pt", backbone)
    report = load_pretrained(network, tmp_path / "more.pt", backbone, least=0.9)
    assert report.coverage == 1.0
    assert 0.9 < report.used < 1.0
    assert report.unused == tuple(added)
    assert "99.9 % of the file's trunk used" in str(report)


def behind(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def hugging_face(state: State) -> State:
    """A ResNet-18's tensors as transformers' ResNetForImageClassification names them."""
    kinds = {"conv": "convolution", "bn": "normalization"}
    named = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if len(parts) == 2:
            kind = kinds[parts[0].rstrip("1")]
            named[f"resnet.embedder.embedder.{kind}.{parts[1]}"] = tensor
            continue
        stage, block, layer = int(parts[0][-1]) - 1, parts[1], parts[2]
        place = f"resnet.encoder.stages.{stage}.layers.{block}"
        if layer == "downsample":
            named[f"{place}.shortcut.{'normalization' if parts[3] == '1' else 'convolution'}.{parts[4]}"] = tensor
        else:
            named[f"{place}.layer.{int(layer[-1]) - 1}.{kinds[layer[:-1]]}.{parts[3]}"] = tensor
    return named | {"classifier.1.weight": torch.zeros(3, 512)}


def test_files_of_self_supervised_and_segmenting_programs_fill_the_trunk(tmp_path: Path) -> None:
    network = build_classifier("resnet18", 2)
    trunk = {n: t for n, t in scrambled(network.state_dict()).items() if not n.startswith("fc.")}
    other = {n: t + 1 for n, t in trunk.items()}
    one = torch.zeros(1)
    queue = {"module.queue": torch.zeros(128, 4), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    momentum = behind("module.encoder_k.", other) | behind("module.encoder_q.", trunk) | queue
    files: dict[str, tuple[dict, tuple[str, ...]]] = {
        "moco": ({"state_dict": momentum, "epoch": 3}, ("momentum or target encoder left out (120)", "queue")),
        "moco_release": (
            {"state_dict": behind("module.encoder_q.", trunk | {"fc.0.weight": one})},
            ("fc.0",),
        ),
        "dino": (
            {"student": behind("module.backbone.", other), "teacher": behind("backbone.", trunk), "args": None},
            ("taken from 'teacher'; the file also holds 'student', left out",),
        ),
        "dino_student": (
            {"student": behind("module.backbone.", trunk) | {"module.head.mlp.0.weight": one}},
            ("head left out (module.head.mlp.0.weight)",),
        ),
        "byol": (behind("online_encoder.net.", trunk) | behind("target_encoder.net.", other), ("target encoder",)),
        "smp": (behind("encoder.", trunk) | {"decoder.blocks.0.weight": torch.zeros(3)}, ("decoder left out (1)",)),
        "monai": ({"net": trunk, "opt": {}}, ()),
        "ema": (
            {"state_dict": trunk, "state_dict_ema": other},
            ("taken from 'state_dict'; the file also holds 'state_dict_ema', left out",),
        ),
        "hugging_face": (hugging_face(trunk), ("those of Hugging Face's ResNetModel behind 'resnet.'", "classifier.1")),
    }
    sequential = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    numbered = {f"backbone.{sequential[n.partition('.')[0]]}.{n.partition('.')[2]}": t for n, t in trunk.items()}
    files["lightly"] = (
        numbered | {"projection_head.layers.0.weight": one},
        ("projection head left out (1)",),
    )
    for name, (content, words) in files.items():
        torch.save(content, tmp_path / f"{name}.pt")
        target = build_classifier("resnet18", 2)
        report = load_pretrained(target, tmp_path / f"{name}.pt", "resnet18")
        assert (report.coverage, report.used) == (1.0, 1.0), name
        assert [word for word in words if word not in str(report)] == [], name
        found = target.state_dict()
        assert all(torch.equal(found[n], tensor) for n, tensor in trunk.items()), name


def test_hugging_faces_vit_computes_as_timms(tmp_path: Path) -> None:
    timm = foreign_vit(scrambled(build_classifier("vit_b16", 2, image_size=32).state_dict()))
    names = (
        ("norm1", "layernorm_before"),
        ("norm2", "layernorm_after"),
        ("attn.proj", "attention.output.dense"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
        ("blocks.", "encoder.layer."),
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("cls_token", "embeddings.cls_token"),
        ("pos_embed", "embeddings.position_embeddings"),
    )
    theirs = {}
    for name, tensor in timm.items():
        for old, new in names:
            name = name.replace(old, new)
        name = f"layernorm.{name.partition('.')[2]}" if name.startswith("norm.") else name
        if ".attn.qkv." in name:
            for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                theirs[f"vit.{name.replace('.attn.qkv.', f'.attention.attention.{part}.')}"] = third.clone()
        elif not name.startswith("head."):
            theirs[f"vit.{name}"] = tensor
    loaded = []
    for file, state in (("timm.pt", timm), ("hf.pt", theirs | {"classifier.weight": torch.zeros(2, 768)})):
        torch.save(state, tmp_path / file)
        network = build_classifier("vit_b16", 2, image_size=32)
        assert load_pretrained(network, tmp_path / file, "vit_b16").used == 1.0
        loaded.append({n: t for n, t in network.state_dict().items() if n[:4] != "clas" and "cross" not in n})
    assert all(torch.equal(tensor, loaded[1][name]) for name, tensor in loaded[0].items())


def test_files_that_are_no_weights_say_what_they_are(tmp_path: Path) -> None:
    network = build_classifier("resnet18", 2)
    state = network.state_dict()
    save_file(state, tmp_path / "renamed.safetensors")
    (tmp_path / "renamed.safetensors").rename(tmp_path / "renamed.pt")
    assert load_pretrained(network, tmp_path / "renamed.pt", "resnet18").coverage == 1.0
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    torch.save({"epoch": 1, "my_net": state}, tmp_path / "unknown.pt")
    torch.save({"conv1.weight": torch.zeros(1).expand(10**10)}, tmp_path / "huge.pt")
    (tmp_path / "keras.h5.pt").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html>")
    (tmp_path / "lfs.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\n")
    torch.save({"conv1.weight": torch.zeros(10**6)}, tmp_path / "stored.pt")
    with zipfile.ZipFile(tmp_path / "stored.pt") as old, zipfile.ZipFile(tmp_path / "bomb.pt", "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    for file, words in (
        (
            "module.pt",
            r"2 of the file would be left unused .weight, bias.*code in the file was not run .torch.nn.modules",
        ),
        ("unknown.pt", "its keys: epoch, my_net"),
        ("huge.pt", r"claims 40,000,000,000 bytes where the file holds 4 "),
        ("keras.h5.pt", "HDF5"),
        ("page.pth", "a web page"),
        ("lfs.safetensors", "Git LFS"),
        ("bomb.pt", "compressed parts"),
    ):
        with pytest.raises(MedtlError, match=words) as caught:
            load_pretrained(network, tmp_path / file, "resnet18")
        assert "\n" not in str(caught.value)

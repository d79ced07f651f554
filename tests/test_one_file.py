"""Whatever is added is one new file in a folder, and no edit of medtl: a network, a source of weights, a key layout, a
decoder, a data set, a metric, a pretraining method and a published design; found, loaded, trained and reported like
medtl's."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import ResNet
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = """
from torch import Tensor, nn

from medtl.networks.registry import DECODERS, Backbone, Decoder, register
from medtl.weights import layouts, sources

SHAPE = {"block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [8, 8, 8, 8], "spatial_dims": 2}
SHAPE |= {"conv1_t_stride": 2, "bias_downsample": False}


def build(in_channels, image_size, num_classes):
    from monai.networks.nets import ResNet

    return ResNet(**SHAPE, n_input_channels=in_channels, num_classes=num_classes)


register(
    Backbone(
        name="tiny",
        title="Tiny",
        reference="nobody",
        family="tiny",
        build=build,
        head="fc",
        stages=("layer1", "layer2", "layer3", "layer4"),
        last_norm="layer4.0.bn2",
        parts=(("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)),
        stock=lambda num_classes, in_channels, image_size: {
            "_target_": "monai.networks.nets.ResNet",
            **SHAPE,
            "n_input_channels": in_channels,
            "num_classes": num_classes,
        },
    )
)
layouts.register(layouts.Layout("Somebody's", "tiny", ((r"^first\\.", "conv1."), (r"^norm\\.", "bn1."))))
sources.register(sources.Source("mine", "my own", licence="CC0-1.0", mean=(0.5,) * 3, std=(0.25,) * 3))


class Plain(nn.Module):
    def __init__(self, width, num_classes):
        super().__init__()
        self.logits = nn.Conv2d(width, num_classes, 1)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor, Tensor]):
        return self.logits(maps[3])


DECODERS.register(Decoder("plain", "Plain", "nobody", lambda widths, n, stride: Plain(widths[3], n)))
"""
USE = """
import torch
from pathlib import Path
from medtl.networks.classifier import build_classifier
from medtl.networks.freezing import freeze
from medtl.networks.registry import backbone_of, names
from medtl.networks.segmenter import build_segmenter
from medtl.weights.starts import apply, resolve

start = resolve("mine", "tiny")
network = build_classifier("tiny", 2, image_size=32, dropout=0.5)
report = apply(network, start, "tiny")
freeze(network, "tiny", "all_but_last:3")
print(names()[-1], start.licence, start.mean[0], report.coverage, report.used, report.layout)
frozen = {n.split(".")[0] for n, p in network.named_parameters() if not p.requires_grad}
print(sorted(frozen), float(network.bn1.bias[0]))
segmenter = build_segmenter("resnet18", 3, decoder="plain")
print(tuple(torch.jit.script(segmenter.eval())(torch.zeros(1, 3, 32, 32)).shape))
"""


def run(code: str, folder: Path, plugins: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"MEDTL_PLUGINS": plugins, "MEDTL_WEIGHTS": str(folder)}
    command = [sys.executable, "-c", code] if code else [sys.executable, "-m", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def put(folder: Path) -> None:
    """A plugin, and weights for its network under its layout's names."""
    (folder / "plugins" / "networks").mkdir(parents=True)
    (folder / "plugins" / "networks" / "mine.py").write_text(PLUGIN)
    shape = {"layers": (1, 1, 1, 1), "block_inplanes": (8, 8, 8, 8), "conv1_t_stride": 2, "bias_downsample": False}
    network = ResNet("basic", spatial_dims=2, num_classes=5, **shape)
    torch.nn.init.constant_(network.bn1.bias, 0.75)
    theirs = {"conv1.": "first.", "bn1.": "norm."}
    state = {
        re.sub("^(conv1|bn1)[.]", lambda found: theirs[found[0]], key): v for key, v in network.state_dict().items()
    }
    torch.save(state, folder / "tiny_mine.pt")


def test_one_file_brings_a_network_its_weights_their_names_and_a_decoder(tmp_path: Path) -> None:
    put(tmp_path)
    done = run(USE, tmp_path, os.pathsep.join([str(tmp_path / "plugins"), ""]))
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first == "tiny CC0-1.0 0.5 1.0 1.0 those of Somebody's"
    assert second == "['bn1', 'conv1', 'layer1'] 0.75"
    assert third == "(1, 3, 32, 32)"


def block(document: str) -> str:
    """The file that a document shows."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / document).read_text(encoding="utf-8"), re.DOTALL)[0]


def test_one_of_each_through_the_commands(tmp_path: Path) -> None:
    """A data set, a network, its weights, a metric and a pretraining method of one's own: prepared, pretrained,
    fine-tuned from there, compared by a design of one's own and reported, without an edit of medtl."""
    put(tmp_path)
    for kind, name, text in (
        ("data_prep", "kneeset", block("adding_a_data_set.md")),
        ("metrics", "kappa", block("adding_a_metric.md")),
        ("methods", "rotation", block("adding_a_pretraining_method.md")),
    ):
        (tmp_path / "plugins" / kind).mkdir()
        (tmp_path / "plugins" / kind / f"{name}.py").write_text(text, encoding="utf-8")

    def done(*words: str) -> str:
        ended = run("", tmp_path, str(tmp_path / "plugins"), *words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout + ended.stderr

    data, short = str(tmp_path / "data"), ["--epochs", "1", "--num_workers", "0", "--image_size", "32"]
    done("data_prep", "kneeset", "--raw", "sample", "--out", data)
    recipes = {
        name: str(ROOT / "bundles" / name / "configs" / "train.json") for name in ("medtl_mini_resnet18", "folder")
    }
    bundle = ["monai.bundle", "run", "--dataset_dir", data, *short, "--backbone", "tiny"]
    pretraining = [*bundle, "--config_file", recipes["medtl_mini_resnet18"], "--method", "rotation", "--init", "mine"]
    assert "by which quarter turns" in done(*pretraining, "--output_dir", str(tmp_path / "pretrained"))
    tuning = [*bundle, "--config_file", recipes["folder"], "--key_metric", "kappa"]
    runs = tmp_path / "runs"
    done(*tuning, "--init", str(tmp_path / "pretrained"), "--output_dir", str(runs / "from_rotation"))
    design = {"title": "My own", "source": "me", "backbones": ["tiny"], "inits": ["mine"]}
    design |= {"settings": {"all": {"freeze": "none"}, "frozen": {"freeze": "trunk"}}, "ids": {"key_metric": "kappa"}}
    (tmp_path / "plugins" / "protocols").mkdir()
    (tmp_path / "plugins" / "protocols" / "my_design.json").write_text(json.dumps(design), encoding="utf-8")
    grid = ["--dataset_dir", data, "--protocol", "my_design", "--jobs", "2", "--out", str(tmp_path / "grid"), *short]
    assert "protocol my_design: My own (me)" in done("medtl", "compare", "folder", *grid)
    cells = json.loads((tmp_path / "grid" / "grid.json").read_text())["cells"]
    assert [cell["name"] for cell in cells] == ["tiny_mine_all_seed0", "tiny_mine_frozen_seed0"]
    assert {cell["status"] for cell in cells} == {"finished"}
    frozen = json.loads((tmp_path / "grid" / "cells" / "tiny_mine_frozen_seed0" / "run.json").read_text())
    assert (frozen["overrides"]["freeze"], frozen["recipe"]["key_metric"]) == ("trunk", "kappa")
    told = done(*tuning, "--init", "mine", "--output_dir", str(runs / "from_mine"))
    assert "start: mine: tiny_mine.pt: 100.0 % of the trunk's parameters loaded" in told
    metrics = json.loads((runs / "from_mine" / "metrics.json").read_text())
    assert "val_kappa" in metrics
    done("medtl", "report", str(runs))
    page = (runs / "report.md").read_text(encoding="utf-8")
    assert "Cohen's kappa" in page
    assert "tiny" in page
    record = json.loads((runs / "from_mine" / "run.json").read_text())
    assert (record["network"]["backbone"], record["start"]["used"]) == ("tiny", 1.0)
    done("medtl", "release", str(runs / "from_mine"), "--out", str(tmp_path / "released"))
    # stock MONAI opens it: no plugin, no medtl
    settled = ConfigParser.load_config_file(str(tmp_path / "released" / "configs" / "inference.json"))
    parser = ConfigParser({"network_def": settled["network_def"]})
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(load_file(tmp_path / "released" / "models" / "model.safetensors"))

"""Features of other code are other features: a changed file of one's own, another version of a library."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medtl import plugins
from medtl.features import code
from medtl.features.code import code_of
from medtl.networks.registry import BACKBONES, LIBRARIES
from medtl.version import __version__
from medtl.weights.layouts import LAYOUTS

SHA256 = "5" * 64
NETWORK = """
from medtl.networks.registry import Backbone, register
from medtl.plugins.networks._layers import LAYERS

register(Backbone("mine", "Mine", "nobody", "mine", lambda *sizes: LAYERS, "fc", (), "", (), lambda *sizes: {}))
"""
LAYOUT = "from medtl.weights import layouts\nlayouts.register(layouts.Layout('Mine', 'vit', ((r'^a', 'b'),)))\n"
Plugins = Callable[..., None]


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Names a folder of plugins, as a new process would find it."""
    registries = (BACKBONES, LIBRARIES, LAYOUTS)
    for registry in registries:
        registry.records()
    known = [(dict(registry._records), dict(registry._modules)) for registry in registries]

    def name(folder: str, **files: str) -> None:
        for registry, (records, modules) in zip(registries, known, strict=True):
            monkeypatch.setattr(registry, "_records", dict(records))
            monkeypatch.setattr(registry, "_modules", dict(modules))
        for module in [module for module in sys.modules if module.startswith(f"{plugins.__name__}.")]:
            monkeypatch.delitem(sys.modules, module)
        for path, text in files.items():
            kind, _, stem = path.partition("__")
            (tmp_path / folder / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / kind / f"{stem}.py").write_text(text)
        monkeypatch.setenv(plugins.VARIABLE, str(tmp_path / folder))

    return name


def test_a_network_of_ones_own_is_named_by_its_files(plugged: Plugins, tmp_path: Path) -> None:
    plugged("a", networks__mine=NETWORK, networks___layers="LAYERS = 1\n")
    first, own = code_of("mine", ""), code_of("resnet18", SHA256)
    plugged("same", networks__mine=NETWORK, networks___layers="LAYERS = 1\n", metrics__other="N = 1\n")
    assert code_of("mine", "") == first
    assert len(first["plugins"]) == 64
    plugged("b", networks__mine=NETWORK + "\n", networks___layers="LAYERS = 1\n")
    other = code_of("mine", "")
    plugged("c", networks__mine=NETWORK, networks___layers="LAYERS = 2\n")
    assert len({found["plugins"] for found in (first, other, code_of("mine", ""))}) == 3
    assert code_of("resnet18", SHA256) == own  # which has nothing to do with them
    assert "plugins" not in own
    before = code_of("mine", "")
    (tmp_path / "c" / "networks" / "_layers.py").write_text("LAYERS = 3\n")  # this process has imported the other one
    assert code_of("mine", "") == before


def test_a_layout_of_ones_own_names_features_of_its_family_from_weights(plugged: Plugins) -> None:
    plugged("a", sources__mine=LAYOUT)
    first = code_of("vit_b16", SHA256)
    plugged("b", sources__mine=LAYOUT.replace("'b'", "'c'"))
    assert code_of("vit_b16", SHA256)["plugins"] != first["plugins"]
    assert "plugins" not in code_of("vit_b16", "")  # random: no names are looked up
    assert "plugins" not in code_of("resnet18", SHA256)


@pytest.mark.parametrize(
    ("backbone", "sha256", "packages"),
    [
        ("resnet18", SHA256, {"monai"}),
        ("resnet18", "", {"monai", "torch"}),
        pytest.param("timm/resnet18", SHA256, {"monai", "timm", "torchvision"}, marks=pytest.mark.slow),
        pytest.param("torchvision/vgg11", "", {"monai", "torch", "torchvision"}, marks=pytest.mark.slow),
    ],
)
def test_versions_of_what_computes(
    backbone: str, sha256: str, packages: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    monkeypatch.setattr(code, "version", lambda package: f"{package} 9.9")
    expected = {"medtl": __version__, **{package: f"{package} 9.9" for package in packages}}
    assert code_of(backbone, sha256) == expected

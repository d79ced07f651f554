"""The bundles are what the recipes say, small enough to be read, and every component in them can be replaced."""

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bundle_runs import BUNDLE, ROOT, SMALL, bundle_here, config

from medtl.bundles.inspect import problems_of_bundle
from medtl.bundles.known_ids import READ

pytestmark = pytest.mark.slow

RECIPES = ROOT / "bundles" / "_recipes"
MOST_IDS, MOST_EXPRESSIONS, MOST_LINES = 110, 30, 200


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build", RECIPES / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUILD = builder()
ROWS = {row["name"]: row for row in BUILD.rows()}


def walk(content: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, of objects within lists, too; values of lists have an empty key."""
    pairs = content.items() if isinstance(content, dict) else [("", each) for each in content]
    for key, value in pairs:
        yield key, value
        if isinstance(value, dict | list):
            yield from walk(value)


def test_every_bundle_has_a_row() -> None:
    assert set(ROWS) == {folder.name for folder in (ROOT / "bundles").glob("[!_]*")}


@pytest.mark.parametrize("name", ROWS)
def test_each_file_is_what_its_recipe_says(name: str) -> None:
    folder = ROOT / "bundles" / name
    made = dict(BUILD.files(ROWS[name]))
    for file, text in made.items():
        assert (folder / file).read_text(encoding="utf-8") == text, f"{file}: run {RECIPES / 'build.py'}"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("configs/*")} == {
        file for file in made if file.startswith("configs/")
    }


@pytest.mark.parametrize("name", ROWS)
def test_a_training_config_can_be_read(name: str) -> None:
    text = (ROOT / "bundles" / name / "configs" / "train.json").read_text(encoding="utf-8")
    pairs = list(walk(json.loads(text)))
    assert len([key for key, _ in pairs if key and not key.startswith("_")]) <= MOST_IDS
    assert len([value for _, value in pairs if isinstance(value, str) and value.startswith("$")]) <= MOST_EXPRESSIONS
    assert len(text.splitlines()) <= MOST_LINES
    imports = json.loads(text)["imports"]
    assert [line for line in imports if "medtl" in line] == ["$import medtl.bundles.facade as facade"]


def test_json_is_compact_where_it_fits_and_says_the_same() -> None:
    content = {"a": {"b": [1, 2, {"c": "x" * 120}], "d": {}}, "e": [[1, 2], [3, 4]], "f": "é"}
    assert json.loads(BUILD.as_json(content)) == content
    assert '"e": [\n' in BUILD.as_json(content)
    assert '"é"' in BUILD.as_json(content)


REPLACED: dict[str, tuple[dict[str, Any], str]] = {
    "loss": ({"loss": {"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.1}}, ""),
    "optimizer": (
        {"optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": "@learning_rate"}},
        "",
    ),
    "lr_scheduler": (
        {"lr_scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "optimizer": "@optimizer", "step_size": 1}},
        "",
    ),
    "network": (
        {
            "network_def": {
                "_target_": "monai.networks.nets.EfficientNetBN",
                "model_name": "efficientnet-b0",
                "pretrained": False,
                "num_classes": "$len(@classes)",
            }
        },
        "",
    ),
    "augmentation": (
        {"train#augmentation": {"_target_": "medtl.transforms.batch.BatchTransform", "flip": 0.0, "noise": 0.1}},
        "",
    ),
    "handlers": (
        {
            "validate#handlers": [
                {"_target_": "medtl.bundles.facade.scores", "split": "val"},
                {"_target_": "medtl.bundles.facade.best", "network": "@network", "last": True},
            ]
        },
        "last epoch 1 of 1",
    ),
}


@pytest.mark.parametrize("what", REPLACED)
def test_a_second_config_replaces_a_component(what: str, tmp_path: Path) -> None:
    changed, printed = REPLACED[what]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(changed))
    files = f"['{config('train')}','{other}']"
    words = ["run", "--config_file", files, *SMALL, "--output_dir", str(tmp_path / "run"), "--device", "cpu"]
    status, told = bundle_here(*words)
    assert status == 0, told
    assert printed in told
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"].items() >= {key: value for key, value in changed.items() if "#" not in key}.items()
    assert BUNDLE.name == record["bundle"]["name"]


def test_another_network_is_another_row(tmp_path: Path) -> None:
    row = {**ROWS["cpmid_resnet18"], "name": "cpmid_densenet121", "backbone": "densenet121"}
    for name, text in BUILD.files(row):
        path = tmp_path / "cpmid_densenet121" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        assert not re.search(r"resnet|residual", text, re.IGNORECASE), name
    folder = tmp_path / "cpmid_densenet121"
    assert problems_of_bundle(folder)[1] == []
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    assert metadata["description"].startswith("DenseNet-121 pretrained on CPMID")
    assert metadata["references"][-1].endswith("Densely Connected Convolutional Networks, CVPR 2017")
    train = str(folder / "configs" / "train.json")
    words = ["run", "--config_file", train, *SMALL, "--output_dir", str(tmp_path / "run"), "--device", "cpu"]
    status, told = bundle_here(*words, cwd=tmp_path)
    assert status == 0, told
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["bundle"]["name"], record["network"]["backbone"]) == ("cpmid_densenet121", "densenet121")


def test_the_ids_that_the_facade_reads_are_listed() -> None:
    read = set()
    for path in (ROOT / "medtl" / "bundles").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("ids.value", "ids.has"):
                (name, *_) = node.args
                read |= {ast.literal_eval(name).split("#")[0]} if isinstance(name, ast.Constant) else set()
    assert read - {"_meta_"} <= READ
    assert READ - read <= {"debug", "loss_function"}, "listed, and read by nothing"

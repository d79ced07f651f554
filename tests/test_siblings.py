"""The five pretraining bundles differ in their network, name and documents only, and each of them runs; the four
fine-tune bundles differ in their data set."""

import json
from pathlib import Path

import pytest
import torch
from bundle_runs import PROBABILITIES, ROOT, bundle_here, config, draw, probabilities, rows
from fine_tune_lists import CLASSES, POSITIVE
from monai.bundle import ckpt_export, verify_metadata, verify_net_in_out
from resume_runs import together

from data_prep.cpmid import CARD as CPMID
from medtl import datalist
from medtl.datalist import DataList
from medtl.networks.classifier import build_classifier

pytestmark = pytest.mark.slow

NETWORKS = {
    "cpmid_resnet18": "resnet18",
    "cpmid_resnet34": "resnet34",
    "cpmid_resnet50": "resnet50",
    "cpmid_resnet101": "resnet101",
    "cpmid_vit_b16": "vit_b16",
}
TITLES = ("ResNet-18", "ResNet-34", "ResNet-50", "ResNet-101", "ViT-B/16")
REFERENCES = ("Deep Residual Learning", "An Image is Worth 16x16 Words")


def content(name: str) -> dict[str, str]:
    """Every file of a bundle, with its own name and its network's taken out."""
    folder = ROOT / "bundles" / name
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        text = path.read_text(encoding="utf-8").replace(name, "NAME").replace(f'"{NETWORKS[name]}"', '"NETWORK"')
        for title in sorted(TITLES, key=len, reverse=True):
            text = text.replace(title, "TITLE")
        lines = [line for line in text.splitlines() if not any(reference in line for reference in REFERENCES)]
        found[path.relative_to(folder).as_posix()] = "\n".join(lines)
    return found


@pytest.mark.parametrize("name", list(NETWORKS)[1:])
def test_siblings_differ_in_their_network_only(name: str) -> None:
    assert content(name) == content("cpmid_resnet18")


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_network_is_the_one_in_the_name(name: str) -> None:
    for file in ("train", "inference"):
        read = json.loads(Path(config(file, folder=ROOT / "bundles" / name)).read_text())
        named = read["network_def"]["backbone"]
        assert (read["backbone"] if named == "@backbone" else named) == NETWORKS[name]


@pytest.mark.parametrize("name", list(NETWORKS))
def test_monais_tools_work_on_each(name: str, tmp_path: Path) -> None:
    folder = ROOT / "bundles" / name
    meta = str(folder / "configs" / "metadata.json")
    words = {"meta_file": meta, "config_file": config("inference", folder=folder)}
    verify_metadata(meta_file=meta, filepath=str(ROOT / "medtl" / "bundles" / "metadata_schema.json"))
    verify_net_in_out("network_def", device="cpu", **words)
    torch.manual_seed(0)
    network = build_classifier(NETWORKS[name], 20).eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    export = {"filepath": str(tmp_path / "model.ts"), "ckpt_file": str(tmp_path / "model.pt"), "key_in_ckpt": ""}
    ckpt_export("network_def", use_trace=True, input_shape=[1, 3, 224, 224], **export, **words)
    picture = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = network(picture)
        assert torch.allclose(torch.jit.load(tmp_path / "model.ts")(picture), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", list(NETWORKS)[1:])
def test_each_trains_in_two_processes_and_one_finds_the_same(name: str, tmp_path: Path) -> None:
    """cpmid_resnet18 is looked at closely in test_bundles.py; here its siblings train, are evaluated and predict."""
    folder, data, run = ROOT / "bundles" / name, tmp_path / "data", tmp_path / "run"
    pictures = {
        split: [draw(data, f"{split}{n}.png", n, len(split)) for n in range(8)] for split in ("training", "validation")
    }
    datalist.write(DataList("cpmid", CPMID.classes, 1, "none", "", False, **pictures, test=[]), data)
    small = ("--image_size", "32", "--batch_size", "8", "--num_workers", "0")  # batch norm over fewer would diverge
    words = ("--dataset_dir", str(data), "--output_dir", str(run), *small, "--epochs", "1", "--learning_rate", "1e-5")
    names = config("train", "multi_gpu_train", folder=folder)
    status, printed = together("run", "--config_file", names, *words, log=tmp_path / "log")
    assert status == 0, printed
    words = ("--weights", str(run / "model.pt"), *small, "--device", "cpu", "--output_dir")
    names = config("train", "evaluate", folder=folder)
    status, printed = bundle_here(
        "run", "--config_file", names, "--dataset_dir", str(data), *words, str(tmp_path / "evaluated")
    )
    assert status == 0, printed
    validated, evaluated = (rows(place / "predictions.csv") for place in (run, tmp_path / "evaluated"))
    assert [row["image"] for row in evaluated] == [entry["image"] for entry in pictures["validation"]]
    assert probabilities(evaluated) == pytest.approx(probabilities(validated), abs=1e-5)
    metrics = [json.loads((place / "metrics.json").read_text()) for place in (run, tmp_path / "evaluated")]
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-5)
    status, printed = bundle_here(
        *("run", "--config_file", config("inference", folder=folder), "--input", str(data / "images")),
        *(*words, str(tmp_path / "out")),
    )
    assert status == 0, printed
    table = rows(tmp_path / "out" / "predictions.csv")
    assert list(table[0])[3:] == PROBABILITIES
    predicted = [row for row in table if row["image"].startswith("validation")]
    assert probabilities(predicted) == pytest.approx(probabilities(validated), abs=1e-4)


METADATA = ("changelog", "name", "task", "description", "data_source", "data_type", "references")
FORMAT = "metadata.json network_data_format"
OF_A_DATA_SET = {
    *(f"metadata.json {key}" for key in METADATA),
    f"{FORMAT} inputs image modality",
    f"{FORMAT} outputs pred num_channels",
    f"{FORMAT} outputs pred channel_def",
    "train.json dataset_dir",
    "train.json positive_class",
    "evaluate.json positive_class",
}
CLASSES_FROM_DATA = {"train.json classes", "train.json data", "evaluate.json data", "inference.json classes"}


def differing(one: object, other: object, place: str) -> set[str]:
    """Places where two JSON values differ; lists and a bundle's classes count as one value."""
    if isinstance(one, dict) and isinstance(other, dict) and not place.endswith(("pred channel_def", "changelog")):
        return {
            found
            for key in {*one, *other}
            for found in differing(one.get(key), other.get(key), f"{place} {key}".strip())
        }
    return set() if one == other else {place}


@pytest.mark.parametrize("name", list(CLASSES)[1:])
def test_fine_tune_bundles_differ_in_their_data_set_only(name: str) -> None:
    first, folder = ROOT / "bundles" / next(iter(CLASSES)), ROOT / "bundles" / name
    files = [sorted(path.relative_to(f) for path in f.rglob("*") if path.is_file()) for f in (first, folder)]
    assert files[0] == files[1]
    found: set[str] = set()
    for path in files[0]:
        if path.suffix == ".json":
            pair = (json.loads((f / path).read_text(encoding="utf-8")) for f in (first, folder))
            found |= differing(*pair, path.name)
        elif path.parts[0] != "docs":
            assert (first / path).read_bytes() == (folder / path).read_bytes(), path
    assert found <= OF_A_DATA_SET | (CLASSES_FROM_DATA if name == "folder" else set())
    read = json.loads((folder / "configs" / "train.json").read_text())
    assert read["dataset_dir"] == f"$sample.prepared('{name}')"
    assert read["positive_class"] == POSITIVE[name]


def test_mini_predicts_as_folder_does() -> None:
    one, other = (ROOT / "bundles" / name / "configs" / "inference.json" for name in ("folder", "medtl_mini_resnet18"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("name", [*CLASSES, "medtl_mini_resnet18", "pretrain"])
def test_monais_tools_work_on_bundles_of_any_network(name: str) -> None:
    folder = ROOT / "bundles" / name
    meta = folder / "configs" / "metadata.json"
    metadata = json.loads(meta.read_text(encoding="utf-8"))
    assert metadata["name"] == name
    classes = list(metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values())
    if name not in ("folder", "medtl_mini_resnet18", "pretrain"):  # theirs come from the data list
        assert classes == list(CLASSES[name])
    verify_metadata(meta_file=str(meta), filepath=str(ROOT / "medtl" / "bundles" / "metadata_schema.json"))
    words = {"meta_file": str(meta), "config_file": config("inference", folder=folder)}
    verify_net_in_out("network_def", device="cpu", classes=classes, **words)
